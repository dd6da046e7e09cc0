"""The pair of ports that a call's media comes in on: RTP and RTCP, with the kernel's time of each arrival."""

import socket
import struct
import time
from collections.abc import Iterator

PACKETS_AT_ONCE_MAX = 64
RTP_BYTES_MAX = 2048
PORT_TRIES_MAX = 64
TIMESTAMP = struct.Struct("@qq")
SO_TIMESTAMPNS = 35
"""Linux: every datagram carries the time of its arrival; not in Python's socket module."""


def open_media(host: str) -> tuple[socket.socket, socket.socket]:
    """RTP and RTCP sockets on a pair of ports, the first one even (RFC 3550 section 11).

    Raises:
        OSError: no pair was free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(PORT_TRIES_MAX):
        rtp, rtcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        try:
            rtp.bind((host, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((host, port + 1))
                rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                rtp.setblocking(False)
                rtcp.setblocking(False)
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()
    raise OSError(f"no pair of free UDP ports on {host}")


def arrivals(rtp: socket.socket) -> Iterator[tuple[bytes, float]]:
    """Datagrams that wait, with the time of arrival (seconds, `time.time`)."""
    for _ in range(PACKETS_AT_ONCE_MAX):
        try:
            data, ancillary, _, _ = rtp.recvmsg(RTP_BYTES_MAX, 64)
        except BlockingIOError:
            return
        except ConnectionError:
            continue
        at = time.time()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) >= TIMESTAMP.size:
                seconds, nanoseconds = TIMESTAMP.unpack_from(value)
                at = seconds + nanoseconds / 1e9
        yield data, at
