"""Silence, greetings of people and machines, and beeps."""

import numpy as np
import pytest

from media import g711
from media.tones import activity, answering
from media.tones.activity import SilenceHeard
from media.tones.answering import AnswerHeard, machine_likelihood
from media.tones.generate import Segment, digits, tone
from tests.media.sounds import speech


def noisy(*pieces: float | np.ndarray, level: float = 20.0) -> np.ndarray:
    """int16[samples]: numbers are seconds of pause, arrays are sound; line noise under all of it, and G.711."""
    sound = np.concatenate([np.zeros(int(piece * 8000)) if isinstance(piece, float) else piece.astype(float) for piece in pieces])
    sound += np.random.default_rng(1).standard_normal(len(sound)) * level
    sound = sound[: len(sound) // 160 * 160]
    return g711.decode(g711.encode(np.rint(sound).astype(np.int16), g711.MU), g711.MU)


def voice(seconds: float, seed: int = 1) -> np.ndarray:
    """Speech without long pauses."""
    sound = speech(8000, seconds * 3 + 3, seed, 9000)
    loud = np.abs(sound[: len(sound) // 80 * 80].reshape(-1, 80)).max(axis=1) > 600
    return np.concatenate([sound[: len(loud) * 80].reshape(-1, 80)[loud].ravel()])[: int(seconds * 8000)]


def hear(*sounds: np.ndarray) -> list[AnswerHeard]:
    state = np.zeros(len(sounds), answering.STATE)
    rows = np.stack([np.pad(sound, (0, max(map(len, sounds)) - len(sound))) for sound in sounds])
    return [event for at in range(0, rows.shape[1], 160) for event in answering.listen(state, rows[:, at : at + 160])]


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_person_says_a_word_and_waits(seconds: float, seed: int) -> None:
    (event,) = hear(noisy(0.8, voice(seconds, seed), 2.0))
    assert event.what == "human"
    assert event.milliseconds == pytest.approx(seconds * 1000, abs=120)
    assert event.confidence > 0.9
    assert event.words >= 1


def test_a_person_who_asks_twice_is_one() -> None:
    assert [event.what for event in hear(noisy(0.5, voice(0.4), 0.3, voice(0.3, 2), 2.0))] == ["human"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_machine_speaks_on_and_beeps(seed: int) -> None:
    beep = tone([Segment(0.4, ((1000.0, -10.0),))])
    events = hear(noisy(0.5, voice(4.0, seed), 0.3, voice(2.0, seed + 5), 0.4, beep, 1.0))
    assert [event.what for event in events] == ["machine", "beep"]
    assert events[0].confidence > 0.9
    assert events[1].frequency == pytest.approx(1000, abs=3)
    assert events[1].milliseconds == pytest.approx(400, abs=20)


def test_the_greeting_of_a_machine_without_beep_ends() -> None:
    events = hear(noisy(0.5, voice(4.0), 2.0))
    assert [event.what for event in events] == ["machine", "greeting-end"]
    assert events[1].milliseconds == pytest.approx(4000, abs=120)


def test_a_beep_after_a_short_greeting_tells_a_machine() -> None:
    beep = tone([Segment(0.25, ((440.0, -12.0),))])
    events = hear(noisy(0.5, voice(1.0), 0.4, beep, 1.0))
    assert [event.what for event in events] == ["machine", "beep"]
    assert events[0].confidence == answering.CONFIDENCE_BEEP


def test_silence_is_unknown() -> None:
    assert [event.what for event in hear(noisy(6.0))] == ["unknown"]


def test_the_middle_is_unsure() -> None:
    assert machine_likelihood(answering.MIDDLE_MS) == 0.5
    assert machine_likelihood(500) < 0.02
    assert machine_likelihood(3000) > 0.99
    (event, *_) = hear(noisy(0.5, voice(1.75), 2.0))
    assert event.confidence < 0.75


def test_speech_and_keys_are_no_beep() -> None:
    events = hear(speech(8000, 30.0, 3), speech(8000, 30.0, 4), np.resize(digits("0123456789"), 240000))
    assert not [event for event in events if event.what == "beep"]


def test_rows_do_not_mix() -> None:
    events = hear(noisy(0.8, voice(0.5), 6.0), noisy(7.3), noisy(0.5, voice(5.0), 1.8))
    assert [(event.leg, event.what) for event in sorted(events)] == [(0, "human"), (1, "unknown"), (2, "greeting-end"), (2, "machine")]


def test_silence_begins_and_ends() -> None:
    sound = noisy(voice(1.0), 3.0, voice(1.0), 1.0)[None]
    state, heard = np.zeros(1, activity.STATE), []
    for at in range(0, sound.shape[1], 160):
        heard += activity.listen(state, sound[:, at : at + 160], 2000)
    assert [event.silent for event in heard] == [True, False]
    assert heard[0] == SilenceHeard(0, True, 2000)
    assert heard[1].duration_ms == pytest.approx(3000, abs=150)


def test_a_steady_noise_becomes_silence() -> None:
    noise = (np.random.default_rng(1).standard_normal((1, 80000)) * 500).astype(np.int16)
    state, heard = np.zeros(1, activity.STATE), []
    for at in range(0, 80000, 160):
        heard += activity.listen(state, noise[:, at : at + 160], 2000)
    assert [event.silent for event in heard] == [True]
