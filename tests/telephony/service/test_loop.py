"""The loop: who is handled at once, and when it gathers."""

import socket
from collections.abc import Iterator

import pytest

from telephony.service import loop
from telephony.service.loop import GATHER_FROM, GATHER_SECONDS, READ, Loop

QUICK = GATHER_SECONDS / 2


class Clock:
    """Stands for the module ``time``; ``arrive`` happens during the next pause."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.arriving = b""
        self.sender: socket.socket

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.arriving:
            self.sender.send(self.arriving)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(loop, "time", fake)
    return fake


@pytest.fixture(params=[False, True], ids=["usual", "precise"])
def precise(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def traffic(clock: Clock, precise: bool) -> Iterator[tuple[Loop, socket.socket, list[bytes]]]:
    """A loop, where to write to it, and what it has read."""
    mine, theirs = socket.socketpair()
    read: list[bytes] = []
    watched = Loop(precise)
    watched.add(theirs.fileno(), READ, lambda events: read.append(theirs.recv(1000)))
    clock.sender = mine
    yield watched, mine, read
    watched.close()
    mine.close()
    theirs.close()


def rounds(clock: Clock, traffic: tuple[Loop, socket.socket, list[bytes]], count: int, apart: float) -> None:
    watched, sender, read = traffic
    for _ in range(count):
        before = len(read)
        clock.now += apart
        sender.send(b".")
        watched.turn(1.0)
        assert len(read) == before + 1


def test_what_comes_now_and_then_is_handled_at_once(clock: Clock, traffic: tuple[Loop, socket.socket, list[bytes]]) -> None:
    for _ in range(10):
        rounds(clock, traffic, GATHER_FROM - 1, QUICK)
        rounds(clock, traffic, GATHER_FROM, 2 * GATHER_SECONDS)
    assert clock.slept == []


def test_a_busy_loop_gathers_until_it_is_quiet(clock: Clock, precise: bool, traffic: tuple[Loop, socket.socket, list[bytes]]) -> None:
    watched, sender, read = traffic
    rounds(clock, traffic, GATHER_FROM + 1, QUICK)
    assert clock.slept == []
    clock.arriving = b"ab"
    sender.send(b".")
    watched.turn(1.0)
    assert (read[-1], clock.slept) == ((b".", []) if precise else (b".ab", [GATHER_SECONDS]))
    clock.arriving = b""
    while clock.slept and clock.slept[-1]:
        clock.slept.append(0.0)
        watched.turn(GATHER_SECONDS)
    before = len(clock.slept)
    rounds(clock, traffic, 2, QUICK)
    assert len(clock.slept) == before


def test_a_round_that_took_long_or_must_end_soon_is_not_put_off(clock: Clock, traffic: tuple[Loop, socket.socket, list[bytes]]) -> None:
    watched, sender, _ = traffic
    rounds(clock, traffic, GATHER_FROM + 1, QUICK)
    for wait, apart in ((0.0, QUICK), (QUICK, QUICK), (1.0, 2 * GATHER_SECONDS)):
        clock.now += apart
        sender.send(b".")
        watched.turn(wait)
    assert clock.slept == []


def test_a_patient_loop_gathers_for_longer(clock: Clock, precise: bool, traffic: tuple[Loop, socket.socket, list[bytes]]) -> None:
    watched, sender, read = traffic
    watched.patience_seconds = patience = 20 * GATHER_SECONDS
    rounds(clock, traffic, GATHER_FROM + 1, patience / 2)
    assert clock.slept == []
    for worked, wait, pause in (
        (0.0, 1.0, patience),
        (patience / 4, None, patience * 3 / 4),
        (patience * 2, 1.0, None),
        (0.0, 3 * GATHER_SECONDS, 3 * GATHER_SECONDS),
        (0.0, GATHER_SECONDS / 2, None),
    ):
        clock.slept.clear()
        clock.now += worked
        sender.send(b".")
        watched.turn(wait)
        assert clock.slept == ([] if precise or pause is None else [pytest.approx(pause)])
    clock.slept.clear()
    watched.more = True
    for _ in range(2):
        sender.send(b".")
        watched.turn(1.0)
    assert clock.slept == ([] if precise else [patience])  # what was left unread is not kept waiting
    assert not watched.more or precise
    assert len(read) == GATHER_FROM + 1 + 5 + 2
