"""The whole engine over real sockets, under a clock that stands still."""

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from media import control, g711
from media.control import MediaError
from media.engine import RELAY_TICKS
from tests.media.phone import Bench, Phone, bench, drain, tone


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def frames(seed: int, count: int) -> list[bytes]:
    return [bytes(row) for row in np.random.default_rng(seed).integers(0, 256, (count, 160), dtype=np.uint8)]


def test_echo_sends_every_byte_back_as_a_stream_of_its_own(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Echo())
    sent = frames(1, 20)
    got = []
    for payload in sent:
        phone.send(payload)
        engine.ticks(4)
        got += phone.received()
    assert [packet.payload for packet in got] == sent
    assert [packet.kind for packet in got] == [0] * 20
    assert len({packet.ssrc for packet in got}) == 1 and got[0].ssrc != phone.ssrc
    assert [packet.sequence for packet in got] == [(got[0].sequence + number) & 0xFFFF for number in range(20)]
    assert [packet.timestamp for packet in got] == [(got[0].timestamp + 160 * number) & 0xFFFFFFFF for number in range(20)]
    assert [packet.marker for packet in got] == [True] + [False] * 19
    report = engine.report("a")
    assert (report.packets_in, report.bytes_in, report.packets_out, report.lost, report.codec) == (20, 3200, 20, 0, "PCMU/8000")
    assert report.connected_to == "echo" and report.mos > 4.3


def test_what_waited_while_nobody_served_is_not_lost(engine: Bench) -> None:
    """After half a second without a tick the kernel holds many packets of few legs."""
    phones = [engine.phone(f"leg{number}") for number in range(3)]
    for number, _ in enumerate(phones):
        engine.connect(f"leg{number}", control.Echo())
    for phone in phones:
        for payload in frames(1, 27):
            phone.send(payload)
    engine.now += 0.54
    engine.ticks(4)
    for phone in phones:
        assert [packet.payload for packet in phone.received()] == frames(1, 27)


def test_a_bridge_changes_the_law_and_keeps_gaps(engine: Bench) -> None:
    one, two = engine.phone("a"), engine.phone("b", formats="8 101")
    engine.connect("a", control.Bridge("b"))
    sent = frames(2, 6)
    got = []
    for number, payload in enumerate(sent):
        if number == 3:
            one.sequence += 1
            one.timestamp += 160
            continue
        one.send(payload)
        engine.ticks(4)
        got += two.received()
    assert [packet.kind for packet in got] == [8] * 5
    kept = [payload for number, payload in enumerate(sent) if number != 3]
    assert [packet.payload for packet in got] == [bytes(g711.CHANGE[1][np.frombuffer(payload, np.uint8)]) for payload in kept]
    steps = [(packet.sequence - got[0].sequence) & 0xFFFF for packet in got]
    assert steps == [0, 1, 2, 4, 5]
    two.send(sent[0], kind=8)
    engine.ticks(1)
    assert one.received()[0].payload == bytes(g711.CHANGE[2][np.frombuffer(sent[0], np.uint8)])
    assert engine.report("a").lost == 1


