"""Clocks that drift: as much as in an hour at 200 ppm, in either direction, many peers at once.

It comes in an eighth of the time: what holds for 1600 ppm holds for less.
"""

import numpy as np

from media.jitter import Playout
from media.legs import FRAME_SAMPLES, POSITION_FIRST, Legs

FRAMES = 22_500
"""450 s."""
FRAME_SECONDS = 0.02
DRIFTS = np.array([-1600e-6, -800e-6, -400e-6, 0.0, 400e-6, 800e-6, 1600e-6])
"""Of the peers' clocks against ours: 36 frames at most."""
DEPTH = 64
FIRST = POSITION_FIRST // FRAME_SAMPLES


def test_an_hour_of_drift_neither_grows_the_delay_nor_cuts_more_than_it_must() -> None:
    count = len(DRIFTS)
    legs = Legs(count)
    for _ in DRIFTS:
        legs.take(0.0)
    playout = Playout(legs)
    leg = np.arange(count)
    length = np.full(count, FRAME_SAMPLES)
    period = FRAME_SECONDS / (1.0 + DRIFTS)
    jitter = np.random.default_rng(2).uniform(0.0, 0.003, 4096)
    sent, there = np.zeros(count, np.int64), np.zeros((count, DEPTH), np.int64)
    arrival = np.full(count, jitter[0])
    depths = []
    for tick in range(FRAMES):
        now = tick * FRAME_SECONDS + 0.013
        while len(row := np.flatnonzero(arrival <= now)):
            frame = FIRST + sent[row]
            playout.arrive(leg[row], frame * FRAME_SAMPLES, length[row], now - arrival[row])
            there[row, frame % DEPTH] = frame
            sent[row] += 1
            arrival[row] = sent[row] * period[row] + jitter[sent[row] % 4096]
        play, live = playout.due(leg)
        present = live & (there[leg, play % DEPTH] == play)
        playout.settle(leg, present)
        if tick % 100 == 99:
            depths.append((FIRST + sent - legs.play) * FRAME_SECONDS)
    depth = np.array(depths)
    slips = np.abs(DRIFTS) * FRAMES
    assert depth[10:].max() <= 0.04 and depth[10:].min() >= 0.0
    assert np.abs(depth[-50:].mean(axis=0) - depth[10:60].mean(axis=0)).max() < 0.01, "the delay at the end is that of the beginning"
    # A fast peer's surplus is left out, a frame at a time. Where a slow one's packet has not come in time, two frames are made up: that
    # one, and one more by which the buffer grows.
    slow = DRIFTS < 0
    assert (legs.late <= np.where(slow, slips, 0) + 1).all()
    assert (legs.concealed <= np.where(slow, 2 * slips, 0) + 2).all()
