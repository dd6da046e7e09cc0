"""Keys to and from legs without telephone-event: tones in the audio of any codec."""

from typing import Any

import pytest

from media import coders, control
from media.control import Listen, Room, SendDigits
from tests.media.phone import bench

CODECS: dict[str, tuple[str, str, int, int]] = {
    "PCMU": ("0", "", 0, 160),
    "PCMA": ("8", "", 8, 160),
    "L16/8000": ("97", "a=rtpmap:97 L16/8000\r\n", 97, 160),
    "L16/16000": ("97", "a=rtpmap:97 L16/16000\r\n", 97, 320),
    **({"G722": ("9", "", 9, 160)} if coders.G_722 else {}),
    **({"opus": ("96", "a=rtpmap:96 opus/48000/2\r\n", 96, 960)} if coders.OPUS else {}),
}
"""Formats, attributes, payload type, samples of 20 ms."""
KEYS = "159D*0#2"


@pytest.mark.parametrize("relayed", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_keys_are_tones_in_the_audio_and_are_heard_there(codec: str, relayed: bool) -> None:
    formats, extra, kind, step = CODECS[codec]
    with bench() as engine:
        one, two = (engine.phone(name, formats=formats, extra=extra) for name in ("a", "b"))
        engine.phone("c", formats=formats, extra=extra)
        sink: control.Sink = control.Bridge("c") if relayed else Room("r")
        engine.connect("a", sink)
        engine.connect("b", Room("s"))
        engine.do("listen", Listen(leg="b", kinds=("dtmf",)))
        engine.do("dtmf", SendDigits(leg="a", digits=KEYS))
        told: list[Any] = []
        for _ in range(120):
            engine.ticks(4)
            for packet in one.received():
                assert packet.kind == kind
                two.send(packet.payload, kind=kind, step=step, marker=packet.marker)
            told += [event.digit for _, name, event in engine.events() if name == "dtmf"]
        assert "".join(told) == KEYS


@pytest.mark.parametrize("listened", [False, True])
def test_events_are_tones_to_who_takes_none(listened: bool) -> None:
    with bench() as engine:
        one, two, ear = engine.phone("a"), engine.phone("b", formats="8", extra=""), engine.phone("c", formats="8", extra="")
        engine.connect("a", control.Bridge("b"))
        engine.connect("c", Room("s"))
        engine.do("listen", Listen(leg="c", kinds=("dtmf",)))
        if listened:
            engine.do("listen", Listen(leg="a", kinds=("silence",)))
        told: list[Any] = []
        for number in range(120):
            if number % 40 in range(4):
                key, step = number // 40 + 1, number % 40 + 1
                one.send(bytes([key, 0x8A if step > 1 else 10]) + (160 * step).to_bytes(2, "big"), kind=101, step=0, marker=step == 1)
            elif number % 40 == 4:
                one.timestamp += 160 * 5
            else:
                one.send(b"\xff" * 160)
            engine.ticks(4)
            for packet in two.received():
                assert packet.kind == 8
                ear.send(packet.payload, kind=8, marker=packet.marker)
            told += [(event.leg, event.digit) for _, name, event in engine.events() if name == "dtmf"]
        assert [digit for leg, digit in told if leg == "a"] == ["1", "2", "3"]
        assert [digit for leg, digit in told if leg == "c"] == ["1", "2", "3"]
