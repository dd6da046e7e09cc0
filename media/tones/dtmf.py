"""DTMF in the audio: recognised within the limits of ITU-T Q.24 (table A-1), frequencies of ITU-T Q.23.

Rules:
- A window of 20 ms sounds like a digit when the strongest tone of either group is loud enough, both are within the twist, both are at their
  frequency, and the two of them are nearly all there is to hear. The last is what keeps speech from being a digit.
- A digit begins with `HITS_BEGIN` such windows, 5 ms apart, `PURE_BEGIN` of them with hardly anything else in them: tones of 40 ms are
  digits, of 23 ms are not, and speech that hits two frequencies by chance is not either. It ends after `MISSES_END` windows that
  sound different: an interruption of 10 ms is borne, a pause of 40 ms is one.
- Windows that say nothing cost nothing but their measure; only legs that hear a tone are looked at one by one.

Limits: level of each tone -27 dBm0 and more; frequencies within 2.5 % (2 % are digits, 3 % are not); high group up to 6 dB louder
and 10 dB quieter than the low one (Q.24 asks for +4 and -8).

Cost of 20 ms in batches of 64 to 512: 2-3 us a leg for the spectrum, 0.5-1.2 us here.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.arrays import U8, Index
from media.tones.spectrum import HOP_MS, Sound, amplitude, undroop

LOW = (697.0, 770.0, 852.0, 941.0)
HIGH = (1209.0, 1336.0, 1477.0, 1633.0)
FREQUENCIES = (*LOW, *HIGH)
"""Hz; the columns that `Digits` wants."""
KEYS = "123A456B789C*0#D"
"""By row (low group) and column (high group)."""
LEVEL_MIN_DBM0 = -27.0
HIGH_LOUDER_DB, HIGH_QUIETER_DB = 6.0, 10.0
TOLERANCE = 0.025
SHARE_MIN = 0.74
"""Of the power of a window: what both tones must have."""
HITS_BEGIN = 5
PURE_MIN = 0.88
"""Of the power of a window that counts as pure: noise 10 dB below the digit leaves 0.91."""
PURE_BEGIN = 2
MISSES_END = 5
_EFFECTIVE_MS = 5
"""A tone sounds in its windows for this much less than it lasts."""

STATE = np.dtype([("key", "u1"), ("begun", "u1"), ("hits", "i2"), ("pure", "i2"), ("misses", "i2"), ("hops", "i4")])
"""State of one leg, all zero at the start: key that is heard (index + 1), whether it was told, windows that say so, those of them that are
pure, windows since that do not, all of them."""
_PURE = 0x80


class DigitHeard(NamedTuple):
    """A key was pressed (``duration_ms`` 0: it begins) or let go."""

    leg: int
    """Row of the batch."""
    digit: str
    duration_ms: int


_TOLERANCES = np.array(FREQUENCIES, np.float32) * np.float32(TOLERANCE)
_LEVEL_MIN = amplitude(LEVEL_MIN_DBM0)


def keys(sound: Sound) -> U8:
    """uint8[legs, hops]: what each window sounds like, index in `KEYS` + 1, and 0x80 if it is pure; 0: no digit. ``sound`` has the columns
    `FREQUENCIES`."""
    power = np.square(sound.waves.real) + np.square(sound.waves.imag)
    low, high = power[:, :, :4], power[:, :, 4:]
    low_best, high_best = low.max(axis=2), high.max(axis=2)
    enough = _LEVEL_MIN**2
    may = (low_best >= enough) & (high_best >= enough) & (low_best + high_best >= 2 * SHARE_MIN * sound.power * 0.7)
    found = np.zeros(may.shape, np.uint8)
    leg, hop = np.nonzero(may)
    if not len(leg):
        return found
    row, column = low[leg, hop].argmax(axis=1), high[leg, hop].argmax(axis=1) + 4
    off_low, off_high = sound.offset(leg, hop, row), sound.offset(leg, hop, column)
    a, b = low_best[leg, hop] * undroop(off_low), high_best[leg, hop] * undroop(off_high)
    good = (np.abs(off_low) <= _TOLERANCES[row]) & (np.abs(off_high) <= _TOLERANCES[column])
    good &= (b <= a * 10 ** (HIGH_LOUDER_DB / 10)) & (a <= b * 10 ** (HIGH_QUIETER_DB / 10))
    all_of_it = 2 * sound.power[leg, hop]
    good &= a + b >= SHARE_MIN * all_of_it
    pure = np.where(a + b >= PURE_MIN * all_of_it, _PURE, 0)
    found[leg, hop] = np.where(good, row * 4 + column - 3 | pure, 0)
    return found


def listen(state: NDArray[Any], sound: Sound) -> list[DigitHeard]:
    """Digits that begin and end in a frame.

    Args:
        state: `STATE`\\ [legs], changed in place.
        sound: with the columns `FREQUENCIES`.
    """
    found = keys(sound)
    busy = np.flatnonzero(found.any(axis=1) | (state["key"] > 0))
    heard: list[DigitHeard] = []
    if len(busy):
        part = state[busy]
        for hop in range(found.shape[1]):
            heard += _step(part, found[busy, hop], busy)
        state[busy] = part
    return heard


def _step(part: NDArray[Any], window: U8, legs: Index) -> list[DigitHeard]:
    """One window of each leg that hears something."""
    key, begun, misses = part["key"], part["begun"] > 0, part["misses"]
    now, pure = window & ~np.uint8(_PURE), window >= _PURE
    same = (now == key) & (key > 0)
    misses[:] = np.where(same, 0, misses + 1)
    part["hops"] += 1
    over = (key > 0) & np.where(begun, misses >= MISSES_END, ~same)
    heard = []
    for row in np.flatnonzero(over & begun).tolist():
        lasted = (int(part["hops"][row]) - int(misses[row])) * HOP_MS + _EFFECTIVE_MS
        heard.append(DigitHeard(int(legs[row]), KEYS[key[row] - 1], lasted))
    new = over | (key == 0)
    key[new] = now[new]
    for field, value in (("begun", 0), ("hits", 0), ("pure", 0), ("misses", 0), ("hops", 1)):
        part[field][new] = value
    hit = (now == key) & (key > 0)
    part["hits"] = np.minimum(part["hits"] + hit, HITS_BEGIN)
    part["pure"] = np.minimum(part["pure"] + (hit & pure), PURE_BEGIN)
    begins = (part["begun"] == 0) & (part["hits"] >= HITS_BEGIN) & (part["pure"] >= PURE_BEGIN)
    part["begun"][begins] = 1
    return heard + [DigitHeard(int(legs[row]), KEYS[key[row] - 1], 0) for row in np.flatnonzero(begins).tolist()]
