"""Rate conversion: pass-band, stop-band and delay as stated; no seams; the same sound as libsoxr's best quality."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.resample import PASS_EDGE, RATES, STOP_DECIBELS, STOP_EDGE, Resampler, resampler

PAIRS = list(permutations(RATES, 2))
RIPPLE_DECIBELS = 0.01


def tones(rate: int, frequencies: np.ndarray, seconds: float) -> np.ndarray:
    """float32[frequency, sample]: cosines of amplitude 1."""
    time = np.arange(int(rate * seconds)) / rate
    return np.cos(2 * np.pi * frequencies[:, None] * time).astype(np.float32)


def part(rows: np.ndarray, rate: int, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude of each row at its frequency (whole periods), and the RMS of all else times sqrt(2)."""
    time = np.arange(rows.shape[1]) / rate
    wave = np.exp(2j * np.pi * frequencies[:, None] * time)
    weight = (rows.astype(np.float64) * wave.conj()).mean(axis=1) * 2
    rest = rows - (weight[:, None] * wave).real
    return np.abs(weight), np.sqrt(2 * np.mean(rest**2, axis=1))


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_pass_band_is_flat_and_stop_band_is_gone(rate_in: int, rate_out: int) -> None:
    nyquist = min(rate_in, rate_out) / 2
    convert = Resampler(rate_in, rate_out, np.float32)
    passed = np.round(np.linspace(50, PASS_EDGE * nyquist, 40) / 50) * 50
    passed = passed[passed <= PASS_EDGE * nyquist]
    out = convert(np.zeros(len(passed), convert.state), tones(rate_in, passed, 0.12))
    amplitude, rest = part(out[:, -rate_out // 50 :], rate_out, passed)
    assert np.abs(20 * np.log10(amplitude)).max() < RIPPLE_DECIBELS
    assert 20 * np.log10(rest.max()) < -STOP_DECIBELS, "images of the pass-band"
    if rate_in > rate_out:
        stopped = np.round(np.linspace(STOP_EDGE * nyquist + 50, rate_in / 2 - 50, 60) / 50) * 50
        out = convert(np.zeros(len(stopped), convert.state), tones(rate_in, stopped, 0.12))
        level = np.sqrt(2 * np.mean(np.square(out[:, -rate_out // 50 :], dtype=np.float64), axis=1))
        assert 20 * np.log10(level.max()) < -STOP_DECIBELS, "aliases"


def speech_like(rate: int, rows: int, seconds: float, seed: int, edge: float) -> np.ndarray:
    """int16[rows, samples]: noise of falling spectrum below ``edge`` Hz."""
    rng = np.random.default_rng(seed)
    count = int(rate * seconds)
    frequency = np.fft.rfftfreq(count, 1 / rate)
    spectrum = rng.standard_normal((rows, len(frequency))) + 1j * rng.standard_normal((rows, len(frequency)))
    spectrum *= np.where((frequency > 60) & (frequency < edge), 1 / (300 + frequency), 0)
    wave = np.fft.irfft(spectrum, count)
    return np.rint(wave / np.abs(wave).max() * 20000).astype(np.int16)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_sounds_as_soxr_at_its_best(rate_in: int, rate_out: int) -> None:
    """At least 80 dB below the signal lies what differs from libsoxr VHQ; int16 rounding of ours included."""
    soxr = pytest.importorskip("soxr")
    convert = resampler(rate_in, rate_out)
    samples = speech_like(rate_in, 3, 0.5, 1, PASS_EDGE * min(rate_in, rate_out) / 2)
    ours = convert(np.zeros(3, convert.state), samples).astype(np.float64)
    late = round(convert.delay_seconds * rate_in)
    for row, out in zip(samples, ours, strict=True):
        peer = soxr.resample(np.concatenate([np.zeros(late), row]), rate_in, rate_out, quality="VHQ")
        middle = slice(rate_out // 10, rate_out * 4 // 10)
        error = out[middle] - peer[middle]
        assert 10 * np.log10(np.mean(peer[middle] ** 2) / np.mean(error**2)) > 80


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(PAIRS), st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_blocks_leave_no_seam(pair: tuple[int, int], tens: list[int], seed: int) -> None:
    """However a stream is cut, the samples are the same to the rounding of the product's order; rows do not mix."""
    rate_in, rate_out = pair
    convert = resampler(rate_in, rate_out)
    samples = np.random.default_rng(seed).integers(-20000, 20000, (3, sum(tens) * rate_in // 100)).astype(np.int16)
    whole = convert(np.zeros(3, convert.state), samples)
    state = np.zeros(3, convert.state)
    blocks = np.split(samples, np.cumsum(tens)[:-1] * rate_in // 100, axis=1)
    pieces = np.concatenate([convert(state, block) for block in blocks], axis=1)
    assert np.abs(pieces.astype(int) - whole).max() <= 1
    alone = convert(np.zeros(1, convert.state), samples[1:2])
    assert np.abs(alone.astype(int) - whole[1:2]).max() <= 1
    assert whole.shape[1] == convert.outputs(samples.shape[1])


def test_there_and_back_is_the_sound_itself() -> None:
    samples = speech_like(8000, 2, 0.4, 7, PASS_EDGE * 4000)
    up, down = resampler(8000, 48000), resampler(48000, 8000)
    back = down(np.zeros(2, down.state), up(np.zeros(2, up.state), samples)).astype(float)
    late = round((up.delay_seconds + down.delay_seconds) * 8000)
    error = back[:, late + 400 :] - samples[:, 400:-late]
    assert 10 * np.log10(np.mean(samples[:, 400:-late].astype(float) ** 2) / np.mean(error**2)) > 70


def test_overdriven_samples_saturate() -> None:
    convert = resampler(8000, 16000)
    square = np.where(np.arange(800) // 20 % 2, 32767, -32768).astype(np.int16)[None]
    out = convert(np.zeros(1, convert.state), square)
    assert out.max() == 32767
    assert out.min() == -32768


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="expected two different rates"):
        Resampler(8000, 8000)
    with pytest.raises(ValueError, match="expected two different rates"):
        Resampler(8000, 11025)
    with pytest.raises(ValueError, match="int16 or float32"):
        Resampler(8000, 16000, np.float64)  # type: ignore[arg-type]
    convert = resampler(8000, 16000)
    with pytest.raises(ValueError, match="multiple of 80 samples, got 81"):
        convert(np.zeros(1, convert.state), np.zeros((1, 81), np.int16))
