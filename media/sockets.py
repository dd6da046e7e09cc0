"""UDP sockets of the engine: the pair that legs share, and pairs of single legs from the port range.

Rules:
- A leg shares the pair where its peer's address tells it apart; a leg that can't be told apart gets a pair of its own.
- RTP on an even port, RTCP on the next one (RFC 3550 section 11). A port is tried once a round; a range without a free pair is ``full``.
- Own sockets are found readable by one epoll.
- Where a standby is there it gets every own pair (`media.handover`); one that takes over goes on with them instead of binding.
"""

import contextlib
import ctypes
import os
import resource
import select
import socket

import numpy as np

from media.arrays import I32, Index
from media.config import MediaConfiguration
from media.datagrams import BATCH, stamped
from media.handover import Giver, Taker
from media.ring import Ring

SHARED_BUFFER_BYTES = 16 << 20
"""Kernel queue of the shared pair, as far as the system allows."""
OWN_BUFFER_BYTES = 128 << 10
POLL_MAX = 4096
"""Own sockets looked at in one tick."""


_PACKED = os.uname().machine == "x86_64"
_EVENT = np.dtype({"names": ["fd"], "formats": ["i4"], "offsets": [4 if _PACKED else 8], "itemsize": 12 if _PACKED else 16})
"""struct epoll_event; ``fd`` is what was registered."""
_epoll_wait = ctypes.CDLL(None).epoll_wait
_epoll_wait.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]


def _longer(array: I32, place: int) -> I32:
    """An array that has this place."""
    return array if place < len(array) else np.concatenate((array, np.zeros(place + 1, np.int32)))


class PortsExhaustedError(Exception):
    """No free pair in the port range."""


