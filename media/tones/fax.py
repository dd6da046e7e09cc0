"""Fax and modem tones: who calls (CNG) and who answers (CED, ANSam).

Rules:
- CNG is 1100 Hz (38 Hz to each side) for 0.5 s (15 %), every 3 s (ITU-T T.30 section 4.1): told when a burst ends that lasted so long.
- CED is 2100 Hz (15 Hz to each side) for 2.6 to 4 s (T.30 section 4.2): told after `CED_SECONDS` of it.
- A phase reversal each 450 ms (V.25, V.8) turns echo cancellers off: told once, at the first one. It is seen as two windows 25 ms
  apart, both full of the tone, whose phases differ by half a turn more than the tone's own frequency says.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, Bool
from media.tones.spectrum import HOP_MS, HOP_SECONDS, Sound, amplitude, undroop

FREQUENCIES = (1100.0, 2100.0)
"""Hz; the columns that `listen` wants."""
LEVEL_MIN_DBM0 = -43.0
"""Weakest tone that is heard (T.30 section 4.2 asks a receiver for -43 dBm)."""
SHARE_MIN = 0.75
"""Of the power of a window."""
CNG_MS_MIN, CNG_MS_MAX = 400, 600
CED_SECONDS = 0.5
_TOLERANCE = np.array([45.0, 22.0], np.float32)
_DROOP_MIN = 0.4
"""Of the power of a window: less than this cannot be a tone within the tolerance."""
_MISSES_END = 6
_APART = 5
"""Windows between those whose phases are compared."""
_EFFECTIVE_MS = 5

STATE = np.dtype(
    [("hops", "i4", (2,)), ("misses", "i2", (2,)), ("told", "u1"), ("reversed", "u1"), ("waves", "c8", (_APART,)), ("turn", "f4")]
)
"""State of one leg, all zero at the start: windows of either tone, windows since that lack it, what was told, the last waves of 2100 Hz,
and its offset in Hz as it was measured before."""


class FaxHeard(NamedTuple):
    """A tone of a fax or a modem."""

    leg: int
    """Row of the batch."""
    tone: Literal["cng", "ced", "reversal"]


def listen(state: NDArray[Any], sound: Sound) -> list[FaxHeard]:
    """Tones of a frame.

    Args:
        state: `STATE`\\ [legs], changed in place.
        sound: with the columns `FREQUENCIES`.
    """
    power: F32 = np.square(sound.waves.real) + np.square(sound.waves.imag)
    least = amplitude(LEVEL_MIN_DBM0) ** 2
    leg, hop, column = np.nonzero((power >= least) & (power >= _DROOP_MIN * sound.power[:, :, None]))
    hit: Bool = np.zeros(power.shape, np.bool_)
    if len(leg):
        off = sound.offset(leg, hop, column)
        full = power[leg, hop, column] * undroop(off) >= 2 * SHARE_MIN * sound.power[leg, hop]
        hit[leg, hop, column] = full & (np.abs(off) <= _TOLERANCE[column])
    busy = np.flatnonzero(hit.any(axis=(1, 2)) | (state["hops"] > 0).any(axis=1))
    heard: list[FaxHeard] = []
    if not len(busy):
        return heard
    part = state[busy]
    offsets = sound.offset(busy[:, None], np.arange(hit.shape[1]), np.array(1))
    for at in range(hit.shape[1]):
        heard += _step(part, hit[busy, at], sound.waves[busy, at, 1], offsets[:, at], busy)
    state[busy] = part
    return heard


def _step(
    part: NDArray[Any], hit: NDArray[np.bool_], wave: NDArray[np.complex64], offset: NDArray[np.float32], legs: NDArray[np.intp]
) -> list[FaxHeard]:
    hops, misses = part["hops"], part["misses"]
    misses[...] = np.where(hit, 0, misses + 1)
    hops += hit | (hops > 0)
    over = (hops > 0) & (misses >= _MISSES_END)
    lasted = (hops[:, 0] - misses[:, 0]) * HOP_MS + _EFFECTIVE_MS
    called = over[:, 0] & (lasted >= CNG_MS_MIN) & (lasted <= CNG_MS_MAX)
    heard = [FaxHeard(int(legs[row]), "cng") for row in np.flatnonzero(called).tolist()]
    hops[over] = 0
    over_2100 = over[:, 1]
    for field in ("told", "reversed"):
        part[field][over_2100] = 0
    ced = (hops[:, 1] >= CED_SECONDS / HOP_SECONDS) & (part["told"] == 0) & hit[:, 1]
    part["told"][ced] = 1
    heard += [FaxHeard(int(legs[row]), "ced") for row in np.flatnonzero(ced).tolist()]
    before = part["waves"][:, 0]
    own = np.exp(-2j * np.pi * HOP_SECONDS * _APART * (FREQUENCIES[1] + part["turn"]))
    turned = np.angle(wave * np.conj(before) * own)
    full = hit[:, 1] & (np.abs(wave) < 1.25 * np.abs(before)) & (np.abs(before) < 1.25 * np.abs(wave))
    flipped = full & (np.abs(turned) > 2.4) & (part["reversed"] == 0) & (hops[:, 1] > 2 * _APART)
    part["reversed"][flipped] = 1
    heard += [FaxHeard(int(legs[row]), "reversal") for row in np.flatnonzero(flipped).tolist()]
    steady = hit[:, 1] & (hops[:, 1] > _APART)
    part["turn"] += np.where(steady, 0.1 * (offset - part["turn"]), 0).astype(np.float32)
    part["turn"][hops[:, 1] <= _APART] = offset[hops[:, 1] <= _APART]
    part["waves"] = np.concatenate([part["waves"][:, 1:], wave[:, None]], axis=1)
    return heard
