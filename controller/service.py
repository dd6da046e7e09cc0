"""The controller's process: sockets, clock and API around `controller.core`.

One asyncio loop (uvloop). The ZeroMQ sockets are read from their descriptors; these are edge-triggered, so they are drained on every
wake-up and after every send. Effects are sent at the end of a loop turn, after one flush of the store for all that happened in it.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import zmq

from agent.wire.link import Link
from agent.wire.token import BrokerAddress
from controller.calculation.catalogue import PLATFORMS
from controller.core import Controller, new_cluster_id
from controller.effects import Publish
from controller.founding import Founding, found
from controller.health import all_healthy
from controller.keys import ControllerKeys, load_release_key
from controller.release.contents import MissingModuleError
from controller.release.library import Built, Library
from controller.state import Bundle
from controller.store import Operation, Store, StoreError
from controller.store.lmdb_store import LmdbStore
from controller.store.sealing import MasterKey
from controller.tables import Draft, Write

if TYPE_CHECKING:
    import uvicorn

T = TypeVar("T")

TICK_SECONDS = 0.2
ROUND_MESSAGES_MAX = 500
"""Messages taken from one socket before the loop has its turn."""
MASTER_FILE = "master.key"
STATE_FOLDER = "state"
BUNDLE_FOLDER = "bundles"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a controller process runs."""

    folder: Path
    """Data folder: keys, state, bundles."""
    broker: BrokerAddress
    founding: Founding | None = None
    machines_expected: int = 0
    platforms: list[str] = []
    """Whose software is built at the start; empty: all."""
    rebuild: bool = True
    """Build bundles from the installed packages at the start."""
    swap: bool = False
    """Units that ran from software of an earlier build start from the new one: for a cluster that starts as a whole."""


