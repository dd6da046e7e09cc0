"""A network under a fake clock: cores joined by links that drop, repeat and delay what the test tells them to."""

import heapq
import random
from typing import Any, Protocol

from telephony.effects import Send
from telephony.sip.flow import Flow


class Node(Protocol):
    def receive(self, data: bytes, flow: Flow, now: float) -> None: ...
    def timeout(self, now: float) -> None: ...
    def deadline(self) -> float | None: ...
    def take(self) -> Any: ...


class Network:
    def __init__(self, seed: int = 0, loss: float = 0.0, repeat: float = 0.0, jitter: float = 0.0, transport: str = "udp") -> None:
        self.now = 1000.0
        self.nodes: dict[tuple[str, int], Node] = {}
        self.sockets: dict[tuple[str, int], str] = {}
        self.events: dict[int, list[Any]] = {}
        self.log: list[str] = []
        """``host>host first-line`` of every message sent."""
        self.drop: Any = lambda source, target, data: False
        self._random = random.Random(seed)
        self._loss, self._repeat, self._jitter = loss, repeat, jitter
        self._transport = transport
        self._flying: list[tuple[float, int, tuple[str, int], tuple[str, int], bytes]] = []
        self._count = 0

    def add(self, host: str, port: int, node: Node, socket: str = "sip") -> list[Any]:
        """Give a node an address, that of its socket; a node may have several."""
        self.nodes[host, port] = node
        self.sockets[host, port] = socket
        return self.events.setdefault(id(node), [])

    def flow(self, host: str, port: int) -> Flow:
        return Flow(self._transport, "sip", host, port)

    def collect(self) -> None:
        """Take every node's effects and put them on their way."""
        for node in dict.fromkeys(self.nodes.values()):
            addresses = {self.sockets[address]: address for address, owner in self.nodes.items() if owner is node}
            for effect in node.take():
                if isinstance(effect, Send):
                    self._send(addresses.get(effect.flow.socket) or self._shared(effect.flow.socket), effect)
                else:
                    self.events[id(node)].append(effect)

    def _shared(self, socket: str) -> tuple[str, int]:
        """The address of a socket that another node reads: all proxies may send from the public one."""
        return next(address for address, name in self.sockets.items() if name == socket)

    def _send(self, source: tuple[str, int], effect: Send) -> None:
        target = effect.flow.host, effect.flow.port
        first = effect.data.split(b"\r\n", 1)[0].decode(errors="replace")
        self.log.append(f"{source[0]}>{target[0]} {first}")
        if self.drop(source, target, effect.data) or self._random.random() < self._loss:
            return
        for _ in range(2 if self._random.random() < self._repeat else 1):
            self._count += 1
            at = self.now + 0.001 + self._random.random() * self._jitter
            heapq.heappush(self._flying, (at, self._count, source, target, effect.data))

    def run(self, seconds: float = 0.1) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        for _ in range(1_000_000):
            self.collect()
            times = [deadline for node in self.nodes.values() if (deadline := node.deadline()) is not None]
            if self._flying:
                times.append(self._flying[0][0])
            at = min(times, default=end + 1)
            if at > end:
                break
            self.now = max(self.now, at)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, source, target, data = heapq.heappop(self._flying)
                if target in self.nodes:
                    self.nodes[target].receive(data, Flow(self._transport, self.sockets[target], *source), self.now)
            for node in self.nodes.values():
                deadline = node.deadline()
                if deadline is not None and deadline <= self.now:
                    node.timeout(self.now)
        else:
            raise AssertionError("the network does not come to rest")
        self.now = end

    def happened(self, host: str, port: int) -> list[Any]:
        """Events of a node since the last call."""
        events = self.events[id(self.nodes[host, port])]
        found = events[:]
        events.clear()
        return found
