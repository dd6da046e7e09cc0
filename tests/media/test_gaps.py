"""What is lost of codecs with a memory, whole packets and parts of frames: filled, and all that comes after stays in its place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from media import coders, control, g711
from media.coding.opus import Opus
from tests.media.phone import Bench, bench

OPUS: dict[str, Any] = {"formats": "96", "extra": "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n"}
Sound = np.ndarray[Any, np.dtype[np.int16]]
needs_opus = pytest.mark.skipif(coders.OPUS is None, reason="waits for libopus (Debian: libopus0)")
needs_g722 = pytest.mark.skipif(coders.G_722 is None, reason="waits for the package G722 (requirements.lock)")


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def babble(tens: int) -> Sound:
    """int16[samples]: noise of the band of speech, so many 10 ms long; no part of it is like another."""
    rng = np.random.default_rng(3)
    frequency = np.fft.rfftfreq(80 * tens, 1 / 8000)
    spectrum = rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))
    wave = np.fft.irfft(np.where((frequency > 200) & (frequency < 2500), spectrum / (300 + frequency), 0), 80 * tens)
    return (wave / np.abs(wave).max() * 16000).astype(np.int16)


def packets_of(sound: Sound, tens: list[int]) -> list[bytes]:
    """Opus packets of so many 10 ms each."""
    codec = Opus(8000, 1)
    state = np.zeros((1, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0]))
    packets, at = [], 0
    for many in tens:
        payload, size = codec.encode(state, np.array([0]), sound[None, at : at + 80 * many])
        packets.append(bytes(payload[0, : size[0]]))
        at += 80 * many
    return packets


def played(packets: list[bytes], tens: list[int], lost: set[int]) -> tuple[Sound, control.LegReport]:
    """What somebody else in the room hears of a leg whose packets come in time but for the lost ones."""
    with bench() as engine:
        phone, other = engine.phone("a", **OPUS), engine.phone("b")
        for name in ("a", "b"):
            engine.connect(name, control.Room("r"))
        got = b""
        for number, (packet, many) in enumerate(zip(packets, tens, strict=True)):
            if number in lost:
                phone.sequence += 1
                phone.timestamp += 480 * many
            else:
                phone.send(packet, kind=96, step=480 * many)
            engine.ticks(2 * many)
            got += b"".join(one.payload for one in other.received())
        return g711.decode(np.frombuffer(got, np.uint8), g711.MU), engine.report("a")


def shift(one: Sound, other: Sound) -> int:
    """Samples that one sound is ahead of another that is like it, -400 to 400."""
    middle = one[400:-400].astype(float)
    return int(np.argmax(np.correlate(other.astype(float), middle))) - 400


@needs_opus
@pytest.mark.parametrize("lost", [{60}, {61}, {60, 61}, {61, 62}, {60, 62, 65, 67}])
def test_of_opus_packets_of_10_ms_any_may_be_lost(lost: set[int]) -> None:
    tens = [1] * 160
    packets = packets_of(babble(160), tens)
    whole, _ = played(packets, tens, set())
    heard, report = played(packets, tens, lost)
    assert len(heard) == len(whole)
    assert shift(heard[70 * 80 :], whole[70 * 80 :]) == 0
    pairs = zip(heard[800:].reshape(-1, 80), whole[800:].reshape(-1, 80), strict=True)
    unlike = [number for number, pair in enumerate(pairs) if np.corrcoef(*pair)[0, 1] < 0.7]
    assert len(unlike) <= len(lost) + 1, "what came is heard in its place"
    power = np.sqrt(np.mean(heard[800:].reshape(-1, 80).astype(float) ** 2, axis=1))
    assert power.min() > 0.05 * np.median(power), "nothing is silent"
    assert report.lost == len(lost) and report.late == 0


@needs_opus
def test_opus_of_10_to_60_ms_in_any_mixture_with_loss() -> None:
    rng = np.random.default_rng(8)
    tens = [int(many) for many in rng.choice([1, 2, 4, 6], 120)]
    packets = packets_of(babble(sum(tens)), tens)
    whole, _ = played(packets, tens, set())
    lost = {int(number) for number in rng.choice(np.arange(10, 100), 12, replace=False)}
    heard, report = played(packets, tens, lost)
    assert shift(whole[8000:], whole[8000:]) == shift(heard[8000:], whole[8000:]) == 0
    after = 80 * sum(tens[:102])
    likeness = np.corrcoef(heard[after:], whole[after : len(heard)])[0, 1]
    assert likeness > 0.95, "the end sounds as if nothing had been lost"
    assert report.late == 0


@needs_opus
@pytest.mark.parametrize("many", [1, 2, 6])
def test_opus_has_no_seam_when_the_buffer_has_grown(engine: Bench, many: int) -> None:
    phone, other = engine.phone("a", **OPUS), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    tens = [many] * (180 // many)
    packets = packets_of(babble(180), tens)
    whole, _ = played(packets, tens, set())
    got = b""
    for number, packet in enumerate(packets):
        if number == len(packets) // 2:
            engine.ticks(18)  # 90 ms late, and so are all that follow
        phone.send(packet, kind=96, step=480 * many)
        engine.ticks(2 * many)
        got += b"".join(one.payload for one in other.received())
    heard = g711.decode(np.frombuffer(got, np.uint8), g711.MU)
    end = heard[-4800:-1600].astype(float)
    place = int(np.argmax(np.correlate(whole.astype(float), end)))
    assert np.corrcoef(end, whole[place : place + len(end)])[0, 1] > 0.95
    assert len(heard) - 4800 - place <= 80 * 14, "90 ms later than before, and no more than two frames"


@needs_g722
@pytest.mark.parametrize("ten", [1, 2])
def test_lost_g722_is_filled_with_what_was_heard_before(engine: Bench, ten: int) -> None:
    codec = coders.G_722
    assert codec is not None
    one, two = engine.phone("a", formats="9"), engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    state = np.zeros((1, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0]))
    wide = (8000 * np.sin(2 * np.pi * 200 * np.arange(120 * 160) / 16000)).astype(np.int16).reshape(-1, 160 * ten)
    got = b""
    for number, row in enumerate(wide):
        payload = bytes(codec.encode(state, np.array([0]), row[None, :])[0][0])
        if number * ten in (60, 80, 91 - ten % 2):
            one.sequence += 1
            one.timestamp += len(payload)
        else:
            one.send(payload, kind=9)
        engine.ticks(2 * ten)
        got += b"".join(packet.payload for packet in two.received())
    heard = g711.decode(np.frombuffer(got, np.uint8), g711.MU)
    power = np.sqrt(np.mean(heard[800:].reshape(-1, 80).astype(float) ** 2, axis=1))
    assert power.min() > 4000
    turn = np.exp(-2j * np.pi * 200 * np.arange(8000) / 8000)
    assert float(2 * abs(np.mean(heard[1200:9200] * turn))) == pytest.approx(8000, rel=0.05), "in phase all the way"
    assert engine.report("a").lost >= 2


def test_a_shift_is_told() -> None:
    """The yardstick of the tests above."""
    sound = babble(100)
    assert [shift(sound[by : by + 4000], sound[:4000]) for by in (0, 80, 160)] == [0, 80, 160]
