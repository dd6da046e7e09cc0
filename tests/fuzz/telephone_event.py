"""Telephone events (RFC 4733): whatever is sent in whatever order, each event is told at most once, with its key and duration."""

import functools
import struct

import numpy as np

from media.events import DIGITS, EventsIn
from media.legs import Legs

RECORD_BYTES = 6
"""Step of the timestamp (16 bits, signed, times 80) and the four bytes of the payload."""


def _record(step: int, code: int, flags: int, duration: int) -> bytes:
    return struct.pack(">hBBH", step, code, flags, duration)


def seeds() -> list[bytes]:
    """A key, two keys in a row, one without an end, one that is no key."""
    key = [_record(0, 5, 10, 160), _record(0, 5, 10, 320), *[_record(0, 5, 0x8A, 480)] * 3]
    other = [_record(20, 11, 10, 160), *[_record(0, 11, 0x8A, 800)] * 3]
    late = [_record(-20, 5, 0x8A, 480)]
    return [
        b"".join(key),
        b"".join(key + other + late),
        b"".join(key[:2] + other[:1]),
        _record(0, 16, 0, 160) + _record(3, 255, 0xFF, 65535),
    ]


@functools.cache
def _legs() -> Legs:
    legs = Legs(2)
    for leg in (0, 1):
        legs.take(0.0)
        legs.event_rate[leg] = 8000.0
    return legs


def check(data: bytes) -> None:
    legs = _legs()
    legs.event_on[:] = False
    events, now, timestamp = EventsIn(legs), 0.0, 0xFFFFF000
    told, begun = [], set()
    for place in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        (step,) = struct.unpack_from(">h", data, place)
        timestamp = (timestamp + 80 * step) & 0xFFFFFFFF
        payload = np.frombuffer(data, np.uint8, 4, place + 2)[None, :]
        events.put(np.array([1]), np.array([timestamp], np.uint32), payload, now)
        if payload[0, 0] < len(DIGITS):
            begun.add(timestamp)
        now += 0.02
        told += events.take()
    events.expire(now + 10.0)
    told += events.take()
    events.expire(now + 20.0)
    assert not events.take()
    assert all(digit.leg == 1 and digit.digit in DIGITS and 0 <= digit.duration_ms <= 65535 // 8 for digit in told)
    assert bool(told) == bool(begun)
    if timestamp == max(begun, default=0):
        assert len(told) <= len(begun) + _returns(data)


def _returns(data: bytes) -> int:
    """How often the timestamp goes back so far that it is believed to be another stream's."""
    steps = np.frombuffer(data[: len(data) // RECORD_BYTES * RECORD_BYTES], np.uint8).reshape(-1, RECORD_BYTES)[:, :2]
    return int(np.count_nonzero(steps[:, 0] >= 0x80))
