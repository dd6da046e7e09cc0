"""Listening sockets of an embedded cluster, bound before anything runs: who uses an address already is told at once.

Rules:
- The SIP port is one for UDP and TCP. Where any was asked for, one is looked for that is free for both.
- The UDP address may be a group of sockets (docs/adr/0007). The first one is bound alone, so that a port which anybody else has, even
  another such group, is refused by the kernel as ever; only then it is opened to the others.
- TCP has one listening socket, however many processes accept from it: a connection goes to one that lives.
"""

import contextlib
import socket
from collections.abc import Callable

from controller.embedded.folder import EmbeddedError

DATAGRAM_BUFFER_BYTES = 4 << 20
"""Asked for; without the right to more the kernel grants what `net.core.rmem_max` allows."""
BACKLOG_CONNECTIONS = 1024
PORTS_TRIED_MAX = 50
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

Steer = Callable[[socket.socket, int, bool], None]
"""Let the kernel choose among the sockets of a group: one of them, their number, whether they are of IPv6 (`telephony.shard.steer`)."""


def bind_sip(
    host: str, port: int, shards: int, steer: Steer, option: str, required: bool = True
) -> tuple[list[socket.socket], socket.socket]:
    """The UDP sockets of the public address, in the order of their shares, and its TCP listener.

    Not ``required``: where the kernel knows no such groups there is one socket.

    Raises:
        EmbeddedError: the address cannot be used.
    """
    for attempt in range(PORTS_TRIED_MAX):
        with contextlib.ExitStack() as stack:
            group = [stack.enter_context(bind(host, port, socket.SOCK_DGRAM, option))]
            chosen = group[0].getsockname()[1]
            try:
                tcp = stack.enter_context(bind(host, chosen, socket.SOCK_STREAM, option))
            except EmbeddedError:
                if port or attempt == PORTS_TRIED_MAX - 1:
                    raise
                continue
            try:
                _open_group(group, shards, steer)
            except OSError as error:
                if required:
                    raise EmbeddedError(f"{host}:{chosen} cannot be shared by {shards} sockets: {error.strerror}") from error
            for each in group[1:]:
                stack.enter_context(each)
            stack.pop_all()
            return group, tcp
    raise AssertionError("the last attempt returns or raises")


def _open_group(group: list[socket.socket], shards: int, steer: Steer) -> None:
    """Add the others to the first one; what fails leaves the first one alone.

    Raises:
        OSError: the kernel does not know such groups.
    """
    if shards == 1:
        return
    first = group[0]
    others: list[socket.socket] = []
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(shards - 1):
            others.append(socket.socket(first.family, socket.SOCK_DGRAM))
            others[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _prepare(others[-1])
            others[-1].bind(first.getsockname())
        steer(first, shards, first.family == socket.AF_INET6)
    except OSError:
        for each in others:
            each.close()
        with contextlib.suppress(OSError):
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        raise
    group += others


def bind(host: str, port: int, kind: socket.SocketKind, option: str) -> socket.socket:
    """A bound (and for TCP listening) socket that is not inherited.

    Raises:
        EmbeddedError: the address is in use or not of this host; ``option`` says what to change.
    """
    name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, kind)
    except OSError as error:
        raise EmbeddedError(f"no socket for {host}: {error.strerror}") from error
    try:
        _prepare(bound)
        bound.bind((host, port))
        if kind == socket.SOCK_STREAM:
            bound.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        bound.close()
        raise EmbeddedError(f"{host}:{port} ({name}) cannot be used: {error.strerror}; choose another one with {option}") from error
    return bound


def _prepare(made: socket.socket) -> None:
    """Not blocking; with room for what comes while its reader is started again."""
    made.setblocking(False)
    if made.type == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return
    for forced, asked in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            made.setsockopt(socket.SOL_SOCKET, forced, DATAGRAM_BUFFER_BYTES)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, asked, DATAGRAM_BUFFER_BYTES)