class Service:
    """A running controller."""

    def __init__(self, options: Options) -> None:
        """Open the store and load the state.

        Raises:
            StoreError: the folder is in use, or was sealed under another master key.
            KeyFormatError: a key file is none, or others may read it.
        """
        folder = options.folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = ControllerKeys.load(folder)
        self.options = options
        self.store: Store = LmdbStore(folder / STATE_FOLDER, MasterKey.load(folder / MASTER_FILE))
        self.library = Library(folder / BUNDLE_FOLDER, load_release_key(folder))
        now = time.time()
        self._offset = now - time.monotonic()
        self.core = Controller(
            keys=keys,
            cluster=_cluster_id(self.store),
            store=self.store,
            library=self.library,
            brokers=[options.broker],
            now=now,
            machines_expected=options.machines_expected,
        )
        self.started = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = Link.open(self._context, options.broker, keys.transport)
        self._link.subscribe.subscribe(b"m/")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing = False
        self._waiters: list[asyncio.Future[None]] = []
        self._listeners: set[asyncio.Event] = set()
        self._server: uvicorn.Server | None = None
        self._stop = asyncio.Event()
        self.failure: StoreError | None = None
        """Why the service ended by itself."""
        self.late_seconds_max = 0.0
        """Longest that the loop was late for its tick."""

    def now(self) -> float:
        """Seconds of the Unix epoch, of a clock that does not jump while the process lives."""
        return time.monotonic() + self._offset

    def found(self, founding: Founding | None) -> None:
        """Build the software and bring the cluster in line with this start.

        Raises:
            MissingModuleError, SyntaxError: the installed packages are not whole.
        """
        built: list[Built] = []
        for platform in self.options.platforms or PLATFORMS if self.options.rebuild else ():
            try:
                built.append(self.library.build(platform))
            except MissingModuleError as error:
                if founding is None or platform == founding.platform:
                    raise
                print(f"no software for {platform}: {error}", file=sys.stderr, flush=True)
        if founding is not None:
            self.core.change(lambda draft: found(draft, founding, built, self.now(), self.options.swap), self.now())
        self.library.prune(set(self.core.tables.all(Bundle)))

    async def change(self, edit: Callable[[Draft], T], dry_run: bool = False) -> tuple[T, list[Write]]:
        """A change over the API; returns when it is durable and was sent."""
        result = self.core.change(edit, self.now(), dry_run)
        if not dry_run:
            await self.flushed()
        return result

    async def flushed(self) -> None:
        """Wait until everything so far is durable and was sent."""
        loop = self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        self._soon()
        await waiter

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something was written or happened."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    def health(self) -> tuple[int, int]:
        """Healthy units and all units."""
        return all_healthy(self.core.tables)

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True

    async def run(
        self, api: socket.socket | None, application: Callable[["Service"], Any] | None, ready: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Serve until `stop`. ``application`` is imported and made in a thread, beside the first enrolments."""
        loop = self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_reader(self._link.subscribe.fileno(), self._readable)
        loop.add_reader(self._link.request.fileno(), self._readable)
        tasks = [asyncio.create_task(self._tick())]
        if api is not None and application is not None:
            tasks.append(asyncio.create_task(self._serve(api, application)))
        if ready is not None:
            tasks.append(asyncio.create_task(_run(ready)))
        self._soon()
        try:
            stopped = asyncio.create_task(self._stop.wait())
            done, _ = await asyncio.wait([stopped, *tasks[:2]], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            if self._server is not None:
                self._server.should_exit = True
            for event in self._listeners:
                event.set()
            await asyncio.wait(tasks[1:2], timeout=2.0) if len(tasks) > 1 else None
            for task in tasks:
                task.cancel()
            loop.remove_reader(self._link.subscribe.fileno())
            loop.remove_reader(self._link.request.fileno())
            self.close()

    @property
    def serving(self) -> bool:
        """Whether the API answers."""
        return self._server is not None and self._server.started

    @property
    def stopping(self) -> bool:
        """Whether the process ends."""
        return self._stop.is_set()

    def close(self) -> None:
        """Let go of sockets and store."""
        self._link.close()
        self._context.destroy(0)
        self.store.close()

    async def _serve(self, api: socket.socket, application: Callable[["Service"], Any]) -> None:
        server = self._server = await asyncio.to_thread(_make_server, application, self)
        if not self.stopping:
            for event in self._listeners:
                event.set()
            await server.serve(sockets=[api])

    async def _tick(self) -> None:
        due = time.monotonic()
        while not self.stopping:
            due += TICK_SECONDS
            pause = due - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self.late_seconds_max = max(self.late_seconds_max, -pause)
                due = time.monotonic()
            self.core.tick(self.now())
            self._soon()

    def _readable(self) -> None:
        """Drain both sockets, each up to its bound."""
        more = False
        for source, take in ((self._link.subscribe, self.core.published), (self._link.request, self.core.requested)):
            for _ in range(ROUND_MESSAGES_MAX):
                try:
                    frames = source.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                take(frames, self.now())
            else:
                more = True
        if more and self._loop is not None:
            self._loop.call_soon(self._readable)
        self._soon()

    def _soon(self) -> None:
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        try:
            effects = self.core.take()
        except StoreError as error:
            # What is in memory is not what is on the disk any more: end, and begin anew from the disk.
            self.failure = error
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            self._waiters = []
            self.stop()
            return
        for effect in effects:
            through = self._link.publish if isinstance(effect, Publish) else self._link.request
            try:
                through.send_multipart(effect.frames, zmq.NOBLOCK)
            except zmq.Again:
                self.core.refusals["queue-full"] += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for event in self._listeners:
            event.set()
        # A send may have consumed the edge that would have told of something to read.
        if effects and self._loop is not None:
            events = (self._link.subscribe.get(zmq.EVENTS), self._link.request.get(zmq.EVENTS))
            if any(isinstance(each, int) and each & zmq.POLLIN for each in events):
                self._loop.call_soon(self._readable)


async def _run(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def _make_server(application: Callable[[Service], Any], service: Service) -> "uvicorn.Server":
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Signals are the service's own matter."""
            yield

    config = uvicorn.Config(
        application(service),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        limit_concurrency=512,
        h11_max_incomplete_event_size=65536,
        ws="none",
    )
    config.load()
    return Server(config)


def _cluster_id(store: Store) -> str:
    """The cluster's own name, made once."""
    entry = store.get("identity/cluster")
    if entry is not None:
        return entry.value.decode()
    name = new_cluster_id()
    store.transaction([Operation("identity/cluster", name.encode())])
    store.flush()
    return name