class Pair:
    """An RTP and an RTCP socket of one leg."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, port: int = 0) -> None:
        self.rtp, self.rtcp = rtp, rtcp
        self.port: int = port or rtp.getsockname()[1]

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class Sockets:
    """All sockets of a process.

    Args:
        configuration: host and port range.
        given: descriptors ``rtp`` and ``rtcp`` of the shared pair; bound from the range where missing. ``peer``: in a standby, the
            socket to the process that runs.

    Raises:
        PortsExhaustedError: no pair for all legs could be bound.
        OSError: a descriptor is no socket.
    """

    def __init__(self, configuration: MediaConfiguration, given: dict[str, int]) -> None:
        self._hosts = "", ""
        self.six = False
        """There was an own socket of IPv6."""
        self._first, self._last = 0, 0
        self._next = 0
        self._pairs: dict[int, Pair] = {}
        self._poll = select.epoll()
        self.ring = Ring.open(BATCH)
        """For many own sockets at once, where the host has it."""
        self._more_files()
        self.range(configuration)
        if "rtp" in given and "rtcp" in given:
            self._shared = Pair(socket.socket(fileno=os.dup(given["rtp"])), socket.socket(fileno=os.dup(given["rtcp"])))
        else:
            self._shared = self._bind()
        for side in (self._shared.rtp, self._shared.rtcp):
            side.setblocking(False)
            stamped(side)
            for force, plain in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
                try:
                    side.setsockopt(socket.SOL_SOCKET, force, SHARED_BUFFER_BYTES)
                except PermissionError:
                    side.setsockopt(socket.SOL_SOCKET, plain, SHARED_BUFFER_BYTES)
        self.rtp = self._shared.rtp.fileno()
        """Descriptor of the shared RTP socket."""
        self.rtcp = self._shared.rtcp.fileno()
        self.port = self._shared.port
        """Local port of the shared RTP socket."""
        self.port_rtcp: int = self._shared.rtcp.getsockname()[1]
        self._owner: I32 = np.zeros(0, np.int32)
        """int32[descriptor]: twice its leg, and 1 more where it carries RTCP."""
        self._rtp_of: I32 = np.zeros(0, np.int32)
        """int32[leg]: descriptor that its RTP goes out by."""
        self._events = np.zeros(POLL_MAX, _EVENT)
        self._place: int = self._events.ctypes.data
        self._ready: I32 = self._events["fd"]
        self._giver: Giver | None = None
        self._taker = Taker(given["peer"]) if "peer" in given else None

    def standby(self, peer: int) -> None:
        """A standby is there: give it the pairs that are open, and those to come. ``peer`` is ours from now on."""
        if self._giver is not None:
            self._giver.close()
        self._giver = Giver(peer)
        for pair in self._pairs.values():
            self._giver.opened(pair.port)

    def give(self) -> None:
        """Tell the standby what it does not know yet."""
        if self._giver:
            self._giver.say({pair.port: (pair.rtp.fileno(), pair.rtcp.fileno()) for pair in self._pairs.values()})

    def hear_peer(self) -> bool:
        """In a standby: take the pairs that were given; false: the giver is gone."""
        return self._taker is not None and self._taker.hear()

    def taken_over(self) -> None:
        """All legs that another process left have their sockets: what nobody wanted is closed."""
        if self._taker is not None:
            self._taker.close()
            self._taker = None

    @staticmethod
    def _more_files() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def range(self, configuration: MediaConfiguration) -> None:
        """Take new pairs from this range, and of these hosts, from now on."""
        self._hosts = configuration.host, configuration.host6 or (configuration.host if ":" in configuration.host else "")
        self._first = configuration.rtp_port_first + configuration.rtp_port_first % 2
        self._last = configuration.rtp_port_last
        self._next = self._first

    def host(self, six: bool) -> str:
        """Where sockets of IPv4 or IPv6 are bound; of IPv6 empty: nowhere."""
        return self._hosts[six]

    def _bind(self, wanted: int = 0, six: bool = False) -> Pair:
        host = self._hosts[six]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for _ in range(1 if wanted else (self._last - self._first + 1) // 2):
            port = wanted or self._next
            if not wanted:
                self._next = port + 2 if port + 3 <= self._last else self._first
            if self.six and any(pair.port == port for pair in self._pairs.values()):
                continue  # of the other protocol; a port names one pair
            sides: list[socket.socket] = []
            try:
                for number in (port, port + 1):
                    side = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                    sides.append(side)
                    side.bind((host, number))
                for side in sides:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, OWN_BUFFER_BYTES)
                    stamped(side)
                return Pair(sides[0], sides[1])
            except OSError:
                for side in sides:
                    side.close()
        raise PortsExhaustedError(f"no free pair of ports in {wanted or self._first}-{wanted or self._last} on {host}")

    def _given(self, port: int) -> Pair | None:
        given = self._taker.pairs.pop(port, None) if self._taker is not None else None
        return None if given is None else Pair(given[0], given[1], port)

    def open(self, leg: int, port: int = 0, six: bool = False) -> int:
        """Give a leg a pair of its own, on a free port or this one, in place of the one that it has; returns its RTP port.

        Raises:
            PortsExhaustedError: none is free.
        """
        pair = self._given(port) or self._bind(port, six)
        self.shut(leg)
        self.six |= six
        self._pairs[leg] = pair
        if self._giver is not None:
            self._giver.opened(pair.port)
        for side, is_rtcp in ((pair.rtp, False), (pair.rtcp, True)):
            self._owner = _longer(self._owner, side.fileno())
            self._owner[side.fileno()] = 2 * leg + is_rtcp
            self._poll.register(side.fileno(), select.EPOLLIN)
        self._rtp_of = _longer(self._rtp_of, leg)
        self._rtp_of[leg] = pair.rtp.fileno()
        return pair.port

    def shut(self, leg: int) -> None:
        """Close a leg's own pair, if it has one."""
        pair = self._pairs.pop(leg, None)
        if pair is None:
            return
        for side in (pair.rtp, pair.rtcp):
            self._poll.unregister(side.fileno())
        pair.close()
        if self._giver is not None:
            self._giver.shut(pair.port)

    def rtp_of(self, leg: int) -> int:
        """Descriptor that a leg's RTP goes out by."""
        pair = self._pairs.get(leg)
        return self.rtp if pair is None else pair.rtp.fileno()

    def own_rtp(self, leg: Index) -> I32:
        """int32[n]: the same of legs that have sockets of their own."""
        return self._rtp_of.take(leg)

    def owner(self, fds: I32) -> I32:
        """int32[n]: the legs of own descriptors, each twice, and 1 more where it carries RTCP."""
        return self._owner.take(fds)

    def rtcp_of(self, leg: int) -> int:
        """Descriptor that a leg's RTCP goes out by, where it is not multiplexed."""
        pair = self._pairs.get(leg)
        return self.rtcp if pair is None else pair.rtcp.fileno()

    def send_one(self, leg: int, data: bytes, address: tuple[str, int]) -> None:
        """Send a datagram by a leg's own RTP socket; what can't be sent is dropped."""
        pair = self._pairs.get(leg)
        if pair is not None:
            with contextlib.suppress(OSError, OverflowError):
                pair.rtp.sendto(data, address)

    @property
    def any_own(self) -> bool:
        """Some leg has sockets of its own."""
        return bool(self._pairs)

    def readable(self) -> I32:
        """int32[n]: own descriptors with datagrams waiting."""
        return self._ready[: max(_epoll_wait(self._poll.fileno(), self._place, POLL_MAX, 0), 0)].copy()

    def close(self) -> None:
        """Close all own pairs; the descriptors that were given stay open (their owner's)."""
        for leg in list(self._pairs):
            self.shut(leg)
        if self._giver is not None:
            self._giver.close()
        self.taken_over()
        self._poll.close()
        if self.ring is not None:
            self.ring.close()
        self._shared.close()
