"""What a test call says, and how what it hears is compared with that.

Rules:
- Samples are float64 between -1 and 1 at `RATE`; levels are dBFS of a sine (0 dB: full scale).
- The probe hops between tones in an order that never repeats within a call, so that one lag alone fits.
"""

import math
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RATE = 8000
"""Hz."""
HOP_SECONDS = 0.1
TONES = (392.0, 523.25, 659.25, 783.99, 987.77, 1174.66, 1567.98, 2093.0)
"""Hz; far enough apart to be told apart within one hop, all within the telephone band."""
PROBE_LEVEL = -15.0
"""dBFS; -16 dBm0 is the usual level of active speech (ITU-T P.56)."""
SILENCE_LEVEL = -45.0
"""dBFS; what stays below is taken for silence."""
ECHO_LIKENESS = 0.4
"""Correlation coefficient from which on what is heard is our own signal."""


def probe(seconds: float, seed: int = 1) -> Samples:
    """The probe signal: float64[seconds * RATE], hops of `HOP_SECONDS` with soft edges."""
    count = math.ceil(seconds / HOP_SECONDS)
    random = np.random.default_rng(seed)
    steps = random.integers(1, len(TONES), count)
    tones = np.asarray(TONES)[np.cumsum(steps) % len(TONES)]
    size = round(HOP_SECONDS * RATE)
    phase = 2 * np.pi * np.cumsum(np.repeat(tones, size)) / RATE
    edge = np.minimum(1.0, np.minimum(np.arange(size), np.arange(size)[::-1]) / (0.005 * RATE))
    samples: Samples = 10 ** (PROBE_LEVEL / 20) * np.sin(phase) * np.tile(edge, count)
    return samples[: round(seconds * RATE)]


def level(samples: Samples) -> float:
    """Level of a signal, dBFS; silence is -100."""
    power = float(np.mean(samples**2)) if len(samples) else 0.0
    return round(10 * math.log10(max(2 * power, 1e-10)), 1)


class Echo(NamedTuple):
    """Where a signal was found in another one."""

    lag: int
    """Samples from the start of what was heard to the start of what was said; may be negative."""
    likeness: float
    """Correlation coefficient at that lag, 0 to 1."""


def find(said: Samples, heard: Samples) -> Echo:
    """The lag at which ``said`` fits ``heard`` best, by cross-correlation."""
    if not len(said) or not len(heard):
        return Echo(0, 0.0)
    size = 1 << (len(said) + len(heard) - 1).bit_length()
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    correlation = np.abs(np.fft.irfft(product, size))
    at = int(np.argmax(correlation))
    lag = at if at < len(heard) else at - size
    first, last = max(lag, 0), min(lag + len(said), len(heard))
    mine, theirs = said[first - lag : last - lag], heard[first:last]
    energy = math.sqrt(float(np.sum(mine**2)) * float(np.sum(theirs**2)))
    return Echo(lag, round(min(float(correlation[at]) / energy, 1.0), 3) if energy > 1e-9 else 0.0)


def read(path: Path) -> Samples:
    """A WAV of 16 bit, its first channel, brought to `RATE`.

    Raises:
        ValueError: not such a file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ValueError(f"{path}: expected 16 bit a sample, is {8 * file.getsampwidth()}")
            channels, rate = file.getnchannels(), file.getframerate()
            data = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels)[:, 0] / 32768
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: not a WAV file: {error}") from error
    if rate == RATE:
        return data
    at = np.arange(math.floor(len(data) * RATE / rate)) * rate / RATE
    return np.interp(at, np.arange(len(data)), data)


def write(path: Path, samples: Samples) -> None:
    """Write a mono WAV of 16 bit at `RATE`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes())
