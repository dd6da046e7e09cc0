"""What a balancer's machine keeps for others and how it gets there."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.relay import KEPT_MAX, RETRY_SECONDS_MAX, Forward, KeepRelayed, Relay, Report
from agent.wire.messages import Carried, RelayStatus


def carried(generation: int, envelope: bytes | None = None, machine: str = "m1", subject: str = "a") -> Carried:
    return Carried(
        machine=machine, subject=subject, generation=generation, envelope=f"{generation}".encode() if envelope is None else envelope
    )


def status(relay: Relay) -> list[tuple[str, str, int, int]]:
    return [(each.machine, each.subject, each.stored, each.delivered) for each in relay.status()]


def test_kept_then_forwarded_then_taken() -> None:
    relay = Relay(random.Random(1))
    relay.carried(carried(1), 0)
    assert relay.take() == [KeepRelayed("m1", "a", 1, b"1"), Forward("m1", b"1"), Report()]
    assert relay.status() == [RelayStatus(machine="m1", subject="a", stored=1, delivered=0)]
    relay.taken("m1", "a", 1)
    assert (relay.take(), relay.deadline(), status(relay)) == ([Report()], None, [("m1", "a", 1, 1)])
    relay.carried(carried(2), 5)
    assert status(relay) == [("m1", "a", 2, 1)]


def test_only_newer_replaces_and_the_same_is_tried_again() -> None:
    relay = Relay(random.Random(1))
    relay.carried(carried(5), 0)
    relay.take()
    relay.carried(carried(4), 1)
    assert relay.take() == []
    relay.taken("m1", "a", 5)
    relay.take()
    relay.carried(carried(5, b"sealed anew"), 1)
    assert relay.take() == [Forward("m1", b"sealed anew"), Report()]


def test_what_was_not_sent_cannot_be_taken() -> None:
    relay = Relay(random.Random(1))
    relay.carried(carried(5), 0)
    relay.take()
    for machine, subject, generation in (("m1", "a", 6), ("m2", "a", 5), ("m1", "b", 5)):
        relay.taken(machine, subject, generation)
    relay.taken("m1", "a", 4)
    assert (relay.take(), status(relay)) == ([Report()], [("m1", "a", 5, 4)])
    assert relay.deadline() is not None


def test_silence_backs_off_for_ever() -> None:
    relay = Relay(random.Random(1))
    relay.carried(carried(1), 0)
    relay.take()
    now = last = 0.0
    for _ in range(20):
        last, now = now, relay.deadline() or 0.0
        relay.timeout(now)
        assert relay.take() == [Forward("m1", b"1")]
    assert RETRY_SECONDS_MAX <= now - last <= RETRY_SECONDS_MAX * 1.25
    relay.timeout(now)
    assert relay.take() == []


def test_forgotten_on_the_controllers_word_alone() -> None:
    relay = Relay(random.Random(1))
    relay.carried(carried(3), 0)
    relay.take()
    relay.carried(carried(2, b""), 1)
    assert relay.take() == []
    relay.carried(carried(3, b""), 1)
    assert (relay.take(), relay.status()) == ([KeepRelayed("m1", "a", 0, b""), Report()], [])
    relay.carried(carried(3, b""), 1)
    assert relay.take() == []


def test_restored_is_forwarded_again() -> None:
    relay = Relay(random.Random(1))
    relay.restore("m1", "a", 3, b"3", 10)
    due = relay.deadline()
    assert due is not None and 10 <= due <= 11
    relay.timeout(due)
    assert relay.take() == [Forward("m1", b"3")]


def test_bounded() -> None:
    relay = Relay(random.Random(1))
    for number in range(KEPT_MAX + 3):
        relay.carried(carried(1, subject=str(number)), 0)
    assert (len(relay.status()), relay.refused) == (KEPT_MAX, 3)


def test_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.relay.KEPT_BYTES_MAX", 100)
    relay = Relay(random.Random(1))
    relay.carried(carried(1, bytes(60)), 0)
    relay.carried(carried(1, bytes(60), subject="b"), 0)
    relay.carried(carried(2, bytes(90)), 0)
    assert (status(relay), relay.refused) == ([("m1", "a", 2, 0)], 1)


@given(st.integers(0, 2**32), st.lists(st.integers(1, 5), max_size=12))
def test_the_newest_arrives_over_a_lossy_link(seed: int, generations: list[int]) -> None:
    rng = random.Random(seed)
    relay = Relay(random.Random(seed))
    now, had, newest = 0.0, 0, 0
    for generation in [*generations, *[0] * 60]:
        if generation:
            relay.carried(carried(generation), now)
            newest = max(newest, generation)
        else:
            now = relay.deadline() or now
            relay.timeout(now)
        for effect in relay.take():
            if isinstance(effect, Forward) and rng.random() < 0.5:
                had = max(had, int(effect.packed))
                if rng.random() < 0.5:
                    relay.taken("m1", "a", had)
    assert had == newest
    assert relay.deadline() is None or not newest or status(relay)[0][3] < newest
