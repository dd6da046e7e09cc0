"""Which of the sockets of one UDP address hears a peer: by the peer's address and port alone.

A group of sockets with SO_REUSEPORT is bound once, by whoever starts the machines, and never bound again. The kernel gives each
datagram to the socket that `program` names, and `shard_of` says the same in Python. So one peer is always heard by one socket,
which one process reads at a time: nothing is reordered, and nothing is lost when another process goes on reading
(docs/adr/0007-shards-of-the-public-address.md).
"""

import ctypes
import ipaddress
import struct
from functools import lru_cache
from typing import Protocol

SHARDS_MAX = 16
PEERS_CACHED_MAX = 16_384
_PORT_FACTOR = 0x9E3779B1
_FACTOR = 0x85EBCA6B
_SOL_SOCKET = 1
_SO_ATTACH_REUSEPORT_CBPF = 51
_NETWORK_HEADER = 0xFFF00000
"""SKF_NET_OFF: where the IP header is, seen from a filter (linux/filter.h)."""

# Classic BPF: class, size and mode of an instruction in one number (linux/bpf_common.h).
_LOAD_WORD, _LOAD_HALF, _TO_X, _XOR_X, _MULTIPLY, _SHIFT_RIGHT, _MODULO, _RETURN = 0x20, 0x28, 0x07, 0xAC, 0x24, 0x74, 0x94, 0x16


class Bound(Protocol):
    """A bound socket."""

    def setsockopt(self, level: int, name: int, value: bytes, /) -> None: ...


@lru_cache(PEERS_CACHED_MAX)
def shard_of(host: str, port: int, count: int) -> int:
    """Number of the socket, of ``count``, that hears this peer."""
    word = int.from_bytes(ipaddress.ip_address(host).packed[-4:], "big")
    return ((((port * _PORT_FACTOR & 0xFFFFFFFF) ^ word) * _FACTOR & 0xFFFFFFFF) >> 16) % count


def program(count: int, v6: bool) -> bytes:
    """The same as a program of the kernel's: instructions of classic BPF, each ``u16 code, u8, u8, u32 operand``."""
    word, port = (20, 40) if v6 else (12, 20)  # last four bytes of the source address; source port behind a header without options
    steps = [
        (_LOAD_HALF, _NETWORK_HEADER + port),
        (_MULTIPLY, _PORT_FACTOR),
        (_TO_X, 0),
        (_LOAD_WORD, _NETWORK_HEADER + word),
        (_XOR_X, 0),
        (_MULTIPLY, _FACTOR),
        (_SHIFT_RIGHT, 16),
        (_MODULO, count),
        (_RETURN, 0),
    ]
    return b"".join(struct.pack("=HBBI", code, 0, 0, operand) for code, operand in steps)


def steer(bound: Bound, count: int, v6: bool) -> None:
    """Let the kernel choose by `program`, in the whole group of this socket; its sockets count in the order of their binding.

    Raises:
        OSError: the kernel does not take it.
    """
    code = program(count, v6)
    held = ctypes.create_string_buffer(code, len(code))
    bound.setsockopt(_SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
