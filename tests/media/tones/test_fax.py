"""Fax tones: within their tolerances, with and without phase reversals, and nothing else."""

import numpy as np
import pytest

from media.tones import fax
from media.tones.fax import FaxHeard
from media.tones.generate import PROGRESS, Segment, answer_tone, digits, tone
from media.tones.spectrum import Spectrum
from tests.media.sounds import speech


def hear(*sounds: np.ndarray) -> list[FaxHeard]:
    spectrum = Spectrum(fax.FREQUENCIES)
    windows, state = np.zeros(len(sounds), spectrum.state), np.zeros(len(sounds), fax.STATE)
    rows = np.zeros((len(sounds), (max(map(len, sounds)) // 160 + 6) * 160), np.int16)
    for row, sound in zip(rows, sounds, strict=True):
        row[: len(sound)] = sound
    heard = []
    for at in range(0, rows.shape[1], 160):
        heard += fax.listen(state, spectrum(windows, rows[:, at : at + 160]))
    return heard


def noisy(sound: np.ndarray, level: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(len(sound)) * level
    return np.clip(sound + noise, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("frequency", [1062.0, 1100.0, 1138.0])
@pytest.mark.parametrize("seconds", [0.425, 0.5, 0.575])
def test_the_calling_fax(frequency: float, seconds: float) -> None:
    once = (Segment(seconds, ((frequency, -20.0),)), Segment(1.0))
    assert hear(tone(once * 2)) == [FaxHeard(0, "cng")] * 2


def test_what_is_no_calling_fax() -> None:
    wrong = [(1020.0, 0.5), (1180.0, 0.5), (1100.0, 0.3), (1100.0, 0.8)]
    assert hear(*(tone([Segment(seconds, ((frequency, -13.0),)), Segment(0.2)]) for frequency, seconds in wrong)) == []


@pytest.mark.parametrize("frequency", [2085.0, 2100.0, 2115.0])
@pytest.mark.parametrize("level", [-8.0, -35.0])
def test_the_answering_fax(frequency: float, level: float) -> None:
    assert hear(tone([Segment(3.0, ((frequency, level),)), Segment(0.2)])) == [FaxHeard(0, "ced")]
    assert hear(tone([Segment(0.4, ((frequency, level),)), Segment(0.2)])) == []


@pytest.mark.parametrize("offset", [0, 33, 71])
def test_phase_reversals(offset: int) -> None:
    sound = np.concatenate([np.zeros(offset, np.int16), answer_tone(3.0)])
    assert hear(sound) == [FaxHeard(0, "reversal"), FaxHeard(0, "ced")]
    assert hear(noisy(sound, 300)) == [FaxHeard(0, "reversal"), FaxHeard(0, "ced")]


def test_amplitude_modulation_of_v8_is_borne() -> None:
    """ANSam: 15 Hz, 20 % (V.8 section 3.3), without reversals."""
    time = np.arange(24000) / 8000
    sound = 5000 * (1 + 0.2 * np.sin(2 * np.pi * 15 * time)) * np.sin(2 * np.pi * 2100 * time)
    assert hear(sound.astype(np.int16)) == [FaxHeard(0, "ced")]


def test_all_else_is_none() -> None:
    others = [
        speech(8000, 30.0, 3),
        digits("0123456789ABCD*#"),
        *(tone(segments * 3) for name, segments in PROGRESS.items() if name not in ("cng", "ced")),
    ]
    assert hear(*others) == []


def test_rows_do_not_mix() -> None:
    heard = hear(tone(PROGRESS["cng"]), answer_tone(2.0), np.zeros(100, np.int16), tone(PROGRESS["ced"]))
    assert sorted(heard) == [FaxHeard(0, "cng"), FaxHeard(1, "ced"), FaxHeard(1, "reversal"), FaxHeard(3, "ced")]
