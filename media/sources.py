"""Built-in sources: call progress tones, DTMF and a melody, computed at 8 kHz.

Rules:
- Tones are those of ITU-T E.180 supplement 2 for most of Europe: 425 Hz; DTMF is ITU-T Q.23.
- Everything is a whole number of frames of 20 ms and, where it loops, without a click at the seam.
"""

from functools import lru_cache

import numpy as np

from media.arrays import F64, I16
from media.legs import FRAME_SAMPLES

RATE = 8000
LEVEL = 6000.0
"""Peak of a tone: about -15 dBm0."""
DTMF_LOW = (697.0, 770.0, 852.0, 941.0)
DTMF_HIGH = (1209.0, 1336.0, 1477.0, 1633.0)
DTMF_FRAMES = 5
"""Length of a digit: 100 ms."""
_KEYPAD = "123A456B789C*0#D"
_FADE_SAMPLES = 40


def _faded(samples: F64) -> F64:
    """Without clicks at both ends."""
    ramp = np.linspace(0.0, 1.0, _FADE_SAMPLES)
    samples[:_FADE_SAMPLES] *= ramp
    samples[-_FADE_SAMPLES:] *= ramp[::-1]
    return samples


def tone(frequencies: tuple[float, ...], seconds: float, silence_seconds: float = 0.0) -> I16:
    """Sines of equal level, then silence: int16[samples]."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sum([np.sin(2 * np.pi * frequency * time) for frequency in frequencies], axis=0) * (LEVEL / len(frequencies))
    return np.concatenate([_faded(wave), np.zeros(round(silence_seconds * RATE))]).astype(np.int16)


def dtmf(digit: str) -> I16:
    """A key, `DTMF_FRAMES` long: int16[samples]."""
    row, column = divmod(_KEYPAD.index(digit), 4)
    return tone((DTMF_LOW[row], DTMF_HIGH[column]), DTMF_FRAMES * FRAME_SAMPLES / RATE)


@lru_cache(maxsize=64)
def _pluck(note: int, seconds: float) -> F64:
    """A soft plucked string at a MIDI note."""
    time = np.arange(round(seconds * RATE)) / RATE
    frequency = 440.0 * 2.0 ** ((note - 69) / 12.0)
    wave = np.zeros(len(time))
    for harmonic, share in enumerate((1.0, 0.45, 0.22, 0.1, 0.05), start=1):
        if harmonic * frequency < 0.45 * RATE:
            wave += share * np.sin(2 * np.pi * harmonic * frequency * time) * np.exp(-time * (1.6 + 0.9 * harmonic))
    return wave * np.minimum(time / 0.006, 1.0)


def melody() -> I16:
    """Music for who waits: 19.2 s of broken chords over a bass, wrapped round so that it loops."""
    beat = 0.3
    bars = [(48, 0, 4, 7, 12), (45, 3, 7, 10, 15), (41, 0, 4, 7, 12), (43, 0, 4, 7, 10), (48, 0, 4, 7, 12), (40, 3, 7, 10, 12)]
    bars += [(41, 0, 4, 7, 9), (43, 0, 5, 7, 12)]
    pattern = (1, 2, 3, 4, 3, 2, 3, 2)
    length = round(len(bars) * len(pattern) * beat * RATE)
    wave = np.zeros(length)

    def add(note: int, start: float, seconds: float, level: float) -> None:
        sound = level * _pluck(note, seconds)
        begin = round(start * RATE) % length
        before_seam = min(len(sound), length - begin)
        wave[begin : begin + before_seam] += sound[:before_seam]
        wave[: len(sound) - before_seam] += sound[before_seam:]

    for bar, (root, *chord) in enumerate(bars):
        begin = bar * len(pattern) * beat
        add(root, begin, 2.4, 0.8)
        add(root + 7, begin + 4 * beat, 1.2, 0.5)
        for step, index in enumerate(pattern):
            add(root + 24 + chord[index - 1], begin + step * beat, 1.5, 0.5 if step else 0.65)
    return np.asarray(wave * (9000.0 / np.abs(wave).max()), np.int16)


def built_in() -> dict[str, I16]:
    """The built-in sources by name."""
    return {
        "silence": np.zeros(RATE, np.int16),
        "ring-back": tone((425.0,), 1.0, 4.0),
        "busy": tone((425.0,), 0.5, 0.5),
        "congestion": tone((425.0,), 0.2, 0.2),
        "beep": tone((1000.0,), 0.2),
        "enter": np.concatenate([tone((660.0,), 0.1), tone((880.0,), 0.1)]),
        "leave": np.concatenate([tone((880.0,), 0.1), tone((660.0,), 0.1)]),
        "music": melody(),
    }
