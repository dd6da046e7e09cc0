"""Comfort noise (RFC 3389): background noise said in a few bytes, and made again from them.

Rules:
- The payload is the level in -dBov (0 to 127; 0 dBov is a square wave of full scale) and up to `ORDER_MAX` reflection coefficients, each
  quantised to 8 bits about 127 (RFC 3389 section 3); the first of low-pass noise is negative. A payload of the level alone is white noise.
- `observe` keeps a slow mean of the autocorrelation of what it is shown as noise; `payload` makes the bytes of it.
- `ComfortNoise` makes each frame in the frequency domain: random spectrum by the response of the all-pole filter, overlapped by half with
  the frame before under a sine window. So the level is exact, new parameters fade in over one frame, and no filter can become unstable,
  whatever bytes came.

Cost of 20 ms at 8 kHz in batches of 64 to 512: making 10-15 us, observing 1-3 us a leg.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import F64, I16, I32, U8

ORDER = 10
"""Reflection coefficients that we send."""
ORDER_MAX = 12
"""More of a payload are not used."""
PAYLOAD_TYPE = 13
"""Static payload type of comfort noise at 8 kHz (RFC 3389 section 4)."""
LEVEL_MAX = 127
"""Least level, -dBov."""
PAYLOAD_BYTES = 1 + ORDER
_STEP = 258 / 32768
"""Of a reflection coefficient (RFC 3389 section 3.2)."""
_FULL_SCALE = 32768.0
_MEMORY = 0.2
"""Share of a new frame in the mean of `observe`."""
_WHITE = 1.0001
"""White noise that is added to keep the prediction well conditioned."""

ANALYSIS = np.dtype([("correlation", "f4", (ORDER + 1,)), ("frames", "i4")])
"""State of one leg for `observe`; all zero at the start."""


def observe(state: NDArray[Any], samples: I16) -> None:
    """Show a frame of noise of every leg.

    Args:
        state: `ANALYSIS`\\ [legs], changed in place.
        samples: int16[legs, n], n of 80 or more.
    """
    sound = samples.astype(np.float32)
    count = sound.shape[1]
    window = np.hamming(count).astype(np.float32)
    shaped = sound * window
    mean = np.stack([np.einsum("lt,lt->l", shaped[:, lag:], shaped[:, : count - lag]) for lag in range(ORDER + 1)], axis=1)
    mean /= window @ window
    share = np.where(state["frames"] == 0, 1.0, _MEMORY).astype(np.float32)
    state["correlation"] += share[:, None] * (mean - state["correlation"])
    state["frames"] = np.minimum(state["frames"] + 1, 1 << 30)


def payload(state: NDArray[Any]) -> U8:
    """The payload of what was observed: uint8[legs, `PAYLOAD_BYTES`]; the least level where nothing was."""
    correlation = state["correlation"].astype(np.float64)
    out = np.empty((len(state), PAYLOAD_BYTES), np.uint8)
    level = -10 * np.log10(np.maximum(correlation[:, 0], 1e-9) / _FULL_SCALE**2)
    out[:, 0] = np.clip(np.rint(level), 0, LEVEL_MAX)
    out[:, 1:] = np.clip(np.rint(_reflections(correlation) / _STEP + 127), 0, 254)
    return out


class ComfortNoise:
    """Makes noise, in frames of one size.

    Args:
        samples: of a frame.
    """

    def __init__(self, samples: int = 160) -> None:
        self.samples = samples
        self.state = np.dtype([("filter", "f4", (ORDER_MAX,)), ("amplitude", "f4"), ("tail", "f4", (samples,))])
        """State of one leg, all zero at the start (silence): coefficients of the prediction, RMS, and the half that is still to come."""
        lags = np.arange(1, ORDER_MAX + 1)[:, None]
        turns = np.exp(-1j * np.pi * lags * np.arange(samples + 1) / samples)
        self._turns = np.concatenate([turns.real, turns.imag], axis=1).astype(np.float32)
        self._window = np.sin(np.pi * (np.arange(2 * samples) + 0.5) / (2 * samples)).astype(np.float32)

    def tell(self, state: NDArray[Any], payloads: U8, lengths: I32) -> None:
        """New parameters.

        Args:
            state: `state`[legs], changed in place.
            payloads: uint8[legs, bytes], of which ``lengths`` count; a row of length 0 is left as it is.
        """
        known = np.flatnonzero(lengths > 0)
        if not len(known):
            return
        data, sizes = payloads[known], np.minimum(lengths[known], payloads.shape[1])
        given = min(ORDER_MAX, data.shape[1] - 1)
        reflections = np.zeros((len(known), ORDER_MAX))
        inside = np.arange(given) < sizes[:, None] - 1
        reflections[:, :given] = np.where(inside, (np.minimum(data[:, 1 : 1 + given], 254).astype(np.float64) - 127) * _STEP, 0)
        state["filter"][known] = _prediction(reflections)
        level = np.minimum(data[:, 0] & 0x7F, LEVEL_MAX)
        state["amplitude"][known] = np.where(level == LEVEL_MAX, 0, _FULL_SCALE * 10 ** (-level.astype(np.float64) / 20))

    def __call__(self, state: NDArray[Any], rng: np.random.Generator) -> I16:
        """The next frame of every leg: int16[legs, samples].

        Args:
            state: `state`[legs], changed in place.
        """
        bins = self.samples + 1
        response = state["filter"] @ self._turns
        power = 1 / np.maximum(np.square(1 + response[:, :bins]) + np.square(response[:, bins:]), 1e-9)
        mean = (power.sum(axis=1) - (power[:, 0] + power[:, -1]) / 2) / self.samples
        gain = np.sqrt(power * (np.square(state["amplitude"]) * self.samples / mean)[:, None])
        noise = rng.standard_normal((len(state), bins, 2), np.float32)
        noise *= gain[:, :, None]
        sound = np.fft.irfft(noise.view(np.complex64)[:, :, 0], 2 * self.samples, axis=1)
        sound *= self._window
        out = state["tail"] + sound[:, : self.samples]
        state["tail"] = sound[:, self.samples :]
        result: I16 = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
        return result


def _reflections(correlation: F64) -> F64:
    """float64[rows, `ORDER`]: by Levinson and Durbin, of float64[rows, `ORDER` + 1]."""
    error = np.maximum(correlation[:, 0] * _WHITE, 1e-9)
    found = np.zeros((len(correlation), ORDER))
    ahead = np.zeros((len(correlation), ORDER + 1))
    ahead[:, 0] = 1
    for order in range(1, ORDER + 1):
        rest = np.einsum("lt,lt->l", ahead[:, :order], correlation[:, order:0:-1])
        step = np.clip(-rest / error, -0.9999, 0.9999)
        found[:, order - 1] = step
        ahead[:, 1 : order + 1] += step[:, None] * ahead[:, order - 1 :: -1][:, :order]
        error *= 1 - step * step
    return found


def _prediction(reflections: F64) -> F64:
    """float64[rows, order]: coefficients of the prediction error filter, the first (1) left out."""
    count, order = reflections.shape
    ahead = np.zeros((count, order + 1))
    ahead[:, 0] = 1
    for step in range(1, order + 1):
        ahead[:, 1 : step + 1] += reflections[:, step - 1, None] * ahead[:, step - 1 :: -1][:, :step]
    return ahead[:, 1:]
