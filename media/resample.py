"""Sample rate conversion of many legs at once: a polyphase FIR filter as one matrix product.

Rules:
- Rates are 8, 16, 24, 32, 44.1 and 48 kHz. Blocks are whole multiples of 10 ms, so that every block ends on phase 0 and its size is exact.
- The filter is a sinc under a Kaiser window (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function",
  ISCAS 1974): pass-band up to 0.85 of the lower rate's Nyquist frequency (3400 Hz at 8 kHz), ripple below 0.01 dB; stop-band from that
  Nyquist frequency on, at least 80 dB down: nothing aliases and nothing is mirrored. Linear phase.
- A block is cut into chunks; each chunk with the history before it is one row of a matrix that is multiplied by the filter's banded
  matrix. What the gaps of zero stuffing would give is never computed.
- All state is the newest input samples of a leg; all zero is a leg that was silent for ever. There is no seam between blocks.

Delay is half the filter: 35 or 36 samples of the lower rate (4.4 ms at 8 kHz, 2.2 ms at 16 kHz, 0.8 ms at 44.1 kHz).
Cost of a 20 ms block in batches of 64 to 512 legs, one core: 1.2-2.5 us a leg between 8, 16 and 24 kHz, 2.5-5 us to and from 48 kHz,
3.5-8 us to and from 44.1 kHz. Run with OPENBLAS_NUM_THREADS=1: the products are too small to be shared between threads.
"""

from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, F64, I16

RATES = (8000, 16000, 24000, 32000, 44100, 48000)
"""Sample rates, Hz."""
PASS_EDGE = 0.85
"""Upper end of the pass-band, in units of the lower rate's Nyquist frequency."""
STOP_EDGE = 1.0
"""Lower end of the stop-band, in the same unit."""
STOP_DECIBELS = 80.0
"""Least attenuation in the stop-band."""
_DESIGN_DECIBELS = 84.0
"""What the window is designed for: room for the rounding of its formula."""
_CHUNK_OUTPUTS_MIN = 32
"""A chunk narrower than this makes the matrix product inefficient."""


def _prototype(rate_in: int, rate_out: int, up: int) -> tuple[F64, int]:
    """The low-pass filter at ``up`` times the input rate, and its delay in input samples."""
    nyquist = min(rate_in, rate_out) / 2
    width = 2 * np.pi * (STOP_EDGE - PASS_EDGE) * nyquist / rate_in
    delay = int(np.ceil((_DESIGN_DECIBELS - 7.95) / (2.285 * width) / 2))
    if up == 1:
        delay += -delay % (rate_in // rate_out)  # whole samples on both sides
    time = np.arange(-delay * up, delay * up + 1) / up
    cut = (PASS_EDGE + STOP_EDGE) * nyquist / rate_in
    window = np.kaiser(len(time), 0.1102 * (_DESIGN_DECIBELS - 8.7))
    taps = np.sinc(cut * time) * window
    return taps * (up / taps.sum()), delay


def history_samples(rate_in: int, rate_out: int) -> int:
    """Samples of the input rate that a leg's state holds."""
    return 2 * _prototype(rate_in, rate_out, rate_out // gcd(rate_in, rate_out))[1]


class Resampler:
    """Converts rows of samples from one rate to another.

    Args:
        rate_in: one of `RATES`, Hz.
        rate_out: another one of them, Hz.
        kind: sample type of both sides: ``int16`` (rounded, saturated) or ``float32`` (neither).

    Raises:
        ValueError: a rate is not one of `RATES`, both are the same, or the type is another one.
    """

    def __init__(self, rate_in: int, rate_out: int, kind: type[np.int16] | type[np.float32] = np.int16) -> None:
        if rate_in not in RATES or rate_out not in RATES or rate_in == rate_out:
            raise ValueError(f"expected two different rates of {RATES} Hz, got {rate_in} and {rate_out}")
        if kind not in (np.int16, np.float32):
            raise ValueError(f"expected samples of int16 or float32, got {kind}")
        self.rate_in, self.rate_out = rate_in, rate_out
        divisor = gcd(rate_in, rate_out)
        up, down = rate_out // divisor, rate_in // divisor
        taps, delay = _prototype(rate_in, rate_out, up)
        self.delay_seconds = delay / rate_in
        """How much later a sound leaves than it came."""
        self.state = np.dtype([("history", kind, (2 * delay,))])
        """State of one leg; all zero at the start."""
        self._kind = np.dtype(kind)
        self._history = 2 * delay
        ten = rate_in // 100
        chunks = [size for size in range(down, ten + 1, down) if ten % size == 0]
        self._chunk = next((size for size in chunks if size * up // down >= _CHUNK_OUTPUTS_MIN), chunks[-1])
        self._block = ten
        self._matrix = self._banded(taps, up, down)
        """float32[history + chunk, outputs of a chunk]."""

    def _banded(self, taps: F64, up: int, down: int) -> F32:
        window, outputs = self._history + self._chunk, self._chunk * up // down
        place = np.arange(outputs) * down - (np.arange(window)[:, None] - self._history) * up
        inside = (place >= 0) & (place < len(taps))
        return np.where(inside, taps[np.where(inside, place, 0)], 0.0).astype(np.float32)

    def outputs(self, samples: int) -> int:
        """Samples that come out for a block of so many."""
        return samples * self.rate_out // self.rate_in

    def __call__(self, state: NDArray[Any], samples: I16 | F32) -> NDArray[Any]:
        """Convert one block of every leg.

        Args:
            state: `state`[legs], changed in place.
            samples: [legs, n] of the resampler's type; n a multiple of 10 ms at the input rate.

        Returns:
            [legs, `outputs`\\ (n)] of the same type.

        Raises:
            ValueError: the block is no multiple of 10 ms.
        """
        legs, count = samples.shape
        if count % self._block or not count:
            raise ValueError(f"expected a block of a multiple of {self._block} samples, got {count}")
        history = state["history"]
        joined = np.empty((legs, self._history + count), self._kind)
        joined[:, : self._history] = history
        joined[:, self._history :] = samples
        history[...] = joined[:, count:]
        chunks, window = count // self._chunk, len(self._matrix)
        row, item = joined.strides
        rows = np.lib.stride_tricks.as_strided(joined, (legs, chunks, window), (row, item * self._chunk, item), writeable=False)
        result = rows.astype(np.float32, order="C").reshape(legs * chunks, window) @ self._matrix
        if self._kind == np.int16:
            np.rint(result, out=result)
            np.clip(result, -32768, 32767, out=result)
        return result.reshape(legs, self.outputs(count)).astype(self._kind, copy=False)


@lru_cache(maxsize=len(RATES) ** 2)
def resampler(rate_in: int, rate_out: int) -> Resampler:
    """The resampler of int16 samples between two rates; made once. Its matrix is shared, its state is the caller's."""
    return Resampler(rate_in, rate_out)
