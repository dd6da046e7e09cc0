"""Queues of playbacks: one after the other without a gap, skipped, stopped, taken elsewhere at the place where they were."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media import control, g711, wav
from media.control import MediaError, Played, PlayTo, Skip, Stop
from tests.media.phone import Bench, Phone, bench, tone

FRAMES = 30
Sound = np.ndarray[Any, np.dtype[np.int16]]


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Three sounds of 600 ms, each of another pitch."""
    found = {}
    for number, frequency in enumerate((400, 800, 1600)):
        data = tone(frequency, FRAMES).tobytes()
        (tmp_path / f"{number}.wav").write_bytes(wav.header(8000, 1, len(data)) + data)
        found[str(number)] = str(tmp_path / f"{number}.wav")
    return found


def loaded(engine: Bench, files: dict[str, str]) -> None:
    """The files are in the bank: whoever plays them hears them at once."""
    engine.phone("first")
    for path in files.values():
        name = engine.do("play", PlayTo(leg="first", source=path, offset_seconds=10)).id
        engine.until(lambda name=name: any(kind == "play-ended" and event.id == name for _, kind, event in engine.events()))


def heard(engine: Bench, phone: Phone, ticks: int) -> list[int]:
    """Pitch of each frame that a phone hears: 0, 1 or 2; -1: nothing."""
    phone.received()
    engine.ticks(ticks)
    pitches = []
    for packet in phone.received():
        sound = g711.decode(np.frombuffer(packet.payload, np.uint8), g711.MU).astype(float)
        crossings = int(np.count_nonzero(np.diff(sound > 0)))
        pitches.append(-1 if np.abs(sound).max() < 1000 else 0 if crossings < 24 else 1 if crossings < 48 else 2)
    return pitches


def order(pitches: list[int]) -> list[tuple[int, int]]:
    """Runs of the same pitch, and their length."""
    runs: list[tuple[int, int]] = []
    for pitch in pitches:
        runs[-1:] = [(pitch, runs[-1][1] + 1)] if runs and runs[-1][0] == pitch else [*runs[-1:], (pitch, 1)]
    return runs


def whom(engine: Bench, kind: str) -> tuple[Phone, dict[str, str]]:
    """Somebody who hears what is played to it, or to its room; and how it is named in jobs."""
    phone = engine.phone("a")
    if kind == "leg":
        return phone, {"leg": "a"}
    engine.connect("a", control.Room("r"))
    engine.ticks(4)
    return phone, {"room": "r"}


@pytest.mark.parametrize("kind", ["leg", "room"])
def test_one_follows_the_other_without_a_gap(engine: Bench, files: dict[str, str], kind: str) -> None:
    loaded(engine, files)
    phone, to = whom(engine, kind)
    ids = [engine.do("play", PlayTo(**to, source=files[name], queue=True)).id for name in ("0", "2", "1")]
    assert [run for run in order(heard(engine, phone, 4 * 100)) if run[0] >= 0] == [(0, FRAMES), (2, FRAMES), (1, FRAMES)]
    ended = [event for _, name, event in engine.events() if name == "play-ended"]
    assert [event.id for event in ended] == ids and {event.leg or event.room for event in ended} == {next(iter(to.values()))}
    assert engine.do("playing", control.Playing(**to)) == []


