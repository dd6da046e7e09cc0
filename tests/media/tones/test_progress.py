"""Call progress tones: each known by its cadence, in several countries' frequencies, with noise; speech is none of them."""

import numpy as np
import pytest

from media import g711
from media.tones import progress
from media.tones.generate import PROGRESS, Segment, digits, tone
from media.tones.progress import ProgressHeard
from media.tones.spectrum import Spectrum
from tests.media.sounds import speech


def hear(*sounds: np.ndarray) -> list[tuple[float, ProgressHeard]]:
    """What is heard, and the second at which it is."""
    spectrum = Spectrum(progress.FREQUENCIES)
    windows, state = np.zeros(len(sounds), spectrum.state), np.zeros(len(sounds), progress.STATE)
    rows = np.zeros((len(sounds), -(-max(map(len, sounds)) // 160) * 160), np.int16)
    for row, sound in zip(rows, sounds, strict=True):
        row[: len(sound)] = sound
    heard = []
    for at in range(0, rows.shape[1], 160):
        heard += [(at / 8000, event) for event in progress.listen(state, spectrum(windows, rows[:, at : at + 160]))]
    return heard


NAMES = [name for name in PROGRESS if name not in ("cng", "ced")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noise", [0.0, 60.0])
def test_known_by_its_cadence(name: str, noise: float) -> None:
    period = PROGRESS[name]
    sound = tone(period * int(np.ceil(7 / sum(segment.seconds for segment in period)))).astype(float)
    sound += np.random.default_rng(1).standard_normal(len(sound)) * noise
    through = g711.decode(g711.encode(np.rint(sound).astype(np.int16), g711.A), g711.A)
    wanted = next(kind for kind in ("congestion", "busy", "ring-back", "dial") if name.startswith(kind))
    heard = hear(through)
    assert [event for _, event in heard] == [ProgressHeard(0, wanted)]
    assert heard[0][0] <= {"congestion": 1.2, "busy": 1.7, "ring-back": 3.0, "dial": 3.2}[wanted]


def test_ringing_and_then_busy() -> None:
    sound = np.concatenate([tone(PROGRESS["ring-back"] * 2), tone(PROGRESS["busy"] * 3)])
    assert [event.tone for _, event in hear(sound)] == ["ring-back", "busy"]


def test_an_answer_forgets() -> None:
    sound = np.concatenate([tone(PROGRESS["ring-back"]), speech(8000, 4.0, 2), tone(PROGRESS["ring-back"])])
    assert [event.tone for _, event in hear(sound)] == ["ring-back", "ring-back"]


def test_all_else_is_none() -> None:
    others = [
        speech(8000, 30.0, 4),
        digits("0123456789" * 3),
        tone([Segment(0.5, ((1000.0, -13.0),)), Segment(0.5)] * 6),
        tone([Segment(0.05, ((425.0, -13.0),)), Segment(0.05)] * 60),
        tone([Segment(0.2, ((425.0, -13.0),)), Segment(0.6)] * 10),
        np.random.default_rng(1).integers(-3000, 3000, 80000).astype(np.int16),
    ]
    assert hear(*others) == []


def test_rows_do_not_mix() -> None:
    heard = hear(*(tone(PROGRESS[name] * 4) for name in ("busy", "congestion", "ring-back-us")))
    assert sorted(event for _, event in heard) == [ProgressHeard(0, "busy"), ProgressHeard(1, "congestion"), ProgressHeard(2, "ring-back")]
