"""RTCP: any packet is walked within its bounds; it changes what is said of its own leg, and within the bounds of each value."""

import functools
import struct

import numpy as np

from media.datagrams import Inbox
from media.extended import ROUND_TRIP_SECONDS_MAX, metrics
from media.legs import Legs
from media.rtcp import ReportsIn

OURS = 0x11223344
THEIRS = 0x55667788
BLOCK = struct.pack(">IIIIII", OURS, 0x20 << 24 | 5, 70000, 24, 0xCAFE, 65536)


def seeds() -> list[bytes]:
    """Packets as real peers send them, and some that end early."""
    report = struct.pack(">BBHIIIIII", 0x81, 200, 12, THEIRS, 100, 1 << 31, 8000, 7, 1120) + BLOCK
    receiver = struct.pack(">BBHI", 0x81, 201, 7, THEIRS) + BLOCK
    names = struct.pack(">BBHI", 0x81, 202, 6, THEIRS) + b"\x01\x10abcdefghijklmnop\0\0"
    leaves = struct.pack(">BBHI", 0x81, 203, 1, THEIRS)
    measured = struct.pack(">BBHI", 7, 0, 8, OURS) + bytes(range(28))
    times = struct.pack(">BBHII", 4, 0, 2, 5, 6) + struct.pack(">BBHIIIIII", 5, 0, 6, OURS + 1, 1, 1, OURS, 0xFF00, 65536)
    more = times + measured + struct.pack(">BBHI", 6, 0x80, 9, OURS) + bytes(32)
    extended = struct.pack(">BBHI", 0x80, 207, 1 + len(more) // 4, THEIRS) + more
    return [
        receiver + extended,
        extended[:-5],
        report + names,
        receiver + names + leaves,
        report[:-1],
        struct.pack(">BBHI", 0x82, 201, 13, THEIRS) + BLOCK * 2,
        leaves,
    ]


@functools.cache
def _engine() -> tuple[Legs, Inbox, ReportsIn]:
    legs = Legs(2)
    for leg in (0, 1):
        assert legs.take(0.0) == leg
        legs.ssrc_out[leg], legs.ssrc_in[leg] = OURS + leg, THEIRS + leg
    inbox = Inbox()
    return legs, inbox, ReportsIn(legs, inbox)


def check(data: bytes) -> None:
    legs, inbox, reports = _engine()
    data = data[: inbox.data.shape[1] - 64]
    for leg in (0, 1):
        legs.remote_fraction[leg] = legs.remote_lost[leg] = legs.remote_jitter[leg] = legs.round_trip[leg] = 0
        legs.left[leg] = legs.remote_metrics_told[leg] = False
        legs.remote_metrics[leg] = 0
    inbox.data[0, : len(data)] = np.frombuffer(data, np.uint8)
    inbox.data[0, len(data) :] = 0xFF  # what lies behind the packet is another one's, and must not count
    inbox.length[0] = len(data)
    reports.take(np.array([0]), np.array([0]), 1.0)
    assert 0 <= legs.remote_fraction[0] <= 255
    assert -0x800000 <= legs.remote_lost[0] < 0x800000
    assert 0 <= legs.round_trip[0] < ROUND_TRIP_SECONDS_MAX
    said = metrics(legs, 0)
    if said is not None:
        assert bytes(legs.remote_metrics[0].tolist()) in data
        assert -1 <= said.r_factor <= 100
        assert said.mos_listening == -1 or 1 <= said.mos_listening <= 5
    assert not legs.remote_metrics_told[1]
    assert not legs.left[0] or THEIRS.to_bytes(4, "big") in data
    assert legs.remote_fraction[1] == legs.remote_lost[1] == legs.round_trip[1] == 0
    if OURS.to_bytes(4, "big") not in data:
        assert legs.remote_lost[0] == legs.round_trip[0] == 0
        assert said is None
