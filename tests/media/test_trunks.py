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
from media import control, g711, trunks
from media.control import Accept, MediaError, Offer, Propose, Release, Room, TrunkLost
from tests.media.phone import RESPONSES, Bench, Phone, tone
from tests.media.test_transcode import level

PITCHES = {"a": 430.0, "b": 810.0, "c": 1170.0, "d": 1630.0}
Ask = Callable[[str, str, Any], Any]


def link(ask: Ask, hub: str, branch: str) -> None:
    """Join two processors, as a call router does (`telephony.voice.rooms`)."""
    near, far = f"trunk r {hub} {branch}", f"trunk r {branch} {hub}"
    proposal = ask(hub, "propose", Propose(leg=near, call="r", protocol="RTP/SAVP", trunk="r"))
    answer = ask(branch, "offer", Offer(leg=far, call="r", sdp=proposal.sdp, trunk="r"))
    ask(hub, "accept", Accept(leg=near, sdp=answer.sdp))


class Cluster:
    """Four processors, a phone at each, in one process under one fake clock."""

    def __init__(self) -> None:
        self.benches = {name: Bench() for name in PITCHES}
        self.phones = {name: bench.phone(f"phone {name}") for name, bench in self.benches.items()}
        for name, bench in self.benches.items():
            bench.connect(f"phone {name}", Room("r"))
        self.waves = {name: g711.encode(tone(pitch, 50, 4000.0), g711.MU) for name, pitch in PITCHES.items()}

    def ask(self, processor: str, operation: str, request: Any) -> Any:
        return self.benches[processor].do(operation, request)

    def link(self, hub: str, branch: str) -> None:
        link(self.ask, hub, branch)

    def legs(self) -> str:
        return " ".join(f"{name}{bench.processor.legs()}" for name, bench in self.benches.items())

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
    assert cluster.heard() == everybody("")
    cluster.link("a", "b")
    cluster.link("a", "c")
    assert cluster.heard() == everybody("abc")
    cluster.link("a", "d")
    assert cluster.heard() == everybody("abcd") and cluster.legs() == "a4 b2 c2 d2"
    report = cluster.benches["b"].report("trunk r b a")
    assert (report.codec, report.connected_to) == ("L16/16000", "room")
    cluster.ask("c", "release", Release(leg="phone c"))
    del cluster.phones["c"]
    for _ in range(6):
        cluster.heard()
    assert cluster.legs() == "a3 b2 c0 d2", "a branch without members ends by itself, at both ends"
    assert cluster.heard() == {name: others - {"c"} for name, others in everybody("abd").items() if name != "c"}


def test_another_becomes_the_hub_and_nobody_is_heard_twice(cluster: Cluster) -> None:
    for branch in "bcd":
        cluster.link("a", branch)
    for branch in "cda":  # in any order, while the old hub is there
        cluster.link("b", branch)
        cluster.heard()
    for _ in range(3):
        cluster.heard()
    assert cluster.heard() == everybody("abcd") and cluster.legs() == "a2 b4 c2 d2"


def test_the_far_side_of_one_that_died_is_told(cluster: Cluster) -> None:
    for branch in "bcd":
        cluster.link("a", branch)
    cluster.heard()
    dead = cluster.benches.pop("a")
    del cluster.phones["a"]
    for _ in range(4):
        cluster.heard()
    assert [event for _, _, event in lost(cluster, "b")] == [TrunkLost(leg="trunk r b a", room="r")]
    assert cluster.legs() == "b1 c1 d1"
    cluster.link("b", "c")
    cluster.link("b", "d")
    assert cluster.heard() == {name: set("bcd") - {name} for name in "bcd"}
    dead.close()


def lost(cluster: Cluster, name: str) -> list[tuple[str, str, Any]]:
    return [each for each in cluster.benches[name].events() if each[1] == "trunk-lost"]


def test_one_of_those_who_want_a_trunk_makes_it(cluster: Cluster) -> None:
    proposal = Propose(leg="trunk r a b", call="r", trunk="r")
    cluster.ask("a", "propose", proposal)
    with pytest.raises(MediaError, match="exists"):
        cluster.ask("a", "propose", proposal)
    for _ in range(4):
        cluster.heard()
    assert cluster.legs().startswith("a1 "), "who wanted to make it did not go on"
    cluster.link("a", "b")
    with pytest.raises(MediaError, match="exists"):
        cluster.ask("b", "offer", Offer(leg="phone b", call="r", sdp=cluster.phones["b"].offer(), trunk="r"))


def test_a_full_processor_can_be_a_hub_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunks, "TRUNKS_MAX", 2)
    bench = Bench(legs_max=1)
    try:
        bench.phone("phone")
        for number in range(2):
            bench.do("propose", Propose(leg=f"trunk {number}", call="r", trunk="r"))
        with pytest.raises(MediaError, match="2 trunks"):
            bench.do("propose", Propose(leg="trunk 2", call="r", trunk="r"))
    finally:
        bench.close()


@pytest.mark.parametrize(("rate", "codec"), [(8000, b"L16/8000"), (16000, b"L16/16000"), (48000, b"opus/48000/2")])
def test_a_trunk_has_the_codec_of_its_rooms(rate: int, codec: bytes) -> None:
    bench = Bench(room_rate_max=rate)
    try:
        sdp = bench.do("propose", Propose(leg="trunk", call="r", trunk="r")).sdp
        assert next(line for line in sdp.split(b"\r\n") if line.startswith(b"a=rtpmap")).split()[1] == codec
    finally:
        bench.close()


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
        for number, name in enumerate(engines, start=1):
            phone = phones[name] = Phone("127.0.78.9")
            answer = ask(name, "offer", Offer(leg="phone", call="c", sdp=phone.offer()))
            phone.take(answer.sdp)
            phone.to = (f"127.0.78.{number}", phone.to[1])
            ask(name, "connect", control.Connect(leg="phone", to=Room("r")))
            if number > 1:
                link(ask, "a", name)
        assert hears("a", "bc") and hears("b", "ac") and hears("c", "ab")
        engines["a"].process.stop(signal.SIGKILL)
        link(ask, "b", "c")
        assert hears("b", "c") and hears("c", "b")
    finally:
        for phone in phones.values():
            phone.close()
        for engine in engines.values():
            engine.stop()
