"""What a peer says of its Opus (RFC 7587 section 6.1) is honoured by a leg, and stereo is heard as one channel."""

import numpy as np
import pytest

from media import control, g711
from media.coding.opus import Opus
from tests.media.phone import bench
from tests.media.test_transcode import level, needs_opus

pytestmark = needs_opus


def offer(parameters: str) -> dict[str, str]:
    return {"formats": "96", "extra": f"a=rtpmap:96 opus/48000/2\r\na=fmtp:96 {parameters}\r\n"}


def sizes(parameters: str, source: str) -> list[int]:
    with bench() as engine:
        phone = engine.phone("a", **offer(parameters))
        engine.connect("a", control.Play(source))
        engine.ticks(4 * 100)
        return [len(packet.payload) for packet in phone.received()]


def test_stereo_is_heard_as_one_channel() -> None:
    time = np.arange(960 * 60) / 48000
    both = np.stack([8000 * np.sin(2 * np.pi * frequency * time) for frequency in (440, 1000)], axis=1).astype(np.int16)
    codec = Opus(48000, 2)
    state = np.zeros((1, codec.encoder_bytes), np.uint8)
    codec.reset_encoder(state, np.array([0]))
    got = []
    with bench() as engine:
        one, two = engine.phone("a", **offer("stereo=1;sprop-stereo=1")), engine.phone("b")
        engine.connect("a", control.Bridge("b"))
        for frame in both.reshape(60, 1, -1):
            payload, size = codec.encode(state, np.array([0]), frame)
            one.send(payload[0, : size[0]].tobytes(), kind=96, step=960)
            engine.ticks(4)
            got += two.received()
    heard = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.MU)[2400:8800]
    assert level(heard, 440) == pytest.approx(4000, rel=0.15) and level(heard, 1000) == pytest.approx(4000, rel=0.15)


def test_constant_and_average_bit_rate_are_honoured() -> None:
    assert len(set(sizes("cbr=1;maxaveragebitrate=16000", "music"))) == 1
    assert np.mean(sizes("maxaveragebitrate=8000", "music")) * 400 < 8000 * 1.2 < np.mean(sizes("maxaveragebitrate=24000", "music")) * 400


def test_silence_is_not_sent_to_who_asked_for_that() -> None:
    assert len(sizes("usedtx=1", "silence")) < 40 and len(sizes("usedtx=0", "silence")) >= 99
