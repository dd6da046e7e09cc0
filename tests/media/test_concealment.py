"""Concealment: periods are found and repeated, gaps have no clicks, long ones fall silent, rows are streams of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.concealment import RATES, Concealment
from tests.media.sounds import snr, speech


def play(concealment: Concealment, sounds: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """What is heard of int16[legs, frames, n] when bool[legs, frames] were lost (and came as garbage)."""
    state = np.zeros(len(sounds), concealment.state)
    out = sounds.copy()
    for at in range(sounds.shape[1]):
        frame = np.where(lost[:, at, None], np.int16(-12345), sounds[:, at])
        concealment(state, frame, lost[:, at])
        out[:, at] = frame
    return out


def buzz(rate: int, seconds: float, pitch: float) -> np.ndarray:
    """A steady vowel: harmonics that fall off."""
    time = np.arange(int(rate * seconds)) / rate
    harmonics = np.arange(1, int(3400 / pitch))
    waves = np.sin(2 * np.pi * pitch * harmonics[:, None] * time + harmonics[:, None] ** 2) / harmonics[:, None]
    return np.rint(waves.sum(axis=0) * 6000).astype(np.int16)


@pytest.mark.parametrize("rate", RATES)
def test_nothing_lost_is_nothing_changed(rate: int) -> None:
    sounds = speech(rate, 0.4).reshape(1, 20, -1)
    assert np.array_equal(play(Concealment(rate), sounds, np.zeros((1, 20), bool)), sounds)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("pitch", [80.0, 100.0, 125.0, 160.0])
def test_a_steady_vowel_goes_on(rate: int, pitch: float) -> None:
    """Pitches whose period is a whole number of samples: the first 10 ms are the sound itself, to the match of the search."""
    sounds = buzz(rate, 0.4, pitch).reshape(1, 20, -1)
    lost = np.zeros((1, 20), bool)
    lost[0, 10] = True
    heard = play(Concealment(rate), sounds, lost)
    ten = rate // 100
    assert snr(sounds[0, 10, :ten], heard[0, 10, :ten]) > 35
    assert snr(sounds[0, 10, ten:] * np.linspace(1, 0.8, ten), heard[0, 10, ten:]) > 25
    assert np.array_equal(heard[0, 12:], sounds[0, 12:])


@pytest.mark.parametrize("rate", [8000, 16000])
def test_the_sound_fades_and_is_silent_after_60_ms(rate: int) -> None:
    sounds = buzz(rate, 0.6, 100.0).reshape(1, 30, -1)
    lost = np.zeros((1, 30), bool)
    lost[0, 10:20] = True
    heard = play(Concealment(rate), sounds, lost)[0].astype(float)
    level = np.sqrt((heard.reshape(-1, rate // 100) ** 2).mean(axis=1))
    fall = level[20:28] / level[18]
    assert fall == pytest.approx([1, 0.9, 0.7, 0.5, 0.3, 0.1, 0, 0], abs=0.06)
    assert not heard[13:20].any()
    assert np.array_equal(heard[21:], sounds[0, 21:])
    assert 0 < level[40] < level[42]


def test_no_clicks_at_the_ends_of_gaps() -> None:
    """A click is a step that the sound itself does not have: larger than any of the undamaged speech."""
    sounds = np.stack([speech(8000, 4.0, seed).reshape(-1, 160) for seed in range(8)])
    lost = np.random.default_rng(1).random(sounds.shape[:2]) < 0.1
    lost[:, :5] = False
    heard = play(Concealment(), sounds, lost).reshape(8, -1).astype(int)
    steps = np.abs(np.diff(sounds.reshape(8, -1).astype(int), axis=1)).max(axis=1)
    assert (np.abs(np.diff(heard, axis=1)).max(axis=1) <= 1.3 * steps).all()
    alone = lost & ~np.roll(lost, 1, axis=1)
    power = [(rows.reshape(8, -1, 160)[alone].astype(float) ** 2).mean() for rows in (sounds, heard)]
    assert 0.4 < power[1] / power[0] < 1.2, "as loud as what was lost"


def test_a_gap_at_the_very_beginning_is_silent() -> None:
    sounds = np.full((1, 4, 160), 5000, np.int16)
    heard = play(Concealment(), sounds, np.array([[True, True, False, False]]))
    assert not heard[0, :2].any()
    assert np.array_equal(heard[0, 3], sounds[0, 3])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([8000, 16000]), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3]))
def test_rows_are_streams_of_their_own(rate: int, seed: int, tens: int) -> None:
    rng = np.random.default_rng(seed)
    sounds = rng.integers(-32768, 32768, (4, 12, tens * rate // 100)).astype(np.int16)
    lost = rng.random((4, 12)) < 0.4
    together = play(Concealment(rate), sounds, lost)
    alone = np.concatenate([play(Concealment(rate), sounds[row : row + 1], lost[row : row + 1]) for row in range(4)])
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a rate of"):
        Concealment(44100)
    concealment = Concealment()
    with pytest.raises(ValueError, match="multiple of 80 samples, got 100"):
        concealment(np.zeros(1, concealment.state), np.zeros((1, 100), np.int16), np.zeros(1, bool))
