"""Which leg a datagram of a shared socket belongs to, by its source.

Rules:
- An address is `ADDRESS_BYTES` bytes: a ``sockaddr_in`` or ``sockaddr_in6`` and zeros.
- A source is the first eight bytes of its ``sockaddr_in``; RTP and RTCP have a table each. Of IPv6 these bytes are no key: its legs have
  sockets of their own.
- Lookups are a binary search for a whole batch; changes move memory, they are as rare as calls.
"""

import socket
import struct

import numpy as np

from media.arrays import U8, U64, Index

ADDRESS_BYTES = 32


def sockaddr(host: str, port: int) -> bytes:
    """`ADDRESS_BYTES` of a socket address.

    Raises:
        OSError: not an IP literal.
    """
    if ":" in host:
        raw = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0) + socket.inet_pton(socket.AF_INET6, host)
    else:
        raw = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host)
    return raw.ljust(ADDRESS_BYTES, b"\0")


def key(address: bytes | U8) -> int:
    """The key of a ``sockaddr_in``; of IPv6 only whether there is an address at all."""
    return int.from_bytes(bytes(address[:8]), "little")


def text(address: bytes | U8) -> tuple[str, int]:
    """Host and port of an address."""
    raw = bytes(address[:24])
    if raw[0] == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
    return socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")


def same(one: bytes | U8, other: bytes | U8) -> bool:
    """Two addresses are one place."""
    return text(one) == text(other) and one[0] == other[0]


class Addresses:
    """Sources and their legs.

    Args:
        capacity: most entries.
    """

    def __init__(self, capacity: int) -> None:
        self._keys: U64 = np.full(capacity + 1, np.iinfo(np.uint64).max, np.uint64)
        self._legs: Index = np.full(capacity + 1, -1, np.intp)
        self._count = 0

    def find(self, keys: U64) -> Index:
        """intp[n]: the leg of each source, -1 where none is known."""
        # The last entry is a sentinel above all keys; what is above all others lands on it.
        place = self._keys[: self._count + 1].searchsorted(keys)
        known = self._keys[place] == keys
        legs = self._legs[place]
        return legs if np.count_nonzero(known) == len(known) else np.where(known, legs, -1)

    def get(self, source: int) -> int:
        """The leg of one source, -1 if none."""
        return int(self.find(np.array([source], np.uint64))[0])

    def add(self, source: int, leg: int) -> bool:
        """Let a source be a leg's. False: it is another leg's already, or there is no room."""
        place = int(self._keys[: self._count].searchsorted(np.uint64(source)))
        if place < self._count and self._keys[place] == source:
            return bool(self._legs[place] == leg)
        if self._count + 1 >= len(self._keys):
            return False
        for table in (self._keys, self._legs):
            table[place + 1 : self._count + 1] = table[place : self._count].copy()
        self._keys[place], self._legs[place] = source, leg
        self._count += 1
        return True

    def fill(self, sources: U64, legs: Index) -> None:
        """Know these, uint64[n] and intp[n], and no others; of equal ones the first."""
        known, first = np.unique(sources, return_index=True)
        self._count = count = min(len(known), len(self._keys) - 1)
        self._keys[:count], self._legs[:count] = known[:count], legs[first[:count]]
        self._keys[count:], self._legs[count:] = np.iinfo(np.uint64).max, -1

    def remove(self, leg: int) -> None:
        """Forget all sources of a leg."""
        keep = self._legs[: self._count] != leg
        kept = int(keep.sum())
        self._keys[:kept], self._legs[:kept] = self._keys[: self._count][keep], self._legs[: self._count][keep]
        self._keys[kept : self._count + 1], self._legs[kept : self._count + 1] = np.iinfo(np.uint64).max, -1
        self._count = kept
