"""What legs say besides speech reaches who asked for it, through the whole engine."""

from collections.abc import Iterator

import numpy as np
import pytest

from media import control, g711
from media.arrays import I16
from media.coders import G_722
from media.control import MediaError
from media.tones import generate
from tests.media.phone import Bench, Phone, bench


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def say(engine: Bench, phone: Phone, samples: I16) -> None:
    """Speak in packets of 20 ms, while the engine runs."""
    count = len(samples) // 160
    for frame in g711.encode(samples[: count * 160].reshape(count, 160), g711.MU):
        phone.send(bytes(frame))
        engine.ticks(4)


def silence(seconds: float) -> I16:
    return np.zeros(round(seconds * 8000), np.int16)


def told(engine: Bench, name: str) -> list[object]:
    return [body for client, kind, body in engine.events() if kind == name and client == "router"]


def test_keys_in_the_audio_of_a_relayed_call_are_told(engine: Bench) -> None:
    """A bridge that is relayed is decoded for it, and relayed again without it; the other side hears every packet."""
    one, two = engine.phone("a", extra="", formats="0"), engine.phone("b")
    engine.connect("a", control.Bridge("b"))
    say(engine, one, silence(0.1))
    engine.do("listen", control.Listen(leg="a", kinds=("dtmf",)))
    say(engine, one, np.concatenate([silence(0.2), generate.digits("42"), silence(0.2)]))
    digits = told(engine, "dtmf")
    assert [(digit.leg, digit.digit) for digit in digits] == [("a", "4"), ("a", "2")]  # type: ignore[attr-defined]
    assert all(80 <= digit.duration_ms <= 120 for digit in digits)  # type: ignore[attr-defined]
    engine.do("listen", control.Listen(leg="a", kinds=()))
    say(engine, one, np.concatenate([generate.digits("7"), silence(0.2)]))
    assert told(engine, "dtmf") == []
    numbers = [packet.sequence for packet in two.received()]
    assert numbers == [(numbers[0] + number) & 0xFFFF for number in range(len(numbers))]


def test_a_key_that_came_as_an_event_is_not_told_twice(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Echo())
    engine.do("listen", control.Listen(leg="a", kinds=("dtmf",)))
    say(engine, phone, silence(0.2))
    phone.send(bytes([5, 0x80, 1, 0x40]), kind=101)
    say(engine, phone, np.concatenate([generate.digits("5"), silence(0.2)]))
    assert [digit.digit for digit in told(engine, "dtmf")] == ["5"]  # type: ignore[attr-defined]


def test_fax_and_line_tones_are_told_apart(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Nothing())
    engine.do("listen", control.Listen(leg="a", kinds=("fax",)))
    say(engine, phone, np.concatenate([generate.tone(generate.PROGRESS["ced"])[:9600], silence(0.2)]))
    assert [tone.tone for tone in told(engine, "tone")][:1] == ["ced"]  # type: ignore[attr-defined]
    engine.do("listen", control.Listen(leg="a", kinds=("progress",)))
    say(engine, phone, np.concatenate([generate.answer_tone(0.6), silence(0.5), *[generate.tone(generate.PROGRESS["busy"])] * 5]))
    assert "busy" in [tone.tone for tone in told(engine, "tone")]  # type: ignore[attr-defined]


def test_silence_and_a_machine_that_answers(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Room("3000"))
    engine.do("listen", control.Listen(leg="a", kinds=("silence", "answer")))
    rng = np.random.default_rng(3)
    speech = (rng.standard_normal(8000 * 3) * 3000).astype(np.int16)
    say(engine, phone, np.concatenate([silence(0.5), speech, silence(2.5)]))
    events = engine.events()
    answers = [body for _, kind, body in events if kind == "answerer"]
    assert answers[0].what == "machine" and answers[0].confidence > 0.9
    assert [body.silent for _, kind, body in events if kind == "silence"] == [True]


def test_nonsense_is_refused(engine: Bench) -> None:
    with pytest.raises(MediaError, match="not-found"):
        engine.do("listen", control.Listen(leg="nobody", kinds=("dtmf",)))
    with pytest.raises(MediaError, match="bad-request"):
        engine.processor.handle("listen", b"\x82\xa3leg\xa1a\xa5kinds\x91\xa5voice", "router", engine.now)


def test_the_silence_of_a_peer_sounds_as_it_says(engine: Bench) -> None:
    """Comfort noise at -50 dBov (RFC 3389) on one side of a bridge of two codecs is noise of that level on the other."""
    one, two = engine.phone("a", formats="0 13"), engine.phone("b", formats="9", extra="")
    engine.connect("a", control.Bridge("b"))
    say(engine, one, silence(0.2))
    two.received()
    one.send(bytes([50]), kind=13)
    engine.ticks(4 * 30)
    packets = two.received()
    assert len(packets) >= 28
    assert G_722 is not None
    state = np.zeros((1, G_722.decoder_bytes), np.uint8)
    G_722.reset_decoder(state, np.zeros(1, np.intp))
    sound = []
    for packet in packets:
        samples, _ = G_722.decode(state, np.zeros(1, np.intp), np.frombuffer(packet.payload, np.uint8)[None], np.array([160], np.int32))
        sound.append(samples[0])
    heard = np.concatenate(sound[10:]).astype(np.float64)
    level = 10 * np.log10(np.mean(heard**2) / 32768**2)
    assert level == pytest.approx(-50, abs=2.0)
