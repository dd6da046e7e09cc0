"""The replica, and a controller of a few lines, over a link that loses, repeats and delays."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.replica import (
    ECHO_SECONDS_MAX,
    PATIENCE_SECONDS,
    SNAPSHOT_SECONDS_MAX,
    SUBJECTS_MAX,
    AskSnapshot,
    Confirm,
    Drop,
    Effect,
    Keep,
    Replica,
    SayEcho,
)
from agent.wire.envelope import Header
from agent.wire.messages import MachineDocument, State, UnitConfiguration
from agent.wire.refusal import WrongSchema


def header(subject: str, generation: int, base: int = 0) -> Header:
    return Header(
        type="unit", cluster="c", sender="controller", recipient="m", subject=subject, generation=generation, base_generation=base
    )


def unit(subject: str, generation: int) -> UnitConfiguration:
    return UnitConfiguration(unit=subject, body=str(generation).encode())


def current(held: dict[str, int] | None = None) -> Replica:
    replica = Replica("m", dict(held or {}), random.Random(1))
    replica.joined(0)
    (echo,) = replica.take()
    assert isinstance(echo, SayEcho)
    replica.echoed(echo.nonce, 0)
    (ask,) = replica.take()
    assert isinstance(ask, AskSnapshot)
    replica.snapshot_end(ask.number, dict(held or {}), 0)
    assert replica.take() == [Confirm()]
    return replica


def test_subscribe_prove_ask_apply() -> None:
    replica = Replica("m", {"a": 2, "gone": 1}, random.Random(1))
    assert (replica.phase, replica.deadline(), replica.take()) == ("apart", None, [])
    replica.joined(0)
    (echo,) = replica.take()
    replica.echoed(b"another", 0.1)
    assert replica.take() == []
    due = replica.deadline()
    assert due is not None
    replica.timeout(due)
    assert replica.take() == [echo]
    assert isinstance(echo, SayEcho)
    replica.echoed(echo.nonce, 1)
    assert replica.take() == [AskSnapshot(1, {"a": 2, "gone": 1})]
    assert replica.carried(header("a", 3), unit("a", 3), b"packed", 1)
    assert replica.carried(header("b", 9), unit("b", 9), b"packed", 1)
    replica.snapshot_end(1, {"a": 3, "b": 9}, 1)
    assert replica.take() == [Keep("a", 3, unit("a", 3), b"packed"), Keep("b", 9, unit("b", 9), b"packed"), Drop("gone"), Confirm()]
    assert (replica.phase, replica.held, replica.deadline()) == ("current", {"a": 3, "b": 9}, None)


def test_generations_only_grow() -> None:
    replica = current({"a": 5})
    assert not replica.carried(header("a", 4), unit("a", 4), b"", 1)
    assert replica.take() == []
    assert not replica.carried(header("a", 5), unit("a", 5), b"", 1)
    assert replica.take() == [Confirm()]
    replica.heads({"a": 3}, 1)
    assert (replica.held, replica.take(), replica.deadline()) == ({"a": 5}, [], None)


def test_a_subject_is_what_its_content_says() -> None:
    replica = current()
    wrong: list[tuple[str, State]] = [("other", MachineDocument(platform="voice")), ("a", unit("b", 1)), ("m", unit("a", 1))]
    for subject, state in wrong:
        with pytest.raises(WrongSchema):
            replica.carried(header(subject, 1), state, b"", 0)
    assert replica.carried(header("m", 1), MachineDocument(platform="voice"), b"", 0)


def test_subjects_are_bounded() -> None:
    replica = current({str(number): 1 for number in range(SUBJECTS_MAX)})
    with pytest.raises(WrongSchema, match="1024"):
        replica.carried(header("one more", 1), unit("one more", 1), b"", 0)


def test_a_gap_makes_one_snapshot() -> None:
    replica = current({"a": 1})
    for _ in range(5):
        replica.missed(10)
    due = replica.deadline()
    assert due is not None and 10 <= due <= 10.25
    replica.timeout(due)
    assert replica.take() == [AskSnapshot(2, {"a": 1})]
    replica.missed(due)
    assert replica.take() == []
    replica.snapshot_end(2, {"a": 1}, due)
    again = replica.deadline()
    assert again is not None and again > due
    replica.timeout(again)
    assert replica.take() == [AskSnapshot(3, {"a": 1})]
    assert replica.resyncs == 6


def test_a_delta_on_another_base_is_never_guessed() -> None:
    replica = current({"a": 1})
    assert not replica.carried(header("a", 3, base=2), unit("a", 3), b"", 5)
    assert replica.held == {"a": 1}
    assert replica.deadline() is not None


def test_a_head_that_comes_in_time_makes_no_snapshot() -> None:
    replica = current({"a": 1})
    replica.heads({"a": 2}, 10)
    assert (replica.deadline() or 0) >= 10 + PATIENCE_SECONDS
    replica.heads({"a": 2}, 10.3)
    replica.carried(header("a", 2), unit("a", 2), b"", 10.4)
    assert replica.deadline() is None
    replica.heads({"a": 3, "b": 1}, 11)
    replica.carried(header("a", 3), unit("a", 3), b"", 11)
    due = replica.deadline()
    assert due is not None
    replica.take()
    replica.timeout(due)
    due = replica.deadline()
    assert due is not None
    replica.timeout(due)
    assert replica.take() == [AskSnapshot(2, {"a": 3})]


def test_an_incomplete_snapshot_is_asked_for_again() -> None:
    replica = current()
    replica.missed(0)
    replica.timeout(9)
    assert replica.take() == [AskSnapshot(2, {})]
    replica.snapshot_end(1, {"x": 9}, 9)
    replica.snapshot_end(2, {"a": 1}, 9)
    due = replica.deadline()
    assert due is not None
    replica.timeout(due)
    assert replica.take() == [AskSnapshot(3, {})]


def test_silence_backs_off() -> None:
    replica = Replica("m", {}, random.Random(1))
    replica.joined(0)
    times = [replica.deadline() or 0.0]
    for _ in range(12):
        replica.timeout(times[-1])
        times.append(replica.deadline() or 0.0)
    assert ECHO_SECONDS_MAX <= times[-1] - times[-2] <= ECHO_SECONDS_MAX * 1.25
    (echo,) = set(replica.take())
    assert isinstance(echo, SayEcho)
    replica.echoed(echo.nonce, 100)
    times = [replica.deadline() or 0.0]
    for _ in range(12):
        replica.timeout(times[-1])
        times.append(replica.deadline() or 0.0)
    assert SNAPSHOT_SECONDS_MAX <= times[-1] - times[-2] <= SNAPSHOT_SECONDS_MAX * 1.25
    replica.parted()
    assert (replica.phase, replica.deadline()) == ("apart", None)
    replica.missed(1)
    assert replica.deadline() is None


class Link:
    """A controller and a replica; each message may be lost, or be late."""

    def __init__(self, seed: int, loss: float) -> None:
        self.rng = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.wanted: dict[str, int] = {}
        self.replica = Replica("m", {}, random.Random(seed + 1))
        self.flying: list[tuple[float, int, str, tuple[object, ...]]] = []
        self.count = 0
        self.sequence = 0
        self.heard = 0
        self.applied: dict[str, int] = {}

    def send(self, kind: str, *content: object) -> None:
        self.count += 1
        if self.rng.random() >= self.loss:
            self.flying.append((self.now + self.rng.random() * 0.2, self.count, kind, content))

    def publish(self, kind: str, *content: object) -> None:
        """Numbered; order is kept by the connection, so what comes late comes in order of its number or is refused."""
        self.sequence += 1
        self.send(kind, self.sequence, *content)

    def change(self, subject: str) -> None:
        self.wanted[subject] = self.wanted.get(subject, 0) + 1
        self.publish("carried", subject, self.wanted[subject])

    def remove(self, subject: str) -> None:
        if self.wanted.pop(subject, None) is not None:
            self.publish("heads", dict(self.wanted))

    def step(self) -> None:
        self.effects(self.replica.take())
        due = min([at for at, *_ in self.flying] + [self.replica.deadline() or self.now + 1.0, self.now + 1.0])
        self.now = max(self.now, due)
        self.replica.timeout(self.now)
        for message in sorted(each for each in self.flying if each[0] <= self.now):
            self.flying.remove(message)
            self.deliver(message[2], list(message[3]))
            self.effects(self.replica.take())

    def deliver(self, kind: str, content: list[object]) -> None:
        if kind in ("carried", "heads", "echo"):
            number = content.pop(0)
            assert isinstance(number, int)
            if number <= self.heard:
                return
            if number > self.heard + 1:
                self.replica.missed(self.now)
            self.heard = number
        match kind, content:
            case "echo?", [nonce]:
                self.publish("echo", nonce)
            case "echo", [bytes() as nonce]:
                self.replica.echoed(nonce, self.now)
            case "snapshot?", [number, dict() as have]:
                for subject, generation in self.wanted.items():
                    if have.get(subject, 0) < generation:
                        self.send("part", subject, generation)
                self.send("end", number, dict(self.wanted))
            case (("carried" | "part"), [str() as subject, int() as generation]):
                self.replica.carried(header(subject, generation), unit(subject, generation), b"", self.now)
            case "heads", [dict() as heads]:
                self.replica.heads(heads, self.now)
            case "end", [int() as number, dict() as heads]:
                self.replica.snapshot_end(number, heads, self.now)

    def effects(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SayEcho(nonce):
                    self.send("echo?", nonce)
                case AskSnapshot(number, have):
                    self.send("snapshot?", number, have)
                case Keep(subject, generation, state, _):
                    assert generation > self.applied.get(subject, 0)
                    assert state == unit(subject, generation)
                    self.applied[subject] = generation
                case Drop(subject):
                    del self.applied[subject]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0, 0.6), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=25))
def test_it_becomes_current_over_any_link(seed: int, loss: float, changes: list[tuple[str, bool]]) -> None:
    link = Link(seed, loss)
    link.replica.joined(0)
    generations: dict[str, int] = {}
    for subject, remove in changes:
        if remove:
            generations[subject] = link.wanted.get(subject, generations.get(subject, 0))
            link.remove(subject)
        else:
            link.wanted.setdefault(subject, generations.get(subject, 0))
            link.change(subject)
        link.step()
    link.loss = min(loss, 0.3)
    for _ in range(2000):
        if link.replica.phase == "current" and link.applied == link.wanted and not link.flying:
            break
        if link.rng.random() < 0.1:
            link.publish("heads", dict(link.wanted))
        link.step()
    assert link.applied == link.wanted == link.replica.held
