"""Rooms at 8, 16 and 48 kHz: what is heard is what plain arithmetic gives, whoever talks; no click where a room changes its rate."""

from typing import Any

import numpy as np
import pytest

from media import coders, g711, rates
from media.coding.opus import Opus
from media.control import Listen, MediaProcessor, Mix, Nothing, Offer, Play, PlayTo, Record, Room, Speakers, Stop
from media.rates import RATES, Converter, frame_samples
from media.resample import resampler
from tests.media.phone import Bench, Phone, bench
from tests.media.test_linear import linear
from tests.media.test_standby import Pair, replace
from tests.media.test_transcode import G722, OPUS, level, needs_opus

needs_g722 = pytest.mark.skipif(coders.G_722 is None, reason="waits for the package G722 (requirements.lock)")
Sound = Any
MOST = pytest.mark.parametrize("most", [16000, pytest.param(48000, marks=needs_opus)])


class Opened:
    """A room of legs of L16 at 16 and 8 kHz and of PCMU, and of two of Opus that say nothing where it is to be at 48 kHz."""

    def __init__(self, engine: Bench, wide: int, narrow: int = 0, plain: int = 0) -> None:
        self.engine = engine
        self.rate = engine.configuration.room_rate_max
        self.natives = [16000] * wide + [8000] * (narrow + plain)
        self.plain = range(wide + narrow, wide + narrow + plain)
        formats: list[dict[str, str]] = [linear(16000)] * wide + [linear(8000)] * narrow + [{}] * plain
        names = [f"{number}" for number in range(len(formats))]
        self.phones = [engine.phone(name, **each) for name, each in zip(names, formats, strict=True)]
        if self.rate == 48000:
            self.idle = [engine.phone(name, **OPUS) for name in ("x", "y")]
            names = ["x", "y", *names]
        for name in names:
            engine.connect(name, Room("r"))
        legs = engine.processor._desk.engine.legs
        assert set(legs.room_rate[legs.used].tolist()) == {self.rate}

    def talk(self, says: dict[int, Sound], frames: int) -> list[Sound]:
        """Let some say their frames (None: nothing is sent but zeros); what each hears, int16[frames, any]."""
        got: list[list[bytes]] = [[] for _ in self.phones]
        for frame in range(frames):
            for number, phone in enumerate(self.phones):
                width = self.natives[number] // 50
                sound = says[number][frame] if number in says else np.zeros(width, np.int16)
                if number in self.plain:
                    phone.send(g711.encode(sound, g711.MU).tobytes())
                else:
                    phone.send(sound.astype(">i2").tobytes(), kind=97, step=width)
            self.engine.ticks(4)
            for number, phone in enumerate(self.phones):
                got[number] += [packet.payload for packet in phone.received()]
        return [self._samples(number, b"".join(each)).reshape(len(each), self.natives[number] // 50) for number, each in enumerate(got)]

    def _samples(self, number: int, data: bytes) -> Sound:
        return g711.decode(np.frombuffer(data, np.uint8), g711.MU) if number in self.plain else np.frombuffer(data, ">i2").astype(np.int16)

    def reference(self, says: dict[int, Sound], frames: int) -> list[Sound]:
        """The same by plain arithmetic, leg by leg."""
        says = {number: coded(sound) if number in self.plain else sound for number, sound in says.items()}
        raised = {number: convert(sound, self.natives[number], self.rate) for number, sound in says.items()}
        heard = []
        for number, native in enumerate(self.natives):
            total = np.zeros((frames, frame_samples(self.rate)), np.int64)
            for other, sound in raised.items():
                if other != number:
                    total += sound
            sound = convert(np.clip(total, -32768, 32767).astype(np.int16), self.rate, native)
            heard.append(coded(sound) if number in self.plain else sound)
        return heard


def coded(sound: Sound) -> Sound:
    return g711.decode(g711.encode(sound, g711.MU), g711.MU)


def convert(sound: Sound, rate: int, wanted: int) -> Sound:
    if rate == wanted:
        return sound
    resample = resampler(rate, wanted)
    state = np.zeros(1, resample.state)
    return np.concatenate([resample(state, row[None]) for row in sound])


def bursts(seed: int, native: int, frames: int) -> Sound:
    """Noise that stops and begins."""
    rng = np.random.default_rng(seed)
    sound = (rng.standard_normal((frames, native // 50)) * 6000).clip(-32768, 32767)
    return (sound * (rng.random(frames) < 0.5)[:, None]).astype(np.int16)


def alike(heard: Sound, plain: Sound, coded: bool) -> bool:
    """But for the last bit: a filter of many legs at once may add up in another order. Of PCMU that may be a step of the code."""
    apart = np.abs(heard.astype(int) - plain)
    return bool((apart <= (1 + np.abs(plain.astype(int)) // 16 if coded else 1)).all() and np.count_nonzero(apart) < 0.01 * apart.size)


@MOST
@pytest.mark.parametrize("talkers", [(0,), (0, 7), (1, 5, 8), tuple(range(8))])
def test_what_each_hears_is_the_sum_of_the_others_to_the_sample(most: int, talkers: tuple[int, ...]) -> None:
    frames = 24
    with bench(room_rate_max=most) as engine:
        room = Opened(engine, wide=4, narrow=2, plain=4)
        says = {number: bursts(number, room.natives[number], frames) for number in talkers}
        got, wanted = room.talk(says, frames), room.reference(says, frames)
    for number, (each, plain) in enumerate(zip(got, wanted, strict=True)):
        assert any(alike(each[late:], plain[: len(each) - late], number in room.plain) for late in (1, 2, 0))
    assert sum(int(np.abs(each).max() > 5000) for each in got) >= len(got) - 1


def test_a_room_costs_its_talkers_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []
    call = Converter.__call__

    def count(self: Converter, leg: Any, samples: Any, rate: int, wanted: int) -> Any:
        converted.append(len(leg) if rate != wanted else 0)
        return call(self, leg, samples, rate, wanted)

    monkeypatch.setattr(Converter, "__call__", count)
    with bench() as engine:
        phones = [engine.phone(f"{number}") for number in range(20)]
        wide = [engine.phone(f"wide{number}", **linear(16000)) for number in range(2)]
        for name in (*(f"{number}" for number in range(20)), "wide0", "wide1"):
            engine.connect(name, Room("r"))
        speech = g711.encode(sine(600.0, 8000, 1)[0], g711.MU).tobytes()
        got: list[list[bytes]] = [[] for _ in phones]
        for frame in range(20):
            if frame == 10:
                converted.clear()
            for number, phone in enumerate(phones):
                phone.send(speech if number == 3 else b"\xff" * 160)
            for phone in wide:
                phone.send(bytes(640), kind=97, step=320)
            engine.ticks(4)
            for number, phone in enumerate(phones):
                got[number] += [packet.payload for packet in phone.received()]
    # One talker up, itself and all others down.
    assert sum(converted) == 10 * (1 + 2)
    assert len({tuple(each) for number, each in enumerate(got) if number != 3}) == 1 and all(len(each) == 20 for each in got)


def test_rooms_of_g711_know_nothing_of_other_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Converter, "__call__", None)
    monkeypatch.setattr(rates, "ringing", None)
    with bench(room_rate_max=48000) as engine:
        phones = [engine.phone(f"{number}", formats="8" if number else "0") for number in range(4)]
        for number in range(4):
            engine.connect(f"{number}", Room("r"))
        for _ in range(5):
            phones[0].send(b"\x00" * 160)
            engine.ticks(4)
        assert len(phones[1].received()) >= 4
        wide = engine.phone("wide", **linear(16000))
        assert wide
        legs = engine.processor._desk.engine.legs
        monkeypatch.undo()
        engine.connect("wide", Room("r"))
        assert set(legs.room_rate[legs.used].tolist()) == {8000}, "nobody would hear what it says above"


# Codecs


class Voice:
    """A phone with an encoder and a decoder of its own."""

    def __init__(self, engine: Bench, name: str, rate: int) -> None:
        self.rate = rate
        self.codec: Any = Opus(rate, 1) if rate == 48000 else coders.G_722
        self.phone = engine.phone(name, **(OPUS if rate == 48000 else G722))
        self.kind, self.step = (96, 960) if rate == 48000 else (9, 160)
        self.states = [np.zeros((1, size), np.uint8) for size in (self.codec.encoder_bytes, self.codec.decoder_bytes)]
        self.codec.reset_encoder(self.states[0], np.array([0]))
        self.codec.reset_decoder(self.states[1], np.array([0]))
        self.heard: list[Sound] = []

    def send(self, frame: Sound) -> None:
        payload, size = self.codec.encode(self.states[0], np.array([0]), frame[None])
        self.phone.send(bytes(payload[0, : size[0]]), kind=self.kind, step=self.step)

    def take(self) -> None:
        for packet in self.phone.received():
            data = np.frombuffer(packet.payload, np.uint8)[None]
            self.heard.append(self.codec.decode(self.states[1], np.array([0]), data, np.array([data.shape[1]], np.int32))[0][0])


def sine(frequency: float, rate: int, frames: int, loud: float = 8000.0) -> Sound:
    time = np.arange(frames * rate // 50) / rate
    return (loud * np.sin(2 * np.pi * frequency * time)).astype(np.int16).reshape(frames, -1)


def conversation(voices: list[Voice], engine: Bench, frequency: float, frames: int = 60) -> list[float]:
    """The first one says a tone: how loud each of the others hears it."""
    says = sine(frequency, voices[0].rate, frames)
    for frame in range(frames):
        voices[0].send(says[frame])
        for other in voices[1:]:
            other.send(np.zeros(frame_samples(other.rate), np.int16))
        engine.ticks(4)
        for each in voices:
            each.take()
    return [level(np.concatenate(each.heard)[each.rate // 4 :], frequency, each.rate) for each in voices[1:]]


@needs_opus
@needs_g722
@pytest.mark.parametrize(
    ("most", "natives"), [(16000, (48000, 16000, 48000)), (16000, (16000, 48000, 16000)), (48000, (16000, 48000, 16000))]
)
def test_a_tone_of_5_khz_is_heard_in_a_wide_room_alone(most: int, natives: tuple[int, ...]) -> None:
    for limit in (most, 8000):
        with bench(room_rate_max=limit) as engine:
            voices = [Voice(engine, f"{number}", native) for number, native in enumerate(natives)]
            for number in range(len(voices)):
                engine.connect(f"{number}", Room("r"))
            found = conversation(voices, engine, 5000.0)
            # Opus at some 20 kbit/s, tuned for voices, keeps part of such a tone.
            assert all(each > 500 for each in found) and max(found) > 7500 if limit > 8000 else all(each < 5 for each in found)


@needs_opus
def test_a_tone_of_12_khz_goes_from_opus_to_opus_at_48_khz_alone() -> None:
    for most in (16000, 48000):
        with bench(room_rate_max=most) as engine:
            voices = [Voice(engine, f"{number}", 48000) for number in range(3)]
            assert b"maxplaybackrate=16000" in engine.do("offer", _again(engine, voices[0].phone)).sdp or most == 48000
            for number in range(3):
                engine.connect(f"{number}", Room("r"))
            found = conversation(voices, engine, 12000.0)
            assert all(each > 4000 for each in found) if most == 48000 else all(each < 300 for each in found)


def _again(engine: Bench, phone: Phone) -> Any:
    return Offer(leg="0", call="call", sdp=phone.offer(**OPUS))


# Changes


def clicks(sound: Sound, frequency: float, rate: int) -> float:
    """The sharpest bend of a tone, in units of a steady one's of the same level."""
    bend = np.abs(np.diff(sound.astype(float), 2)).max()
    return float(bend / (8000 * (2 * np.pi * frequency / rate) ** 2))


@needs_opus
@pytest.mark.parametrize(("before", "after"), [((8000, 8000, 8000), 16000), ((16000, 16000, 8000), 48000)])
def test_a_room_changes_its_rate_without_a_click(before: tuple[int, ...], after: int) -> None:
    with bench(room_rate_max=after) as engine:
        natives = list(before)
        phones = [engine.phone(f"{number}", **linear(native)) for number, native in enumerate(natives)]
        voices = [Voice(engine, f"opus{number}", 48000) for number in range(2)]
        for number in range(3):
            engine.connect(f"{number}", Room("r"))
        engine.connect("opus0", Room("r"))
        legs = engine.processor._desk.engine.legs
        rates_seen = []
        tones = [sine(425.0 * (number == 0), native, 120) for number, native in enumerate(natives)]
        theirs = sine(300.0, 48000, 120)
        got: list[list[bytes]] = [[] for _ in phones]
        for frame in range(120):
            if frame == 40:
                engine.connect("opus1", Room("r"))
            if frame == 80:
                engine.connect("opus1", Nothing())
            for number, phone in enumerate(phones):
                phone.send(tones[number][frame].astype(">i2").tobytes(), kind=97, step=natives[number] // 50)
            voices[0].send(0 * theirs[frame])
            voices[1].send(0 * theirs[frame])
            engine.ticks(4)
            for number, phone in enumerate(phones):
                got[number] += [packet.payload for packet in phone.received()]
            for voice in voices:
                voice.take()
            rates_seen.append(int(legs.room_rate[0]))
        first = max(min(natives), sorted([*natives, after])[-2] if after in natives else sorted(natives)[-2])
        assert rates_seen[30] == first and rates_seen[60] == after and rates_seen[-1] == first
        for number in (1, 2):
            sound = np.frombuffer(b"".join(got[number]), ">i2").astype(np.int16)
            steady = sound[len(sound) // 12 :]
            assert clicks(steady, 425.0, natives[number]) < 1.6
            power = np.sqrt(np.mean(steady.reshape(-1, natives[number] // 50).astype(float) ** 2, axis=1))
            assert (power > 5000).sum() >= len(power) - 6, "but for two frames that fade each time"
            assert level(sound[-len(sound) // 6 :], 425.0, natives[number]) == pytest.approx(8000, rel=0.03)
        heard = np.concatenate(voices[0].heard)[9600:]
        steepest = 8000 * 2 * np.pi * 425 / 48000
        assert np.abs(np.diff(heard.astype(float))).max() < 1.3 * steepest, "a codec's own edges, no step"


@needs_opus
def test_who_speaks_opus_goes_on_at_its_level_when_the_rate_changes() -> None:
    with bench() as engine:
        voice = Voice(engine, "opus0", 48000)
        other = Voice(engine, "opus1", 48000)
        listeners = [engine.phone(f"{number}", **linear(8000)) for number in range(3)]
        for name in ("opus0", "0", "1", "2"):
            engine.connect(name, Room("r"))
        says, got = sine(425.0, 48000, 90), []
        for frame in range(90):
            if frame == 50:
                engine.connect("opus1", Room("r"))
            voice.send(says[frame])
            other.send(np.zeros(960, np.int16))
            for phone in listeners:
                phone.send(bytes(320), kind=97, step=160)
            engine.ticks(4)
            got += [packet.payload for packet in listeners[0].received()]
        sound = np.frombuffer(b"".join(got), ">i2").astype(np.int16)[3200:]
        power = np.sqrt(np.mean(sound.reshape(-1, 160).astype(float) ** 2, axis=1))
        steady = np.median(power)
        assert ((power < 0.9 * steady).sum() <= 3) and power.max() < 1.15 * steady
        assert clicks(sound, 425.0, 8000) < 1.8


# What else a room has


@MOST
def test_gain_and_who_hears_whom_at_any_rate(most: int) -> None:
    with bench(room_rate_max=most) as engine:
        room = Opened(engine, wide=4)
        says = {number: bursts(number, 16000, 16) for number in range(3)}
        engine.do("mix", Mix(leg="2", whispers=("1",)))
        engine.do("mix", Mix(leg="3", gain_out_db=-6.0206, ignores=("1",)))
        got = room.talk(says, 16)

        def is_sum(number: int, *others: Sound) -> bool:
            wanted = sum((convert(sound, 16000, most).astype(float) for sound in others), np.zeros((16, frame_samples(most))))
            plain = convert(np.clip(np.rint(wanted), -32768, 32767).astype(np.int16), most, 16000)
            return any(np.abs(got[number][late:].astype(int) - plain[: 16 - late]).max() <= 2 for late in (0, 1, 2))

        assert is_sum(0, says[1]) and is_sum(1, says[0], says[2]) and is_sum(2, says[0], says[1])
        assert is_sum(3, (says[0] / 2).round().astype(np.int16))


@MOST
def test_automatic_gain_speakers_and_tones_at_any_rate(most: int) -> None:
    with bench(room_rate_max=most) as engine:
        room = Opened(engine, wide=3)
        engine.do("mix", Mix(leg="0", leveled=True))
        engine.connect("1", Nothing())
        engine.connect("1", Room("r", tones=True, speakers=True))
        wave = sine(2000.0, 16000, 150, 300.0) * (np.arange(150) % 10 < 8)[:, None].astype(np.int16)
        room.talk({}, 20)
        heard = room.talk({0: wave}, 150)[2]
        assert np.abs(heard[-10:]).max() > 2.5 * np.abs(heard[5:15]).max()
        loud = np.random.default_rng(1).normal(0, 3000, (10, 320)).clip(-32768, 32767).astype(np.int16)
        engine.events()
        room.talk({2: loud}, 10)
        assert [event.legs for _, name, event in engine.events() if name == "speakers" and isinstance(event, Speakers)][-1][0] == "2"
        room.talk({}, 30)
        engine.connect("1", Nothing())
        heard = room.talk({}, 20)[2].ravel()
        assert max(level(heard[at : at + 800], 660.0, 16000) for at in range(0, len(heard) - 800, 400)) > 3000, "somebody has gone"


@MOST
def test_a_room_is_played_to_and_recorded_at_its_rate(most: int, tmp_path: Any) -> None:
    path = tmp_path / "room.wav"
    with bench(room_rate_max=most) as engine:
        room = Opened(engine, wide=3, plain=1)
        name = engine.do("record", Record(room="r", path=str(path))).id
        one = engine.do("record", Record(leg="1", path=str(tmp_path / "leg.wav"))).id
        engine.do("play", PlayTo(room="r", source="ring-back"))
        got = room.talk({0: sine(6000.0, 16000, 50)}, 50)
        for each, native in zip(got[1:], room.natives[1:], strict=True):
            sound = each.ravel()[native // 4 : native * 9 // 10]
            assert level(sound, 425.0, native) == pytest.approx(6000, rel=0.1)
            assert native == 8000 or level(sound, 6000.0, native) == pytest.approx(8000, rel=0.05)
        engine.do("stop", Stop(id=name))
        engine.do("stop", Stop(id=one))
        engine.connect("2", Play("ring-back"))
        alone = room.talk({}, 60)[2].ravel()
        assert level(alone[6400:12800], 425.0, 16000) == pytest.approx(6000, rel=0.1)
    for file, channels in ((path, 1), (tmp_path / "leg.wav", 2)):
        data = file.read_bytes()
        assert int.from_bytes(data[24:28], "little") == most and int.from_bytes(data[22:24], "little") == channels
        samples = np.frombuffer(data[44:], "<i2").reshape(-1, channels)
        assert len(samples) == pytest.approx(most, rel=0.05)
        sound = samples[most // 4 : most * 9 // 10, channels - 1]
        assert level(sound, 6000.0, most) == pytest.approx(8000, rel=0.05) and level(sound, 425.0, most) > 5000


def test_keys_are_heard_in_a_wide_room() -> None:
    with bench() as engine:
        room = Opened(engine, wide=3)
        engine.do("listen", Listen(leg="0", kinds=("dtmf",)))
        time = np.arange(320 * 20) / 16000
        key = ((np.sin(2 * np.pi * 770 * time) + np.sin(2 * np.pi * 1336 * time)) * 5000).astype(np.int16).reshape(20, 320)
        key[10:] = 0
        room.talk({0: key}, 20)
        assert [event.digit for _, name, event in engine.events() if name == "dtmf"] == ["5"]


def test_the_rate_is_the_highest_that_two_legs_have() -> None:
    best = np.array([8000, 48000, 16000, 8000], np.uint16)
    assert rates.wanted(best, False, 48000) == 16000 and rates.wanted(best[:1], False, 48000) == 8000
    assert rates.wanted(best[1:2], True, 48000) == 48000 and rates.wanted(best[1:2], True, 16000) == 16000
    assert [rates.highest(rate) for rate in (8000, 12000, 24000, 48000)] == [8000, 8000, 16000, 48000] and RATES[0] == 8000


@needs_opus
def test_a_wide_room_goes_on_in_another_process() -> None:
    pair = Pair()
    engine = Bench()
    try:
        engine.processor.close()
        engine.processor = MediaProcessor(engine.configuration, pair.sockets(), engine.now)
        voices = [Voice(engine, "o0", 48000), Voice(engine, "o1", 48000)]
        wide, plain = engine.phone("wide", **linear(16000)), engine.phone("plain")
        for name in ("o0", "o1", "wide", "plain"):
            engine.connect(name, Room("r"))
        says, got = [sine(425.0, 48000, 80), sine(1300.0, 48000, 80)], []
        for frame in range(80):
            if frame == 40:
                assert replace(engine, pair) == 4
            for voice, sound in zip(voices, says, strict=True):
                voice.send(sound[frame])
            wide.send(bytes(640), kind=97, step=320)
            plain.send(b"\xff" * 160)
            engine.ticks(4)
            voices[0].take()
            got += [packet.payload for packet in wide.received()]
            assert frame < 50 or engine.report("plain").packets_out > frame - 5
        legs = engine.processor._desk.engine.legs
        assert set(legs.room_rate[legs.used].tolist()) == {16000}
        heard = [np.frombuffer(payload, ">i2").astype(float) for payload in got[5:]]
        assert len(got) >= 79 and len(plain.received()) >= 78
        power = np.sqrt(np.mean(np.square(heard), axis=1))
        assert power[3:].min() > 0.5 * power.max(), "no frame is silent"
        for frequency in (425.0, 1300.0):
            assert level(np.concatenate(heard[45:]), frequency, 16000) > 6000
        assert level(np.concatenate(voices[0].heard[45:]), 1300.0, 48000) > 6000
    finally:
        engine.close()
        pair.close()
