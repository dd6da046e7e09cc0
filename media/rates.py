"""The rates that rooms are mixed at, and the way between a codec's rate and its room's.

Rules:
- A room is mixed at the highest rate that two of its legs have (of an echo: that its leg has), at most `MediaConfiguration.room_rate_max`:
  what only one could say or hear, nobody hears from it. A room whose legs have G.711 but for one stays at 8 kHz.
- What a leg says is converted once on the way in, what many hear alike once on the way out; Opus does it by itself.
- A filter rings for less than a frame: who said something is summed up for one frame more, and hears otherwise than the others for two
  (`Ringing`). So mix-minus is exact to the sample, and who is silent costs nothing.
- A room of three or more changes its rate between two frames that fade out and in (`FADE_OUT`, `FADE_IN`): no click in what anybody hears.
"""

from typing import NamedTuple

import numpy as np

from media.arrays import F32, I16, U8, U16, Bool, Index
from media.resample import history_samples, resampler

RATES = (8000, 16000, 48000)
"""Hz."""
FRAMES_PER_SECOND = 50
HISTORY_IN = max(history_samples(low, high) for low, high in ((8000, 16000), (8000, 48000), (16000, 48000), (16000, 8000)))
"""Samples that the filters on the way in remember."""
HISTORY_OUT = max(history_samples(high, low) for high, low in ((16000, 8000), (48000, 8000), (48000, 16000), (8000, 16000)))
_SILENT = 0.3
"""Of a frame that fades, at the seam: longer than the filters of both ways delay a sound."""
_RINGS = 2


def frame_samples(rate: int) -> int:
    """Samples of 20 ms."""
    return rate // FRAMES_PER_SECOND


def highest(rate: int) -> int:
    """The highest of `RATES` up to a rate, Hz."""
    return max((each for each in RATES if each <= rate), default=RATES[0])


def wanted(best: U16, echo: bool, most: int) -> int:
    """The rate of a room, Hz, by what each of its legs has, uint16[legs]."""
    place = 1 if echo else 2
    return RATES[0] if len(best) < place else min(int(np.sort(best)[-place]), most)


def fade(rate: int, rises: bool) -> F32:
    """float32[samples]: what a frame is multiplied by, the last one before or the first one after a seam."""
    time = np.arange(frame_samples(rate)) / frame_samples(rate)
    curve = np.sin(np.pi / 2 * np.clip((time - _SILENT) / (1 - _SILENT), 0, 1)) ** 2
    return np.asarray(curve if rises else curve[::-1], np.float32)


class Converter:
    """Resampling of legs, whose newest samples are kept in a field of the legs' arrays: int16[legs, any]."""

    def __init__(self, history: I16) -> None:
        self._history = history

    def __call__(self, leg: Index, samples: I16, rate: int, wanted: int) -> I16:
        """Frames of some legs, int16[n, any], from one rate to another, Hz."""
        if rate == wanted:
            return samples
        convert = resampler(rate, wanted)
        state = np.empty(len(leg), convert.state)
        width = state["history"].shape[1]
        state["history"] = self._history[leg, :width]
        converted: I16 = convert(state, samples)
        self._history[leg, :width] = state["history"]
        return converted


class Ringing(NamedTuple):
    """Whose sound the filters still hold."""

    says: Bool
    """bool[n]: it says something, or said it a frame ago."""
    own: Bool
    """bool[n]: what it hears is not yet, or no longer, what all others hear."""


def ringing(tail: U8, leg: Index, talks: Bool) -> Ringing:
    """Count down for some legs, intp[n], of which some talk: ``tail`` is `Legs.tail`, changed in place."""
    before = tail.take(leg)
    after = np.where(talks, _RINGS, np.maximum(before, 1) - 1).astype(np.uint8)
    tail[leg] = after
    says = after > 0
    return Ringing(says, says | (before > 0))
