"""Rooms: what they cost, who hears whom, who speaks, who comes and goes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from media import coders, control, g711, levels, speakers
from media.coding.opus import Opus
from media.control import Mix, Release, Room, Speakers
from media.mixer import Mixer
from media.plan import EXACT_SIZE_MAX
from tests.media.phone import Bench, Phone, bench, tone
from tests.media.test_transcode import OPUS, level, opus_packets, opus_sound

SILENCE = bytes([0xFF]) * 160
NAMES = "abcdefgh"


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def room(engine: Bench, size: int, **offer: str) -> list[Phone]:
    phones = [engine.phone(f"{number}", **offer) for number in range(size)]
    for number in range(size):
        engine.connect(f"{number}", Room("r"))
    return phones


def noise(seed: int, frames: int, loud: float = 3000.0) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    rng = np.random.default_rng(seed)
    return g711.encode((rng.standard_normal((frames, 160)) * loud).clip(-32768, 32767).astype(np.int16), g711.MU)


def talk(engine: Bench, phones: list[Phone], says: dict[int, Any], frames: int) -> list[list[bytes]]:
    """Let some say their frames and all others nothing; what each hears."""
    got: list[list[bytes]] = [[] for _ in phones]
    for frame in range(frames):
        for number, phone in enumerate(phones):
            phone.send(bytes(says[number][frame]) if number in says else SILENCE)
        engine.ticks(4)
        for number, phone in enumerate(phones):
            got[number] += [packet.payload for packet in phone.received()]
    return got


def hears(payloads: list[bytes], frames: "np.ndarray[Any, np.dtype[np.int64]]") -> bool:
    """They are these samples in PCMU, frame by frame, at most two later; the first three are let pass."""
    wanted = [bytes(row) for row in g711.encode(frames.astype(np.int32), g711.MU)]
    return any(payloads[3:] == wanted[3 - late : len(payloads) - late] for late in (0, 1, 2))


def linear(frames: Any) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return g711.decode(np.asarray(frames), g711.MU).astype(np.int64)


@pytest.mark.parametrize("talkers", [0, 1, 2, 5, 9])
def test_whoever_talks_the_sums_are_exact(engine: Bench, talkers: int) -> None:
    phones = room(engine, 9)
    says = {number: noise(number, 12) for number in range(talkers)}
    got = talk(engine, phones, says, 12)
    for number in range(9):
        others = [linear(frames) for other, frames in says.items() if other != number]
        assert hears(got[number], np.sum([np.zeros((12, 160), np.int64), *others], axis=0))


def test_a_room_costs_its_talkers(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, encoded = [], []
    decode, encode = Mixer.decode, Mixer.encode
    monkeypatch.setattr(Mixer, "decode", lambda self, payload, codec: (decoded.append(len(payload)), decode(self, payload, codec))[1])
    monkeypatch.setattr(Mixer, "encode", lambda self, sums, codec: (encoded.append(len(sums)), encode(self, sums, codec))[1])
    with bench() as engine:
        phones = room(engine, 40)
        talk(engine, phones, {}, 4)
        decoded.clear(), encoded.clear()
        got = talk(engine, phones, {number: noise(number, 10) for number in (3, 17)}, 10)
        assert max(decoded) == 2 and max(encoded) == 3
        assert len(decoded) == len(encoded) == 10
        assert len({tuple(each) for number, each in enumerate(got) if number not in (3, 17)}) == 1
        assert all(len(each) == 10 for each in got)


def test_two_laws_share_one_sum(engine: Bench) -> None:
    phones = [engine.phone(f"{number}", formats="8" if number % 2 else "0") for number in range(6)]
    for number in range(6):
        engine.connect(f"{number}", Room("r"))
    speech, got = noise(1, 10), [[] for _ in phones]  # type: ignore[var-annotated]
    for frame in range(10):
        for number, phone in enumerate(phones):
            quiet = bytes([0xD5]) * 160 if number % 2 else SILENCE
            phone.send(bytes(speech[frame]) if number == 0 else quiet, kind=8 if number % 2 else 0)
        engine.ticks(4)
        for number, phone in enumerate(phones):
            got[number] += [packet.payload for packet in phone.received()]
    said = linear(speech)
    for number in (2, 4):
        # Levels of A-law begin at 8: three of them are heard besides.
        heard = linear([np.frombuffer(payload, np.uint8) for payload in got[number]])[3:]
        assert min(np.abs(heard - said[3 - late : 10 - late] - 24).max() for late in (0, 1, 2)) <= 0.04 * np.abs(said).max()
    assert got[1] == got[3] == got[5] and got[2] == got[4]


def test_what_is_no_speech_is_left_out_of_large_rooms_alone() -> None:
    for size, left_out in ((EXACT_SIZE_MAX, False), (EXACT_SIZE_MAX + 1, True)):
        with bench() as engine:
            phones = room(engine, size)
            got = talk(engine, phones, {number: noise(number, 10, 15.0) for number in range(4)}, 10)
            assert (set(got[-1]) == {SILENCE}) is left_out


@pytest.mark.parametrize("size", [3, 8])
def test_who_is_muted_is_not_heard_and_who_is_deaf_hears_nothing(engine: Bench, size: int) -> None:
    phones = room(engine, size)
    says = {number: noise(number, 10) for number in range(2)}
    engine.do("mix", Mix(leg="0", muted=True))
    engine.do("mix", Mix(leg="1", deaf=True))
    got = talk(engine, phones, says, 10)
    assert hears(got[0], linear(says[1])) and hears(got[2], linear(says[1]))
    assert set(got[1]) == {SILENCE}
    engine.do("mix", Mix(leg="0", muted=False))
    engine.do("mix", Mix(leg="1", deaf=False))
    got = talk(engine, phones, says, 10)
    assert hears(got[2], linear(says[0]) + linear(says[1]))


@pytest.mark.parametrize("size", [3, 9])
def test_gain_of_who_speaks_and_of_who_hears(engine: Bench, size: int) -> None:
    phones = room(engine, size)
    engine.do("mix", Mix(leg="0", gain_in_db=-6.0206))
    engine.do("mix", Mix(leg="1", gain_out_db=6.0206))
    wave = g711.encode(tone(440, 40), g711.MU)
    got = talk(engine, phones, {0: wave}, 40)
    amplitudes = [level(np.concatenate(linear([np.frombuffer(p, np.uint8) for p in each[10:35]])), 440) for each in got]  # type: ignore[arg-type]
    assert amplitudes[2] == pytest.approx(4000, rel=0.03) and amplitudes[1] == pytest.approx(8000, rel=0.03)


def test_automatic_gain_brings_a_quiet_voice_up(engine: Bench) -> None:
    phones = room(engine, 3)
    engine.do("mix", Mix(leg="0", leveled=True))
    wave = g711.encode(tone(440, 150, 300.0) * (np.arange(150) % 10 < 8)[:, None].astype(np.int16), g711.MU)
    got = talk(engine, phones, {0: wave}, 150)[1]
    first, last = (np.abs(linear([np.frombuffer(p, np.uint8) for p in part])).max() for part in (got[5:15], got[-10:]))
    assert last > 2.5 * first


@pytest.mark.parametrize("size", [3, 8])
def test_a_coach_is_heard_by_one_alone_until_it_barges_in(engine: Bench, size: int) -> None:
    phones = room(engine, size)
    customer, member, coach = noise(0, 12), noise(1, 12), noise(2, 12)
    says = {0: customer, 1: member, 2: coach}
    engine.do("mix", Mix(leg="2", whispers=("1",)))
    got = talk(engine, phones, says, 12)
    assert hears(got[0], linear(member))
    assert hears(got[1], linear(customer) + linear(coach))
    assert hears(got[2], linear(customer) + linear(member))
    if size > 3:
        assert hears(got[3], linear(customer) + linear(member))
    engine.do("mix", Mix(leg="2", whispers=()))
    assert hears(talk(engine, phones, says, 12)[0], linear(member) + linear(coach))


def test_a_coach_of_nobody_is_muted(engine: Bench) -> None:
    phones = room(engine, 4)
    engine.do("mix", Mix(leg="2", whispers=("1",)))
    engine.do("release", Release(leg="1"))
    got = talk(engine, [phones[0], phones[2], phones[3]], {1: noise(2, 8)}, 8)
    assert set(got[0]) == set(got[2]) == {SILENCE}


@pytest.mark.parametrize("size", [3, 8])
def test_one_leg_ignores_another(engine: Bench, size: int) -> None:
    phones = room(engine, size)
    engine.do("mix", Mix(leg="2", ignores=("0",)))
    says = {0: noise(0, 10), 1: noise(1, 10)}
    got = talk(engine, phones, says, 10)
    assert hears(got[2], linear(says[1])) and hears(got[1], linear(says[0]))


@pytest.mark.parametrize(
    ("job", "code"),
    [(Mix(leg="x"), "not-found"), (Mix(leg="0", whispers=("x",)), "not-found"), (Mix(leg="0", ignores=tuple("01201")), "full")],
)
def test_mixes_that_can_not_be_are_refused(engine: Bench, job: Mix, code: str) -> None:
    room(engine, 3)
    with pytest.raises(control.MediaError) as error:
        engine.do("mix", job)
    assert error.value.code == code


def test_coming_and_going_is_heard(engine: Bench) -> None:
    phones = room(engine, 2)
    for name in ("c", "d"):
        phones.append(engine.phone(name))
        engine.connect(name, Room("r", tones=True))
    got = talk(engine, phones, {}, 24)
    bank = engine.processor._desk.engine.bank
    tones = {}
    for name in ("enter", "leave"):
        source = bank.find(name)
        assert source is not None
        tones[name] = [bytes(row) for row in bank.coded[0, source.first : source.end]]
    assert [payload for payload in got[0] if payload != SILENCE] == 2 * tones["enter"]
    engine.do("release", Release(leg="c"))
    engine.connect("d", control.Nothing())
    got = talk(engine, phones[:2], {}, 24)
    assert [payload for payload in got[1] if payload != SILENCE] == 2 * tones["leave"]


def test_who_speaks_is_told_without_flicker(engine: Bench) -> None:
    phones = room(engine, 5)
    engine.connect("4", Room("r", speakers=True))
    loud, louder = noise(0, 200, 2000.0), noise(1, 200, 9000.0)
    pauses = np.where((np.arange(200) % 20 < 12)[:, None], loud, 0xFF).astype(np.uint8)

    def said() -> list[Speakers]:
        return [event for _, name, event in engine.events() if name == "speakers"]

    talk(engine, phones, {0: loud}, 2)
    assert said() == [], "a click is no speech"
    talk(engine, phones, {}, 60)
    talk(engine, phones, {0: pauses}, 100)
    assert said() == [Speakers(room="r", legs=("0",))], "pauses between words do not end it"
    talk(engine, phones, {0: loud, 1: louder}, 20)
    assert said() == [Speakers(room="r", legs=("1", "0"))]
    engine.do("mix", Mix(leg="0", muted=True))
    talk(engine, phones, {0: loud, 1: louder}, speakers.TALK_MAX + 3)
    assert said() == [Speakers(room="r", legs=("1",))]
    engine.connect("4", Room("r"))
    talk(engine, phones, {}, speakers.TALK_MAX + 3)
    assert said() == [], "nobody asks any more"


@pytest.mark.parametrize("law", ["mu", "a"])
def test_levels_of_codes_are_those_of_their_samples(law: str) -> None:
    number = g711.MU if law == "mu" else g711.A
    for loud in (0.0, 20.0, 200.0, 2000.0, 20000.0):
        payload = g711.encode((np.random.default_rng(1).standard_normal((8, 160)) * loud).clip(-32768, 32767).astype(np.int16), number)
        of_codes = levels.of_codes(payload, np.full(8, number + 1, np.uint8)).astype(int)
        of_samples = levels.of_samples(g711.decode(payload, number)).astype(int)
        assert np.abs(of_codes - of_samples).max() <= (0 if law == "mu" else 6)


needs_opus = pytest.mark.skipif(coders.OPUS is None, reason="waits for libopus (Debian: libopus0)")


@needs_opus
def test_listeners_of_opus_share_an_encoder_and_get_their_own_without_a_click(engine: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = engine.phone("speaker")
    listeners = [engine.phone(f"l{number}", **OPUS) for number in range(6)]
    for name in ("speaker", *(f"l{number}" for number in range(6))):
        engine.connect(name, Room("r"))
    encoded: list[int] = []
    encode = Opus.encode
    monkeypatch.setattr(Opus, "encode", lambda self, state, rows, sound: (encoded.append(len(rows)), encode(self, state, rows, sound))[1])
    wave, own = g711.encode(tone(440, 200), g711.MU), opus_packets(tone(1000, 50))
    got: list[list[bytes]] = [[] for _ in listeners]
    counts = []
    for frame in range(200):
        speaker.send(bytes(wave[frame]))
        if 50 <= frame < 100:
            listeners[2].send(own[frame - 50], kind=96, step=960)
        encoded.clear()
        engine.ticks(4)
        counts.append(sum(encoded))
        for number, phone in enumerate(listeners):
            got[number] += [packet.payload for packet in phone.received()]
    assert set(counts[10:48]) == {1} and set(counts[55:98]) == {2} and set(counts[-20:]) == {1}
    assert all(len(each) == 200 for each in got) and got[0] == got[1] == got[5]
    heard: Callable[[int], Any] = lambda number: opus_sound(got[number]).astype(float)  # noqa: E731
    for number in (0, 2):
        sound = heard(number)[1600:]
        assert level(sound[2000:8000], 440) == pytest.approx(8000, rel=0.15)
    steady = np.abs(np.diff(heard(2)[1600 : 149 * 160])).max()
    assert steady < 1.5 * np.abs(np.diff(tone(440, 10).ravel().astype(float))).max(), "no step in the tone that it hears"
