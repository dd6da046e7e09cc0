"""Another process goes on with the legs: here a second processor over the same memory and sockets, the first one left for dead."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from media import coders, control, g711, wav
from media.arrays import LayoutError
from media.config import MediaConfiguration
from media.control import MediaProcessor
from media.legs import LAYOUT_VERSION
from media.mirror import PAGES_LOOKS
from media.sources import dtmf
from tests.media.phone import Bench, Phone, Rtp, audio_port, tone
from tests.media.test_transcode import OPUS, level, opus_packets


class Pair:
    """What somebody else keeps: the shared sockets and the memory."""

    def __init__(self) -> None:
        self.sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for side in self.sides:
            side.bind(("127.0.0.1", 0))
        self.state = os.memfd_create("state")

    def sockets(self) -> dict[str, int]:
        return {"rtp": self.sides[0].fileno(), "rtcp": self.sides[1].fileno(), "state": self.state}

    def close(self) -> None:
        for side in self.sides:
            side.close()
        os.close(self.state)


@pytest.fixture
def kept() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def engine(kept: Pair) -> Iterator[Bench]:
    bench = Bench()
    bench.processor.close()
    bench.processor = MediaProcessor(bench.configuration, kept.sockets(), bench.now)
    yield bench
    bench.close()


def replace(engine: Bench, kept: Pair, looks: int = 0) -> int:
    """The first process is gone without a word; its own sockets with it. The standby has looked at what it did so often before."""
    standby = MediaProcessor(engine.configuration, kept.sockets(), engine.now)
    for _ in range(looks):
        standby.look()
    engine.processor._desk.engine.sockets.close()
    engine.processor = standby
    return standby.take_over(engine.now)


def check_continuous(packets: list) -> None:  # type: ignore[type-arg]
    assert len({packet.ssrc for packet in packets}) == 1
    assert [packet.sequence for packet in packets] == [(packets[0].sequence + number) & 0xFFFF for number in range(len(packets))]


@pytest.mark.parametrize("looks", [0, PAGES_LOOKS])
def test_relayed_and_mixed_legs_go_on(engine: Bench, kept: Pair, looks: int) -> None:
    echo = engine.phone("echo")
    engine.connect("echo", control.Echo())
    room = [engine.phone(f"room{number}") for number in range(3)]
    for number in range(3):
        engine.connect(f"room{number}", control.Room("3000"))
    waves = [g711.encode(tone(430 + 380 * number, 60), g711.MU) for number in range(3)]
    got: list[list] = [[], []]  # type: ignore[type-arg]
    for number in range(60):
        if number == 30:
            assert replace(engine, kept, looks) == 4
        echo.send(bytes(waves[0][number]))
        for phone, wave in zip(room, waves, strict=True):
            phone.send(bytes(wave[number]))
        engine.ticks(4)
        got[0] += echo.received()
        got[1] += room[0].received()
    assert [packet.payload for packet in got[0]] == [bytes(row) for row in waves[0]]
    for packets in got:
        check_continuous(packets)
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in zip(got[0], got[0][1:], strict=False)} == {160}
    sound = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got[1]), np.uint8), g711.MU)
    assert level(sound[160 * 20 : 160 * 56], 810) == pytest.approx(8000, rel=0.05)
    assert engine.report("room0").packets_in == 60 and engine.report("room0").lost == 0
    assert engine.report("room0").connected_to == "room"
    late = engine.phone("late")
    engine.connect("late", control.Room("3000"))
    room[0].send(bytes(waves[0][0]))
    engine.ticks(8)
    assert late.received()


def test_a_leg_on_its_own_port_keeps_it(engine: Bench, kept: Pair) -> None:
    proposal = engine.do("propose", control.Propose(leg="out", call="c"))
    phone = Phone()
    engine.phones.append(phone)
    phone.take(proposal.sdp)
    engine.do("accept", control.Accept(leg="out", sdp=phone.offer()))
    engine.connect("out", control.Echo())
    phone.send(b"\x01" * 160)
    engine.ticks(4)
    assert replace(engine, kept) == 1
    phone.send(b"\x02" * 160)
    engine.ticks(4)
    got = phone.received()
    assert [packet.payload[0] for packet in got] == [1, 2]
    check_continuous(got)
    again = engine.do("propose", control.Propose(leg="out", call="c"))
    assert audio_port(again.sdp) == phone.to[1]


def test_a_port_that_was_given_is_never_closed(engine: Bench, kept: Pair) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    phones = []
    for name in ("early", "late", "gone"):
        if name == "late":
            engine.processor.standby(ours.detach())
        phone = Phone()
        engine.phones.append(phone)
        phones.append(phone)
        phone.take(engine.do("propose", control.Propose(leg=name, call="c")).sdp)
        engine.do("accept", control.Accept(leg=name, sdp=phone.offer()))
        engine.connect(name, control.Echo())
    engine.ticks()
    engine.do("release", control.Release(leg="gone"))
    engine.ticks()
    with theirs:
        standby = MediaProcessor(engine.configuration, {**kept.sockets(), "peer": theirs.fileno()}, engine.now)
        assert standby.hear_peer()
    # What comes between two processes is in the kernel's queue: a port that was closed would have lost it.
    for phone in phones[:2]:
        phone.send(b"\x01" * 160)
    engine.processor._desk.engine.sockets.close()
    engine.processor = standby
    assert not standby.hear_peer()
    assert standby.take_over(engine.now) == 2
    engine.ticks(4)
    for phone in phones[:2]:
        assert [packet.payload[0] for packet in phone.received()] == [1]


def test_a_source_goes_on_where_it_was(engine: Bench, kept: Pair) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    other = engine.phone("b")
    engine.connect("b", control.Play("music"))
    for number in range(40):
        if number == 20:
            replace(engine, kept)
        engine.ticks(4)
    got, whole = phone.received(), other.received()
    check_continuous(got)
    assert [packet.payload for packet in got] == [packet.payload for packet in whole]
    bank = engine.processor._desk.engine.bank
    music = bank.find("music")
    assert music is not None
    assert [packet.payload for packet in got] == [bytes(row) for row in bank.coded[0, music.first : music.first + 40]]


@pytest.mark.skipif(coders.OPUS is None, reason="waits for libopus (Debian: libopus0)")
def test_codecs_go_on_with_their_memory(engine: Bench, kept: Pair) -> None:
    one, two = engine.phone("a"), engine.phone("b", **OPUS)
    engine.connect("a", control.Bridge("b"))
    packets = opus_packets(tone(1000, 60))
    got = []
    for number in range(60):
        if number == 30:
            assert replace(engine, kept) == 2
        two.send(packets[number], kind=96, step=960)
        engine.ticks(4)
        got += one.received()
    check_continuous(got)
    sound = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.MU)
    power = np.sqrt(np.mean(sound[160 * 10 :].reshape(-1, 160).astype(float) ** 2, axis=1))
    assert power.min() > 0.6 * power.max()  # no frame is silent


@pytest.mark.parametrize("looks", [0, 1])
def test_what_a_room_hears_goes_on_where_it_was(engine: Bench, kept: Pair, tmp_path: Path, looks: int) -> None:
    """A file, read anew by the other process, from the frame that is due; its end is told to who asked for it."""
    frames = 40
    sound = np.arange(160 * frames).reshape(frames, 160).astype(np.int16) * 5
    path = tmp_path / "said.wav"
    path.write_bytes(wav.header(8000, 1, sound.nbytes) + sound.tobytes())
    phone = engine.phone("a")
    engine.connect("a", control.Room("r"))
    engine.connect("a", control.Room("other"))
    engine.connect("a", control.Room("r"))
    started = engine.do("play", control.PlayTo(room="r", source=str(path), offset_seconds=0.1))
    engine.until(lambda: any(packet.payload != bytes([0xFF]) * 160 for packet in phone.received()))
    engine.ticks(40)
    before = phone.received()
    assert replace(engine, kept, looks) == 1
    after: list[Rtp] = []

    def ended() -> bool:
        after.extend(phone.received())
        return any(name == "play-ended" and event.id == started.id for _, name, event in engine.events())

    engine.until(ended)
    coded = [bytes(row) for row in g711.encode(sound, g711.MU)]
    said = [coded.index(packet.payload) for packet in before + after if packet.payload in coded]
    assert said == list(range(said[0], frames)), "no frame is left out, none is heard twice"
    assert max(coded.index(packet.payload) for packet in before if packet.payload in coded) < frames - 5
    assert engine.do("play", control.PlayTo(room="r", source="silence")).id != started.id, "a name is given once"


@pytest.mark.parametrize("to", [{"leg": "a"}, {"room": "r"}])
def test_a_queue_goes_on(engine: Bench, kept: Pair, to: dict[str, str]) -> None:
    engine.phone("a")
    if "room" in to:
        engine.connect("a", control.Room("r"))
    ids = [engine.do("play", control.PlayTo(**to, source=name, queue=True)).id for name in ("ring-back", "beep", "enter")]
    engine.ticks(4 * 30)
    assert replace(engine, kept, 1) == 1
    playing = engine.do("playing", control.Playing(**to))
    assert [each.id for each in playing] == ids
    assert playing[0].offset_seconds == pytest.approx(0.6, abs=0.05) and playing[1].offset_seconds == 0
    engine.do("skip", control.Skip(**to))
    engine.ticks(4 * 40)
    assert [event.id for _, name, event in engine.events() if name == "play-ended"] == ids[1:]
    with pytest.raises(control.MediaError, match="not-found"):
        engine.do("stop", control.Stop(id=ids[0]))


def test_ticks_go_on_where_they_were(engine: Bench, kept: Pair) -> None:
    """The other process counted them from another time: no leg hears more or less for it."""
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    engine.ticks(41)
    phone.received()
    standby = MediaProcessor(engine.configuration, kept.sockets(), engine.now + 0.0125)
    engine.processor._desk.engine.sockets.close()
    engine.processor = standby
    engine.now += 0.0825
    assert standby.take_over(engine.now) == 1
    standby.tick(engine.now)
    assert len(phone.received()) == 4, "what was due meanwhile"
    for _ in range(5):
        engine.ticks(4)
        assert len(phone.received()) == 1


def test_a_note_that_was_being_written_is_the_one_from_before(engine: Bench, kept: Pair) -> None:
    engine.phone("a")
    engine.phone("b")
    engine.connect("a", control.Echo())
    standby = MediaProcessor(engine.configuration, kept.sockets(), engine.now)
    standby.look()
    engine.connect("b", control.Echo())
    engine.do("release", control.Release(leg="a"))
    engine.ticks()
    engine.phone("c")
    legs = engine.processor._desk.engine.legs
    legs.note_size[:2] = 0
    engine.processor._desk.engine.sockets.close()
    engine.processor = standby
    assert standby.take_over(engine.now) == 1
    (report,) = engine.do("query", control.Query())
    assert (report.leg, report.connected_to) == ("b", "nothing"), "another leg has the row of the first one"


def test_a_leg_without_a_whole_note_is_let_go(engine: Bench, kept: Pair) -> None:
    engine.phone("a")
    engine.phone("b")
    legs = engine.processor._desk.engine.legs
    legs.note[0, 5] ^= 0xFF
    assert replace(engine, kept) == 1
    assert [report.leg for report in engine.do("query", control.Query())] == ["b"]


def test_memory_keeps_its_capacity(engine: Bench, kept: Pair) -> None:
    engine.phone("a")
    engine.configuration = MediaConfiguration(host="127.0.0.1", rtp_port_first=41000, rtp_port_last=42999, legs_max=1000)
    assert replace(engine, kept) == 1
    for number in range(63):
        engine.do("propose", control.Propose(leg=f"{number}", call="c"))
    with pytest.raises(control.MediaError, match="64 legs"):
        engine.do("propose", control.Propose(leg="more", call="c"))


def test_another_layout_is_refused(engine: Bench, kept: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("media.legs.LAYOUT_VERSION", LAYOUT_VERSION + 1)
        with pytest.raises(LayoutError):
            MediaProcessor(engine.configuration, kept.sockets(), engine.now)
    os.pwrite(kept.state, b"something else!!", 0)
    with pytest.raises(LayoutError):
        MediaProcessor(engine.configuration, kept.sockets(), engine.now)


def test_how_legs_take_part_in_rooms_goes_on(engine: Bench, kept: Pair) -> None:
    phones = [engine.phone(f"{number}") for number in range(3)]
    for number in range(3):
        engine.connect(f"{number}", control.Room("r", tones=True, speakers=number == 2))
    engine.do("mix", control.Mix(leg="0", muted=True))
    engine.do("mix", control.Mix(leg="2", gain_out_db=6.0206))
    engine.ticks(200)
    for phone in phones:
        phone.received()
    assert replace(engine, kept) == 3
    waves = [g711.encode(tone(430 + 380 * number, 40), g711.MU) for number in range(2)]
    got: list[bytes] = []
    for frame in range(40):
        for phone, wave in zip(phones, waves, strict=False):
            phone.send(bytes(wave[frame]))
        engine.ticks(4)
        got += [packet.payload for packet in phones[2].received()]
    sound = g711.decode(np.frombuffer(b"".join(got[5:35]), np.uint8), g711.MU)
    assert level(sound, 430) < 100 and level(sound, 810) == pytest.approx(16000, rel=0.03)
    assert [body.legs for _, name, body in engine.events() if name == "speakers"] == [("1",)]
    engine.do("release", control.Release(leg="1"))
    engine.ticks(4)
    assert any(packet.payload != bytes([0xFF]) * 160 for packet in phones[0].received()), "its going is heard"


def test_recordings_go_on_in_the_same_files(engine: Bench, kept: Pair, tmp_path: Path) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Room("r"))
    leg = engine.do("record", control.Record(leg="a", path=str(tmp_path / "leg.wav"), mono=True))
    room = engine.do("record", control.Record(room="r", path=str(tmp_path / "room.wav")))
    sound = g711.encode(tone(440, 120), g711.MU)
    for number in range(120):
        if number == 40:
            engine.do("pause", control.Pause(id=room.id))
        if number == 60:
            before = engine.processor._desk.engine.recorder
            assert replace(engine, kept) == 1
            before.close()
            with pytest.raises(control.MediaError, match="being recorded"):
                engine.do("record", control.Record(leg="a", path=str(tmp_path / "more.wav")))
        if number == 80:
            engine.do("pause", control.Pause(id=room.id, paused=False))
        phone.send(bytes(sound[number]))
        engine.ticks(4)
    for recording in (leg, room):
        engine.do("stop", control.Stop(id=recording.id))
    engine.processor._desk.engine.recorder.close()
    found = [np.frombuffer((tmp_path / name).read_bytes()[wav.HEADER_BYTES :], "<i2") for name in ("leg.wav", "room.wav")]
    assert [len(each) for each in found] == [160 * 120, 160 * 80]
    assert level(found[0][160 * 5 : 160 * 105], 440) == pytest.approx(8000, rel=0.03), "not a frame is missing"


def test_keys_that_are_sent_and_heard_go_on(engine: Bench, kept: Pair) -> None:
    one, two = engine.phone("a"), engine.phone("b", formats="0")
    for name in ("a", "b"):
        engine.connect(name, control.Play("silence", loop=True))
    engine.do("listen", control.Listen(leg="b", kinds=("dtmf",)))
    engine.do("dtmf", control.SendDigits(leg="a", digits="12"))
    engine.ticks(4 * 3)
    digit = g711.encode(dtmf("5").reshape(-1, 160), g711.MU)
    for number in range(16):
        if number == 3:
            assert replace(engine, kept) == 2
        two.send(bytes(digit[number]) if number < len(digit) else bytes([0xFF]) * 160)
        engine.ticks(4)
    engine.ticks(4 * 20)
    events = [packet for packet in one.received() if packet.kind == 101]
    check_continuous([packet for packet in events if packet.payload[0] == 1])
    assert sorted({(packet.payload[0], packet.payload[1] >> 7) for packet in events}) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [event.digit for _, name, event in engine.events() if name == "dtmf"] == ["5"]