@pytest.mark.parametrize("own", ["", "a", "bd", "abcd"])
def test_a_batch_of_anything_is_relayed_to_whom_it_is_for(engine: Bench, own: str) -> None:
    """``own``: legs that have sockets of their own, since another leg's peer is at the same address."""
    rng = np.random.default_rng(5)
    phones = {name: Phone(ssrc=ord(name)) for name in "abcd"}
    engine.phones += phones.values()
    for name, phone in phones.items():
        sdp = phone.offer("8 101" if name == "d" else "0 101")
        for leg in ([f"before {name}"] if name in own else []) + [name]:
            phone.take(engine.do("offer", control.Offer(leg=leg, call="c", sdp=sdp)).sdp)
    assert len({phone.to for phone in phones.values()}) == min(len(own) + 1, 4)
    engine.connect("a", control.Bridge("b"))
    engine.connect("c", control.Bridge("d"))
    stray = Phone()
    engine.phones.append(stray)
    stray.to = phones["a"].to
    peers = {"a": "b", "b": "a", "c": "d", "d": "c"}
    law = {"c": g711.CHANGE[1], "d": g711.CHANGE[2]}
    wanted: dict[str, list[bytes]] = {name: [] for name in peers}
    for _ in range(80):
        for name in rng.permutation(list("abcdxyz")).tolist():
            payload = rng.integers(0, 256, int(rng.integers(1, 300)), dtype=np.uint8)
            if name == "x":
                stray.raw(bytes(payload))
            elif name == "y":
                phones["a"].raw(b"\x80\x4d" + bytes(payload))  # of no payload type that was agreed on
            elif name == "z" and rng.random() < 0.5:
                phones["c"].raw(b"\x80\xc9\x00\x01\x00\x00\x00\x00")  # RTCP on the port of RTP
            elif name in peers and rng.random() < 0.9:
                phones[name].send(bytes(payload), kind=8 if name == "d" else 0)
                wanted[peers[name]].append(bytes(law[name][payload] if name in law else payload))
        engine.ticks(RELAY_TICKS)
    for name, phone in phones.items():
        got = phone.received()
        assert [packet.payload for packet in got] == wanted[name]
        assert {packet.kind for packet in got} == {8 if name == "d" else 0}
        assert [(packet.sequence - got[0].sequence) & 0xFFFF for packet in got] == list(range(len(got)))


def heard(packets: list[bytes]) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    return g711.decode(np.frombuffer(b"".join(packets), np.uint8), g711.MU)


def level(samples: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]", frequency: float) -> float:
    """Amplitude of one frequency."""
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(samples)) / 8000.0)
    return float(2 * abs(np.mean(samples * turn)))


def test_in_a_room_each_hears_the_others_and_not_itself(engine: Bench) -> None:
    pitches = {"a": 430.0, "b": 810.0, "c": 1170.0}
    phones = {name: engine.phone(name) for name in pitches}
    waves = {name: g711.encode(tone(pitch, 60), g711.MU) for name, pitch in pitches.items()}
    for name in pitches:
        engine.connect(name, control.Room("3000"))
    got: dict[str, list[bytes]] = {name: [] for name in pitches}
    for number in range(60):
        for name, phone in phones.items():
            phone.send(bytes(waves[name][number]))
        engine.ticks(4)
        for name, phone in phones.items():
            got[name] += [packet.payload for packet in phone.received()]
    for name in pitches:
        assert len(got[name]) == 60
        samples = heard(got[name])[160 * 10 : 160 * 50]
        for other, pitch in pitches.items():
            assert level(samples, pitch) == pytest.approx(0.0 if other == name else 8000.0, abs=80)
    assert engine.report("a").concealed == 0 and engine.report("a").lost == 0


def test_a_room_of_two_laws_is_mixed_to_the_sample(engine: Bench) -> None:
    phones = {"a": engine.phone("a"), "b": engine.phone("b", formats="8"), "c": engine.phone("c")}
    for name in phones:
        engine.connect(name, control.Room("mixed"))
    laws = {"a": g711.MU, "b": g711.A, "c": g711.MU}
    sent = {name: frames(seed, 8) for seed, name in enumerate(phones)}
    got: dict[str, list[bytes]] = {name: [] for name in phones}
    for number in range(8):
        for name, phone in phones.items():
            phone.send(sent[name][number], kind=8 if laws[name] == g711.A else 0)
        engine.ticks(4)
        for name, phone in phones.items():
            got[name] += [packet.payload for packet in phone.received()]
    linear = {name: [g711.decode(np.frombuffer(f, np.uint8), laws[name]).astype(int) for f in sent[name]] for name in phones}
    for name in phones:
        others = [other for other in phones if other != name]
        expected = [bytes(g711.encode(linear[others[0]][n] + linear[others[1]][n], laws[name])) for n in range(8)]
        first = next(index for index, payload in enumerate(got[name]) if payload == expected[0])
        assert got[name][first:] == expected[: len(got[name]) - first]
        assert first <= 1


