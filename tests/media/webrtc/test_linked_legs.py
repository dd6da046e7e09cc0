"""Two processors: one offers ICE and DTLS-SRTP, the other answers; each is the other's browser."""

import os
import re
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from media import control
from media.control import MediaError, MediaProcessor
from tests.media.phone import Bench, Phone, bench

PROTOCOL = "UDP/TLS/RTP/SAVPF"


@pytest.fixture
def engines() -> Iterator[tuple[Bench, Bench]]:
    with bench() as one, bench() as other:
        yield one, other


def together(engines: tuple[Bench, Bench], ticks: int) -> None:
    for _ in range(ticks):
        for engine in engines:
            engine.ticks()


def joined(engines: tuple[Bench, Bench], strip: str = "") -> tuple[str, str]:
    """A leg ``x`` on each side; lines that match ``strip`` are taken out of what they say."""

    def cut(description: bytes) -> bytes:
        return b"".join(line + b"\r\n" for line in description.split(b"\r\n")[:-1] if not (strip and re.match(strip.encode(), line)))

    one, other = engines
    offer = cut(one.do("propose", control.Propose(leg="x", call="c", protocol=PROTOCOL)).sdp)
    answer = cut(other.do("offer", control.Offer(leg="x", call="c", sdp=offer)).sdp)
    one.do("accept", control.Accept(leg="x", sdp=answer))
    return offer.decode(), answer.decode()


def talk(engines: tuple[Bench, Bench], phone: Phone, number: int) -> list[int]:
    phone.send(bytes([number]) * 160)
    together(engines, 8)
    return [packet.payload[0] for packet in phone.received()]


@pytest.mark.parametrize("strip", ["", r"a=(ice|candidate|end-of)"])
def test_a_phone_hears_itself_through_both(engines: tuple[Bench, Bench], strip: str) -> None:
    one, other = engines
    offer, answer = joined(engines, strip)
    assert f"{PROTOCOL} " in offer and "a=setup:actpass" in offer and "a=group:BUNDLE 0" in offer
    assert f"{PROTOCOL} " in answer and "a=group:BUNDLE 0" in answer and "a=mid:0" in answer and "a=rtcp-mux" in answer
    assert ("a=ice-lite" in answer) == (not strip)
    assert "a=setup:" + ("passive" if strip else "active") in answer
    other.connect("x", control.Echo())
    phone = one.phone("a")
    one.connect("a", control.Bridge("x"))
    together(engines, 60)
    heard = [code for number in range(20) for code in talk(engines, phone, number)]
    assert heard == list(range(20))
    for engine in engines:
        legs = engine.processor._desk.engine.legs
        leg = next(record.leg for record in engine.processor._desk._records.values() if record.name == "x")
        assert legs.secured[leg] and legs.suite[leg] == 3
        assert engine.report("x").refused == 0


