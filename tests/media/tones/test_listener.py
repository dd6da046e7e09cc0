"""One measure of the spectrum for all detectors."""

import numpy as np
import pytest

from media.tones.dtmf import DigitHeard
from media.tones.fax import FaxHeard
from media.tones.generate import PROGRESS, digits, tone
from media.tones.listener import Heard, Listener
from media.tones.progress import ProgressHeard


def hear(listener: Listener, *sounds: np.ndarray, frame: int = 160) -> list[Heard]:
    state = np.zeros(len(sounds), listener.state)
    rows = np.stack([np.pad(sound, (0, 33600 - len(sound))) for sound in sounds])
    return [event for at in range(0, 33600, frame) for event in listener(state, rows[:, at : at + frame])]


SOUNDS = (digits("42", on_seconds=0.06), tone(PROGRESS["cng"]), tone(PROGRESS["busy"] * 3), tone(PROGRESS["ced"]))


@pytest.mark.parametrize("frame", [80, 160, 480])
def test_all_kinds(frame: int) -> None:
    heard = hear(Listener(("dtmf", "fax", "progress")), *SOUNDS, frame=frame)
    assert set(heard) == {
        DigitHeard(0, "4", 0),
        DigitHeard(0, "4", 60),
        DigitHeard(0, "2", 0),
        DigitHeard(0, "2", 60),
        FaxHeard(1, "cng"),
        ProgressHeard(2, "busy"),
        FaxHeard(3, "ced"),
    }


def test_one_kind_alone() -> None:
    assert {type(event) for event in hear(Listener(("dtmf",)), *SOUNDS)} == {DigitHeard}
    with pytest.raises(KeyError):
        Listener(("whistle",))


def test_the_state_can_be_handed_on() -> None:
    """Cut anywhere, copied as bytes, the rest is heard as if nothing had been."""
    listener = Listener(("dtmf", "fax", "progress"))
    rows = np.stack([np.pad(sound, (0, 33600 - len(sound))) for sound in SOUNDS])
    state = np.zeros(len(rows), listener.state)
    heard = []
    for at in range(0, 33600, 160):
        heard += Listener(("dtmf", "fax", "progress"))(state, rows[:, at : at + 160])
        state = np.frombuffer(bytearray(state.tobytes()), listener.state)
    assert heard == hear(listener, *SOUNDS)