def test_play_gives_the_source_without_gaps_and_goes_round(engine: Bench) -> None:
    phone = engine.phone("a", formats="8")
    engine.connect("a", control.Play("busy"))
    got = []
    for _ in range(120):
        engine.ticks(4)
        got += phone.received()
    assert len(got) == 120
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(got)} == {160}
    samples = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.A)
    assert level(samples[: 8000 // 2], 425.0) > 5000
    assert level(samples[8000 // 2 : 8000], 425.0) < 50
    assert level(samples[8000 : 8000 * 3 // 2], 425.0) > 5000


def test_a_playback_to_a_leg_ends_and_the_echo_goes_on(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Echo())
    started = engine.do("play", control.PlayTo(leg="a", source="beep"))
    got = []
    for number in range(20):
        phone.send(bytes([number]) * 160)
        engine.ticks(4)
        got += phone.received()
    assert [(client, name, event.id) for client, name, event in engine.events()] == [("router", "play-ended", started.id)]
    assert len(got) in (20, 21)
    assert got[-1].payload == bytes([19]) * 160
    assert [packet.sequence for packet in got] == [(got[0].sequence + number) & 0xFFFF for number in range(len(got))]
    stamps = [packet.timestamp for packet in got]
    assert all(0 < (b - a) & 0xFFFFFFFF <= 480 for a, b in itertools.pairwise(stamps))


def test_recording_a_bridged_leg_holds_both_sides(engine: Bench, tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = engine.phone("a"), engine.phone("b")
    engine.connect("a", control.Bridge("b"))
    started = engine.do("record", control.Record(leg="a", path=str(tmp_path / "a.wav")))
    low, high = g711.encode(tone(400, 60), 0), g711.encode(tone(1000, 60), 0)
    for number in range(60):
        one.send(bytes(low[number]))
        two.send(bytes(high[number]))
        engine.ticks(4)
    assert {packet.payload for packet in two.received()} & {bytes(row) for row in low}
    engine.do("stop", control.Stop(id=started.id))
    engine.processor.close()
    data = np.frombuffer((tmp_path / "a.wav").read_bytes()[44:], np.int16).reshape(-1, 2)
    assert len(data) >= 58 * 160
    assert level(data[1600:8000, 0], 400) == pytest.approx(8000, rel=0.02)
    assert level(data[1600:8000, 1], 1000) == pytest.approx(8000, rel=0.02)
    assert level(data[1600:8000, 0], 1000) < 60


def test_legs_of_one_source_port_get_sockets_of_their_own(engine: Bench) -> None:
    first = engine.phone("a")
    engine.connect("a", control.Echo())
    answer = engine.do("offer", control.Offer(leg="b", call="c", sdp=first.offer()))
    second = Phone.__new__(Phone)
    second.__dict__.update(first.__dict__)
    second.take(answer.sdp)
    engine.connect("b", control.Echo())
    assert second.to != first.to
    second.ssrc = 7
    for _ in range(3):
        first.send(b"\x01" * 160)
        second.send(b"\x02" * 160)
        engine.ticks(4)
    got = first.received()
    assert len(got) == 6 and len({packet.ssrc for packet in got}) == 2
    assert {packet.payload for packet in got} == {b"\x01" * 160, b"\x02" * 160}


def test_a_source_behind_nat_is_latched_and_can_not_be_taken(engine: Bench) -> None:
    phone = Phone()
    engine.phones.append(phone)
    told = phone.offer().replace(b"IP4 127.0.0.1", b"IP4 10.9.8.7")
    phone.take(engine.do("offer", control.Offer(leg="a", call="c", sdp=told)).sdp)
    engine.connect("a", control.Echo())
    thief = Phone(ssrc=99)
    engine.phones.append(thief)
    thief.to = phone.to
    phone.send(b"\x01" * 160)
    engine.ticks(RELAY_TICKS)
    thief.send(b"\x02" * 160)
    engine.ticks(RELAY_TICKS)
    assert [packet.payload for packet in phone.received()] == [b"\x01" * 160]
    assert thief.received() == []
    assert engine.report("a").refused == 1


def test_who_was_told_gets_its_leg_back_from_a_stranger(engine: Bench) -> None:
    stray = engine.phone("before")
    engine.connect("before", control.Echo())
    engine.do("release", control.Release(leg="before"))
    phone = engine.phone("leg")
    engine.connect("leg", control.Echo())
    stray.send(bytes(range(160)))
    engine.ticks(4)
    assert len(stray.received()) == 1, "behind a NAT its port would differ like this"
    for number in range(20):
        phone.send(bytes([number]) * 160)
        stray.send(bytes(range(160)))
        engine.ticks(4)
    assert [packet.payload[0] for packet in phone.received()][-10:] == list(range(10, 20))
    assert not stray.received()


def test_dtmf_is_reported_once_and_relayed(engine: Bench) -> None:
    one, two = engine.phone("a"), engine.phone("b")
    engine.connect("a", control.Bridge("b"))
    one.send(b"\xff" * 160)
    engine.ticks(4)
    for step, end in ((1, 0), (2, 0), (3, 0x80), (3, 0x80), (3, 0x80)):
        one.send(
            bytes([5, 10 | end, 0, 160 * step]) if step < 2 else bytes([5, 10 | end]) + (160 * step).to_bytes(2, "big"), kind=101, step=0
        )
        engine.ticks(4)
    assert [(name, event.digit, event.duration_ms, event.leg) for _, name, event in engine.events()] == [("dtmf", "5", 60, "a")]
    got = two.received()
    assert [packet.kind for packet in got] == [0] + [101] * 5
    assert len({packet.timestamp for packet in got[1:]}) == 1


def test_digits_go_out_as_events_without_disturbing_the_numbers(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    engine.ticks(8)
    engine.do("dtmf", control.SendDigits(leg="a", digits="7#"))
    engine.ticks(4 * 30)
    got = phone.received()
    assert [packet.sequence for packet in got] == [(got[0].sequence + number) & 0xFFFF for number in range(len(got))]
    events = [packet for packet in got if packet.kind == 101]
    for code, part in ((7, events[:8]), (11, events[8:])):
        assert [packet.payload[0] for packet in part] == [code] * 8
        assert [int.from_bytes(packet.payload[2:], "big") for packet in part] == [160, 320, 480, 640, 800, 800, 800, 800]
        assert [packet.payload[1] >> 7 for packet in part] == [0] * 5 + [1] * 3
        assert len({packet.timestamp for packet in part}) == 1
        assert [packet.marker for packet in part] == [True] + [False] * 7


def test_without_telephone_event_digits_are_tones(engine: Bench) -> None:
    phone = engine.phone("a", formats="0", extra="")
    engine.connect("a", control.Nothing())
    engine.do("dtmf", control.SendDigits(leg="a", digits="1"))
    engine.ticks(4 * 12)
    samples = heard([packet.payload for packet in phone.received()])[:800]
    assert level(samples, 697) > 2000 and level(samples, 1209) > 2000


def test_hold_stops_what_is_sent_and_resumes(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    engine.ticks(8)
    assert len(phone.received()) == 2
    answer = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer(direction="inactive")))
    assert b"a=inactive" in answer.sdp and answer.held
    engine.ticks(8)
    assert phone.received() == []
    answer = engine.do("offer", control.Offer(leg="a", call="c", sdp=phone.offer()))
    assert b"a=sendrecv" in answer.sdp and not answer.held
    engine.ticks(8)
    assert len(phone.received()) == 2


def test_an_outbound_leg_is_proposed_and_accepted(engine: Bench) -> None:
    proposal = engine.do("propose", control.Propose(leg="out", call="c"))
    phone = Phone()
    engine.phones.append(phone)
    phone.take(proposal.sdp)
    engine.do("accept", control.Accept(leg="out", sdp=phone.offer(formats="8 101")))
    caller = engine.phone("in")
    engine.connect("in", control.Bridge("out"))
    caller.send(b"\x55" * 160)
    phone.send(b"\xaa" * 160, kind=8)
    engine.ticks(1)
    assert phone.received()[0].kind == 8
    assert caller.received()[0].kind == 0


@pytest.mark.parametrize(("pause_ticks", "gap"), [(1, 0), (3, 0), (7, 0), (40, 9)])
def test_a_late_tick_makes_up_for_those_before(engine: Bench, pause_ticks: int, gap: int) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    engine.ticks(12)
    engine.now += pause_ticks * 0.005
    engine.ticks(12)
    got = phone.received()
    assert [packet.sequence for packet in got] == [(got[0].sequence + number) & 0xFFFF for number in range(len(got))]
    frames = [((packet.timestamp - got[0].timestamp) & 0xFFFFFFFF) // 160 for packet in got]
    assert frames[-1] - (len(got) - 1) == pytest.approx(gap, abs=1 if gap else 0)
    assert frames[-1] == pytest.approx((24 + pause_ticks) / 4 - 1, abs=1)


def test_silence_is_reported_once(engine: Bench) -> None:
    with bench(rtp_timeout_seconds=2.0) as short:
        short.phone("a")
        short.now += 3
        short.ticks(2)
        short.now += 3
        short.ticks(2)
        events = short.events()
        assert [(client, name, event.leg) for client, name, event in events] == [("router", "rtp-timeout", "a")]


def test_reports_say_loss_jitter_and_goodbye(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Echo())
    for number in range(400):
        if number % 10 != 9:
            phone.send(b"\xff" * 160)
        else:
            phone.sequence += 1
            phone.timestamp += 160
        engine.ticks(4)
    reports = [data for data in drain(phone.rtcp) if data[1] == 200]
    assert reports
    block = reports[0][28:52]
    assert int.from_bytes(block[:4], "big") == phone.ssrc
    assert block[4] == pytest.approx(25, abs=3)
    last = reports[-1]
    assert int.from_bytes(last[20:24], "big") > 100
    phone.rtcp.sendto(receiver_report(phone.ssrc, int.from_bytes(last[4:8], "big"), last, lost=5, jitter=16), phone.to_rtcp)
    engine.ticks(1)
    report = engine.report("a")
    assert (report.remote_lost, report.remote_jitter_ms) == (5, 2.0)
    assert 0 <= report.round_trip_ms < 10_000
    final = engine.do("release", control.Release(leg="a"))
    assert final.lost == 39
    assert any(data[-8] == 0x81 and data[-7] == 203 for data in drain(phone.rtcp))


def receiver_report(ssrc: int, of: int, sender: bytes, lost: int, jitter: int) -> bytes:
    middle = sender[10:14]
    block = of.to_bytes(4, "big") + bytes([12]) + lost.to_bytes(3, "big") + bytes(4) + jitter.to_bytes(4, "big") + middle + bytes(4)
    return bytes([0x81, 201, 0, 7]) + ssrc.to_bytes(4, "big") + block


@pytest.mark.parametrize("seed", range(4))
def test_noise_never_raises(engine: Bench, seed: int) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Room("x"))
    rng = np.random.default_rng(seed)
    for _ in range(300):
        data = bytearray(rng.integers(0, 256, int(rng.integers(0, 1600)), dtype=np.uint8))
        if rng.random() < 0.8 and len(data) >= 2:
            data[0] = 0x80 | data[0] & 0x3F
            data[1] = int(rng.choice([0, 101, 13, 200, 201, 202, 203, 8]))
        phone.raw(bytes(data))
        phone.rtcp.sendto(bytes(data), phone.to_rtcp)
        if rng.random() < 0.3:
            engine.ticks(1)
    engine.ticks(8)
    assert engine.report("a").refused > 0


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("offer", control.Offer(leg="x", call="c", sdp=b"hello"), "bad-sdp"),
        ("offer", control.Offer(leg="x", call="c", sdp=b"v=0\r\nm=video 5000 RTP/AVP 96\r\n"), "not-acceptable"),
        ("connect", control.Connect(leg="none", to=control.Echo()), "not-found"),
        ("release", control.Release(leg="none"), "not-found"),
        ("nonsense", control.Done(), "bad-request"),
        ("offer", control.Done(), "bad-request"),
    ],
)
def test_jobs_that_can_not_be_done_say_why(engine: Bench, operation: str, body: msgspec.Struct, code: str) -> None:
    with pytest.raises(MediaError) as raised:
        engine.processor.handle(operation, msgspec.msgpack.encode(body), "router", engine.now)
    assert raised.value.code == code
    assert engine.processor.legs() == 0


def test_full_is_said(engine: Bench) -> None:
    with bench(legs_max=2) as small:
        small.phone("a")
        small.phone("b")
        with pytest.raises(MediaError, match="full"):
            small.phone("c")
        small.do("release", control.Release(leg="a"))
        small.phone("c")
