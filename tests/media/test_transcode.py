"""Legs of different codecs hear each other; gaps are filled."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from media import coders, control, g711
from media.coding.opus import Opus
from media.control import SendDigits
from tests.media.phone import Bench, bench, tone

OPUS: dict[str, Any] = {
    "formats": "96 101",
    "extra": "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\n",
}
G722: dict[str, Any] = {"formats": "9 101"}
needs_opus = pytest.mark.skipif(coders.OPUS is None, reason="waits for libopus (Debian: libopus0)")


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def level(samples: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]", frequency: float, rate: int = 8000) -> float:
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(samples)) / rate)
    return float(2 * abs(np.mean(samples * turn)))


def opus_packets(frames: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]") -> list[bytes]:
    codec = Opus(8000, 1)
    state = np.zeros((1, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0]))
    packets = []
    for frame in frames:
        payload, size = codec.encode(state, np.array([0]), frame[None, :])
        packets.append(bytes(payload[0, : size[0]]))
    return packets


def opus_sound(packets: list[bytes]) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    codec = Opus(8000, 1)
    state = np.zeros((1, codec.decoder_bytes), np.uint8)
    codec.reset_decoder(state, np.array([0]))
    sound = []
    for packet in packets:
        data = np.frombuffer(packet, np.uint8)[None, :]
        sound.append(codec.decode(state, np.array([0]), data, np.array([len(packet)], np.int32))[0][0])
    return np.concatenate(sound)


@needs_opus
def test_opus_and_pcmu_hear_each_other(engine: Bench) -> None:
    one, two = engine.phone("a"), engine.phone("b", **OPUS)
    engine.connect("a", control.Bridge("b"))
    mine, theirs = g711.encode(tone(440, 80), g711.MU), opus_packets(tone(1000, 80))
    at_one, at_two = [], []
    for number in range(80):
        one.send(bytes(mine[number]))
        two.send(theirs[number], kind=96, step=960)
        engine.ticks(4)
        at_one += one.received()
        at_two += two.received()
    assert {packet.kind for packet in at_two} == {96} and {packet.kind for packet in at_one} == {0}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(at_two)} == {960}
    heard = g711.decode(np.frombuffer(b"".join(packet.payload for packet in at_one), np.uint8), g711.MU)[3200:11200]
    assert level(heard, 1000) == pytest.approx(8000, rel=0.15) and level(heard, 440) < 200
    heard = opus_sound([packet.payload for packet in at_two])[3200:11200]
    assert level(heard, 440) == pytest.approx(8000, rel=0.15) and level(heard, 1000) < 200
    assert engine.report("b").codec == "opus/48000/2" and engine.report("b").concealed == 0
    assert engine.report("b").jitter_ms < 1


@needs_opus
def test_two_legs_of_opus_are_relayed_untouched(engine: Bench) -> None:
    one, two = engine.phone("a", **OPUS), engine.phone("b", **OPUS)
    engine.connect("a", control.Bridge("b"))
    packets = opus_packets(tone(440, 5))
    for packet in packets:
        one.send(packet, kind=96, step=960)
        engine.ticks(4)
    assert [packet.payload for packet in two.received()] == packets


@needs_opus
@pytest.mark.parametrize("together", [2, 3])
def test_opus_of_several_frames_a_packet(engine: Bench, together: int) -> None:
    phone, other = engine.phone("a", **OPUS), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    codec = Opus(8000, 1)
    state = np.zeros((1, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0]))
    sound = tone(600, 60).reshape(-1, 160 * together)
    got = []
    for part in sound:
        payload, size = codec.encode(state, np.array([0]), part[None, :])
        phone.send(bytes(payload[0, : size[0]]), kind=96, step=960 * together)
        engine.ticks(4 * together)
        got += other.received()
    heard = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.MU)[2400:8000]
    assert level(heard, 600) == pytest.approx(8000, rel=0.15)
    assert engine.report("a").concealed <= 1


@pytest.mark.skipif(coders.G_722 is None, reason="waits for the package G722 (requirements.lock)")
def test_g722_and_pcma_hear_each_other(engine: Bench) -> None:
    codec = coders.G_722
    assert codec is not None
    one, two = engine.phone("a", formats="8"), engine.phone("b", **G722)
    engine.connect("a", control.Bridge("b"))
    state = np.zeros((2, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0, 1]))
    time = np.arange(60 * 320) / 16000
    wide = (8000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16).reshape(60, 320)
    mine = g711.encode(tone(440, 60), g711.A)
    at_one, at_two = [], []
    for number in range(60):
        one.send(bytes(mine[number]), kind=8)
        two.send(bytes(codec.encode(state, np.array([0]), wide[number : number + 1])[0][0]), kind=9)
        engine.ticks(4)
        at_one += one.received()
        at_two += two.received()
    heard = g711.decode(np.frombuffer(b"".join(packet.payload for packet in at_one), np.uint8), g711.A)[1600:8000]
    assert level(heard, 1000) == pytest.approx(8000, rel=0.05) and level(heard, 440) < 100
    payload = np.frombuffer(b"".join(packet.payload for packet in at_two), np.uint8).reshape(-1, 160)
    sound = np.concatenate([codec.decode(state, np.array([1]), row[None, :], np.array([160], np.int32))[0][0] for row in payload])
    assert level(sound[3200:16000], 440, 16000) == pytest.approx(8000, rel=0.05)


def test_a_lost_frame_is_filled_with_what_was_heard_before(engine: Bench) -> None:
    one, two = engine.phone("a"), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    sound = g711.encode(tone(200, 60), g711.MU)
    got = []
    for number in range(60):
        if number in (30, 45):
            one.sequence += 1
            one.timestamp += 160
        else:
            one.send(bytes(sound[number]))
        engine.ticks(4)
        got += two.received()
    samples = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.MU).reshape(-1, 160)
    power = np.sqrt(np.mean(samples.astype(float) ** 2, axis=1))
    assert (power[5:58] > 4000).all()
    assert level(samples[5:57].ravel(), 200) == pytest.approx(8000, rel=0.05)
    assert engine.report("a").concealed == 2 and engine.report("a").lost == 2


def test_silence_that_was_announced_is_not_filled(engine: Bench) -> None:
    one, two = engine.phone("a", formats="0 13"), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    sound = g711.encode(tone(200, 10), g711.MU)
    for number in range(10):
        one.send(bytes(sound[number]))
        engine.ticks(4)
    one.send(b"\x40", kind=13, step=160 * 20)
    two.received()
    engine.ticks(4 * 20)
    samples = g711.decode(np.frombuffer(b"".join(packet.payload for packet in two.received()), np.uint8), g711.MU)
    # What sounds is the comfort noise that the peer asked for, at -64 dBov, and not what it said before.
    assert 10 * np.log10(np.mean(samples[480:].astype(np.float64) ** 2) / 32768**2) == pytest.approx(-64, abs=2.5)
    assert engine.report("a").concealed == 0


@needs_opus
def test_music_to_opus_and_digits_at_its_clock(engine: Bench) -> None:
    phone = engine.phone("a", formats="96 101", extra="a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/48000\r\n")
    engine.connect("a", control.Play("ring-back"))
    engine.ticks(4 * 40)
    sound = opus_sound([packet.payload for packet in phone.received()])
    assert level(sound[1600:4800], 425) > 3000
    engine.do("dtmf", SendDigits(leg="a", digits="3"))
    engine.ticks(4 * 10)
    events = [packet for packet in phone.received() if packet.kind == 101]
    assert [int.from_bytes(packet.payload[2:], "big") for packet in events][:3] == [960, 1920, 2880]
    phone.send(bytes([3, 0x8A]) + (4800).to_bytes(2, "big"), kind=101, step=0)
    engine.ticks(1)
    assert [(name, event.digit, event.duration_ms) for _, name, event in engine.events()] == [("dtmf", "3", 100)]


@needs_opus
@pytest.mark.parametrize("seed", range(3))
def test_noise_as_opus_never_raises(engine: Bench, seed: int) -> None:
    phone, _ = engine.phone("a", **OPUS), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    rng = np.random.default_rng(seed)
    for _ in range(150):
        phone.send(
            bytes(rng.integers(0, 256, int(rng.integers(0, 1500)), dtype=np.uint8)), kind=96, step=int(rng.choice([480, 960, 1920, 7]))
        )
        engine.ticks(int(rng.integers(0, 6)))
