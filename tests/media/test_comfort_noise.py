"""Comfort noise: level and colour come through, FFmpeg's codec agrees with both halves, and any bytes make bounded noise."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.comfort_noise import ANALYSIS, LEVEL_MAX, ORDER, PAYLOAD_BYTES, ComfortNoise, observe, payload

EDGES = np.array([100, 500, 1000, 1500, 2000, 2500, 3000, 3500, 3900])


def coloured(level: float, tilt: float, seconds: float, seed: int = 1) -> np.ndarray:
    """int16[samples] at 8 kHz: noise of ``level`` dBov, one pole at ``tilt``."""
    rng = np.random.default_rng(seed)
    white, out, last = rng.standard_normal(int(8000 * seconds)), [], 0.0
    for sample in white.tolist():
        last = sample + tilt * last
        out.append(last)
    sound = np.array(out)
    return np.rint(sound / sound.std() * 32768 * 10 ** (level / 20)).astype(np.int16)


def bands(sound: np.ndarray) -> np.ndarray:
    """Decibels of each band of `EDGES`."""
    power = np.abs(np.fft.rfft(sound.astype(float))) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / 8000)
    return np.array([10 * np.log10(power[(frequency >= a) & (frequency < b)].mean()) for a, b in pairwise(EDGES)])


def described(sound: np.ndarray) -> np.ndarray:
    state = np.zeros(1, ANALYSIS)
    for frame in sound.reshape(-1, 1, 160):
        observe(state, frame)
    return payload(state)


def made(data: np.ndarray, frames: int = 200) -> np.ndarray:
    noise, rng = ComfortNoise(), np.random.default_rng(2)
    state = np.zeros(len(data), noise.state)
    noise.tell(state, data, np.full(len(data), data.shape[1], np.int32))
    return np.concatenate([noise(state, rng) for _ in range(frames)], axis=1)[:, 160:]


@pytest.mark.parametrize("tilt", [-0.8, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("level", [-60, -45, -30])
def test_noise_sounds_as_what_was_observed(level: float, tilt: float) -> None:
    sound = coloured(level, tilt, 4.0)
    data = described(sound)
    assert abs(int(data[0, 0]) + level) <= 1
    heard = made(data)[0]
    assert 20 * np.log10(heard.std() / sound.std()) == pytest.approx(0, abs=1.5)
    assert np.abs(bands(heard) - bands(sound) - 10 * np.log10(len(heard) / len(sound))).max() < 3


def test_the_bytes_of_the_standard() -> None:
    """RFC 3389 section 3: 127 stands for a coefficient of 0; low-pass noise has a negative first one."""
    assert described(np.zeros(1600, np.int16)).tolist() == [[LEVEL_MAX, *[127] * ORDER]]
    assert payload(np.zeros(1, ANALYSIS)).tolist() == [[LEVEL_MAX, *[127] * ORDER]]
    low = described(coloured(-40, 0.9, 4.0))[0].astype(float)
    assert low[1] == pytest.approx(127 - 0.9 * 127, abs=3)
    assert low[2:] == pytest.approx(127, abs=10)


def test_ffmpeg_makes_the_same_noise_of_our_bytes() -> None:
    av = pytest.importorskip("av")
    data = described(coloured(-40, 0.9, 4.0))
    decoder = av.CodecContext.create("comfortnoise", "r")
    decoder.layout, decoder.sample_rate = "mono", 8000
    frames = [frame.to_ndarray()[0] for _ in range(200) for frame in decoder.decode(av.Packet(data[0].tobytes()))]
    peer, ours = np.concatenate(frames[20:]), made(data)[0]
    shape = bands(peer) - bands(ours)
    assert np.abs(shape - shape.mean()).max() < 3


def test_we_make_noise_of_the_bytes_of_ffmpeg() -> None:
    av = pytest.importorskip("av")
    sound = coloured(-40, 0.9, 4.0)
    encoder = av.CodecContext.create("comfortnoise", "w")
    encoder.layout, encoder.sample_rate, encoder.format = "mono", 8000, "s16"
    packets = []
    for at, piece in enumerate(sound[:6400].reshape(-1, 1, 640)):
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, at * 640
        packets += encoder.encode(frame)
    heard = made(np.frombuffer(bytes(packets[-1]), np.uint8)[None])[0]
    shape = bands(heard) - bands(sound)
    assert np.abs(shape - shape.mean()).max() < 4


def test_white_noise_of_the_level_alone_and_change_of_level() -> None:
    noise, rng = ComfortNoise(160), np.random.default_rng(3)
    state = np.zeros(2, noise.state)
    assert not noise(state, rng).any()
    noise.tell(state, np.array([[40], [50]], np.uint8), np.array([1, 0], np.int32))
    heard = np.concatenate([noise(state, rng) for _ in range(100)], axis=1)
    assert not heard[1].any()
    assert 20 * np.log10(heard[0, 160:].std() / 32768) == pytest.approx(-40, abs=0.5)
    assert np.ptp(bands(heard[0, 160:])) < 2
    noise.tell(state, np.array([[127], [127]], np.uint8), np.array([1, 1], np.int32))
    noise(state, rng)
    assert not noise(state, rng).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_any_bytes_make_noise_of_their_level(payloads: list[bytes]) -> None:
    noise, rng = ComfortNoise(), np.random.default_rng(4)
    state = np.zeros(len(payloads), noise.state)
    table = np.zeros((len(payloads), 40), np.uint8)
    for row, data in enumerate(payloads):
        table[row, : len(data)] = np.frombuffer(data, np.uint8)
    noise.tell(state, table, np.array([len(data) for data in payloads], np.int32))
    heard = np.concatenate([noise(state, rng) for _ in range(3)], axis=1).astype(float)
    for row, data in enumerate(payloads):
        level = data[0] & 127 if data else 127
        assert np.sqrt((heard[row] ** 2).mean()) <= 32768 * 10 ** (-level / 20) * 8 + 1


def test_rows_do_not_mix() -> None:
    sounds = np.stack([coloured(-50, 0.5, 0.4), coloured(-30, -0.5, 0.4, 5)])
    state = np.zeros(2, ANALYSIS)
    for frame in np.split(sounds, 20, axis=1):
        observe(state, frame)
    both = payload(state)
    assert both.shape == (2, PAYLOAD_BYTES)
    assert np.array_equal(both, np.concatenate([described(sound) for sound in sounds]))
