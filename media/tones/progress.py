"""What a line says while a call is set up: ringing, busy, congestion and dial tone, told by their cadence.

Rules (cadences of ITU-T E.180 and its supplement 2):
- A window is *on* when nearly all of its power lies between 300 and 700 Hz, where all these tones are (400, 425, 440, 450, 480, 620 Hz and
  their pairs), *off* when it is quiet, and *other* else. `OTHER_END` windows of other sound, such as speech, forget the cadence.
- A run of on or off ends when `FLIP` windows say the opposite.

| tone | runs, ms |
| --- | --- |
| ``congestion`` | four in a row of 150 to 300, alike within 40 % |
| ``busy`` | three in a row of 320 to 750, alike within 40 % |
| ``ring-back`` | on 700 to 2300, or twice 300 to 500 with 150 to 300 between; then off for 800 |
| ``dial`` | on for 3000 |

A tone is told once, until another one is or other sound comes.
"""

from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from media.arrays import Bool, Index
from media.tones.spectrum import HOP_MS, Sound, amplitude

FREQUENCIES = tuple(float(frequency) for frequency in range(250, 800, 50))
"""Hz; the columns that `listen` wants: the bins of the window, so that their powers add up."""
LEVEL_MIN_DBM0 = -43.0
SHARE_MIN = 0.8
_SPREAD = 1.5
"""Sum of the powers that a sine has in all bins of the Hann window."""
_QUIET = 1 / 30
"""Of the power of the tone before: quieter than this is off."""
FLIP = 4
OTHER_END = 12
_SIMILAR = 1.4
_ON, _OFF = 1, 2
_NAMES = ("", "congestion", "busy", "ring-back", "dial")
_CONGESTION, _BUSY, _RING, _DIAL = 1, 2, 3, 4
Tone = Literal["congestion", "busy", "ring-back", "dial"]

STATE = np.dtype([("now", "u1"), ("told", "u1"), ("run", "i4"), ("against", "i2"), ("other", "i2"), ("runs", "i4", (4,)), ("level", "f4")])
"""State of one leg, all zero at the start: on, off or nothing, what was told last, windows of this run, windows that say the opposite,
windows of other sound, the runs before (ms, newest last), mean square of the tone."""


class ProgressHeard(NamedTuple):
    """The line says something."""

    leg: int
    """Row of the batch."""
    tone: Tone


def listen(state: NDArray[Any], sound: Sound) -> list[ProgressHeard]:
    """Tones that were recognised in a frame.

    Args:
        state: `STATE`\\ [legs], changed in place.
        sound: with the columns `FREQUENCIES`.
    """
    waves = sound.waves
    band = np.einsum("lhf,lhf->lh", waves.real, waves.real) + np.einsum("lhf,lhf->lh", waves.imag, waves.imag)
    least = np.float32(amplitude(LEVEL_MIN_DBM0) ** 2 / 2)
    on = (sound.power >= least) & (band >= 2 * _SPREAD * SHARE_MIN * sound.power)
    busy = np.flatnonzero(on.any(axis=1) | (state["now"] > 0))
    heard: list[ProgressHeard] = []
    if len(busy):
        part = state[busy]
        for hop in range(on.shape[1]):
            heard += _step(part, on[busy, hop], sound.power[busy, hop], least, busy)
        state[busy] = part
    return heard


def _step(part: NDArray[Any], on: Bool, power: NDArray[np.float32], least: np.float32, legs: Index) -> list[ProgressHeard]:
    now = part["now"]
    off = ~on & (power < np.maximum(least, part["level"] * _QUIET))
    part["level"] = np.where(on, part["level"] + 0.2 * (power - part["level"]), part["level"])
    part["other"] = np.where(on | off, 0, part["other"] + 1)
    forgotten = part["other"] >= OTHER_END
    for field in ("now", "told", "run", "against", "runs", "level", "other"):
        part[field][forgotten] = 0
    begins = (now == 0) & on
    now[begins] = _ON
    part["run"][begins] = 0
    part["run"] += now > 0
    against = ((now == _ON) & off) | ((now == _OFF) & on)
    along = ((now == _ON) & on) | ((now == _OFF) & off)
    part["against"] = np.where(along, 0, part["against"] + against)
    flips = part["against"] >= FLIP
    if flips.any():
        part["runs"][flips, :-1] = part["runs"][flips, 1:]
        part["runs"][flips, -1] = (part["run"][flips] - FLIP) * HOP_MS
        part["run"][flips] = FLIP
        part["against"][flips] = 0
        now[flips] = _ON + _OFF - now[flips]
    found = _judge(part, flips)
    new = (found > 0) & (found != part["told"])
    part["told"][new] = found[new]
    return [ProgressHeard(int(legs[row]), cast(Tone, _NAMES[found[row]])) for row in np.flatnonzero(new).tolist()]


def _judge(part: NDArray[Any], flips: Bool) -> NDArray[np.uint8]:
    """What each row's runs mean now; 0: nothing yet."""
    runs, run = part["runs"], part["run"] * HOP_MS
    least, most = runs[:, 1:].min(axis=1), runs[:, 1:].max(axis=1)
    alike = flips & (most <= least * _SIMILAR)
    last, between, first, oldest = runs[:, 3], runs[:, 2], runs[:, 1], runs[:, 0]
    four = (oldest >= most / _SIMILAR) & (oldest <= least * _SIMILAR)
    single = (last >= 700) & (last <= 2300)
    double = (last >= 300) & (last <= 500) & (first >= 300) & (first <= 500) & (between >= 150) & (between <= 300)
    return np.select(
        [
            alike & four & (least >= 150) & (most <= 310),
            alike & (least >= 320) & (most <= 750),
            (part["now"] == _OFF) & (run >= 800) & (single | double),
            (part["now"] == _ON) & (run >= 3000),
        ],
        [np.uint8(_CONGESTION), np.uint8(_BUSY), np.uint8(_RING), np.uint8(_DIAL)],
        np.uint8(0),
    )
