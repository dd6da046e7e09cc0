"""Timers: order, lazy cancellation, bounds."""

import random

from telephony.sip.timers import LANES, SWEEP_ENTRIES_MIN, Timers, cancel


def test_order_is_that_of_times_then_of_starts() -> None:
    timers = Timers()
    ran: list[str] = []
    timers.start(0.0, 1.0, lambda now: ran.append("c"))
    timers.start(0.0, 0.7, lambda now: ran.append("b"))
    timers.start(0.0, 0.5, lambda now: ran.append("a"))
    timers.start(0.5, 0.5, lambda now: ran.append("d"))
    assert timers.deadline() == 0.5
    timers.run(0.499)
    assert ran == []
    timers.run(2.0)
    assert ran == ["a", "b", "c", "d"]
    assert timers.deadline() is None


def test_a_cancelled_timer_does_not_run_and_is_no_deadline() -> None:
    timers = Timers()
    ran: list[float] = []
    first = timers.start(0.0, 0.5, ran.append)
    timers.start(0.0, 32.0, ran.append)
    cancel(first)
    cancel(None)
    assert timers.deadline() == 32.0
    timers.run(40.0)
    assert ran == [40.0]


def test_a_timer_may_start_and_cancel_others_while_it_runs() -> None:
    timers = Timers()
    ran: list[str] = []
    victim = timers.start(0.0, 1.0, lambda now: ran.append("victim"))

    def first(now: float) -> None:
        cancel(victim)
        timers.start(now, 0.1, lambda now: ran.append("next"))
        ran.append("first")

    timers.start(0.0, 0.5, first)
    timers.run(0.55)
    assert timers.deadline() == 0.55 + 0.1 or timers.deadline() == 0.65
    timers.run(2.0)
    assert ran == ["first", "next"]


def test_a_clock_that_steps_back_does_no_harm() -> None:
    timers = Timers()
    ran: list[str] = []
    timers.start(10.0, 0.5, lambda now: ran.append("late"))
    timers.start(5.0, 0.5, lambda now: ran.append("early"))
    timers.run(6.0)
    assert ran == ["early"]


def test_cancelled_entries_are_swept() -> None:
    timers = Timers()
    for number in range(20 * SWEEP_ENTRIES_MIN):
        cancel(timers.start(number * 0.001, 32.0, lambda now: None))
        cancel(timers.start(number * 0.001, 17.25, lambda now: None))
    assert len(timers) <= 4 * SWEEP_ENTRIES_MIN


def test_against_a_sorted_list() -> None:
    chance = random.Random(7)
    timers = Timers()
    wanted: list[tuple[float, int]] = []
    ran: list[tuple[float, int]] = []
    now = 0.0
    for number in range(3000):
        now += chance.random() * 0.01
        seconds = chance.choice([*LANES, chance.random() * 20])
        when = now + seconds
        timer = timers.start(now, seconds, lambda at, when=when, number=number: ran.append((when, number)))  # type: ignore[misc]
        if chance.random() < 0.4:
            cancel(timer)
        else:
            wanted.append((when, number))
    timers.run(1000.0)
    assert ran == sorted(wanted)


class Remembered:
    def __init__(self) -> None:
        self.expires = 0.0
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def test_what_lingers_is_forgotten_once_at_its_time() -> None:
    timers = Timers()
    short, long = Remembered(), Remembered()
    timers.linger(1.0, 32.0, long)
    timers.linger(2.0, 5.0, short)
    assert (timers.deadline(), len(timers)) == (7.0, 2)
    timers.run(6.999)
    assert (short.forgotten, long.forgotten) == (0, 0)
    timers.run(7.0)
    assert (short.forgotten, long.forgotten, timers.deadline()) == (1, 0, 33.0)
    timers.run(40.0)
    assert (short.forgotten, long.forgotten, timers.deadline(), len(timers)) == (1, 1, None, 0)
