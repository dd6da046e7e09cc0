"""Legs of IPv6 beside those of IPv4."""

import socket
import struct
from collections.abc import Iterator

import pytest

from media import control
from media.config import MediaConfiguration
from media.control import MediaError, MediaProcessor
from tests.media.phone import Bench, audio_port, bench, drain, parse


def has_six() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as side:
        try:
            side.bind(("::1", 0))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not has_six(), reason="waits for an IPv6 loopback (::1)")


class SixPhone:
    """One side of a call over IPv6."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.rtcp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for side in (self.socket, self.rtcp):
            side.bind(("::1", 0))
            side.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.sequence = 0
        self.to = 0

    def offer(self, port: int = 0) -> bytes:
        lines = f"v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio {port or self.port} RTP/AVP 0\r\n"
        return f"{lines}a=rtcp:{self.rtcp.getsockname()[1]} IN IP6 ::1\r\n".encode()

    def send(self, code: int, to: int = 0) -> None:
        head = struct.pack(">BBHII", 0x80, 0, self.sequence, 160 * self.sequence, 77)
        self.sequence += 1
        self.socket.sendto(head + bytes([code]) * 160, ("::1", to or self.to))

    def received(self) -> list[int]:
        return [parse(data).payload[0] for data in drain(self.socket)]

    def close(self) -> None:
        self.socket.close()
        self.rtcp.close()


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        made.processor.close()
        made.configuration = MediaConfiguration(host="127.0.0.1", host6="::1", rtp_port_first=41000, rtp_port_last=42999, legs_max=64)
        made.processor = MediaProcessor(made.configuration, {}, made.now)
        yield made


@pytest.fixture
def phone(engine: Bench) -> Iterator[SixPhone]:
    made = SixPhone()
    yield made
    made.close()


def test_an_echo_over_ipv6(engine: Bench, phone: SixPhone) -> None:
    answer = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer())).sdp
    assert b"c=IN IP6 ::1\r\n" in answer and b" IN IP6 ::1\r\ns=-" in answer
    phone.to = audio_port(answer)
    engine.connect("a", control.Echo())
    for number in range(10):
        phone.send(number)
        engine.ticks(4)
    assert phone.received() == list(range(10))
    engine.ticks(2000)
    assert drain(phone.rtcp)  # reports go to where a=rtcp says
    assert engine.report("a").refused == 0


def test_an_offer_of_ours_over_ipv6(engine: Bench, phone: SixPhone) -> None:
    offer = engine.do("propose", control.Propose(leg="a", call="c", six=True)).sdp
    assert b"c=IN IP6 ::1\r\n" in offer
    phone.to = audio_port(offer)
    engine.do("accept", control.Accept(leg="a", sdp=phone.offer()))
    engine.connect("a", control.Echo())
    for number in range(10):
        phone.send(number)
        engine.ticks(4)
    assert phone.received() == list(range(10))
    again = engine.do("propose", control.Propose(leg="a", call="c", direction="sendonly", six=True)).sdp
    assert audio_port(again) == phone.to


def test_an_offer_over_what_there_is() -> None:
    with bench() as engine:
        assert b"c=IN IP4 " in engine.do("propose", control.Propose(leg="a", call="c", six=True)).sdp


def test_both_protocols_hear_each_other(engine: Bench, phone: SixPhone) -> None:
    phone.to = audio_port(engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer())).sdp)
    four = engine.phone("b")
    engine.connect("a", control.Bridge("b"))
    for number in range(10):
        phone.send(number)
        four.send(bytes([100 + number]) * 160)
        engine.ticks(4)
    assert [packet.payload[0] for packet in four.received()] == list(range(10))
    assert phone.received() == list(range(100, 110))


def test_a_third_party_takes_no_stream(engine: Bench, phone: SixPhone) -> None:
    phone.to = audio_port(engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer())).sdp)
    engine.connect("a", control.Echo())
    thief = SixPhone()
    try:
        phone.send(1)
        engine.ticks(4)
        thief.send(2, phone.to)
        engine.ticks(4)
        phone.send(3)
        engine.ticks(4)
        assert (phone.received(), thief.received()) == ([1, 3], [])
        assert engine.report("a").refused == 1
    finally:
        thief.close()


def test_a_source_behind_another_port_is_learned(engine: Bench, phone: SixPhone) -> None:
    phone.to = audio_port(engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer(port=9))).sdp)
    engine.connect("a", control.Echo())
    for number in range(3):
        phone.send(number)
        engine.ticks(4)
    assert phone.received() == [0, 1, 2]


def test_a_leg_changes_its_protocol(engine: Bench, phone: SixPhone) -> None:
    four = engine.phone("a")
    engine.connect("a", control.Echo())
    four.send(b"\x01" * 160)
    engine.ticks(4)
    assert len(four.received()) == 1
    phone.to = audio_port(engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer())).sdp)
    for number in (2, 3):  # another source takes over by two packets in a row
        phone.send(number)
        engine.ticks(4)
    assert phone.received() == [3]
    four.take(engine.do("offer", control.Offer(leg="a", call="c", sdp=four.offer())).sdp)
    for number in (4, 5):
        four.send(bytes([number]) * 160)
        engine.ticks(4)
    assert [packet.payload[0] for packet in four.received()] == [5]


def test_who_has_no_address_of_ipv6_refuses_it() -> None:
    with bench() as engine:
        other = SixPhone()
        with pytest.raises(MediaError, match="not-acceptable"):
            engine.do("offer", control.Offer(leg="a", call="c", sdp=other.offer()))
        other.close()


def test_addresses_that_are_none(engine: Bench, phone: SixPhone) -> None:
    for host in (b"::1::", b"127.0.0.1", b"%lo", b"1" * 60):
        with pytest.raises(MediaError, match="not-acceptable"):
            engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer().replace(b"c=IN IP6 ::1", b"c=IN IP6 " + host)))
    held = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer().replace(b"c=IN IP6 ::1", b"c=IN IP6 ::")))
    assert held.held
