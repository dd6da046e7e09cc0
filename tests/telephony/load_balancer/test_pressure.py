"""A load balancer tells its router by how much to ask for less, before jobs run into their time limits."""

from collections import deque
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.core import Job
from telephony.effects import Ask, Reply
from telephony.jobs.participant import LessWanted
from telephony.jobs.protocol import Reduce, encode
from telephony.load_balancer import pressure as module
from telephony.load_balancer.core import TRIES_MAX
from telephony.load_balancer.pressure import Pressure
from tests.telephony.jobs.bus import Bus

STEP = module.STEP_SECONDS


def test_a_queue_that_comes_and_goes_is_no_overload() -> None:
    pressure = Pressure()
    now = 1000.0
    for late in (True, True, True, False) * 5:
        pressure.answered("routing", 0.4 if late else 0.1)
        pressure.answered("routing", 0.9)
        assert pressure.percent({"routing": 0.9}, now) == 0, "even the quickest has to be late, and for a second"
        now += STEP


def test_a_queue_that_stays_is_one_and_a_shorter_one_is_waited_for() -> None:
    pressure = Pressure()
    delays = [0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.4, 0.3, 0.26, 0.1, 0.1]
    said = []
    for number, delay in enumerate(delays):
        pressure.answered("media_processor", delay)
        said.append(pressure.percent({}, 1000.0 + number * STEP))
    assert said == [0, 0, 0, 0, 32, 59, 59, 59, 59, 53, 48]
    assert pressure.uneasy
    for number in range(40):
        pressure.percent({}, 1010.0 + number * STEP)
    assert not pressure.uneasy


def test_nobody_answers_at_all() -> None:
    pressure = Pressure()
    said = [pressure.percent({"routing": number * STEP}, 1000.0 + number * STEP) for number in range(60)]
    assert said[5] == 0
    assert said[6] == 50
    assert said[-1] == module.PERCENT_MAX, "a few still come, and tell when it is over"


def test_what_is_refused_counts_at_once_by_its_share() -> None:
    pressure = Pressure()
    for _ in range(30):
        pressure.answered("routing", 0.001)
    for _ in range(10):
        pressure.refused("routing")
        pressure.refused("call_queue")
    assert pressure.percent({}, 1000.0) == 25


def router_hears(bus: Bus) -> list[int]:
    heard = [one.percent for one in bus.told["router-1"] if isinstance(one, LessWanted)]
    bus.told["router-1"].clear()
    return heard


def test_only_the_router_hears_and_only_while_there_is_something_to_say() -> None:
    bus = Bus(["balancer-1", "balancer-2"], {"routing-1": "routing", "media-1": "media_processor"})
    for number in range(20):
        bus.ask("router-1", Ask(number, "routing", "route", b"", timeout_seconds=20.0))
    bus.run(4.0)
    heard = router_hears(bus)
    assert heard[0] >= 50
    assert heard[-1] > 70
    assert bus.told["router-2"] == bus.told["media-1"] == []
    for job in bus.jobs["routing-1"]:
        bus.reply("routing-1", Reply(job.number, "ok", b""))
    bus.run(20.0)
    heard = router_hears(bus)
    assert heard[-1] == 0
    assert heard == sorted(heard, reverse=True)
    bus.run(5.0)
    assert router_hears(bus) == []


def test_jobs_that_wait_for_a_worker_to_come_back_are_no_overload() -> None:
    bus = Bus(["balancer-1"], {"routing-1": "routing"})
    bus.kill("routing-1")
    for number in range(20):
        bus.ask("router-1", Ask(number, "routing", "route", b"", timeout_seconds=20.0))
    bus.run(5.0)
    assert router_hears(bus) == []
    bus.start("routing-1", ["balancer-1"])
    bus.settle()
    assert len(bus.jobs["routing-1"]) == 20
    for job in bus.jobs["routing-1"]:
        bus.reply("routing-1", Reply(job.number, "ok", b""))
    bus.run(5.0)
    assert router_hears(bus) == []


def test_a_full_media_processor_leaves_the_job_to_another_and_all_full_is_overload() -> None:
    bus = Bus(
        ["balancer-1"], {"media-1": "media_processor", "media-2": "media_processor", "queue-1": "call_queue", "queue-2": "call_queue"}
    )

    def answer(status: str) -> list[str]:
        asked = []
        while any(bus.jobs.values()):
            for name, jobs in bus.jobs.items():
                for job in [jobs.pop(0) for _ in list(jobs)]:
                    asked.append(name)
                    bus.reply(name, Reply(job.number, status, b""))
        return asked

    bus.ask("router-1", Ask(1, "media_processor", "offer", b""))
    (first,) = (name for name, jobs in bus.jobs.items() if jobs)
    bus.reply(first, Reply(bus.jobs[first].pop().number, "full", b""))
    assert answer("ok") == [{"media-1": "media-2", "media-2": "media-1"}[first]]
    assert [one.status for one in bus.answers["router-1"]] == ["ok"]
    bus.ask("router-1", Ask(2, "media_processor", "record", b"", worker="media-1"))
    bus.ask("router-1", Ask(3, "call_queue", "join", b"", key="4000"))
    assert sorted(answer("full"))[0] == "media-1"
    bus.run(1.0)
    assert router_hears(bus) == [], "a leg's own bound and a queue's are nobody else's matter"
    for number in range(4):
        bus.ask("router-1", Ask(10 + number, "media_processor", "offer", b""))
    assert len(answer("full")) == 4 * TRIES_MAX
    bus.run(1.0)
    assert router_hears(bus)[0] == module.PERCENT_MAX


@settings(max_examples=10, deadline=None)
@given(st.integers(50, 500), st.floats(1.2, 6.0), st.integers(0, 2**32 - 1))
def test_the_whole_loop_settles_near_what_workers_can_do(capacity: int, load: float, seed: int) -> None:
    """A router that heeds it, workers that do ``capacity`` jobs a second, ``load`` times as many calls: the work goes on."""
    pressure = Pressure()
    queue: deque[float] = deque()
    percent = offered = done = late = 0
    credit = 0.0
    now = 1000.0
    tick = 0.01
    history = []
    while now < 1060.0:
        now += tick
        for _ in range(round(capacity * load * (now - 1000.0)) - offered):
            offered += 1
            if crc32(b"%d %d" % (seed, offered)) % 100 >= percent:
                queue.append(now)
        credit = min(credit + capacity * tick, max(1.0, capacity * 0.1))
        while queue and credit >= 1.0:
            credit -= 1.0
            waited = now - queue.popleft()
            if waited > 3.0:
                late += 1
            elif now > 1020.0:
                done += 1
            pressure.answered("routing", waited)
        percent = pressure.percent({"routing": now - queue[0]} if queue else {}, now)
        history.append(percent)
    assert done >= 0.8 * capacity * 40, "of what they can do, within the time limit of jobs"
    assert late <= 15 * capacity, "what waited too long is what came before it was known"
    assert max(history) <= module.PERCENT_MAX


@pytest.mark.parametrize("percent", [-5, 1000])
def test_nonsense_from_a_balancer_is_kept_within_bounds(percent: int) -> None:
    bus = Bus(["balancer-1"], {"routing-1": "routing"})
    arrival = bus.services["router-1"].received("balancer-1", encode(Reduce(percent)), bus.now)
    assert isinstance(arrival, LessWanted)
    assert arrival.percent == min(max(percent, 0), 100)
    assert not isinstance(arrival, Job)
