"""Extended reports: asked for by SDP, measured as a plain reference does, sent as tshark reads them, read whatever comes."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import control, extended
from media.legs import Legs
from media.sequence import Streams
from tests.media.phone import Bench, Phone, bench, drain
from tests.media.tshark import Datagram, fields, needs_tshark, write

ASKS = "a=rtpmap:101 telephone-event/8000\r\na=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n"


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def blocks(report: bytes) -> dict[int, bytes]:
    """Type to content of the blocks of a compound's XR packet; none where it has no such packet."""
    found = {}
    while report:
        size = 4 + 4 * int.from_bytes(report[2:4], "big")
        if report[1] == extended.XR:
            part = report[8:size]
            while part:
                end = 4 + 4 * int.from_bytes(part[2:4], "big")
                found[part[0]] = part[4:end]
                part = part[end:]
        report = report[size:]
    return found


def talk(engine: Bench, phone: Phone, frames: int, lost: frozenset[int] = frozenset()) -> list[bytes]:
    """Speak for so many frames; the reports that came meanwhile."""
    for number in range(frames):
        if number in lost:
            phone.sequence += 1
            phone.timestamp += 160
        else:
            phone.send(b"\xff" * 160)
        engine.ticks(4)
    return drain(phone.rtcp)


def test_who_asks_is_answered_and_who_does_not_is_not() -> None:
    everything = extended.VOIP_METRICS | extended.SUMMARY | extended.ROUND_TRIP
    assert extended.wanted(["rcvr-rtt=all:10000", "stat-summary=loss,dup,jitt,TTL", "voip-metrics"]) == everything
    assert extended.wanted(["VOIP-METRICS", "pkt-loss-rle=100", "x", "="]) == extended.VOIP_METRICS
    assert extended.attribute(everything) == ["rtcp-xr:voip-metrics rcvr-rtt=all"]
    assert extended.attribute(extended.SUMMARY) == ["rtcp-xr:voip-metrics"] and extended.attribute(0) == []
    with bench() as engine:
        silent, asking = engine.phone("a"), engine.phone("b", extra=ASKS)
        answers = [engine.do("offer", control.Offer(leg="c", call="c", sdp=one)).sdp for one in (silent.offer(), asking.offer(extra=ASKS))]
        assert [b"a=rtcp-xr:voip-metrics rcvr-rtt=all" in answer for answer in answers] == [False, True]
        proposals = [engine.do("propose", control.Propose(leg=str(asks), call="c", extended=asks)).sdp for asks in (False, True)]
        assert [b"a=rtcp-xr:" in proposal for proposal in proposals] == [False, True]
        engine.connect("a", control.Echo())
        assert not any(blocks(report) for report in talk(engine, silent, 400))
        assert engine.report("a").remote is None


@needs_tshark
@pytest.mark.interop
def test_tshark_reads_what_was_measured(engine: Bench, tmp_path: Path) -> None:
    phone = engine.phone("a", extra=ASKS)
    engine.connect("a", control.Room("r"))
    # A burst of 5 packets, 3 of them lost, and two losses alone.
    reports = talk(engine, phone, 400, frozenset((20, 60, 62, 64, 100)))
    report = next(report for report in reports if blocks(report))
    write(tmp_path / "xr.pcap", [Datagram(0.0, 5005, 5005, report)])
    metrics = [f"rtcp.xr.voipmetrics.{name}" for name in ("burstdensity", "gapdensity", "burstduration", "gmin", "rfactor", "moslq")]
    (read,) = fields(tmp_path / "xr.pcap", [*metrics, "rtcp.xr.bt", "rtcp.xr.stats.lost", "_ws.malformed"], ["udp.port==5005,rtcp"])
    expected = int.from_bytes(report[36:40], "big") - (65530 + 65536) + 1
    assert (read["rtcp.xr.bt"], read["_ws.malformed"]) == ("4,6,7", "")
    assert read["rtcp.xr.stats.lost"] == "5"
    density, gap, burst, gmin, factor, mos = (float(read[name]) for name in metrics)
    assert density == int(256 * 3 / 5) and gap == int(256 * 2 / (expected - 5))
    assert burst == pytest.approx(100, abs=1) and gmin == 16
    assert 60 < factor < 93 and 3.0 < mos / (10 if mos > 5 else 1) < 4.4


