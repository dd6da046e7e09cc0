"""Slips: a few bytes that another process is to find, in a row of an array in memory.

Rules:
- A slip has its length and checksum with it; one that was cut in the middle of writing is none.
"""

import zlib
from typing import Any

import numpy as np

SLIP_BYTES = 1024


def fields() -> list[Any]:
    """Fields of a slip, for the type of a row."""
    return [("slip", "u1", SLIP_BYTES), ("size", "i4"), ("check", "u4")]


def put(row: np.void, data: bytes) -> bool:
    """Write it; False: it is longer than `SLIP_BYTES`, and there is none now."""
    row["size"] = 0
    if len(data) > SLIP_BYTES:
        return False
    row["slip"][: len(data)] = np.frombuffer(data, np.uint8)
    row["check"] = zlib.crc32(data)
    row["size"] = len(data)
    return True


def get(row: np.void) -> bytes:
    """What it says; empty: there is none."""
    data = row["slip"][: max(int(row["size"]), 0)].tobytes()
    return data if zlib.crc32(data) == int(row["check"]) else b""
