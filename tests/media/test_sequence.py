"""Streams that come in: wrap-around, reordering, jumps, another source, jitter."""

import numpy as np
import pytest

from media.legs import POSITION_FIRST, Legs
from media.sequence import Streams

LEG = np.array([2])


class Side:
    def __init__(self) -> None:
        self.legs = Legs(4)
        self.legs.take(0.0)
        self.legs.take(0.0)
        assert self.legs.take(0.0) == 2
        self.legs.rate[2] = 8000.0
        self.streams = Streams(self.legs)

    def packet(self, sequence: int, now: float = 1.0, ssrc: int = 7, timestamp: int = 0) -> bool:
        good = self.streams.check(
            LEG, np.array([ssrc], np.uint32), np.array([sequence & 0xFFFF], np.uint16), np.array([timestamp & 0xFFFFFFFF], np.uint32), now
        )
        return good is None or bool(good[0])

    def lost(self) -> int:
        return int(self.streams.lost_now(LEG)[0] + self.legs.lost_before[2])


def test_numbers_wrap() -> None:
    side = Side()
    for number in range(65_500, 65_500 + 200):
        assert side.packet(number)
    assert side.legs.sequence_max[2] - side.legs.sequence_first[2] == 199
    assert side.lost() == 0


def test_order_and_duplicates_do_not_count_as_loss() -> None:
    side = Side()
    for number in (10, 12, 11, 13, 13, 15, 14):
        assert side.packet(number)
    assert side.lost() == 0 and side.legs.received[2] == 7


def test_gaps_are_lost() -> None:
    side = Side()
    for number in (10, 11, 14, 20):
        side.packet(number)
    assert side.lost() == 7


def test_a_wild_jump_is_believed_when_it_goes_on() -> None:
    side = Side()
    side.packet(100)
    assert not side.packet(30_000)
    assert side.packet(101)
    assert not side.packet(40_000)
    assert side.packet(40_001)
    assert side.packet(40_002)
    assert side.legs.refused[2] == 2
    assert side.lost() == 0


def test_another_source_takes_over_by_two_in_a_row_or_after_silence() -> None:
    side = Side()
    side.packet(1, now=1.0)
    side.packet(4, now=1.02)
    assert not side.packet(500, now=1.03, ssrc=8)
    assert side.packet(5, now=1.04)
    assert not side.packet(501, now=1.05, ssrc=8)
    assert side.packet(502, now=1.07, ssrc=8)
    assert side.legs.ssrc_in[2] == 8
    assert side.packet(9, now=1.30, ssrc=9)
    assert side.lost() == 2
    assert side.legs.received_before[2] + side.legs.received[2] == 5


def test_positions_follow_timestamps_over_their_wrap() -> None:
    side = Side()
    base = 0xFFFFFF00
    for number in range(20):
        timestamp = (base + 160 * number) & 0xFFFFFFFF
        side.packet(number, timestamp=timestamp)
        position = side.streams.place(LEG, np.array([timestamp], np.uint32), np.array([1.0 + 0.02 * number]))
        assert position[0] == POSITION_FIRST + 160 * number
    assert side.legs.jitter[2] == pytest.approx(0.0, abs=1e-6)


def test_jitter_is_that_of_the_rfc() -> None:
    side = Side()
    rng = np.random.default_rng(3)
    expected = 0.0
    before = None
    for number in range(200):
        now = 1.0 + 0.02 * number + rng.uniform(0, 0.01)
        side.packet(number, timestamp=160 * number, now=now)
        side.streams.place(LEG, np.array([160 * number], np.uint32), np.array([now]))
        transit = now * 8000 - 160 * number
        if before is not None:
            expected += (abs(transit - before) - expected) / 16
        before = transit
    assert side.legs.jitter[2] == pytest.approx(expected, rel=1e-6)
