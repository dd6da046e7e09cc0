"""Silence and sound: whether anything is to be heard on a leg, against the noise that is always there.

Rules:
- The floor follows the quietest frames at once and rises by `RISE_DB_PER_SECOND`: a steady noise becomes silence, a word does not.
- A frame is active when it is louder than `LEVEL_MIN_DBM0` and than `ABOVE_FLOOR_DB` above the floor.
- Silence is told when no frame was active for a time that the caller names, sound when `SOUND_MS` of active frames came after it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, I16, Bool
from media.tones.spectrum import amplitude

LEVEL_MIN_DBM0 = -45.0
ABOVE_FLOOR_DB = 8.0
FLOOR_MAX_DBM0 = -25.0
"""What is louder than this is never taken for noise."""
RISE_DB_PER_SECOND = 3.0
SOUND_MS = 60

STATE = np.dtype([("floor", "f4"), ("quiet", "i4"), ("active", "i4"), ("silent", "u1")])
"""State of one leg, all zero at the start: mean square of the noise, ms of silence and of sound in a row, whether silence was told."""


class SilenceHeard(NamedTuple):
    """A leg fell silent, or is heard again."""

    leg: int
    """Row of the batch."""
    silent: bool
    duration_ms: int
    """Of the silence so far, or of the one that ended."""


def _power(dbm0: float) -> float:
    return amplitude(dbm0) ** 2 / 2


def active(state: NDArray[Any], samples: I16, rate: int = 8000) -> Bool:
    """bool[legs]: which frames are more than noise.

    Args:
        state: `STATE`\\ [legs]; the field ``floor`` is changed in place.
        samples: int16[legs, n].
        rate: of the samples, Hz.
    """
    sound = samples.astype(np.float32)
    power: F32 = np.einsum("lt,lt->l", sound, sound) / np.float32(sound.shape[1])
    rise = 10 ** (RISE_DB_PER_SECOND / 10 * sound.shape[1] / rate)
    floor = np.where(state["floor"] == 0, power, np.minimum(state["floor"] * rise, power))
    state["floor"] = np.clip(floor, 1.0, _power(FLOOR_MAX_DBM0))
    result: Bool = power > np.maximum(_power(LEVEL_MIN_DBM0), state["floor"] * 10 ** (ABOVE_FLOOR_DB / 10))
    return result


def listen(state: NDArray[Any], samples: I16, silence_ms: int = 2000, rate: int = 8000) -> list[SilenceHeard]:
    """Silences that begin and end in a frame.

    Args:
        state: `STATE`\\ [legs], changed in place.
        samples: int16[legs, n].
        silence_ms: how long it must be silent before that is told.
        rate: of the samples, Hz.
    """
    frame_ms = samples.shape[1] * 1000 // rate
    sounds = active(state, samples, rate)
    state["active"] = np.where(sounds, state["active"] + frame_ms, 0)
    state["quiet"] += frame_ms
    back = state["active"] >= SOUND_MS
    ends = np.flatnonzero(back & (state["silent"] > 0)).tolist()
    heard = [SilenceHeard(row, False, int(state["quiet"][row] - state["active"][row])) for row in ends]
    state["silent"][back] = 0
    state["quiet"][back] = 0
    begins = (state["quiet"] >= silence_ms) & (state["silent"] == 0)
    state["silent"][begins] = 1
    return heard + [SilenceHeard(row, True, int(state["quiet"][row])) for row in np.flatnonzero(begins).tolist()]
