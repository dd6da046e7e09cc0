"""Concealment of lost packets by repetition of the last pitch period, for codecs that have none of their own.

In the manner of ITU-T G.711 Appendix I, at any rate that is a multiple of 8 kHz, for many legs at once.

Rules:
- The pitch (66 to 200 Hz) is where the last 20 ms resemble what was before them most: normalised cross-correlation, coarse at 4 kHz, then
  fine.
- The first 10 ms repeat one period, the next 10 ms two, from then on three: repetition of one alone sounds like a bee. Where the
  repeated piece ends it is faded, over a quarter of a period, into what stood before its beginning.
- After 10 ms the sound is lowered by 20 % each 10 ms; after 60 ms there is silence.
- The first real samples are faded in over what the concealment would have gone on with: a quarter of a period and 4 ms more for each 10 ms
  lost, 10 ms at most.
- Appendix I delays all sound by 3.75 ms to fade into the concealment. Here nothing is delayed: the jump between the last sample and its
  predecessor a period ago is taken out by a ramp of a quarter of a period.

Cost of a 20 ms frame at 8 kHz in batches of 64 to 512: 0.2-0.4 us a leg that lost nothing, 25-80 us one that did, 4-18 us one that
comes back (the fewer, the dearer each).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, I16, Bool, Index

RATES = (8000, 16000, 24000, 32000, 48000)
"""Sample rates, Hz."""
FADE_PER_BLOCK = 0.2
"""Of the amplitude, each 10 ms after the first."""
SILENT_BLOCKS = 6
"""Silence from this block of 10 ms on."""
_PERIOD_MIN, _PERIOD_MAX, _WINDOW, _HISTORY = 40, 120, 160, 390
"""Samples at 8 kHz: 5 ms, 15 ms, 20 ms, and three of the longest periods with a quarter to fade."""
_COARSE = 2
"""Step of the coarse search, samples at 8 kHz."""
_POWER_MIN = 250.0
"""Least energy that a window is taken to have: a quiet one resembles nothing."""


class Concealment:
    """The concealment at one sample rate.

    Args:
        rate: one of `RATES`, Hz.

    Raises:
        ValueError: another rate.
    """

    def __init__(self, rate: int = 8000) -> None:
        if rate not in RATES:
            raise ValueError(f"expected a rate of {RATES} Hz, got {rate}")
        self.rate = rate
        self.block = rate // 100
        """Samples of 10 ms: frames are multiples of it."""
        self._scale = rate // 8000
        self._history = _HISTORY * self._scale
        self.state = np.dtype(
            [("history", "i2", (self._history,)), ("pitch", "i2", (self._history,)), ("period", "i4"), ("offset", "i4"), ("lost", "i4")]
        )
        """State of one leg, all zero at the start: what was heard last, what it was when the gap began, samples of a period,
        samples into the repetition, blocks of 10 ms lost in a row."""

    def __call__(self, state: NDArray[Any], samples: I16, lost: Bool) -> None:
        """Fill the frames that did not come, and fade in those that come after them.

        Args:
            state: `state`[legs], changed in place.
            samples: int16[legs, n], n a multiple of 10 ms; changed in place. What stands in lost rows does not matter.
            lost: bool[legs]: the row's frame did not come.

        Raises:
            ValueError: the frame is no multiple of 10 ms.
        """
        if samples.shape[1] % self.block or not samples.shape[1]:
            raise ValueError(f"expected frames of a multiple of {self.block} samples, got {samples.shape[1]}")
        gone = np.flatnonzero(lost)
        if len(gone):
            part = state[gone]
            for first in range(0, samples.shape[1], self.block):
                samples[gone, first : first + self.block] = self._conceal(part)
            for field in ("pitch", "period", "offset", "lost"):
                state[field][gone] = part[field]
        back = np.flatnonzero((state["lost"] > 0) & ~lost)
        if len(back):
            samples[back, : self.block] = self._return(state[back], samples[back, : self.block])
            state["lost"][back] = 0
        self._remember(state["history"], samples)

    def _remember(self, history: I16, samples: I16) -> None:
        count = samples.shape[1]
        if count < self._history:
            history[:, :-count] = history[:, count:].copy()
            history[:, -count:] = samples
        else:
            history[...] = samples[:, -self._history :]

    def _conceal(self, part: NDArray[Any]) -> I16:
        """The next 10 ms of rows in a gap."""
        lost = part["lost"]
        begins = np.flatnonzero(lost == 0)
        if len(begins):
            part["pitch"][begins] = part["history"][begins]
            part["period"][begins] = self._period(part["history"][begins].astype(np.float32))
            part["offset"][begins] = 0
        period, offset = part["period"], part["offset"]
        quarter = (period // 4)[:, None]
        time = np.arange(self.block)
        sound = part["pitch"].astype(np.float32)
        grows = (lost == 1) | (lost == 2)
        now = np.where(grows, offset % period, offset)
        out = self._repeat(sound, period, np.clip(lost + 1, 1, 3), now)
        if grows.any():
            fade = np.where(grows[:, None], np.minimum((time + 1) / quarter, 1), 1).astype(np.float32)
            out = fade * out + (1 - fade) * self._repeat(sound, period, np.clip(lost, 1, 3), offset)
        if len(begins):
            every = np.arange(len(part))
            jump = np.where(lost == 0, sound[:, -1] - sound[every, self._history - period - 1], 0)
            out += jump[:, None] * np.maximum(1 - (time + 1) / quarter, 0)
        part["offset"] = (now + self.block) % (period * np.clip(lost + 1, 1, 3))
        gain = 1 - FADE_PER_BLOCK * (lost[:, None] - 1 + time / self.block)
        part["lost"] = np.minimum(lost + 1, SILENT_BLOCKS)
        result: I16 = np.clip(np.rint(out * np.clip(gain, 0, 1)), -32768, 32767).astype(np.int16)
        return result

    def _return(self, part: NDArray[Any], samples: I16) -> I16:
        """The first 10 ms after a gap."""
        lost, period = part["lost"], part["period"]
        length = np.minimum(period // 4 + (lost - 1) * (4 * self.rate // 1000), self.block)
        rises = np.minimum((np.arange(self.block) + 1) / length[:, None], 1)
        level = np.clip(1 - FADE_PER_BLOCK * (lost - 1), 0, 1)[:, None]
        goes_on = self._repeat(part["pitch"].astype(np.float32), period, np.clip(lost, 1, 3), part["offset"])
        result: I16 = np.clip(np.rint(rises * samples + (1 - rises) * level * goes_on), -32768, 32767).astype(np.int16)
        return result

    def _repeat(self, sound: F32, period: Index, periods: Index, offset: Index) -> F32:
        """float32[rows, block]: the last ``periods`` of the sound, again and again, from ``offset`` on."""
        length, quarter, end = (period * periods)[:, None], (period // 4)[:, None], self._history
        at = (offset[:, None] + np.arange(self.block)) % length
        out = np.take_along_axis(sound, end - length + at, 1)
        tail = at - (length - quarter)
        fade = np.maximum((tail + 1) / (quarter + 1), 0).astype(np.float32)
        earlier = np.take_along_axis(sound, np.maximum(end - 2 * length + at, 0), 1)
        result: F32 = out + fade * (earlier - out)
        return result

    def _period(self, sound: F32) -> Index:
        """int[rows]: samples of the pitch period of the end of ``sound`` float32[rows, history]."""
        scale = self._scale
        step = _COARSE * scale
        whole = (_WINDOW + _PERIOD_MAX) * scale
        coarse = sound[:, -whole:].reshape(len(sound), -1, step).mean(2)
        window, least, most = _WINDOW // _COARSE, _PERIOD_MIN // _COARSE, _PERIOD_MAX // _COARSE
        earlier = np.lib.stride_tricks.sliding_window_view(coarse, window, axis=1)[:, : most - least + 1]
        near = (most - _best(earlier, coarse[:, -window:])) * step
        around = near[:, None] + np.arange(1 - step, step)
        around = np.clip(around, _PERIOD_MIN * scale, _PERIOD_MAX * scale)
        time = np.arange(whole - _WINDOW * scale, whole, scale)
        recent = sound[:, -whole:]
        earlier = recent[np.arange(len(sound))[:, None, None], time - around[:, :, None]]
        choice = _best(earlier, recent[:, time])
        result: NDArray[np.int64] = np.take_along_axis(around, choice[:, None], 1)[:, 0]
        return result


def _best(earlier: F32, recent: F32) -> NDArray[np.int64]:
    """int[rows]: which window of float32[rows, lags, samples] is most like float32[rows, samples]."""
    likeness = np.einsum("rlt,rt->rl", earlier, recent)
    energy = np.einsum("rlt,rlt->rl", earlier, earlier)
    result: NDArray[np.int64] = np.argmax(likeness / np.sqrt(np.maximum(energy, _POWER_MIN)), axis=1)
    return result
