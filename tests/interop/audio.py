"""Sound that tests make and judge: tones to WAV, and back which tones a recording holds, how loud and without which gaps.

Levels are in dBFS of a sine: 0 dB is a sine of full scale.
"""

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32768.0
FRAME_SECONDS = 0.04
"""Length of the pieces that levels are measured in: resolves 25 Hz, and a lost packet of 20 ms shows."""


def write_tone(path: Path, frequency: float, seconds: float, *, rate: int = 8000, level: float = -12.0) -> Path:
    """Write a mono WAV of 16 bit with one tone (Hz), ``level`` in dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    samples = FULL_SCALE * 10 ** (level / 20) * np.sin(2 * np.pi * frequency * time)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


class Recording(NamedTuple):
    """What somebody heard."""

    samples: NDArray[np.float64]
    """Between -1 and 1."""
    rate: int
    """Hz."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def level(self, frequency: float) -> float:
        """Level of one tone over the whole recording, dBFS."""
        return float(20 * np.log10(max(float(np.max(self.levels(frequency), initial=0.0)), 1e-6)))

    def levels(self, frequency: float) -> NDArray[np.float64]:
        """Amplitude of one tone in each piece of `FRAME_SECONDS`: float64[pieces], 1 is full scale."""
        size = round(FRAME_SECONDS * self.rate)
        pieces = len(self.samples) // size
        frames = self.samples[: pieces * size].reshape(pieces, size)
        window = np.hanning(size)
        wave_form = window * np.exp(-2j * np.pi * frequency * np.arange(size) / self.rate)
        return np.asarray(np.abs(frames @ wave_form) * 2 / window.sum())

    def sounding(self, *, level: float = -45.0) -> float:
        """For how many seconds in all anything was there, at ``level`` dBFS or louder."""
        size = round(FRAME_SECONDS * self.rate)
        pieces = len(self.samples) // size
        power = np.mean(self.samples[: pieces * size].reshape(pieces, size) ** 2, axis=1)
        return float(np.count_nonzero(2 * power > 10 ** (level / 10)) * FRAME_SECONDS)

    def heard(self, frequency: float, *, level: float = -30.0) -> float:
        """For how many seconds in all the tone was there, at ``level`` dBFS or louder."""
        return float(np.count_nonzero(self.levels(frequency) > 10 ** (level / 20)) * FRAME_SECONDS)

    def gaps(self, frequency: float, *, level: float = -30.0) -> float:
        """Longest time, in seconds, for which the tone was missing between its first and its last piece."""
        there = np.flatnonzero(self.levels(frequency) > 10 ** (level / 20))
        return 0.0 if len(there) < 2 else float((np.max(np.diff(there)) - 1) * FRAME_SECONDS)


def read(path: Path) -> Recording:
    """Read a WAV of 16 bit, also one whose writer was ended before it wrote the lengths; of several channels the first."""
    data = path.read_bytes()
    start = data.index(b"data") + 8
    layout = data.index(b"fmt ") + 8
    channels = int.from_bytes(data[layout + 2 : layout + 4], "little")
    rate = int.from_bytes(data[layout + 4 : layout + 8], "little")
    body = data[start : start + (len(data) - start) // (2 * channels) * 2 * channels]
    return Recording(np.frombuffer(body, "<i2").reshape(-1, channels)[:, 0] / FULL_SCALE, rate)
