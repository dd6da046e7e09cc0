"""Listening sockets of a machine: the agent binds and keeps them, services come and go.

Rules:
- One socket an address (kind, host, port), however many units have it in turn or at the same time: what the kernel queued for one
  process is read by the next.
- An inherited socket (``LISTEN_FDS``) bound to the address is used before a new one is bound, and never closed. Of several with one
  address (SO_REUSEPORT) each hears its own share of the peers: they are told apart by the order in which they are inherited, and such
  a group is never bound here.
- A socket that no unit wants any more is closed.
"""

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple

from agent.wire.messages import Socket

BACKLOG_CONNECTIONS = 1024
DATAGRAM_BUFFER_BYTES = 4 << 20
"""Asked for; the kernel grants what it allows."""
_FIRST = 3

Address = tuple[str, str, int, int]
"""Kind, host, port, and number among the sockets with these."""


class SocketError(OSError):
    """A socket cannot be bound; the message says which and why."""


class _Held(NamedTuple):
    socket: socket.socket
    users: set[str]
    inherited: bool


def inherited_sockets(environment: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that this process was started with (sd_listen_fds); their names do not matter, their addresses do."""
    if environment.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        return []
    return [socket.socket(fileno=_FIRST + number) for number in range(int(environment.get("LISTEN_FDS", "0") or "0"))]


class Sockets:
    """All that a machine listens on."""

    def __init__(self, inherited: list[socket.socket]) -> None:
        self._held: dict[Address, _Held] = {}
        for each in inherited:
            each.setblocking(False)
            os.set_inheritable(each.fileno(), False)
            kind = "tcp" if each.type == socket.SOCK_STREAM else "udp"
            name = each.getsockname()
            share = sum(held[:3] == (kind, name[0], name[1]) for held in self._held)
            self._held[kind, name[0], name[1], share] = _Held(each, set(), True)

    def take(self, unit: str, spec: Socket) -> socket.socket:
        """The socket of an address, for a unit.

        Raises:
            SocketError: it cannot be bound.
        """
        address = (spec.kind, spec.host, spec.port, spec.share)
        held = self._held.get(address)
        if held is None:
            held = self._held[address] = _Held(_bind(spec), set(), False)
        held.users.add(unit)
        return held.socket

    def release(self, unit: str, keep: list[Socket] | None = None) -> None:
        """A unit does not want its sockets any more, but for those to keep."""
        kept = {(spec.kind, spec.host, spec.port, spec.share) for spec in keep or []}
        for address, held in list(self._held.items()):
            if address not in kept:
                held.users.discard(unit)
            if not held.users and not held.inherited:
                held.socket.close()
                del self._held[address]

    def close(self) -> None:
        """Close all of them; inherited ones only here."""
        for held in self._held.values():
            held.socket.close()
        self._held.clear()


def _bind(spec: Socket) -> socket.socket:
    if spec.share:
        raise SocketError(f"{spec.kind} {spec.host}:{spec.port}: expected to inherit socket {spec.share} of this address")
    family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if spec.kind == "tcp" else socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if spec.kind == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER_BYTES)
        made.bind((spec.host, spec.port))
        if spec.kind == "tcp":
            made.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        made.close()
        raise SocketError(f"{spec.kind} {spec.host}:{spec.port}: {error.strerror}") from error
    return made