@pytest.mark.parametrize("kind", ["leg", "room"])
def test_skip_and_stop(engine: Bench, files: dict[str, str], kind: str) -> None:
    loaded(engine, files)
    phone, to = whom(engine, kind)
    ids = [engine.do("play", PlayTo(**to, source=files[name], queue=True, loop=name == "0")).id for name in ("0", "1", "2", "1")]
    assert {pitch for pitch, _ in order(heard(engine, phone, 4 * 40))[-1:]} == {0}, "it goes round until it is skipped"
    engine.do("stop", Stop(id=ids[1]))
    engine.do("skip", Skip(**to))
    assert [pitch for pitch, _ in order(heard(engine, phone, 4 * 10))][-1] == 2
    engine.do("stop", Stop(id=ids[2]))
    assert [pitch for pitch, _ in order(heard(engine, phone, 4 * 10))][-1] == 1
    engine.do("play", PlayTo(**to, source=files["2"], queue=True))
    engine.do("skip", Skip(**to, all=True))
    assert set(heard(engine, phone, 4 * 10)[1:]) <= {-1}
    assert engine.do("playing", control.Playing(**to)) == [] and not engine.events()
    engine.do("skip", Skip(**to))
    for id in ids:
        with pytest.raises(MediaError, match="not-found"):
            engine.do("stop", Stop(id=id))


def test_what_is_played_anew_takes_the_place_of_all(engine: Bench, files: dict[str, str]) -> None:
    loaded(engine, files)
    phone, to = whom(engine, "leg")
    for name in ("0", "1"):
        engine.do("play", PlayTo(**to, source=files[name], queue=True))
    engine.do("play", PlayTo(**to, source=files["2"]))
    assert [run for run in order(heard(engine, phone, 4 * 60)) if run[0] >= 0] == [(2, FRAMES)]


@pytest.mark.parametrize("kind", ["leg", "room"])
def test_it_goes_on_elsewhere_where_it_was(engine: Bench, files: dict[str, str], kind: str) -> None:
    loaded(engine, files)
    phone, to = whom(engine, kind)
    for name in ("0", "1"):
        engine.do("play", PlayTo(**to, source=files[name], queue=True))
    before = [pitch for pitch in heard(engine, phone, 4 * 12) if pitch >= 0]
    playing: list[Played] = engine.do("playing", control.Playing(**to))
    assert [(each.source, each.loop) for each in playing] == [(files["0"], False), (files["1"], False)]
    with bench() as other:
        loaded(other, files)
        there, to = whom(other, "room" if kind == "leg" else "leg")
        for each in playing:
            other.do("play", PlayTo(**to, source=each.source, loop=each.loop, offset_seconds=each.offset_seconds, queue=True))
        after = [pitch for pitch in heard(other, there, 4 * 80) if pitch >= 0]
    assert [run[0] for run in order(before + after)] == [0, 1]
    assert abs(before.count(0) + after.count(0) - FRAMES) <= 1 and after.count(1) == FRAMES


def test_music_goes_on_elsewhere_where_it_was(engine: Bench) -> None:
    phone = engine.phone("a")
    engine.connect("a", control.Play("music"))
    engine.ticks(4 * 50)
    (music,) = engine.do("playing", control.Playing(leg="a"))
    assert (music.id, music.source, music.loop) == ("", "music", True) and music.offset_seconds == pytest.approx(1.0, abs=0.03)
    phone.received()
    engine.ticks(4)
    (following,) = phone.received()
    with bench() as other:
        there = other.phone("a")
        other.connect("a", control.Play("music", offset_seconds=music.offset_seconds))
        other.ticks(4)
        assert there.received()[0].payload == following.payload


def test_a_queue_is_bounded(engine: Bench, files: dict[str, str]) -> None:
    for to in ({"leg": "a"}, {"room": "r"}):
        if "leg" in to:
            engine.phone("a")
        else:
            engine.connect("a", control.Room("r"))
        engine.do("play", PlayTo(**to, source="music"))
        for _ in range(16):
            engine.do("play", PlayTo(**to, source="beep", queue=True))
        with pytest.raises(MediaError, match="full"):
            engine.do("play", PlayTo(**to, source="beep", queue=True))
        with pytest.raises(MediaError, match="full"):
            engine.do("play", PlayTo(**to, source="x" * 1025))
    for job in (control.Playing(), Skip(leg="a", room="r")):
        with pytest.raises(MediaError, match="bad-request"):
            engine.do(type(job).__name__.lower(), job)
    with pytest.raises(MediaError, match="not-found"):
        engine.do("playing", control.Playing(room="none"))
