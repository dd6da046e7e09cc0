"""Recordings: their channels, pauses, and disks that are full or slow."""

import errno
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media import control, g711, recorder, wav
from media.control import MediaError
from media.legs import Legs
from media.recorder import Recorder
from media.tape import RecordingNote
from tests.media.phone import Bench, bench, tone

FRAMES = 100


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


def level(samples: Any, frequency: float) -> float:
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(samples)) / 8000)
    return float(2 * abs(np.mean(samples * turn)))


def talk(engine: Bench, frames: int = FRAMES) -> None:
    """Leg a says 440 Hz, leg b 1000 Hz."""
    sounds = [g711.encode(tone(frequency, frames, 4000), g711.MU) for frequency in (440, 1000)]
    for number in range(frames):
        for phone, sound in zip(engine.phones, sounds, strict=True):
            phone.send(bytes(sound[number]))
        engine.ticks(4)


def bridged(engine: Bench) -> None:
    engine.phone("a")
    engine.phone("b")
    engine.connect("a", control.Bridge("b"))


def data(path: Path, channels: int) -> Any:
    whole = path.read_bytes()
    assert whole[: wav.HEADER_BYTES] == wav.header(8000, channels, len(whole) - wav.HEADER_BYTES)
    return np.frombuffer(whole[wav.HEADER_BYTES :], "<i2").reshape(-1, channels)


def finish(engine: Bench, recording: Any) -> None:
    engine.do("stop", control.Stop(id=recording.id))
    engine.processor.close()


def test_a_side_is_a_channel(engine: Bench, tmp_path: Path) -> None:
    bridged(engine)
    recording = engine.do("record", control.Record(leg="a", path=str(tmp_path / "call.wav")))
    talk(engine)
    finish(engine, recording)
    sound = data(tmp_path / "call.wav", 2)[1600:8000]
    assert level(sound[:, 0], 440) == pytest.approx(4000, rel=0.03) and level(sound[:, 0], 1000) < 100
    assert level(sound[:, 1], 1000) == pytest.approx(4000, rel=0.03) and level(sound[:, 1], 440) < 100


def test_both_sides_in_one_channel(engine: Bench, tmp_path: Path) -> None:
    bridged(engine)
    recording = engine.do("record", control.Record(leg="a", path=str(tmp_path / "call.wav"), mono=True))
    talk(engine)
    finish(engine, recording)
    sound = data(tmp_path / "call.wav", 1)[1600:8000, 0]
    assert level(sound, 440) == pytest.approx(4000, rel=0.03) and level(sound, 1000) == pytest.approx(4000, rel=0.03)


@pytest.mark.parametrize("room", ["", "r"])
def test_what_is_said_in_a_pause_is_left_out(engine: Bench, tmp_path: Path, room: str) -> None:
    engine.phone("a")
    engine.phone("b")
    for name in ("a", "b"):
        engine.connect(name, control.Room("r"))
    what = {"room": room} if room else {"leg": "a"}
    recording = engine.do("record", control.Record(path=str(tmp_path / "call.wav"), **what))
    talk(engine, 60)
    engine.do("pause", control.Pause(id=recording.id))
    talk(engine, 500)
    engine.do("pause", control.Pause(id=recording.id, paused=False))
    talk(engine, 60)
    finish(engine, recording)
    assert len(data(tmp_path / "call.wav", 1 if room else 2)) == pytest.approx(120 * 160, abs=2 * 160)
    with pytest.raises(MediaError, match="not-found"):
        engine.do("pause", control.Pause(id=recording.id))


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = 100_001
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    yield most
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_file_and_is_told_once(engine: Bench, tmp_path: Path, small_disk: int) -> None:
    bridged(engine)
    recording = engine.do("record", control.Record(leg="a", path=str(tmp_path / "call.wav")))
    short = engine.do("record", control.Record(leg="b", path=str(tmp_path / "short.wav"), mono=True))
    talk(engine, 250)
    engine.do("stop", control.Stop(id=short.id))
    told: list[tuple[str, str, Any]] = []

    def failed() -> bool:
        told.extend(engine.events())
        return bool(told)

    engine.until(failed)
    talk(engine, 60)
    finish(engine, recording)
    told.extend(engine.events())
    (event,) = [event for _, name, event in told if name == "record-failed"]
    assert (event.id, event.leg, event.call, event.error) == (recording.id, "a", "call", os.strerror(errno.EFBIG))
    sound = data(tmp_path / "call.wav", 2)
    assert sound.nbytes == (small_disk - wav.HEADER_BYTES) // 4 * 4
    assert level(sound[1600:8000, 0], 440) == pytest.approx(4000, rel=0.03)
    assert len(data(tmp_path / "short.wav", 1)) == pytest.approx(250 * 160, abs=2 * 160)


