"""Which leg a datagram of a shared socket belongs to, by its source.

Rules:
- A source is the first eight bytes of its ``sockaddr_in``; RTP and RTCP have a table each.
- Lookups are a binary search for a whole batch; changes move memory, they are as rare as calls.
"""

import socket
import struct

import numpy as np

from media.arrays import U8, U64, Index


def sockaddr(host: str, port: int) -> bytes:
    """16 bytes of ``sockaddr_in``.

    Raises:
        OSError: not an IPv4 literal.
    """
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


def key(address: bytes | U8) -> int:
    """The key of a ``sockaddr_in``."""
    return int.from_bytes(bytes(address[:8]), "little")


def text(address: bytes | U8) -> tuple[str, int]:
    """Host and port of a ``sockaddr_in``."""
    raw = bytes(address[:8])
    return socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")


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
        place = self._keys[: self._count + 1].searchsorted(keys)
        # The last entry is a sentinel; a key above all others lands on it.
        np.minimum(place, self._count, out=place)
        return np.asarray(np.where(self._keys[place] == keys, self._legs[place], -1))

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

    def remove(self, leg: int) -> None:
        """Forget all sources of a leg."""
        keep = self._legs[: self._count] != leg
        kept = int(keep.sum())
        self._keys[:kept], self._legs[:kept] = self._keys[: self._count][keep], self._legs[: self._count][keep]
        self._keys[kept : self._count + 1], self._legs[kept : self._count + 1] = np.iinfo(np.uint64).max, -1
        self._count = kept
