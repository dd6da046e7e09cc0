"""The machine's sockets towards its broker: what comes in is handed on, what goes out is sent or counted.

Rules:
- The descriptors of ZeroMQ are edge-triggered: they are drained at every wake-up, up to a bound, and looked at again after sending.
- Nothing is waited for: what a full queue does not take is dropped and counted; the ends find out and repeat.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import zmq

from agent.wire import topics
from agent.wire.keys import TransportKey
from agent.wire.link import Link
from agent.wire.token import BrokerAddress

ROUND_MESSAGES_MAX = 200
"""Messages taken from one socket before the loop goes on."""
FAREWELL_MILLISECONDS = 300
"""At the end, what was published last has this to leave."""


class Post:
    """Publications and requests of one machine."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        machine: str,
        broker: BrokerAddress,
        key: TransportKey,
        published: Callable[[list[bytes]], None],
        answered: Callable[[list[bytes]], None],
        turn: Callable[[], None],
    ) -> None:
        """``published`` and ``answered`` take what comes over the two channels; ``turn`` is called after each drain."""
        self.dropped: Counter[str] = Counter()
        """What was not sent, by channel."""
        self._loop = loop
        self._turn = turn
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = Link.open(self._context, broker, key)
        self._link.subscribe.subscribe(topics.to_machine(machine))
        self._link.subscribe.subscribe(topics.relayed(machine))
        self._bundles: set[str] = set()
        self._incoming = ((self._link.subscribe, published), (self._link.request, answered))

    def open(self) -> None:
        """Begin to listen."""
        for source, _ in self._incoming:
            self._loop.add_reader(source.fileno(), self._drain)
        self._drain()

    def publish(self, frames: Sequence[bytes]) -> None:
        try:
            self._link.publish.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            self.dropped["publication"] += 1

    def request(self, frames: Sequence[bytes]) -> None:
        """To the controller, over the request channel."""
        try:
            self._link.request.send_multipart([topics.CONTROLLER.encode(), *frames], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped["request"] += 1

    def look(self) -> None:
        """After sending: something may be there whose edge has passed."""
        if any(int(source.get(zmq.EVENTS)) & zmq.POLLIN for source, _ in self._incoming):
            self._loop.call_soon(self._drain)

    def hear_bundles(self, hashes: set[str]) -> None:
        """Subscribe to the chunks of these bundles, and of no others."""
        for hash in hashes - self._bundles:
            self._link.subscribe.subscribe(topics.of_bundle(hash))
        for hash in self._bundles - hashes:
            self._link.subscribe.unsubscribe(topics.of_bundle(hash))
        self._bundles = set(hashes)

    def close_ears(self) -> None:
        """Hear nothing more."""
        for source, _ in self._incoming:
            self._loop.remove_reader(source.fileno())
            source.close(0)

    def close(self) -> None:
        """Let the last words leave, then be gone; after `close_ears`."""
        self._link.publish.close(FAREWELL_MILLISECONDS)
        self._context.term()

    def _drain(self) -> None:
        for source, take in self._incoming:
            if source.closed:
                return
            for _ in range(ROUND_MESSAGES_MAX):
                try:
                    frames = source.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                take(frames)
            else:
                self._loop.call_soon(self._drain)
        self._turn()
