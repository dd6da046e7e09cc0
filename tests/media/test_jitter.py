"""The jitter ring: order, loss, odd packets, wild jumps; one leg at a time and many at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.jitter import JitterRing, Playout
from media.legs import FRAME_SAMPLES, POSITION_FIRST, Legs


class Side:
    """The ring of one leg, fed by timestamps and read frame by frame."""

    def __init__(self) -> None:
        self.legs = Legs(3)
        self.playout = Playout(self.legs)
        self.ring = JitterRing(self.legs, self.playout, 3)
        self.leg = np.array([1])

    def put(self, position: int, payload: bytes, wait: float = 0.01) -> None:
        data = np.frombuffer(payload, np.uint8)[None, :]
        place, length = np.array([POSITION_FIRST + position]), np.array([len(payload)])
        wanted = self.playout.arrive(self.leg, place, length, np.array([wait]))
        if wanted is None or wanted[0]:
            self.ring.put(self.leg, place, length, data)

    def take(self) -> bytes | None:
        frames = self.ring.take(self.leg)
        return bytes(self.ring.read(frames.slot)[0]) if frames.whole[0] else None


def stream(samples: int) -> bytes:
    return bytes(np.random.default_rng(5).integers(0, 256, samples, dtype=np.uint8))


def test_whole_packets_come_out_as_they_went_in() -> None:
    side, sound = Side(), stream(1600)
    for frame in range(10):
        part = sound[160 * frame : 160 * frame + 160]
        side.put(160 * frame, part)
        assert side.take() == part


def test_any_order_within_the_depth_and_duplicates() -> None:
    side, sound = Side(), stream(1600)
    parts = [sound[160 * frame : 160 * frame + 160] for frame in range(10)]
    for frame in (0, 2, 1, 1, 4, 3, 0):
        side.put(160 * frame, parts[frame], wait=0.0)
    got = [side.take() for _ in range(6)]
    assert got == [None, *parts[:5]]
    assert side.legs.late[1] == 2


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.sampled_from([80, 160, 240, 320, 480]), min_size=2, max_size=30))
def test_packets_of_10_to_60_ms_in_any_mixture(sizes: list[int]) -> None:
    side, sound = Side(), stream(sum(sizes) + 160)
    position = 0
    got = b""
    for size in sizes:
        side.put(position, sound[position : position + size], wait=0.01)
        position += size
        while side.legs.play[1] * FRAME_SAMPLES + FRAME_SAMPLES <= POSITION_FIRST + position:
            part = side.take()
            assert part is not None
            got += part
    assert got == sound[: len(got)] and len(got) > position - 160


def test_a_lost_packet_is_missed_once_and_counted() -> None:
    side, sound = Side(), stream(1600)
    got = []
    for frame in range(10):
        if frame != 4:
            side.put(160 * frame, sound[160 * frame : 160 * frame + 160])
        got.append(side.take())
    assert [part is None for part in got] == [frame == 4 for frame in range(10)]
    assert side.legs.concealed[1] == 1


def test_a_late_packet_makes_the_buffer_deeper() -> None:
    side, sound = Side(), stream(3200)
    for frame in range(4):
        side.put(160 * frame, sound[160 * frame : 160 * frame + 160])
        side.take()
    side.take()
    side.put(160 * 4, sound[640:800])
    side.put(160 * 5, sound[800:960])
    got = [side.take(), side.take()]
    assert got == [sound[800:960], None] or got == [None, sound[800:960]]
    assert side.legs.late[1] == 1


def test_early_packets_make_it_shallower_again() -> None:
    side, sound = Side(), stream(160 * 400)
    for frame in range(5):
        side.put(160 * frame, sound[160 * frame : 160 * frame + 160])
    depths = []
    for frame in range(5, 330):
        side.put(160 * frame, sound[160 * frame : 160 * frame + 160])
        side.take()
        depths.append(POSITION_FIRST // 160 + frame - int(side.legs.play[1]))
    assert depths[0] >= 3 and depths[-1] <= 1


def test_a_jump_ahead_starts_anew_without_a_pause() -> None:
    side, sound = Side(), stream(1600)
    side.put(0, sound[:160])
    side.take()
    side.put(160 * 5000, sound[160:320])
    got = [side.take(), side.take()]
    assert sound[160:320] in got


def test_a_pause_ends_playing_and_the_next_packet_begins_it() -> None:
    side, sound = Side(), stream(320)
    side.put(0, sound[:160])
    for _ in range(80):
        side.take()
    assert not side.legs.playing[1]
    side.put(160 * 80, sound[160:])
    assert sound[160:] in [side.take(), side.take()]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**33), 2**33), st.integers(0, 1280), st.floats(0, 0.02)), max_size=60))
def test_nothing_raises_whatever_the_numbers(packets: list[tuple[int, int, float]]) -> None:
    side = Side()
    for position, size, wait in packets:
        side.put(position, bytes(max(size, 1))[:size] or b"", wait)
        side.take()


@pytest.mark.parametrize("jitter_ticks", [0, 1, 2, 4, 8, 12])
def test_the_buffer_grows_until_jitter_does_no_harm(jitter_ticks: int) -> None:
    """Arrivals of 5 ms steps; after the first seconds nothing is late any more."""
    side, rng = Side(), np.random.default_rng(1)
    arrivals = sorted((4 * frame + int(rng.integers(0, jitter_ticks + 1)), frame) for frame in range(1000))
    late = []
    for tick in range(4000):
        while arrivals and arrivals[0][0] == tick:
            _, frame = arrivals.pop(0)
            side.put(160 * frame, bytes([frame % 256]) * 160, wait=(-tick % 4) * 0.005)
        if tick % 4 == 0:
            side.take()
        late.append(int(side.legs.late[1]))
    assert late[-1] == late[800] and late[-1] <= 3


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_a_clock_that_drifts_is_followed(drift: float) -> None:
    """The peer's clock is 200 ppm off for ten minutes: 120 ms, six frames."""
    side, tick, missed = Side(), 0, 0
    for frame in range(30_000):
        at = frame * 4 * (1 + drift)
        while tick < at:
            if tick % 4 == 0 and side.take() is None:
                missed += 1
            tick += 1
        side.put(160 * frame, bytes([frame % 256]) * 160, wait=(-tick % 4) * 0.005)
    depth = POSITION_FIRST // 160 + 29_999 - int(side.legs.play[1])
    assert -1 <= depth <= 4
    assert missed <= 12 and side.legs.late[1] <= 12
