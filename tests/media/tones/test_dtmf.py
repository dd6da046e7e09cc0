"""DTMF: the limits of ITU-T Q.24, on sounds that are made here, through G.711, and on speech that must not be a digit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import g711
from media.tones import dtmf
from media.tones.dtmf import HIGH, KEYS, LOW, DigitHeard
from media.tones.generate import Segment, digits, tone
from media.tones.spectrum import Spectrum, amplitude
from tests.media.sounds import speech


def hear(sounds: np.ndarray, rate: int = 8000, frame: int = 160) -> list[DigitHeard]:
    spectrum = Spectrum(dtmf.FREQUENCIES, rate)
    windows, state = np.zeros(len(sounds), spectrum.state), np.zeros(len(sounds), dtmf.STATE)
    heard = []
    for at in range(0, sounds.shape[1] - frame + 1, frame):
        heard += dtmf.listen(state, spectrum(windows, sounds[:, at : at + frame]))
    return heard


def presses(
    milliseconds: float = 50,
    off: tuple[float, float] = (0.0, 0.0),
    levels: tuple[float, float] = (-8.0, -8.0),
    noise: float | None = None,
    gap: float = 0.0,
    shift: int = 0,
) -> np.ndarray:
    """int16[16, samples]: each key pressed once; ``off`` is relative to the frequency, ``noise`` in dBm0, ``gap`` in ms."""
    rows = []
    for key in range(16):
        row, column = divmod(key, 4)
        parts = ((LOW[row] * (1 + off[0]), levels[0]), (HIGH[column] * (1 + off[1]), levels[1]))
        sound = tone([Segment(0.1), Segment(milliseconds / 1000, parts), Segment(0.1)]).astype(float)
        middle = len(sound) // 2
        sound[middle : middle + int(gap * 8)] = 0
        if noise is not None:
            sound += np.random.default_rng(key).standard_normal(len(sound)) * amplitude(noise) / np.sqrt(2)
        rows.append(np.concatenate([np.zeros(shift), sound, np.zeros(160 - shift)]))
    return np.clip(np.rint(rows), -32768, 32767).astype(np.int16)


def understood(sounds: np.ndarray) -> int:
    """How many of the sixteen were heard, each once and as itself."""
    begun = [event for event in hear(sounds) if not event.duration_ms]
    assert all(event.digit == KEYS[event.leg] for event in begun)
    assert len({event.leg for event in begun}) == len(begun)
    return len(begun)


def test_all_keys_one_after_the_other() -> None:
    heard = hear(digits(KEYS, on_seconds=0.1, off_seconds=0.1)[None])
    assert [event for event in heard if event.duration_ms] == [DigitHeard(0, digit, 100) for digit in KEYS]
    assert [event.digit for event in heard if not event.duration_ms] == list(KEYS)


@pytest.mark.parametrize("shift", [0, 7, 19, 31])
def test_duration(shift: int) -> None:
    """40 ms are a digit, 23 ms are none (Q.24 table A-1), wherever they lie in a frame."""
    assert understood(presses(40, shift=shift)) == 16
    assert understood(presses(23, shift=shift)) == 0


@pytest.mark.parametrize("milliseconds", [60, 85, 200, 1000])
def test_duration_is_told(milliseconds: int) -> None:
    told = [event.duration_ms for event in hear(presses(milliseconds)) if event.duration_ms]
    assert told == pytest.approx([milliseconds] * 16, abs=10)


def test_pause_of_40_ms_parts_digits_and_interruption_of_10_ms_does_not() -> None:
    assert [event.digit for event in hear(digits("77", on_seconds=0.04, off_seconds=0.04)[None]) if event.duration_ms] == ["7", "7"]
    for gap in (2, 5, 10):
        assert understood(presses(120, gap=gap)) == 16


@pytest.mark.parametrize("sign", [(1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (0, 1), (-1, 0), (0, -1)])
def test_frequency(sign: tuple[int, int]) -> None:
    """Within 1.5 % a digit, beyond 3.5 % none."""
    assert understood(presses(50, off=(0.015 * sign[0], 0.015 * sign[1]))) == 16
    assert understood(presses(200, off=(0.035 * sign[0], 0.035 * sign[1]))) == 0


@pytest.mark.parametrize(("twist", "keys"), [(4, 16), (0, 16), (-8, 16), (9, 0), (-13, 0)])
def test_twist(twist: float, keys: int) -> None:
    """The high frequency may be 4 dB louder and 8 dB quieter."""
    assert understood(presses(50, levels=(-12.0 - max(twist, 0), -12.0 - max(twist, 0) + twist))) == keys


@pytest.mark.parametrize(("level", "keys"), [(0, 16), (-10, 16), (-25, 16), (-29, 0), (-40, 0)])
def test_level(level: float, keys: int) -> None:
    assert understood(presses(50, levels=(level, level))) == keys


def test_noise_10_db_below() -> None:
    assert understood(presses(40, noise=-18.0)) == 16


@pytest.mark.parametrize("law", [g711.MU, g711.A])
def test_through_g711(law: int) -> None:
    assert understood(g711.decode(g711.encode(presses(40, levels=(-25.0, -25.0)), law), law)) == 16


def test_speech_is_no_digit() -> None:
    """Five minutes of voice-like sound, one tone alone, and a ringing tone."""
    assert hear(np.stack([speech(8000, 60.0, seed, 20000) for seed in range(5)])) == []
    single = tone([Segment(1.0, ((LOW[0], -6.0),)), Segment(1.0, ((HIGH[0], -6.0),)), Segment(1.0, ((440.0, -9.0), (480.0, -9.0)))])
    assert hear(single[None]) == []


def test_noise_is_no_digit() -> None:
    noise = np.random.default_rng(1).standard_normal((16, 80000)) * 6000
    assert hear(noise.clip(-32768, 32767).astype(np.int16)) == []


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_other_rates(rate: int) -> None:
    heard = hear(digits("0123456789*#ABCD", rate, 0.05, 0.05)[None], rate, rate // 100)
    assert "".join(event.digit for event in heard if event.duration_ms) == "0123456789*#ABCD"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(KEYS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_rows_are_streams_of_their_own(texts: list[str]) -> None:
    sounds = np.zeros((len(texts), 6 * 960 + 800), np.int16)
    for row, text in enumerate(texts):
        sound = digits(text, on_seconds=0.06, off_seconds=0.06)
        sounds[row, 160 : 160 + len(sound)] = sound
    heard = hear(sounds)
    for row, text in enumerate(texts):
        assert "".join(event.digit for event in heard if event.leg == row and event.duration_ms) == text


def test_what_is_refused() -> None:
    spectrum = Spectrum(dtmf.FREQUENCIES)
    with pytest.raises(ValueError, match="multiple of 40 samples, got 50"):
        spectrum(np.zeros(1, spectrum.state), np.zeros((1, 50), np.int16))
    with pytest.raises(ValueError, match="got 'x'"):
        digits("1x")
