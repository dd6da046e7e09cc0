"""What goes in and out as a real tshark reads it: numbers, timestamps, marker, payload type, loss and jitter are those that we report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media import coders, control
from media.legs import Legs
from media.sequence import Streams
from tests.media.phone import Bench, Phone, audio_port, bench, drain
from tests.media.srtp.secure_phone import SecurePhone
from tests.media.tshark import Datagram, fields, needs_tshark, streams, write

pytestmark = [pytest.mark.interop, needs_tshark]
FRAMES = 150
LOST = (20, 21, 90)
OPUS = "a=rtpmap:96 opus/48000/2\r\n"
WAYS = ["relay", "laws", "room", "secured", *(["opus"] if coders.OPUS else [])]


class Tap:
    """A phone's socket: what goes through it is noted, with the time of a test's clock at which the engine sends or takes it."""

    def __init__(self, engine: Bench, phone: Phone, datagrams: list[Datagram]) -> None:
        self._engine, self._socket, self._phone, self._datagrams = engine, phone.socket, phone, datagrams
        self._waiting: list[Datagram] = []

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        self._waiting.append(Datagram(0.0, self._phone.port, to[1], data))
        self._socket.sendto(data, to)

    def taken(self, packets: int) -> None:
        """The engine has taken so many packets until now."""
        while self._waiting and sum(one.source == self._phone.port for one in self._datagrams) < packets:
            self._datagrams.append(self._waiting.pop(0)._replace(seconds=self._engine.now))

    def listen(self) -> None:
        for data in drain(self._socket):
            self._datagrams.append(Datagram(self._engine.now, self._phone.to[1], self._phone.port, data))

    def close(self) -> None:
        self._socket.close()


def parties(engine: Bench, way: str) -> tuple[Phone, Phone, int]:
    """Who speaks and who hears it, and the payload type that it hears."""
    if way == "secured":
        phones = [SecurePhone(ssrc=0x1000 + number, first=number) for number in (1, 2)]
        engine.phones += phones
        for name, phone in zip("ab", phones, strict=True):
            phone.take(engine.do("offer", control.Offer(leg=name, call="c", sdp=phone.description())).sdp)
        one, two, kind = phones[0], phones[1], 0
    else:
        offer = {"laws": {"formats": "8"}, "opus": {"formats": "96", "extra": OPUS}}.get(way, {})
        one, two = engine.phone("a"), engine.phone("b", **offer)
        kind = {"laws": 8, "opus": 96}.get(way, 0)
    if way == "room":
        for name in "ab":
            engine.connect(name, control.Room("r"))
    else:
        engine.connect("a", control.Bridge("b"))
    return one, two, kind


@pytest.mark.parametrize("way", WAYS)
def test_tshark_and_we_count_the_same(way: str, tmp_path: Path) -> None:
    datagrams: list[Datagram] = []
    delays = np.random.default_rng(5).integers(0, 4, FRAMES)
    due = {4 * number + int(delay): number for number, delay in enumerate(delays)}
    with bench() as engine:
        one, two, kind = parties(engine, way)
        taps: list[Any] = [Tap(engine, phone, datagrams) for phone in (one, two)]
        one.socket, two.socket = taps
        for tick in range(4 * FRAMES + 40):
            number = due.get(tick)
            if number in LOST:
                one.sequence += 1
                one.timestamp += 160
            elif number is not None:
                one.send(bytes([128 + number % 100]) * 160)
            engine.ticks(1)
            taps[0].taken(engine.report("a").packets_in)
            for tap in taps:
                tap.listen()
        said, heard = engine.report("a"), engine.report("b")
        reports = drain(two.rtcp)
        ports = {one.port, two.port, audio_port(engine.do("propose", control.Propose(leg="a", call="c")).sdp)}
    write(tmp_path / "call.pcap", datagrams)
    decode = [f"udp.port=={port},rtp" for port in ports]
    found = streams(tmp_path / "call.pcap", decode)
    assert (found[one.ssrc].packets, found[one.ssrc].lost) == (said.packets_in, said.lost) == (FRAMES - len(LOST), len(LOST))
    names = ["udp.dstport", "rtp.version", "rtp.seq", "rtp.timestamp", "rtp.ssrc", "rtp.marker", "rtp.p_type", "_ws.malformed"]
    rows = [row for row in fields(tmp_path / "call.pcap", names, decode) if row["udp.dstport"] == str(two.port)]
    assert {(row["rtp.version"], row["rtp.p_type"], row["_ws.malformed"]) for row in rows} == {("2", str(kind), "")}
    assert [row["rtp.marker"] in ("1", "True") for row in rows] == [True] + [False] * (len(rows) - 1)
    (ssrc,) = {int(row["rtp.ssrc"], 16) for row in rows}
    numbers = np.array([int(row["rtp.seq"]) for row in rows], np.uint16)
    stamps = np.array([int(row["rtp.timestamp"]) for row in rows], np.uint32)
    clock = 48 if way == "opus" else 8
    assert (np.diff(stamps) == np.diff(numbers).astype(np.uint32) * 20 * clock).all(), "timestamps follow the numbers"
    relayed = way in ("relay", "laws", "secured")
    assert found[ssrc].packets == heard.packets_out == len(rows)
    assert found[ssrc].lost == (len(LOST) if relayed else 0), "gaps are kept by the relay, and filled by the mixer"
    if way != "secured" and reports:
        assert int.from_bytes(reports[-1][4:8], "big") == ssrc
        assert 0 < int.from_bytes(reports[-1][20:24], "big") <= len(rows)


def test_jitter_is_what_tshark_computes(tmp_path: Path) -> None:
    """Of the same arrivals, to the microsecond that a capture has."""
    legs = Legs(1)
    leg = np.array([legs.take(0.0)])
    legs.rate[0] = 8000.0
    streams_in = Streams(legs)
    late = np.random.default_rng(7).uniform(0.0, 0.04, 300).round(6)
    datagrams, jitters = [], []
    for number in range(300):
        now = 1000.0 + 0.02 * number + float(late[number])
        stamp = np.array([160 * number], np.uint32)
        packet = bytes([0x80, 0]) + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + (7).to_bytes(4, "big") + bytes(160)
        datagrams.append(Datagram(now, 6000, 7000, packet))
        streams_in.check(leg, np.array([7], np.uint32), np.array([number], np.uint16), stamp, now)
        streams_in.place(leg, stamp, np.array([now]))
        jitters.append(float(legs.jitter[0]) / 8.0)
    write(tmp_path / "jitter.pcap", datagrams)
    found = streams(tmp_path / "jitter.pcap", ["udp.port==6000,rtp"])[7]
    assert found.jitter_max_ms == pytest.approx(max(jitters), abs=0.05)
    assert found.jitter_mean_ms == pytest.approx(float(np.mean(jitters[1:])), abs=0.05)
