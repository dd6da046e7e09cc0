"""Gain: automatic, towards one loudness of all who speak, and fixed.

Rules:
- The wanted level of active speech is -26 dBov (ITU-T P.56, P.800): RMS 1642 of 16-bit samples. Only frames with speech in them are
  measured, so that pauses are not pumped up.
- The gain falls by `FALL_DB_PER_SECOND` and rises by `RISE_DB_PER_SECOND` at most, and stays within `GAIN_DB_MIN` and `GAIN_DB_MAX`.
- A frame whose peak would exceed `PEAK_MAX` is lowered at once, by a limiter that lets go within some frames: nothing clips.
- The gain moves linearly within a frame: no steps.

Cost of 20 ms at 8 kHz in batches of 64 to 512: 1-2 us a leg.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, I16
from media.tones import activity

LEVEL_RMS = 1642.0
"""-26 dBov."""
GAIN_DB_MIN, GAIN_DB_MAX = -15.0, 24.0
FALL_DB_PER_SECOND, RISE_DB_PER_SECOND = 20.0, 6.0
MEMORY_SECONDS = 0.8
"""Time constant of the measure of loudness."""
PEAK_MAX = 29000.0
LIMIT_RELEASE_DB_PER_SECOND = 30.0

STATE = np.dtype([("sound", activity.STATE), ("level", "f4"), ("gain_db", "f4"), ("limit_db", "f4"), ("last", "f4")])
"""State of one leg, all zero at the start: noise and speech, mean square of the speech, gain, what the limiter takes from it, and
the decibels that the last frame ended with."""


def level(state: NDArray[Any], samples: I16, rate: int = 8000) -> I16:
    """Bring every leg to the same loudness.

    Args:
        state: `STATE`\\ [legs], changed in place.
        samples: int16[legs, n].
        rate: of the samples, Hz.

    Returns:
        int16[legs, n].
    """
    seconds = samples.shape[1] / rate
    speaks = activity.active(state["sound"], samples, rate)
    sound = samples.astype(np.float32)
    power: F32 = np.einsum("lt,lt->l", sound, sound) / np.float32(samples.shape[1])
    share = np.where(state["level"] == 0, 1, 1 - np.exp(-seconds / MEMORY_SECONDS)).astype(np.float32)
    state["level"] += np.where(speaks, share * (power - state["level"]), 0)
    wanted = 20 * np.log10(LEVEL_RMS) - 10 * np.log10(np.maximum(state["level"], 1))
    wanted = np.where(state["level"] == 0, 0, np.clip(wanted, GAIN_DB_MIN, GAIN_DB_MAX))
    step = np.clip(wanted - state["gain_db"], -FALL_DB_PER_SECOND * seconds, RISE_DB_PER_SECOND * seconds)
    state["gain_db"] += np.where(speaks, step, 0)
    peak = np.maximum(sound.max(axis=1), -sound.min(axis=1))
    room = 20 * np.log10(PEAK_MAX / np.maximum(peak, 1)) - state["gain_db"]
    state["limit_db"] = np.minimum(np.minimum(state["limit_db"] + LIMIT_RELEASE_DB_PER_SECOND * seconds, 0), np.maximum(room, -60))
    end = state["gain_db"] + state["limit_db"]
    begin = np.minimum(state["last"], state["gain_db"] + room)
    state["last"] = end
    return _ramped(sound, begin, end)


def amplify(samples: I16, decibels: F32 | float) -> I16:
    """int16[legs, n], louder by so many decibels (one number, or one a leg), saturated."""
    each = np.broadcast_to(np.asarray(decibels, np.float32), len(samples))
    return _ramped(samples.astype(np.float32), each, each)


def _ramped(sound: F32, begin_db: F32, end_db: F32) -> I16:
    first, last = 10 ** (begin_db / 20), 10 ** (end_db / 20)
    time = (np.arange(sound.shape[1], dtype=np.float32) + 1) / np.float32(sound.shape[1])
    sound *= (first[:, None] + (last - first)[:, None] * time).astype(np.float32)
    np.rint(sound, out=sound)
    np.clip(sound, -32768, 32767, out=sound)
    return sound.astype(np.int16)
