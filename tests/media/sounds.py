"""Sounds that tests feed to the engine: made here, the same each time."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def speech(rate: int, seconds: float, seed: int = 1, peak: int = 12000) -> np.ndarray:
    """int16[samples]: a voice-like sound: pulses of a wandering pitch through moving formants, fricatives, syllables and short pauses."""
    rng = np.random.default_rng(seed)
    base = 8000
    count = int(base * seconds)
    syllables = int(seconds * 4) + 2
    at = np.arange(count) / base * 4

    def moving(low: float, high: float) -> np.ndarray:
        return np.interp(at, np.arange(syllables), rng.uniform(low, high, syllables))

    pitch = moving(90, 220)
    phase = np.cumsum(pitch / base)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    voiced = (moving(0, 1) > 0.25).astype(float)
    source = pulses * 8 * voiced + rng.standard_normal(count) * np.where(voiced > 0, 0.05, 0.25)
    sound = source
    for low, high, width in ((300, 800, 80), (900, 2200, 110), (2300, 2900, 160)):
        sound = _resonate(sound, moving(low, high), width, base)
    level = np.clip(moving(-0.35, 1), 0, 1)
    sound = sound * level
    sound = sound / np.abs(sound).max() * peak
    if rate != base:
        sound = np.interp(np.arange(int(rate * seconds)) / rate * base, np.arange(count), sound)
    result = np.rint(sound).astype(np.int16)
    result.flags.writeable = False
    return result


def _resonate(sound: np.ndarray, frequency: np.ndarray, width: float, rate: int) -> np.ndarray:
    """A resonance that moves."""
    radius = np.exp(-np.pi * width / rate)
    turn = (2 * radius * np.cos(2 * np.pi * frequency / rate)).tolist()
    decay, out, before = radius * radius, [], 0.0
    last = 0.0
    for sample, factor in zip(sound.tolist(), turn, strict=True):
        now = sample + factor * last - decay * before
        before, last = last, now
        out.append(now)
    return np.array(out)


def tone(rate: int, seconds: float, *parts: tuple[float, float]) -> np.ndarray:
    """float64[samples]: sum of sines, each (Hz, peak amplitude)."""
    time = np.arange(round(rate * seconds)) / rate
    return np.sum([level * np.sin(2 * np.pi * frequency * time) for frequency, level in parts], axis=0)


def snr(wanted: np.ndarray, got: np.ndarray) -> float:
    """Decibels between a sound and what differs from it."""
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    return float(10 * np.log10(np.mean(wanted**2) / max(np.mean((wanted - got) ** 2), 1e-12)))
