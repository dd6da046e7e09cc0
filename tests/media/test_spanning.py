"""A room over several media processors: everybody hears everybody else once, whoever comes and goes."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.bench.options import Checkout
from loadtest.bench.our_engine import OurEngine
from media import control, g711, spanning
from media.spanning import Span, Steps
from tests.media.phone import RESPONSES, Bench, Phone, tone
from tests.media.test_transcode import level

PITCHES = {"a": 430.0, "b": 810.0, "c": 1170.0, "d": 1630.0}


def drive(steps: Steps, ask: Callable[[str, str, Any], Any]) -> int:
    """Do the jobs; how many."""
    done = 0
    try:
        step = next(steps)
        while True:
            done += 1
            step = steps.send(ask(step.processor, step.operation, step.request))
    except StopIteration:
        return done


class Cluster:
    """Four processors, a phone at each, in one process under one fake clock."""

    def __init__(self) -> None:
        self.benches = {name: Bench() for name in PITCHES}
        self.phones = {name: bench.phone(f"phone {name}") for name, bench in self.benches.items()}
        for name, bench in self.benches.items():
            bench.connect(f"phone {name}", control.Room("r"))
        self.waves = {name: g711.encode(tone(pitch, 50, 4000.0), g711.MU) for name, pitch in PITCHES.items()}

    def ask(self, processor: str, operation: str, request: Any) -> Any:
        return self.benches[processor].do(operation, request)

    def do(self, steps: Steps) -> int:
        return drive(steps, self.ask)

    def heard(self) -> dict[str, set[str]]:
        """All talk for a second: whom each hears, at the level of one voice."""
        got: dict[str, list[bytes]] = {name: [] for name in self.phones}
        for frame in range(50):
            for name, phone in self.phones.items():
                phone.send(bytes(self.waves[name][frame]))
            for _ in range(4):
                for bench in self.benches.values():
                    bench.ticks()
            for name, phone in self.phones.items():
                got[name] += [packet.payload for packet in phone.received()]
        found = {}
        for name, payloads in got.items():
            sound = g711.decode(np.frombuffer(b"".join(payloads[20:45]), np.uint8), g711.MU)
            levels = {other: level(sound, pitch) for other, pitch in PITCHES.items()}
            assert all(each < 250 or each == pytest.approx(4000, rel=0.1) for each in levels.values()), levels
            found[name] = {other for other, each in levels.items() if each > 1000}
        return found

    def close(self) -> None:
        for bench in self.benches.values():
            bench.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def everybody(names: str) -> dict[str, set[str]]:
    return {name: set(names) - {name} if name in names else set() for name in PITCHES}


def test_processors_come_and_go_while_the_room_talks(cluster: Cluster) -> None:
    span = Span("r")
    assert cluster.do(span.add("a")) == 0
    assert cluster.heard() == everybody("")
    cluster.do(span.add("b"))
    cluster.do(span.add("c"))
    assert cluster.heard() == everybody("abc")
    cluster.do(span.add("d"))
    assert cluster.do(span.add("d")) == 0, "it is there"
    assert cluster.heard() == everybody("abcd")
    cluster.do(span.remove("c"))
    assert cluster.heard() == everybody("abd")
    cluster.do(span.remove("a"))
    assert span.processors == ["b", "d"]
    assert cluster.heard() == everybody("bd"), "the hub went"
    assert [bench.processor.legs() for bench in cluster.benches.values()] == [1, 2, 1, 2], "no trunk is left behind"


def test_a_dead_hub_is_asked_for_nothing(cluster: Cluster) -> None:
    span = Span("r")
    for name in "abcd":
        cluster.do(span.add(name))
    asked = []

    def ask(processor: str, operation: str, request: Any) -> Any:
        asked.append(processor)
        return cluster.ask(processor, operation, request)

    drive(span.remove("a", dead=True), ask)
    assert "a" not in asked
    heard = cluster.heard()
    assert {name: heard[name] for name in "bcd"} == {name: set("bcd") - {name} for name in "bcd"}


def test_a_room_has_a_bound() -> None:
    span = Span("r")
    span.processors = [f"{number}" for number in range(spanning.PROCESSORS_MAX)]
    with pytest.raises(ValueError, match="at most"):
        next(span.add("another"))


@pytest.mark.process
def test_real_processes_go_on_after_one_is_killed() -> None:
    engines = {name: OurEngine(Checkout(name, f"127.0.78.{number}")) for number, name in enumerate("abc", start=1)}
    phones: dict[str, Phone] = {}

    def ask(processor: str, operation: str, request: Any) -> Any:
        return msgspec.msgpack.decode(engines[processor].ask(operation, request), type=RESPONSES[operation])

    def hears(name: str, wanted: str) -> bool:
        """All talk until somebody hears just these others, for ten frames in a row; 10 s at most."""
        due, recent = time.monotonic(), b""
        for frame in range(500):
            for other, phone in phones.items():
                phone.send(waves[other][frame % 50].tobytes())
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))
            for other, phone in phones.items():
                payloads = [packet.payload for packet in phone.received()]
                if other == name:
                    recent = (recent + b"".join(payloads))[-1600:]
            if len(recent) == 1600:
                sound = g711.decode(np.frombuffer(recent, np.uint8), g711.MU)
                if all((level(sound, PITCHES[other]) > 2000) == (other in wanted) for other in engines):
                    return True
        return False

    waves = {name: g711.encode(tone(pitch, 50, 4000.0), g711.MU) for name, pitch in PITCHES.items()}
    try:
        span = Span("r")
        for number, name in enumerate(engines, start=1):
            phone = phones[name] = Phone("127.0.78.9")
            answer = ask(name, "offer", control.Offer(leg="phone", call="c", sdp=phone.offer()))
            phone.take(answer.sdp)
            phone.to = (f"127.0.78.{number}", phone.to[1])
            ask(name, "connect", control.Connect(leg="phone", to=control.Room("r")))
            drive(span.add(name), ask)
        assert hears("a", "bc") and hears("b", "ac") and hears("c", "ab")
        engines["a"].process.stop(signal.SIGKILL)
        drive(span.remove("a", dead=True), ask)
        assert hears("b", "c") and hears("c", "b")
    finally:
        for phone in phones.values():
            phone.close()
        for engine in engines.values():
            engine.stop()
