"""L16 on legs (RFC 3551 section 4.5.11): agreed on, heard, said, and filled where it was lost."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from media import coders, control, g711
from media.control import MediaError
from tests.media.phone import Bench, Rtp, bench, tone
from tests.media.test_transcode import OPUS, level, needs_opus, opus_packets, opus_sound

NONE = np.zeros((0, 0), np.uint8)
Sound = "np.ndarray[tuple[int, ...], np.dtype[np.int16]]"


def linear(rate: int) -> dict[str, Any]:
    return {"formats": "97 101", "extra": f"a=rtpmap:97 L16/{rate}\r\na=rtpmap:101 telephone-event/8000\r\n"}


def sine(frequency: float, rate: int, seconds: float) -> Any:
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def heard(packets: list[Rtp]) -> Any:
    return np.frombuffer(b"".join(packet.payload for packet in packets), ">i2").astype(np.int16)


def of_pcmu(packets: list[Rtp]) -> Any:
    return g711.decode(np.frombuffer(b"".join(packet.payload for packet in packets), np.uint8), g711.MU)


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("milliseconds", [10, 20, 30, 40])
def test_l16_and_pcmu_hear_each_other(engine: Bench, rate: int, milliseconds: int) -> None:
    one, two = engine.phone("a"), engine.phone("b", **linear(rate))
    engine.connect("a", control.Bridge("b"))
    step = rate * milliseconds // 1000
    theirs = sine(1000, rate, 1.2).astype(">i2").reshape(-1, step)
    mine = g711.encode(tone(440, 60), g711.MU)
    at_one, at_two = [], []
    for number in range(60 * 4):
        if number % 4 == 0:
            one.send(bytes(mine[number // 4]))
        if number * 5 % milliseconds == 0:
            two.send(theirs[number * 5 // milliseconds].tobytes(), kind=97, step=step)
        engine.ticks()
        at_one += one.received()
        at_two += two.received()
    assert {packet.kind for packet in at_two} == {97} and {len(packet.payload) for packet in at_two} == {rate // 25}
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(at_two)}
    assert steps == {rate // 50}
    assert level(of_pcmu(at_one)[1600:8000], 1000) == pytest.approx(8000, rel=0.02)
    assert level(heard(at_two)[rate // 5 : rate], 440, rate) == pytest.approx(8000, rel=0.02)
    report = engine.report("b")
    assert report.codec == f"L16/{rate}" and report.refused == report.lost == 0
    # The ticks look every 20 ms: of packets of 10 ms the first may come too late, once, and the buffer grows.
    assert report.late <= 1 and report.concealed <= 1


@needs_opus
@pytest.mark.parametrize("rate", [8000, 16000])
def test_l16_and_opus_hear_each_other(engine: Bench, rate: int) -> None:
    one, two = engine.phone("a", **linear(rate)), engine.phone("b", **OPUS)
    engine.connect("a", control.Bridge("b"))
    mine, theirs = sine(440, rate, 1.2).astype(">i2").reshape(60, -1), opus_packets(tone(1000, 60))
    at_one, at_two = [], []
    for number in range(60):
        one.send(mine[number].tobytes(), kind=97, step=rate // 50)
        two.send(theirs[number], kind=96, step=960)
        engine.ticks(4)
        at_one += one.received()
        at_two += two.received()
    assert level(heard(at_one)[rate // 5 : rate], 1000, rate) == pytest.approx(8000, rel=0.15)
    assert level(opus_sound([packet.payload for packet in at_two])[1600:8000], 440) == pytest.approx(8000, rel=0.15)


@pytest.mark.skipif(coders.G_722 is None, reason="waits for the package G722 (requirements.lock)")
def test_a_room_of_every_codec_hears_l16(engine: Bench) -> None:
    talker = engine.phone("talker", **linear(16000))
    others = {"pcmu": engine.phone("pcmu"), "wide": engine.phone("wide", formats="9"), "same": engine.phone("same", **linear(16000))}
    others["narrow"] = engine.phone("narrow", **linear(8000))
    for name in ("talker", *others):
        engine.connect(name, control.Room("r"))
    sound = sine(700, 16000, 1.2).astype(">i2").reshape(60, -1)
    got: dict[str, list[Rtp]] = {name: [] for name in others}
    for number in range(60):
        talker.send(sound[number].tobytes(), kind=97, step=320)
        engine.ticks(4)
        for name, phone in others.items():
            got[name] += phone.received()
    assert level(of_pcmu(got["pcmu"])[1600:8000], 700) == pytest.approx(8000, rel=0.02)
    assert level(heard(got["same"])[3200:16000], 700, 16000) == pytest.approx(8000, rel=0.02)
    assert level(heard(got["narrow"])[1600:8000], 700) == pytest.approx(8000, rel=0.02)
    codec = coders.G_722
    assert codec is not None
    state = np.zeros((1, codec.decoder_bytes), np.uint8)
    codec.reset_decoder(state, np.array([0]))
    coded = np.frombuffer(b"".join(packet.payload for packet in got["wide"]), np.uint8).reshape(-1, 160)
    wide = np.concatenate([codec.decode(state, np.array([0]), row[None], np.array([160], np.int32))[0][0] for row in coded])
    assert level(wide[3200:16000], 700, 16000) == pytest.approx(8000, rel=0.05)


def test_two_legs_of_l16_are_relayed_untouched(engine: Bench) -> None:
    one, two = engine.phone("a", **linear(16000)), engine.phone("b", **linear(16000))
    engine.connect("a", control.Bridge("b"))
    packets = [row.tobytes() for row in sine(440, 16000, 0.1).astype(">i2").reshape(5, -1)]
    for packet in packets:
        one.send(packet, kind=97, step=320)
        engine.ticks(4)
    assert [packet.payload for packet in two.received()] == packets


def test_rates_that_differ_are_not_relayed(engine: Bench) -> None:
    one, two = engine.phone("a", **linear(16000)), engine.phone("b", **linear(8000))
    engine.connect("a", control.Bridge("b"))
    got = []
    for row in sine(440, 16000, 1.0).astype(">i2").reshape(50, -1):
        one.send(row.tobytes(), kind=97, step=320)
        engine.ticks(4)
        got += two.received()
    assert level(heard(got)[1600:7200], 440) == pytest.approx(8000, rel=0.02)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_lost_packet_is_filled_with_what_was_heard_before(engine: Bench, rate: int) -> None:
    one, two = engine.phone("a", **linear(rate)), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    got = []
    for number, row in enumerate(sine(200, rate, 1.2).astype(">i2").reshape(60, -1)):
        if number in (30, 45):
            one.sequence += 1
            one.timestamp += rate // 50
        else:
            one.send(row.tobytes(), kind=97, step=rate // 50)
        engine.ticks(4)
        got += two.received()
    samples = of_pcmu(got).reshape(-1, 160)
    power = np.sqrt(np.mean(samples.astype(float) ** 2, axis=1))
    assert (power[5:58] > 4000).all()
    assert level(samples[5:57].ravel(), 200) == pytest.approx(8000, rel=0.05)
    assert engine.report("a").concealed == 2 and engine.report("a").lost == 2


def test_half_a_frame_that_is_lost_is_filled_alone(engine: Bench) -> None:
    one, two = engine.phone("a", **linear(8000)), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    got = []
    for number, row in enumerate(sine(200, 8000, 1.2).astype(">i2").reshape(120, -1)):
        if number in (61, 80):
            one.sequence += 1
            one.timestamp += 80
        else:
            one.send(row.tobytes(), kind=97, step=80)
        engine.ticks(2)
        got += two.received()
    samples = of_pcmu(got)
    assert level(samples[800:9200], 200) == pytest.approx(8000, rel=0.02)
    assert engine.report("a").concealed == 0 and engine.report("a").lost == 2


def test_it_is_offered_after_all_others(engine: Bench) -> None:
    proposal = engine.do("propose", control.Propose(leg="a", call="c")).sdp.decode()
    lines = [line for line in proposal.splitlines() if line.startswith("a=rtpmap:")]
    names = [line.split()[1] for line in lines]
    assert names[-3:] == ["L16/8000", "L16/16000", "telephone-event/8000"]
    kind = lines[-2].split()[0].removeprefix("a=rtpmap:")
    reply = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    reply += f"m=audio 5000 RTP/AVP {kind}\r\na=rtpmap:{kind} l16/16000\r\n"
    engine.do("accept", control.Accept(leg="a", sdp=reply.encode()))
    assert engine.report("a").codec == "L16/16000"


@pytest.mark.parametrize("coding", ["L16/44100", "L16/16000/2", "L16/11025"])
def test_other_rates_and_stereo_are_not_taken(engine: Bench, coding: str) -> None:
    with pytest.raises(MediaError, match="not-acceptable"):
        engine.phone("a", formats="97", extra=f"a=rtpmap:97 {coding}\r\n")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_noise_as_l16_never_raises(engine: Bench, rate: int) -> None:
    phone, other = engine.phone("a", **linear(rate)), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    rng = np.random.default_rng(1)
    for _ in range(200):
        size = int(rng.choice([0, 1, 159, 160, 161, 319, 320, 321, 640, 1280, 1281, 1900, int(rng.integers(0, 2000))]))
        phone.send(bytes(rng.integers(0, 256, size, dtype=np.uint8)), kind=97, step=int(rng.choice([80, 160, 320, 640, 7])))
        engine.ticks(int(rng.integers(0, 6)))
    engine.ticks(4 * 60)
    other.received()
    sound = sine(500, rate, 1.2).astype(">i2").reshape(60, -1)
    got = []
    for row in sound:
        phone.send(row.tobytes(), kind=97, step=rate // 50)
        engine.ticks(4)
        got += other.received()
    assert level(of_pcmu(got)[3200:8000], 500) == pytest.approx(8000, rel=0.03)