def test_what_a_peer_measures_is_in_the_report(engine: Bench) -> None:
    phone = engine.phone("a", extra=ASKS)
    engine.connect("a", control.Echo())
    reports = talk(engine, phone, 400)
    ours = int.from_bytes(reports[0][4:8], "big")
    head = struct.pack(">BBHI", 0x80, 201, 1, phone.ssrc)
    metrics = struct.pack(
        ">BBHIBBBBHHHHbbBBBBBBBxHHH", 7, 0, 8, ours, 64, 26, 128, 13, 240, 4000, 80, 90, -20, -60, 127, 16, 77, 127, 39, 38, 0, 60, 80, 300
    )  # fmt: skip
    reference = struct.pack(">BBHII", 4, 0, 2, 0xAABB, 0xCCDD0000)
    asked = blocks(reports[-1])[4]
    delay = struct.pack(">BBHIII", 5, 0, 3, ours, int.from_bytes(asked[2:6], "big"), 0)
    body = metrics + reference + delay
    phone.rtcp.sendto(head + struct.pack(">BBHI", 0x80, 207, 1 + len(body) // 4, phone.ssrc) + body, phone.to_rtcp)
    engine.ticks(1)
    report = engine.report("a")
    assert report.remote == control.VoipMetrics(
        lost=0.25, discarded=26 / 256, burst_density=0.5, gap_density=13 / 256, burst_ms=240, gap_ms=4000, round_trip_ms=80,
        end_system_ms=90, r_factor=77, mos_listening=3.9, mos_conversation=3.8, buffer_ms=60,
    )  # fmt: skip
    assert 0 <= report.round_trip_ms < 10_000
    later = next(part for data in talk(engine, phone, 400) if (part := blocks(data)))
    assert later[5][4:8] == bytes((0xAA, 0xBB, 0xCC, 0xDD)), "the peer's time comes back to it, and how long it was here"
    assert 0 < int.from_bytes(later[5][8:12], "big") / 65536 < 8


def reference(lost: list[bool]) -> tuple[int, int, int]:
    """Bursts, their packets and their losses, of a stream that is looked at as a whole."""
    places = [number for number, gone in enumerate(lost) if gone]
    runs: list[list[int]] = []
    for place in places:
        if runs and place - runs[-1][-1] - 1 < extended.GMIN:
            runs[-1].append(place)
        else:
            runs.append([place])
    bursts = [run for run in runs if len(run) > 1]
    return len(bursts), sum(run[-1] - run[0] + 1 for run in bursts), sum(map(len, bursts))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([False, False, False, True]) | st.just(False), min_size=1, max_size=150), st.integers(0, 65535))
def test_bursts_are_those_of_a_plain_reference(lost: list[bool], first: int) -> None:
    lost = [False, *lost, False]
    legs = Legs(2)
    legs.take(0.0)
    legs.extended[0], legs.rate[0] = extended.VOIP_METRICS, 8000.0
    streams = Streams(legs)
    streams.bursts.recount()
    for number, gone in enumerate(lost):
        if not gone:
            sequence = np.array([(first + number) & 0xFFFF], np.uint16)
            stamp = np.array([160 * number], np.uint32)
            streams.check(np.array([0]), np.array([7], np.uint32), sequence, stamp, 0.02 * number)
            streams.place(np.array([0]), stamp, np.array([0.02 * number]))
    found = extended.losses(legs, 0)
    bursts, packets, within = reference(lost)
    assert found.burst_density == pytest.approx(within / packets if packets else 0)
    assert found.gap_density == pytest.approx((sum(lost) - within) / (len(lost) - packets))
    assert found.burst_seconds == pytest.approx(0.02 * packets / bursts if bursts else 0)
