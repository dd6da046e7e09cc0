"""Tones as samples: DTMF, fax, and what a line says while a call is set up.

Rules:
- A tone is a list of segments: seconds, and the levels (dBm0) of its frequencies; no frequency is silence.
- Ends are ramped over `RAMP_SECONDS`, so that nothing clicks. A phase reversal is a step of the phase by half a turn, unramped.
- Levels and cadences: ITU-T Q.23 and Q.24 (DTMF), T.30 sections 4.1 and 4.2 (fax), V.25 and V.8 (phase reversals), E.180 and its
  supplement 2 (ringing, busy, congestion; 425 Hz of most of Europe, and North America's).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from media.arrays import F64, I16
from media.tones.dtmf import HIGH, KEYS, LOW
from media.tones.spectrum import amplitude

RAMP_SECONDS = 0.002
DIGIT_LEVELS_DBM0 = (-8.0, -6.0)
"""Of the low and the high frequency."""
REVERSAL_SECONDS = 0.450
"""Between phase reversals of an answer tone (V.25 section 3.2.2)."""


class Segment(NamedTuple):
    """A stretch of a tone."""

    seconds: float
    parts: tuple[tuple[float, float], ...] = ()
    """(Hz, dBm0) of each frequency."""


def _cadence(parts: tuple[tuple[float, float], ...], *seconds: float) -> tuple[Segment, ...]:
    return tuple(Segment(span, parts if at % 2 == 0 else ()) for at, span in enumerate(seconds))


_EUROPE = ((425.0, -13.0),)
_RING = ((440.0, -19.0), (480.0, -19.0))
_BUSY = ((480.0, -24.0), (620.0, -24.0))
PROGRESS: dict[str, tuple[Segment, ...]] = {
    "ring-back": _cadence(_EUROPE, 1.0, 4.0),
    "busy": _cadence(_EUROPE, 0.5, 0.5),
    "congestion": _cadence(_EUROPE, 0.25, 0.25),
    "dial": _cadence(_EUROPE, 1.0),
    "ring-back-us": _cadence(_RING, 2.0, 4.0),
    "busy-us": _cadence(_BUSY, 0.5, 0.5),
    "congestion-us": _cadence(_BUSY, 0.25, 0.25),
    "dial-us": _cadence(((350.0, -13.0), (440.0, -13.0)), 1.0),
    "ring-back-uk": _cadence(((400.0, -19.0), (450.0, -19.0)), 0.4, 0.2, 0.4, 2.0),
    "cng": _cadence(((1100.0, -13.0),), 0.5, 3.0),
    "ced": _cadence(((2100.0, -13.0),), 3.0),
}
"""One period of each, by name."""


def tone(segments: Sequence[Segment], rate: int = 8000) -> I16:
    """int16[samples] of segments one after the other, at ``rate`` Hz."""
    pieces = [_segment(segment, rate) for segment in segments]
    whole = np.concatenate(pieces) if pieces else np.zeros(0)
    return np.clip(np.rint(whole), -32768, 32767).astype(np.int16)


def _segment(segment: Segment, rate: int) -> F64:
    time = np.arange(round(segment.seconds * rate)) / rate
    sound = np.zeros(len(time))
    for frequency, level in segment.parts:
        sound += amplitude(level) * np.sin(2 * np.pi * frequency * time)
    ramp = min(int(RAMP_SECONDS * rate), len(time) // 2)
    rise = (np.arange(ramp) + 0.5) / max(ramp, 1)
    sound[:ramp] *= rise
    sound[len(time) - ramp :] *= rise[::-1]
    return sound


def digits(text: str, rate: int = 8000, on_seconds: float = 0.1, off_seconds: float = 0.1) -> I16:
    """int16[samples]: keys pressed one after the other.

    Raises:
        ValueError: a character is none of `media.tones.dtmf.KEYS`.
    """
    segments = []
    for digit in text:
        if digit not in KEYS:
            raise ValueError(f"expected keys of {KEYS}, got {digit!r}")
        row, column = divmod(KEYS.index(digit), 4)
        parts = ((LOW[row], DIGIT_LEVELS_DBM0[0]), (HIGH[column], DIGIT_LEVELS_DBM0[1]))
        segments += [Segment(on_seconds, parts), Segment(off_seconds)]
    return tone(segments, rate)


def answer_tone(seconds: float = 3.0, rate: int = 8000, level_dbm0: float = -13.0) -> I16:
    """int16[samples]: 2100 Hz whose phase is reversed each 450 ms, which switches echo cancellers off (V.25, G.168)."""
    sound = _segment(Segment(seconds, ((2100.0, level_dbm0),)), rate)
    sign = np.where(np.arange(len(sound)) // round(REVERSAL_SECONDS * rate) % 2, -1.0, 1.0)
    return np.rint(sound * sign).astype(np.int16)
