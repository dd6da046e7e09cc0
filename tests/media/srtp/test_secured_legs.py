"""Secured legs of a processor, with phones that speak SRTP by another way."""

import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from media import control
from media.control import MediaError, MediaProcessor
from tests.media.phone import Bench, audio_port, bench, drain
from tests.media.srtp.secure_phone import PROFILES, SecurePhone, crypto_lines, key_of


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def call(engine: Bench, leg: str, phone: SecurePhone, **offer: str) -> SecurePhone:
    engine.phones.append(phone)
    phone.take(engine.do("offer", control.Offer(leg=leg, call="call", sdp=phone.description(**offer))).sdp)
    return phone


@pytest.mark.parametrize("suite", PROFILES)
def test_an_echo_comes_back_under_our_own_key(engine: Bench, suite: str) -> None:
    phone = SecurePhone(suite)
    answer = engine.do("offer", control.Offer(leg="a", call="call", sdp=phone.description())).sdp
    engine.phones.append(phone)
    assert "m=audio" in answer.decode() and "RTP/SAVP 0 101" in answer.decode()
    (line,) = crypto_lines(answer)
    assert line.split()[:2] == ["1", suite]
    assert key_of(line) != phone.key
    phone.take(answer)
    engine.connect("a", control.Echo())
    for number in range(40):  # over the wrap of sequence numbers: a phone begins at 65530
        phone.send(bytes([number]) * 160)
        engine.ticks(4)
    got = phone.received()
    assert [packet.payload for packet in got] == [bytes([number]) * 160 for number in range(40)]
    report = engine.report("a")
    assert (report.packets_in, report.lost, report.refused) == (40, 0, 0)


def test_a_secured_leg_and_one_in_the_clear_hear_each_other(engine: Bench) -> None:
    one, other = call(engine, "a", SecurePhone()), engine.phone("b")
    engine.connect("a", control.Bridge("b"))
    for number in range(10):
        one.send(bytes([number]) * 160)
        other.send(bytes([100 + number]) * 160)
        engine.ticks(4)
    assert [packet.payload[0] for packet in other.received()] == list(range(10))
    assert [packet.payload[0] for packet in one.received()] == list(range(100, 110))


def test_rooms_playback_and_recording_need_nothing_special(engine: Bench, tmp_path: object) -> None:
    phones = [call(engine, f"leg{number}", SecurePhone(ssrc=number + 1, first=number)) for number in range(3)]
    for number in range(3):
        engine.connect(f"leg{number}", control.Room("3000"))
    path = f"{tmp_path}/room.wav"
    started = engine.do("record", control.Record(room="3000", path=path))
    heard = [0, 0, 0]
    for _ in range(20):
        for phone in phones:
            phone.send(b"\x10" * 160)
        engine.ticks(4)
        for place, phone in enumerate(phones):
            heard[place] += sum(packet.payload != b"\xff" * 160 for packet in phone.received())
    assert min(heard) > 10
    engine.do("stop", control.Stop(id=started.id))
    engine.until(lambda: os.path.getsize(path) > 44 + 160 * 10)


def test_nothing_passes_in_the_clear_and_nothing_twice(engine: Bench) -> None:
    phone = call(engine, "a", SecurePhone())
    engine.connect("a", control.Echo())
    plain = b"\x80\x00" + (65530).to_bytes(2, "big") + bytes(4) + phone.ssrc.to_bytes(4, "big") + b"\x01" * 160
    phone.socket.sendto(plain, phone.to)
    sealed = phone.out.protect(plain)
    broken = sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:]
    for data in (broken, sealed[:30], sealed, sealed):
        phone.socket.sendto(data, phone.to)
        engine.ticks(4)
    assert [packet.payload for packet in phone.received()] == [b"\x01" * 160]
    assert engine.report("a").refused == 4
    assert engine.report("a").packets_in == 1


def test_a_third_party_takes_no_stream_with_packets_that_are_not_authentic(engine: Bench) -> None:
    proposal = engine.do("propose", control.Propose(leg="out", call="c", protocol="RTP/SAVP"))
    phone, thief = SecurePhone("AEAD_AES_128_GCM"), SecurePhone("AEAD_AES_128_GCM", first=9)
    engine.phones += [phone, thief]
    lines = crypto_lines(proposal.sdp)
    assert [line.split()[1] for line in lines] == ["AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
    thief.to = phone.to = ("127.0.0.1", audio_port(proposal.sdp))
    # It is behind a NAT: its answer names an address that nobody sends from.
    answer = phone.description().replace(f"m=audio {phone.port}".encode(), b"m=audio 9")
    engine.do("accept", control.Accept(leg="out", sdp=answer))
    engine.connect("out", control.Echo())
    phone.hear_with(key_of(lines[0]))
    thief.send(b"\x02" * 160)
    engine.ticks(4)
    phone.send(b"\x01" * 160)
    engine.ticks(4)
    thief.send(b"\x02" * 160)
    engine.ticks(4)
    phone.send(b"\x03" * 160)
    engine.ticks(4)
    assert [packet.payload[0] for packet in phone.received()] == [1, 3]
    assert drain(thief.socket) == []
    assert engine.report("out").refused == 2


def test_reports_are_protected_too(engine: Bench) -> None:
    phone = call(engine, "a", SecurePhone())
    engine.connect("a", control.Echo())
    for _ in range(500):
        phone.send(b"\x01" * 160)
        engine.ticks(4)
        phone.received()
    reports = phone.reports()
    assert reports and all(report[1] == 200 for report in reports)
    plain = b"\x81\xc9\x00\x07" + phone.ssrc.to_bytes(4, "big") + reports[0][4:8] + b"\x40\x00\x00\x05" + bytes(16)
    phone.rtcp.sendto(plain, phone.to_rtcp)
    engine.ticks(4)
    assert engine.report("a").remote_lost == 0
    phone.rtcp.sendto(phone.out.protect_rtcp(plain), phone.to_rtcp)
    engine.ticks(4)
    assert engine.report("a").remote_lost == 5
    refused = engine.report("a").refused
    assert refused == 1


def test_a_renegotiation_keeps_keys_and_a_changed_key_is_taken(engine: Bench) -> None:
    phone = call(engine, "a", SecurePhone())
    engine.connect("a", control.Echo())
    answers = [engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.description())).sdp for _ in range(2)]
    assert crypto_lines(answers[0]) == crypto_lines(answers[1])
    phone.send(b"\x01" * 160)
    engine.ticks(4)
    assert len(phone.received()) == 1
    again = SecurePhone(first=77)
    phone.key, phone.out = again.key, again.out
    answer = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.description())).sdp
    assert crypto_lines(answer) == crypto_lines(answers[0])  # ours did not change
    phone.send(b"\x02" * 160)
    engine.ticks(4)
    assert [packet.payload[0] for packet in phone.received()] == [2]
    again.close()
    (proposal,) = crypto_lines(engine.do("propose", control.Propose(leg="a", call="c")).sdp)
    assert proposal == crypto_lines(answer)[0]


