"""Automatic gain: all speakers come to one loudness, pauses stay quiet, nothing clips, nothing steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import gain
from tests.media.sounds import speech


def leveled(sounds: np.ndarray, rate: int = 8000) -> np.ndarray:
    state = np.zeros(len(sounds), gain.STATE)
    frames = [gain.level(state, sounds[:, at : at + rate // 50], rate) for at in range(0, sounds.shape[1], rate // 50)]
    return np.concatenate(frames, axis=1)


def loudness(sound: np.ndarray, rate: int = 8000) -> float:
    """dBov of the frames that are speech: within 15 dB of the loudest."""
    power = (sound[: len(sound) // 160 * 160].reshape(-1, 160).astype(float) ** 2).mean(axis=1)
    return float(10 * np.log10(power[power > power.max() / 30].mean() / 32768**2))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_quiet_and_loud_speakers_become_alike(rate: int) -> None:
    voice = speech(rate, 12.0, 1, 32000).astype(float)
    sounds = np.stack([voice * 10 ** (decibels / 20) for decibels in (0.0, -8.0, -16.0, -24.0)]).astype(np.int16)
    heard = leveled(sounds, rate)
    assert np.ptp([loudness(row) for row in sounds]) > 22
    ends = [loudness(row[-6 * rate :]) for row in heard]
    assert np.ptp(ends) < 3
    assert ends == pytest.approx([-24.0] * 4, abs=4)


def test_pauses_are_not_pumped_up() -> None:
    noise = np.random.default_rng(1).standard_normal(80000) * 12
    sound = np.concatenate([speech(8000, 4.0, 1, 1500), np.zeros(80000, np.int16)]).astype(float)
    sound[32000:] += noise
    heard = leveled(np.rint(sound).astype(np.int16)[None])[0]
    before, after = heard[36000:40000].astype(float).std(), heard[-4000:].astype(float).std()
    assert after <= before * 1.05
    quiet = leveled(np.rint(noise).astype(np.int16)[None])[0]
    assert np.array_equal(quiet, np.rint(noise).astype(np.int16)), "who never spoke is left as he is"


def test_a_sudden_shout_does_not_clip() -> None:
    sound = np.concatenate([speech(8000, 8.0, 1, 800), speech(8000, 2.0, 2, 32000)])[None]
    heard = leveled(sound)[0].astype(int)
    assert np.abs(heard).max() <= gain.PEAK_MAX + 1
    assert loudness(heard[40000:64000]) > loudness(sound[0, 40000:64000]) + 10


def test_the_gain_does_not_step() -> None:
    time = np.arange(16000) / 8000
    sound = (np.sin(2 * np.pi * 200 * time) * np.where(time < 1, 500, 8000)).astype(np.int16)[None]
    heard = leveled(sound)[0].astype(float)
    factor = heard[sound[0] > 300] / sound[0][sound[0] > 300]
    steps = np.abs(np.diff(factor))
    assert steps[np.abs(np.diff(np.flatnonzero(sound[0] > 300))) == 1].max() < 0.03


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_rows_are_streams_of_their_own(seed: int, legs: int) -> None:
    rng = np.random.default_rng(seed)
    sounds = (rng.standard_normal((legs, 1600)) * 10 ** rng.uniform(0, 4.6, (legs, 1))).clip(-32768, 32767).astype(np.int16)
    together = leveled(sounds)
    assert np.abs(together.astype(int) - np.concatenate([leveled(row[None]) for row in sounds])).max() <= 1


def test_fixed_gain() -> None:
    sound = np.array([[100, -100, 20000], [100, -100, 20000]], np.int16)
    assert gain.amplify(sound, 20.0).tolist() == [[1000, -1000, 32767]] * 2
    assert gain.amplify(sound, np.array([0.0, -20.0], np.float32)).tolist() == [[100, -100, 20000], [10, -10, 2000]]
