"""Telephone events that come in (RFC 4733), for a batch at once.

Rules:
- The packets of one event share their timestamp; the first end packet reports it, the other two are repetitions.
- An event whose end packets are all lost is reported when the next one begins, or `SILENCE_SECONDS` after its last packet.
- An older timestamp than the last one's is a late packet and says nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import U8, U32, Index
from media.legs import Legs

DIGITS = "0123456789*#ABCD"
"""Event codes 0 to 15 (RFC 4733 section 3.2)."""
SILENCE_SECONDS = 0.2
PENDING_MAX = 10_000
"""Digits that wait to be fetched; more are dropped."""
_LATE_SAMPLES = 8000 * 10


class Digit(NamedTuple):
    """A key that was pressed and let go."""

    leg: int
    digit: str
    duration_ms: int


class EventsIn:
    """What the peers of all legs press."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self._done: list[Digit] = []

    def put(self, leg: Index, timestamp: U32, payload: U8, now: float) -> None:
        """Take packets, at most one a leg: intp[n], uint32[n], uint8[n, 4 or more]."""
        legs = self._legs
        known = legs.event_on[leg]
        step = (timestamp - legs.event_timestamp[leg]).view(np.int32)
        old = known & (step < 0) & (step > -_LATE_SAMPLES)
        valid = np.flatnonzero((payload[:, 0] < len(DIGITS)) & ~old)
        if not len(valid):
            return
        leg, timestamp, payload = leg[valid], timestamp[valid], payload[valid]
        fresh = ~(known & (step == 0))[valid]
        if how_many(fresh):
            row = leg[fresh]
            self._report(row[legs.event_on[row] & ~legs.event_done[row]])
            legs.event_on[row] = True
            legs.event_done[row] = False
            legs.event_timestamp[row] = timestamp[fresh]
            legs.event_code[row] = payload[fresh, 0]
            legs.event_duration[row] = 0
        duration = payload[:, 2].astype(np.uint16) << 8 | payload[:, 3]
        legs.event_duration[leg] = np.maximum(legs.event_duration[leg], duration)
        legs.event_heard[leg] = now
        self._report(leg[((payload[:, 1] & 0x80) > 0) & ~legs.event_done[leg]])

    def _report(self, leg: Index) -> None:
        legs = self._legs
        legs.event_done[leg] = True
        for row in leg.tolist():
            if len(self._done) < PENDING_MAX:
                duration = int(legs.event_duration[row]) * 1000 // max(int(legs.event_rate[row]), 1)
                self._done.append(Digit(row, DIGITS[legs.event_code[row]], duration))

    def expire(self, now: float) -> None:
        """Report events that fell silent without an end."""
        legs = self._legs
        silent = legs.event_on & ~legs.event_done & legs.used & (now - legs.event_heard > SILENCE_SECONDS)
        if how_many(silent):
            self._report(np.flatnonzero(silent))

    def take(self) -> list[Digit]:
        """Digits since the last call."""
        done, self._done = self._done, []
        return done
