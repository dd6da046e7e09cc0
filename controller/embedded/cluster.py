"""An embedded cluster: its processes from the first fork to the last wait.

Order of the start: sockets that people know are bound first (a busy one is told before anything runs), then broker, controller and the
machines that have joined before, then those that need a join token. Order of the end: controller, so that nobody judges what
happens next; machines; broker; whatever is left.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from controller.certificate import check
from controller.embedded import memory
from controller.embedded.child import Child, adopt_orphans, fork
from controller.embedded.controller_process import Plan, Progress, decode, run_controller
from controller.embedded.folder import CERTIFICATE, BrokerSettings, Credentials, DataFolder, EmbeddedError, Running
from controller.embedded.sockets import Steer, bind, bind_sip
from controller.founding import Founding
from controller.provider import MachineRequest
from controller.provider.local import LocalProvider, RunAgent

USERS = ["1001", "1002", "1003", "1004", "1005"]
ROUTES = [("30XX", "conference"), ("4000", "queue"), ("9196", "echo"), ("9664", "music")]
QUEUES = {"4000": ["1003"]}
GUEST_TARGETS = ["9196", "9664"]
POOL = "default"
USUAL_PORTS = {"tls": 5061, "ws": 5066, "wss": 7443}
"""Of the transports besides UDP and TCP."""
_SCHEMES = {"tls": "", "ws": "ws://", "wss": "wss://"}
STOP_SECONDS_MAX = 10.0
"""What all processes together may take to end before they are killed."""
RESTART_SECONDS_FIRST = 0.2
RESTART_SECONDS_MAX = 5.0
LINE_BYTES_MAX = 1 << 20


class Settings(NamedTuple):
    """What `hotswitch up` was asked for."""

    data: Path
    address: str
    sip_port: int
    api_host: str
    api_port: int
    machines: int
    platform: str
    machine_net: str
    """First three numbers of the machines' addresses: ``127.0.1``."""
    ports: dict[str, int | None]
    """Ports of ``tls``, ``ws`` and ``wss``; 0: off, None: the usual one, or off where it is in use."""
    shards: int = 1
    """Proxies that share the SIP address (docs/adr/0007)."""
    shards_required: bool = False
    """Where the kernel does not allow it, do not start with one."""
    certificate: Path | None = None
    """PEM for TLS; None: a self-signed one."""
    private_key: Path | None = None