def test_what_is_offered_decides(engine: Bench) -> None:
    phone = SecurePhone()
    engine.phones.append(phone)
    # Keys over RTP/AVP: SRTP for who can.
    answer = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.description("RTP/AVP"))).sdp.decode()
    assert "RTP/AVP 0 101" in answer and "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" in answer
    # A key that nobody can use, over RTP/AVP: in the clear; over RTP/SAVP: not at all.
    bad = phone.description("RTP/AVP").replace(b"AES_CM_128_HMAC_SHA1_80", b"F8_128_HMAC_SHA1_80")
    assert "crypto" not in engine.do("offer", control.Offer(leg="b", call="c", sdp=bad)).sdp.decode()
    for sdp in (bad.replace(b"RTP/AVP", b"RTP/SAVP"), phone.description().replace(b"a=crypto", b"a=cryptic")):
        with pytest.raises(MediaError, match="not-acceptable"):
            engine.do("offer", control.Offer(leg="d", call="c", sdp=sdp))
    # We offered keys: an answer without is none.
    engine.do("propose", control.Propose(leg="out", call="c", protocol="RTP/SAVP"))
    with pytest.raises(MediaError, match="not-acceptable"):
        engine.do("accept", control.Accept(leg="out", sdp=phone.offer()))


@pytest.mark.parametrize("looks", [0, 1])
def test_another_process_goes_on_at_the_same_index(engine: Bench, looks: int) -> None:
    """With sessions that are made when they are needed, and with those that a standby made ahead."""
    engine.close()
    sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for side in sides:
        side.bind(("127.0.0.1", 0))
    state = os.memfd_create("state")
    kept = {"rtp": sides[0].fileno(), "rtcp": sides[1].fileno(), "state": state}
    engine.processor = MediaProcessor(engine.configuration, kept, engine.now)
    try:
        phone = call(engine, "a", SecurePhone("AES_CM_128_HMAC_SHA1_32"))
        engine.connect("a", control.Echo())
        legs = engine.processor._desk.engine.legs
        legs.sequence_out[0] = 65520
        sent = []
        for number in range(30):
            if number in (5, 12, 20):  # before and after the wrap of what comes in, and of what goes out
                desk = engine.processor._desk
                desk.engine.sockets.close()
                engine.processor = MediaProcessor(engine.configuration, kept, engine.now)
                for _ in range(looks):
                    engine.processor.look()
                assert any(engine.processor._desk.engine.guard._out) == bool(looks)
                if number == 12:
                    legs.ssrc_secured[0] += 1  # another source was heard after the last look: its session is made anew
                    engine.processor.look()
                    legs.ssrc_secured[0] -= 1
                assert engine.processor.take_over(engine.now) == 1
                desk.engine.bank.close()
                phone.socket.sendto(sent[-1], phone.to)  # a replay
                engine.ticks(4)
                assert drain(phone.socket) == []
            data = b"\x80\x00" + (phone.sequence & 0xFFFF).to_bytes(2, "big") + (160 * number).to_bytes(4, "big")
            sent.append(phone.out.protect(data + phone.ssrc.to_bytes(4, "big") + bytes([number]) * 160))
            phone.sequence += 1
            phone.socket.sendto(sent[-1], phone.to)
            engine.ticks(4)
            (packet,) = phone.received()
            assert packet.payload == bytes([number]) * 160
            for _ in range(3):
                engine.processor._desk.engine.reports.send(np.array([0]), engine.now)
            assert len(phone.reports()) == 3  # a repeated index would be a replay there
    finally:
        for side in sides:
            side.close()
        os.close(state)


def test_sources_that_a_leg_hears_are_bounded(engine: Bench) -> None:
    phone = call(engine, "a", SecurePhone())
    for number in range(100):
        phone.ssrc = 5000 + number
        phone.send(b"\x01" * 160)
        phone.send(b"\x01" * 160)
        engine.ticks(4)
    report = engine.report("a")
    assert report.packets_in + report.refused == 200
    assert report.refused >= 2 * 36
