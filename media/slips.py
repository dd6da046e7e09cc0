"""Slips: a few bytes a row that another process is to find.

Rules:
- A slip has its length and checksum with it; one that was cut in the middle of writing is none.
- Lengths lie apart from what they are of: to look for slips touches no memory of rows that have none.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import U8, Arena

SLIP_BYTES = 4096
MARK = np.dtype([("size", "i4"), ("check", "u4")])


class Slips:
    """One a row."""

    def __init__(self, arena: Arena, name: str, rows: int) -> None:
        self.mark: NDArray[Any] = arena.array(f"{name} marks", MARK, (rows,))
        """`MARK` of each row; size 0: there is none."""
        self._text: U8 = arena.array(f"{name} slips", np.dtype(np.uint8), (rows, SLIP_BYTES))

    def put(self, row: int, data: bytes) -> bool:
        """Write one; False: it is longer than `SLIP_BYTES`, and there is none now."""
        self.mark["size"][row] = 0
        if len(data) > SLIP_BYTES:
            return False
        self._text[row, : len(data)] = np.frombuffer(data, np.uint8)
        self.mark["check"][row] = zlib.crc32(data)
        self.mark["size"][row] = len(data)
        return True

    def get(self, row: int) -> bytes:
        """What it says; empty: there is no whole one."""
        size, check = self.mark[row].tolist()
        data = self._text[row, : max(size, 0)].tobytes()
        return data if zlib.crc32(data) == check else b""

    def take(self, row: int) -> None:
        """There is none any more."""
        self.mark["size"][row] = 0