def test_it_is_heard_in_a_room_that_it_was_in_before_it_was_reached(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    joined(engines)
    for engine in engines:
        engine.connect("x", control.Room("3000"))
    phones = [engine.phone("a") for engine in engines]
    for engine in engines:
        engine.connect("a", control.Room("3000"))
    heard = [0, 0]
    for _ in range(80):
        for phone in phones:
            phone.send(b"\x10" * 160)
        together((one, other), 4)
        for place, phone in enumerate(phones):
            heard[place] += sum(packet.payload[80] == 0x10 for packet in phone.received())
    assert min(heard) > 20


def test_reports_pass_too(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    joined(engines)
    other.connect("x", control.Play("music"))
    one.connect("x", control.Play("music"))
    together(engines, 200)
    for _ in range(2):
        for engine in engines:
            engine.processor._desk.engine.reports.send(np.array([0]), engine.now)
        together(engines, 20)
    for engine in engines:
        report = engine.report("x")
        assert report.round_trip_ms >= 0
        assert report.lost == 0 and report.packets_in > 20


def test_another_fingerprint_is_silence(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    offer = one.do("propose", control.Propose(leg="x", call="c", protocol=PROTOCOL)).sdp
    place = offer.index(b"fingerprint:sha-256 ") + 20
    wrong = offer[:place] + (b"00" if offer[place : place + 2] != b"00" else b"11") + offer[place + 2 :]
    answer = other.do("offer", control.Offer(leg="x", call="c", sdp=wrong)).sdp
    one.do("accept", control.Accept(leg="x", sdp=answer))
    one.connect("x", control.Play("music"))
    other.connect("x", control.Play("music"))
    together(engines, 200)
    assert one.report("x").packets_in == other.report("x").packets_in == 0


def test_hold_and_restart(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    _, answer = joined(engines)
    other.connect("x", control.Echo())
    phone = one.phone("a")
    one.connect("a", control.Bridge("x"))
    together(engines, 60)
    assert talk(engines, phone, 1) == [1]
    # Again with the same credentials: nothing changes, and there is no new handshake.
    offer = one.do("propose", control.Propose(leg="x", call="c")).sdp
    again = other.do("offer", control.Offer(leg="x", call="c", sdp=offer)).sdp
    one.do("accept", control.Accept(leg="x", sdp=again))
    ufrag = re.compile(r"a=ice-ufrag:(\S+)")
    assert ufrag.findall(again.decode()) == ufrag.findall(answer)
    assert talk(engines, phone, 2) == [2]
    held = other.do("offer", control.Offer(leg="x", call="c", sdp=offer.replace(b"a=sendrecv", b"a=sendonly")))
    assert held.held and b"a=recvonly" in held.sdp
    assert talk(engines, phone, 3) == []
    other.do("offer", control.Offer(leg="x", call="c", sdp=offer))
    assert talk(engines, phone, 4) == [4]
    restart = offer.replace(ufrag.findall(offer.decode())[0].encode(), b"restart1")
    anew = other.do("offer", control.Offer(leg="x", call="c", sdp=restart)).sdp.decode()
    assert ufrag.findall(anew) != ufrag.findall(answer)


def test_without_consent_nothing_is_sent(engines: tuple[Bench, Bench]) -> None:
    _, other = engines
    joined(engines)
    other.connect("x", control.Play("music"))
    together(engines, 60)
    legs = other.processor._desk.engine.legs
    assert legs.sends[0]
    for _ in range(64):  # nobody asks
        other.now += 0.5
        other.processor.tick(other.now)
    assert not legs.sends[0]
    sent = other.report("x").packets_out
    together(engines, 400)
    assert other.report("x").packets_out == sent  # until ICE begins anew (RFC 7675 section 5.1)


def test_another_process_goes_on(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    other.processor.close()
    sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for side in sides:
        side.bind(("127.0.0.1", 0))
    state = os.memfd_create("state")
    kept = {"rtp": sides[0].fileno(), "rtcp": sides[1].fileno(), "state": state}
    other.processor = MediaProcessor(other.configuration, kept, other.now)
    try:
        _, answer = joined(engines)
        other.connect("x", control.Echo())
        phone = one.phone("a")
        one.connect("a", control.Bridge("x"))
        together(engines, 60)
        assert talk(engines, phone, 1) == [1]
        desk = other.processor._desk
        desk.engine.sockets.close()
        desk.engine.bank.close()
        other.processor = MediaProcessor(other.configuration, kept, other.now)
        assert other.processor.take_over(other.now) == 1
        assert talk(engines, phone, 2) == [2]
        for _ in range(100):  # consent goes on as well
            for engine in engines:
                engine.now += 0.4
                engine.processor.tick(engine.now)
        assert talk(engines, phone, 3)[-1:] == [3]
        offer = one.do("propose", control.Propose(leg="x", call="c")).sdp
        again = other.do("offer", control.Offer(leg="x", call="c", sdp=offer)).sdp.decode()
        fingerprint = re.compile(r"a=fingerprint:(.+)\r")
        assert fingerprint.findall(again) == fingerprint.findall(answer)
    finally:
        for side in sides:
            side.close()
        os.close(state)


def test_answers_that_are_none_to_our_offer(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    one.do("propose", control.Propose(leg="x", call="c", protocol=PROTOCOL))
    plain = Phone()
    other.phones.append(plain)
    with pytest.raises(MediaError, match="not-acceptable"):
        one.do("accept", control.Accept(leg="x", sdp=plain.offer()))


def test_what_a_browser_says_besides_is_passed_over(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    offer = one.do("propose", control.Propose(leg="x", call="c", protocol=PROTOCOL)).sdp
    more = b"a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtcp-fb:102 transport-cc\r\na=msid:- x\r\na=rtcp-rsize\r\n"
    more += b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n"
    answer = other.do("offer", control.Offer(leg="x", call="c", sdp=offer + more)).sdp.decode()
    assert "m=video 0 UDP/TLS/RTP/SAVPF 96" in answer
    assert "extmap" not in answer and "rtcp-fb" not in answer
    assert answer.index("a=group:BUNDLE 0\r\n") < answer.index("m=audio")


def test_no_bytes_of_strangers_raise_or_change_a_leg(engines: tuple[Bench, Bench]) -> None:
    one, other = engines
    _, answer = joined(engines)
    other.connect("x", control.Echo())
    phone = one.phone("a")
    one.connect("a", control.Bridge("x"))
    together(engines, 60)
    port = int(re.findall(r"m=audio (\d+)", answer)[0])
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    rng = np.random.default_rng(5)
    for first in (0, 1, 2, 20, 22, 23, 63, 64, 127, 128, 200):
        for size in (1, 2, 20, 40, 1400):
            stranger.sendto(bytes([first]) + rng.bytes(size - 1), ("127.0.0.1", port))
        together(engines, 8)
    stranger.close()
    assert talk(engines, phone, 9) == [9]