class _Part:
    """Broker or controller: forked again when it ends by itself."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self.child = start()
        self.pause = RESTART_SECONDS_FIRST
        self.due: float | None = None

    def ended(self, now: float) -> None:
        self.due = now + self.pause
        self.pause = min(self.pause * 2, RESTART_SECONDS_MAX)

    def again(self) -> None:
        self.due = None
        self.child = self._start()


class EmbeddedCluster:
    """Broker, controller and machines of one host."""

    def __init__(self, settings: Settings, folder: DataFolder, agent: RunAgent, steer: Steer) -> None:
        """Bind what people know.

        Raises:
            EmbeddedError: an address cannot be used.
        """
        self.settings = settings
        self._folder = folder
        self._credentials: Credentials = folder.credentials(USERS)
        self._broker: BrokerSettings = folder.broker()
        with contextlib.ExitStack() as stack:
            self._api = stack.enter_context(bind(settings.api_host, settings.api_port, socket.SOCK_STREAM, "--api-port"))
            self._udp, self._tcp = bind_sip(
                settings.address, settings.sip_port, settings.shards, steer, "--sip-port or --address", settings.shards_required
            )
            for each in (*self._udp, self._tcp):
                stack.enter_context(each)
            self.off: dict[str, str] = {}
            """Transports that are off because their usual port cannot be had, and why."""
            self._others = {transport: bound for transport in USUAL_PORTS if (bound := self._bind_other(transport, stack)) is not None}
            self._certificate = self._pair() if self._others else (b"", b"")
            stack.pop_all()
        self._names = {f"machine-{index}": f"{settings.machine_net}.{index}" for index in range(1, settings.machines + 1)}
        public = {f"public-udp-{share}" if share else "public-udp": bound for share, bound in enumerate(self._udp)}
        public |= {"public-tcp": self._tcp, **{f"public-{name}": bound for name, bound in self._others.items()}}
        self._provider = LocalProvider(folder, agent, {name: bound.fileno() for name, bound in public.items()}, self._names)
        self._parts: dict[str, _Part] = {}
        self._selector = selectors.DefaultSelector()
        self._report = -1
        self._buffer = b""
        self._stopping = False

    @property
    def running(self) -> Running:
        """How it is reached."""
        settings = self.settings
        return Running(
            api=f"http://{_bracket(settings.api_host)}:{self._api.getsockname()[1]}",
            token=self._credentials.token,
            sip=f"{_bracket(settings.address)}:{self._tcp.getsockname()[1]}",
            users=self._credentials.users,
            pid=os.getpid(),
            transports={name: f"{_SCHEMES[name]}{_bracket(settings.address)}:{port}" for name, port in self._other_ports.items()},
            certificate=str(settings.certificate or self._folder.path / CERTIFICATE) if self._others.keys() & {"tls", "wss"} else "",
        )

    @property
    def _other_ports(self) -> dict[str, int]:
        return {name: bound.getsockname()[1] for name, bound in self._others.items()}

    def start(self, interrupted: Callable[[], bool]) -> Iterator[Progress]:
        """Start everything; yields what goes on until all is healthy, or nothing more when it was interrupted.

        Raises:
            EmbeddedError: a part cannot start.
        """
        adopt_orphans()
        self._parts["broker"] = _Part(self._fork_broker)
        self._parts["controller"] = _Part(self._fork_controller)
        waiting = []
        for name in self._names:
            if self._provider.remembers(name):
                self._provider.boot(MachineRequest(name, ""))
            else:
                waiting.append(name)
        while not interrupted():
            for progress in self.step(0.1):
                if progress.error:
                    raise EmbeddedError(f"the controller does not start: {progress.error}")
                for name, token in progress.tokens.items():
                    if name in waiting:
                        self._provider.boot(MachineRequest(name, token))
                        waiting.remove(name)
                yield progress
                if progress.ready:
                    self._folder.write_running(self.running)
                    return
            if "controller" in self.supervise():
                raise EmbeddedError(f"the controller ended; see {self._folder.logs / 'controller.log'}")

    def step(self, seconds: float) -> list[Progress]:
        """Wait for a report at most so long, and start again what ended by itself."""
        found: list[Progress] = []
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fd)
                os.close(key.fd)
                self._report, self._buffer = -1, b""
                continue
            self._buffer += data
            *lines, self._buffer = self._buffer.split(b"\n")
            if len(self._buffer) > LINE_BYTES_MAX:
                raise EmbeddedError("the controller reports without end")
            found.extend(decode(line) for line in lines if line)
        return found

    def supervise(self) -> list[str]:
        """Reap what ended and start it again when it is due; returns the names of what ended."""
        now = time.monotonic()
        ended = []
        for pid in _reap():
            for name, part in self._parts.items():
                if part.child.pid == pid:
                    part.ended(now)
                    ended.append(name)
            if (machine := self._provider.ended(pid, now)) is not None:
                ended.append(machine)
        for part in self._parts.values():
            if part.due is not None and now >= part.due:
                part.again()
        self._provider.restart_due(now)
        return ended

    def memory_bytes(self) -> int:
        """Proportional set size of this process and everything that it runs."""
        return memory.tree_bytes(os.getpid())

    def stop(self) -> None:
        """End every process, and wait for it."""
        self._stopping = True
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for name in ("controller", "machines", "broker"):
            pids = self._provider.pids() if name == "machines" else [self._parts[name].child.pid] if name in self._parts else []
            for pid in pids:
                _signal(pid, signal.SIGTERM)
            if name != "controller":
                _wait(pids, deadline)
        _wait([part.child.pid for part in self._parts.values()], deadline)
        for pid in memory.descendants(os.getpid()):
            _signal(pid, signal.SIGKILL)
        _wait(memory.descendants(os.getpid()), time.monotonic() + 2.0)
        for each in (self._api, *self._udp, self._tcp, *self._others.values()):
            each.close()
        self._selector.close()
        if self._report >= 0:
            os.close(self._report)

    def _bind_other(self, transport: str, stack: contextlib.ExitStack) -> socket.socket | None:
        port = self.settings.ports.get(transport)
        if port == 0:
            return None
        try:
            return stack.enter_context(
                bind(self.settings.address, port or USUAL_PORTS[transport], socket.SOCK_STREAM, f"--{transport}-port")
            )
        except EmbeddedError as error:
            if port is not None:
                raise
            self.off[transport] = str(error)
            return None

    def _pair(self) -> tuple[bytes, bytes]:
        """Certificate and private key (PEM)."""
        settings = self.settings
        if settings.certificate is None or settings.private_key is None:
            return self._folder.certificate(settings.address)
        try:
            pair = settings.certificate.read_bytes(), settings.private_key.read_bytes()
            check(*pair)
        except (OSError, ValueError) as error:
            raise EmbeddedError(f"--tls-certificate and --tls-key: {error}") from error
        return pair

    def _fork_broker(self) -> Child:
        from controller.broker import run_broker
        from controller.keys import ControllerKeys

        public = ControllerKeys.load(self._folder.path).transport.public
        settings = self._broker
        return fork("broker", lambda: run_broker(settings.address, settings.key, public), log=_fresh(self._folder.logs / "broker.log"))

    def _fork_controller(self) -> Child:
        settings, first = self.settings, "controller" not in self._parts
        founding = Founding(
            public_host=settings.address,
            public_port=self._tcp.getsockname()[1],
            public_shards=len(self._udp),
            public_ports=self._other_ports,
            certificate=self._certificate[0],
            private_key=self._certificate[1],
            self_signed=settings.certificate is None,
            platform=settings.platform,
            pool=POOL,
            token=self._credentials.token,
            passwords=self._credentials.users,
            routes=ROUTES,
            queues=QUEUES,
            guest_targets=GUEST_TARGETS,
            machines=list(self._names) if first else None,
        )
        plan = Plan(machines=self._names, pool=POOL)
        path, address, api = self._folder.path, self._broker.address, self._api
        reading, writing = os.pipe()
        child = fork(
            "controller",
            lambda: run_controller(path, address, founding, plan, api, writing, first),
            log=_fresh(self._folder.logs / "controller.log"),
            keep=[api.fileno(), writing],
        )
        os.close(writing)
        self._report = reading
        self._selector.register(reading, selectors.EVENT_READ)
        return child


def _fresh(log: Path) -> Path:
    log.unlink(missing_ok=True)
    return log


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reap() -> Iterator[int]:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(pids: list[int], deadline: float) -> None:
    """Wait until these have ended, or the deadline (seconds, monotonic) is over."""
    left = set(pids)
    while left and time.monotonic() < deadline:
        left -= set(_reap())
        left = {pid for pid in left if os.path.exists(f"/proc/{pid}")}
        if left:
            time.sleep(0.01)
