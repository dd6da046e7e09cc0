"""Mix-minus, sample for sample against adding up one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from media import g711
from media.codecs import PCMA, PCMU
from media.mixer import Mixer

MIXER = Mixer(512)


@settings(max_examples=60, deadline=None)
@given(rooms=st.integers(1, 8), size=st.integers(2, 24), seed=st.integers(0, 2**32 - 1), loud=st.sampled_from([300.0, 8000.0, 40_000.0]))
def test_each_hears_the_sum_of_all_others(rooms: int, size: int, seed: int, loud: float) -> None:
    rng = np.random.default_rng(seed)
    samples = np.clip(rng.standard_normal((rooms * size, 160)) * loud, -32768, 32767).astype(np.int16)
    total, heard = MIXER.minus(samples, size)
    for room in range(rooms):
        members = range(room * size, room * size + size)
        assert np.array_equal(total[room], sum(samples[leg].astype(int) for leg in members))
        for leg in members:
            others = sum((samples[other].astype(int) for other in members if other != leg), np.zeros(160, int))
            assert np.array_equal(heard[leg], others)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), seed=st.integers(0, 2**32 - 1), laws=st.sampled_from(["mu", "a", "both"]))
def test_both_laws_decode_and_encode_as_alone(rows: int, seed: int, laws: str) -> None:
    rng = np.random.default_rng(seed)
    payload = rng.integers(0, 256, (rows, 160), dtype=np.uint8)
    choice = {"mu": [PCMU], "a": [PCMA], "both": [PCMU, PCMA]}[laws]
    codec = rng.choice(choice, rows).astype(np.uint8)
    samples = MIXER.decode(payload, codec)
    for row in range(rows):
        assert np.array_equal(samples[row], g711.decode(payload[row], int(codec[row]) - 1))
    sums = rng.integers(-200_000, 200_000, (rows, 160)).astype(np.int32)
    coded = MIXER.encode(sums.copy(), codec)
    for row in range(rows):
        assert np.array_equal(coded[row], g711.encode(sums[row], int(codec[row]) - 1))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
def test_a_silent_leg_hears_all_and_disturbs_nobody(size: int, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-2000, 2000, (size, 160)).astype(np.int16)
    samples[0] = 0
    total, heard = MIXER.minus(samples, size)
    assert np.array_equal(heard[0], total[0])
    if size > 2:
        _, without = MIXER.minus(samples[1:], size - 1)
        assert np.array_equal(heard[1:], without)


def test_what_a_room_is_played_is_heard_by_all() -> None:
    samples = np.zeros((6, 160), np.int16)
    extra = np.arange(2 * 160, dtype=np.int32).reshape(2, 160)
    _, heard = MIXER.minus(samples, 3, extra)
    assert np.array_equal(heard, np.repeat(extra, 3, axis=0))
