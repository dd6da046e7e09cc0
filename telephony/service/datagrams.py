"""SIP over UDP: a bounded recvfrom loop for each socket, and sendto.

Rules:
- At most `BATCH_DATAGRAMS` are read from one socket before the others get their turn.
- A datagram that the kernel does not take (full buffer, too long, no route) is lost, as it might be on the
  way: the transaction layer repeats it. It is counted.
- A destination that refuses (ICMP port unreachable, RFC 1122 section 4.1.3.3) is reported as a flow that
  closed. Only for sockets that this service has for itself: the errors of a shared one reach anybody.
- After a full batch the kernel is asked when the last datagram came in (SIOCGSTAMP): how long it has waited tells whether the
  service keeps up. As long as it does, batches are short and nothing is asked.
"""

import contextlib
import fcntl
import socket
import struct
import time
from collections.abc import Callable

from telephony.service.admission import admit
from telephony.service.kinds import SHARD_PREFIX
from telephony.service.loop import ERROR, READ, Loop
from telephony.sip.flow import Flow

BATCH_DATAGRAMS = 64
DATAGRAM_BYTES_MAX = 65535
FLOWS_MAX = 16384
"""Remembered source addresses; when there are more the memory starts afresh."""
_SIOCGSTAMP = 0x8906
_TIMEVAL = struct.Struct("ll")
_IP_RECVERR = 11
_IPV6_RECVERR = 25


class Datagrams:
    """All UDP sockets of a service.

    Args:
        receive: called with each datagram, its flow.
        refused: called with the flow whose destination refuses.
        waited: called with the seconds that datagrams have waited, while they come more quickly than they are read.
    """

    def __init__(
        self, loop: Loop, receive: Callable[[bytes, Flow], None], refused: Callable[[Flow], None], waited: Callable[[float], None]
    ) -> None:
        self._loop = loop
        self._waited = waited
        self._waits: dict[str, float] = {}
        """Seconds, of sockets that are not read to their end."""
        self._receive = receive
        self._refused = refused
        self._sockets: dict[str, socket.socket] = {}
        self._labels: dict[str, str] = {}
        """What a socket is called in flows: those of one address are one."""
        self._reading: set[str] = set()
        self._flows: dict[tuple[str, str, int], Flow] = {}
        self.lost = 0
        """Datagrams that the kernel did not take."""

    def add(self, name: str, descriptor: int, shared: bool) -> None:
        """Take a bound socket; it is not read yet (`read`)."""
        udp = socket.socket(fileno=descriptor)
        udp.setblocking(False)
        if not shared:
            v6 = udp.family == socket.AF_INET6
            udp.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, _IPV6_RECVERR if v6 else _IP_RECVERR, 1)
        self._sockets[name] = udp
        self._labels[name] = "public-udp" if name.startswith(SHARD_PREFIX) else name

    def names(self) -> list[str]:
        return list(self._sockets)

    def read(self, name: str, wanted: bool) -> None:
        """Read the socket from now on, or leave what comes to somebody else."""
        udp = self._sockets[name]
        if wanted and name not in self._reading:
            self._reading.add(name)
            admit(udp, 1.0)
            _stamp(udp)  # from now on there are stamps
            self._loop.add(udp.fileno(), READ, lambda events: self._ready(name, udp, events))
        elif not wanted and name in self._reading:
            self._reading.discard(name)
            self._loop.remove(udp.fileno())
            admit(udp, 1.0)

    def admit(self, share: float, spared: tuple[str, ...]) -> None:
        """Let this share of INVITEs through, and those to these numbers (`telephony.service.admission`)."""
        for name in self._reading:
            admit(self._sockets[name], share, spared)

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one datagram; it may be lost."""
        udp = self._sockets.get(flow.socket)
        if udp is None:
            self.lost += 1
            return
        try:
            udp.sendto(data, (flow.host, flow.port))
        except BlockingIOError:
            self.lost += 1
        except (ConnectionError, OSError):
            try:  # the error may be that of an earlier datagram, which is reported once
                udp.sendto(data, (flow.host, flow.port))
            except OSError:
                self.lost += 1

    def close(self) -> None:
        for name, udp in self._sockets.items():
            self.read(name, False)
            udp.close()

    def _ready(self, name: str, udp: socket.socket, events: int) -> None:
        if events & ERROR:
            self._errors(name, udp)
        name = self._labels[name]
        recvfrom = udp.recvfrom
        flows = self._flows
        receive = self._receive
        for _ in range(BATCH_DATAGRAMS):
            try:
                data, address = recvfrom(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                if name in self._waits:
                    del self._waits[name]
                    self._waited(max(self._waits.values(), default=0.0))
                return
            except OSError:
                continue
            key = (name, address[0], address[1])
            flow = flows.get(key)
            if flow is None:
                if len(flows) >= FLOWS_MAX:
                    flows.clear()
                flow = flows[key] = Flow("udp", name, address[0], address[1])
            receive(data, flow)
        self._loop.more = True
        self._measure(name, udp)

    def _measure(self, name: str, udp: socket.socket) -> None:
        """How long the last datagram has waited."""
        self._waits[name] = max(0.0, time.time() - _stamp(udp))
        self._waited(max(self._waits.values()))

    def _errors(self, name: str, udp: socket.socket) -> None:
        for _ in range(BATCH_DATAGRAMS):
            try:
                _, _, _, address = udp.recvmsg(512, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            if address:
                with contextlib.suppress(IndexError, TypeError):
                    self._refused(Flow("udp", name, str(address[0]), int(address[1])))


def _stamp(udp: socket.socket) -> float:
    """When the last datagram that was read came in, Unix time in seconds; now, where the kernel has not noted it."""
    try:
        seconds, micros = _TIMEVAL.unpack(fcntl.ioctl(udp.fileno(), _SIOCGSTAMP, bytes(_TIMEVAL.size)))
    except OSError:
        return time.time()
    return float(seconds + micros / 1e6)