def test_a_file_that_can_not_be_made_is_told(engine: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    paths = {"/dev/full": errno.ENOSPC, str(tmp_path / "no" / "such"): errno.ENOENT, str(tmp_path): errno.EISDIR}
    paths |= {str(tmp_path / "pipe"): errno.ENXIO, "no\0path": 0}
    made, told = {}, {}
    for number, path in enumerate(paths):
        engine.phone(f"{number}")
        made[engine.do("record", control.Record(leg=f"{number}", path=path)).id] = path

    def all_told() -> bool:
        told.update({event.id: event.error for _, name, event in engine.events() if name == "record-failed"})
        return len(told) == len(paths)

    engine.until(all_told)
    assert {made[id]: error for id, error in told.items()} == {
        path: os.strerror(number) if number else "embedded null byte" for path, number in paths.items()
    }
    for id in made:
        engine.do("stop", control.Stop(id=id))
    engine.ticks(20)
    assert not engine.events()


def test_a_disk_that_is_too_slow_loses_seconds_and_is_told_once(tmp_path: Path) -> None:
    legs = Legs(4)
    writer = Recorder(legs.tape)
    recording = writer.open(RecordingNote("record-1", "", str(tmp_path / "slow.wav")), 1)
    frame = np.full(160, 7, np.int16)
    for number in range(4 * recorder.BLOCK_FRAMES):
        if number == recorder.BLOCK_FRAMES:
            waiting, writer._blocks = writer._blocks, []
        if number == 3 * recorder.BLOCK_FRAMES:
            writer._blocks = waiting
        recording.put(frame)
    recording.close()
    writer.close()
    assert recording.dropped == 2 * recorder.BLOCK_FRAMES
    assert [(note.id, bool(note.error)) for note in writer.notes()] == [("record-1", True), ("record-1", False)]
    assert len(data(tmp_path / "slow.wav", 1)) == 2 * recorder.BLOCK_FRAMES * 160


@pytest.mark.parametrize("stopped", [False, True])
def test_another_process_goes_on_with_the_file_to_the_frame(tmp_path: Path, stopped: bool) -> None:
    """The first one dies at any time: before and while a block is written, before it is said to be, before the end."""
    memory, path = Legs(4), tmp_path / "call.wav"
    first = Recorder(memory.tape)
    recording = first.open(RecordingNote("record-1", "router", str(path), leg="a"), 2)
    idle, first.write = first.write, lambda recording, block: None  # type: ignore[method-assign]
    sound = np.arange(160 * 180, dtype=np.int16).reshape(-1, 160)
    for number in range(120):
        if number == 60:
            first.write = idle  # type: ignore[method-assign]
        recording.put(sound[number], -sound[number])
    if stopped:
        first.finish = lambda recording: None  # type: ignore[method-assign]
        recording.close()
    first._queue.put((None, -1))
    assert first._thread is not None
    first._thread.join()
    second = Recorder(Legs(4, memory.memory).tape)
    found = second.take_over()
    assert [one.note.id for one in found] == ([] if stopped else ["record-1"])
    for one in found:
        for number in range(120, 180):
            one.put(sound[number], -sound[number])
        one.close()
    second.close()
    whole = data(path, 2)
    expected = sound[: 120 if stopped else 180].reshape(-1)
    assert np.array_equal(whole[:, 0], expected) and np.array_equal(whole[:, 1], -expected)
    assert not second.tape.blocks["owner"].any() and not second.tape.slips.mark["size"].any()


def test_a_file_that_took_its_name_is_left_alone(tmp_path: Path) -> None:
    memory, path = Legs(4), tmp_path / "call.wav"
    first = Recorder(memory.tape)
    recording = first.open(RecordingNote("record-1", "router", str(path), leg="a"), 1)
    recording.put(np.zeros(160, np.int16))
    for _ in range(2000):
        if recording.state["inode"]:
            break
        time.sleep(0.005)  # until the thread has made the file
    path.rename(tmp_path / "moved.wav")
    path.write_bytes(b"other")
    second = Recorder(Legs(4, memory.memory).tape)
    (again,) = second.take_over()
    again.close()
    second.close()
    first.close()
    assert [bool(note.error) for note in second.notes()] == [True, False]
    assert path.read_bytes() == b"other"
