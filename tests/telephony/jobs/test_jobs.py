"""A service's half and the balancer's together: each ask has exactly one answer, whatever dies."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.effects import Ask, Reply, Tell
from telephony.jobs.client import ASKS_MAX, Answered
from telephony.jobs.participant import EventTold
from telephony.jobs.protocol import BEAT, Submit, encode
from tests.telephony.jobs.bus import Bus

MEDIA = {"media-1": "media_processor", "media-2": "media_processor"}


def ask(number: int, kind: str = "media_processor", operation: str = "offer", **more: object) -> Ask:
    return Ask(number, kind, operation, b"body", **more)  # type: ignore[arg-type]


def test_a_job_goes_to_a_worker_and_its_answer_comes_back() -> None:
    bus = Bus(["balancer-1"], {"media-1": "media_processor"})
    bus.ask("router-1", ask(7))
    (job,) = bus.jobs["media-1"]
    assert (job.client, job.operation, job.body) == ("router-1", "offer", b"body")
    bus.reply("media-1", Reply(job.number, "ok", b"answer"))
    assert bus.answers["router-1"] == [Answered(7, "ok", b"answer", "media-1")]


def test_jobs_without_key_go_to_who_has_least() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    for number in range(4):
        bus.ask("router-1", ask(number))
    assert [len(bus.jobs[worker]) for worker in MEDIA] == [2, 2]
    for job in bus.jobs["media-2"]:
        bus.reply("media-2", Reply(job.number, "ok", b""))
    bus.ask("router-1", ask(5))
    bus.ask("router-1", ask(6))
    assert [len(bus.jobs[worker]) for worker in MEDIA] == [2, 4]


def test_jobs_of_one_key_go_to_one_worker_from_both_balancers() -> None:
    bus = Bus(["balancer-1", "balancer-2"], MEDIA)
    for number in range(20):
        bus.ask(f"router-{number % 2 + 1}", ask(number, key="room:3000"))
    assert sorted(len(bus.jobs[worker]) for worker in MEDIA) == [0, 20]


def test_a_named_worker_that_is_not_listed_is_unavailable_at_once() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1, worker="media-9"))
    assert [(one.ask, one.status) for one in bus.answers["router-1"]] == [(1, "unavailable")]


def test_a_draining_worker_gets_only_what_names_it() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.drained.add("media-1")
    bus.configure("balancer-1")
    for number in range(4):
        bus.ask("router-1", ask(number))
    bus.ask("router-1", ask(9, worker="media-1"))
    assert [len(bus.jobs[worker]) for worker in MEDIA] == [1, 4]


def test_a_repeatable_job_of_a_dead_worker_is_done_by_another() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1, key="k"))
    first = next(worker for worker in MEDIA if bus.jobs[worker])
    bus.kill(first)
    bus.settle()
    (other,) = set(MEDIA) - {first}
    (job,) = bus.jobs[other]
    bus.reply(other, Reply(job.number, "ok", b""))
    assert [(one.status, one.worker) for one in bus.answers["router-1"]] == [("ok", other)]


@pytest.mark.parametrize("more", [{"operation": "propose"}, {"worker": "media-1"}])
def test_another_job_of_a_dead_worker_is_unavailable(more: dict[str, str]) -> None:
    bus = Bus(["balancer-1"], {"media-1": "media_processor"})
    bus.ask("router-1", ask(1, **more))
    bus.kill("media-1")
    bus.settle()
    assert [one.status for one in bus.answers["router-1"]] == ["unavailable"]


def test_a_silent_worker_counts_as_dead_until_it_speaks() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.cut.add("media-1")
    bus.run(6.0)
    for number in range(3):
        bus.ask("router-1", ask(number))
    assert [len(bus.jobs[worker]) for worker in MEDIA] == [0, 3]
    bus.cut.discard("media-1")
    bus.run(1.5)
    bus.ask("router-1", ask(9))
    assert len(bus.jobs["media-1"]) == 1


def test_a_job_waits_for_a_worker_that_restarts() -> None:
    bus = Bus(["balancer-1"], {"database": "resource_database"})
    bus.kill("database")
    bus.ask("router-1", ask(1, "resource_database", "lookup"))
    bus.run(0.4)
    bus.start("database", ["balancer-1"])
    bus.settle()
    (job,) = bus.jobs["database"]
    bus.reply("database", Reply(job.number, "ok", b""))
    assert [one.status for one in bus.answers["router-1"]] == ["ok"]


def test_a_kind_that_nobody_does_is_unavailable_after_a_moment() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1, "call_queue", "join"))
    bus.run(0.8)
    assert bus.answers["router-1"] == []
    bus.run(0.7)
    assert [one.status for one in bus.answers["router-1"]] == ["unavailable"]


def test_retry_goes_to_another_worker_first_then_back_to_the_client_who_pauses() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1))
    for _ in range(3):
        worker = next(worker for worker in MEDIA if bus.jobs[worker])
        bus.reply(worker, Reply(bus.jobs[worker].pop().number, "retry", b""))
    assert not any(bus.jobs.values())
    assert bus.answers["router-1"] == []
    bus.run(0.2)
    assert sum(len(bus.jobs[worker]) for worker in MEDIA) == 1


def test_moved_is_followed_to_the_service_named() -> None:
    bus = Bus(["balancer-1"], {"old": "resource_database", "new": "resource_database"})
    bus.drained.add("new")
    bus.configure("balancer-1")
    bus.ask("router-1", ask(1, "resource_database", "lookup"))
    bus.reply("old", Reply(bus.jobs["old"].pop().number, "moved", b"new"))
    bus.reply("new", Reply(bus.jobs["new"].pop().number, "ok", b"here"))
    assert bus.answers["router-1"] == [Answered(1, "ok", b"here", "new")]


def test_moved_to_one_that_is_not_listed_yet_is_asked_again() -> None:
    bus = Bus(["balancer-1"], {"old": "resource_database"})
    bus.ask("router-1", ask(1, "resource_database", "lookup"))
    bus.reply("old", Reply(bus.jobs["old"].pop().number, "moved", b"new"))
    assert bus.answers["router-1"] == []
    bus.dependents = {"new": "resource_database"}
    bus.configure("balancer-1")
    bus.start("new", ["balancer-1"])
    bus.run(0.2)
    bus.reply("new", Reply(bus.jobs["new"].pop().number, "ok", b"here"))
    assert [one.status for one in bus.answers["router-1"]] == ["ok"]


def test_a_job_that_nobody_answers_times_out_once() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1, timeout_seconds=2.0))
    bus.run(1.9)
    assert bus.answers["router-1"] == []
    bus.run(10.0)
    assert [one.status for one in bus.answers["router-1"]] == ["timeout"]


def test_a_balancer_that_restarts_is_asked_again() -> None:
    bus = Bus(["balancer-1"], {"routing": "routing"})
    bus.ask("router-1", ask(1, "routing", "route"))
    bus.ask("router-1", ask(2, "routing", "something else"))
    from telephony.load_balancer.core import Balancer

    bus.balancers["balancer-1"] = Balancer(number=10**9)
    bus.configure("balancer-1")
    bus.jobs["routing"].clear()
    for service in ("router-1", "routing"):
        bus.connect(service, "balancer-1")
    bus.settle()
    (job,) = bus.jobs["routing"]
    bus.reply("routing", Reply(job.number, "ok", b""))
    assert sorted((one.ask, one.status) for one in bus.answers["router-1"]) == [(1, "ok"), (2, "unavailable")]


def test_a_dependent_asks_through_the_balancer_that_lives() -> None:
    bus = Bus(["balancer-1", "balancer-2"], {"routing": "routing", "database": "resource_database"})
    bus.balancers["balancer-1"].received = lambda *anything: None  # type: ignore[method-assign]  # it is stopped
    bus.balancers["balancer-1"].take = list  # type: ignore[method-assign]
    bus.run(5.0)
    for number in range(6):
        bus.ask("routing", ask(number, "resource_database", "lookup"))
        bus.reply("database", Reply(bus.jobs["database"].pop().number, "ok", b""))
    assert [one.status for one in bus.answers["routing"]] == ["ok"] * 6


def test_events_go_to_who_asked_by_the_balancer_that_it_is_connected_to() -> None:
    bus = Bus(["balancer-1", "balancer-2"], MEDIA)
    bus.ask("router-2", ask(1))
    worker = next(worker for worker in MEDIA if bus.jobs[worker])
    bus.tell(worker, Tell("router-2", "dtmf", b"5"))
    bus.tell(worker, Tell("router-1", "dtmf", b"6"))
    bus.tell(worker, Tell("nobody", "dtmf", b"7"))
    assert bus.told["router-2"] == [EventTold(worker, "dtmf", b"5")]
    assert bus.told["router-1"] == [EventTold(worker, "dtmf", b"6")]


def test_a_service_that_is_not_listed_gets_retry() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.connect("stranger", "balancer-1")
    bus.balancers["balancer-1"].take()
    bus.balancers["balancer-1"].received(
        bus.links["stranger", "balancer-1"], encode(Submit(1, "media_processor", "offer", b"", "", "", 1000, False)), bus.now
    )
    ((_, answer),) = bus.balancers["balancer-1"].take()
    assert b"retry" in answer


def test_noise_ends_nothing() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    for noise in (b"", b"\xc1", b"\x91\x63", b"\x93\x01\x02\x03", BEAT + b"x", b"A" * 1000):
        bus.balancers["balancer-1"].received(bus.links["router-1", "balancer-1"], noise, bus.now)
        assert bus.services["router-1"].received("balancer-1", noise, bus.now) is None
    bus.ask("router-1", ask(1))
    assert sum(map(len, (bus.jobs["media-1"], bus.jobs["media-2"]))) == 1


def test_a_worker_cannot_answer_for_another() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    bus.ask("router-1", ask(1))
    worker = next(worker for worker in MEDIA if bus.jobs[worker])
    (other,) = set(MEDIA) - {worker}
    from telephony.jobs.protocol import Done

    for number in range(5):
        bus.balancers["balancer-1"].received(bus.links[other, "balancer-1"], encode(Done(number, "ok", b"forged")), bus.now)
    bus.settle()
    assert bus.answers["router-1"] == []


def test_too_many_asks_are_unavailable_at_once() -> None:
    bus = Bus(["balancer-1"], MEDIA)
    service = bus.services["router-1"]
    for number in range(ASKS_MAX + 1):
        service.ask(ask(number), bus.now)
    _, answered = service.take()
    assert [(one.ask, one.status) for one in answered] == [(ASKS_MAX, "unavailable")]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"), st.sampled_from(["offer", "propose", "query"]), st.sampled_from(["", "media-1"]), st.sampled_from(["", "k"])
        ),
        st.tuples(st.just("reply"), st.sampled_from(sorted(MEDIA)), st.sampled_from(["ok", "retry", "moved"])),
        st.tuples(st.just("kill"), st.sampled_from(sorted(MEDIA))),
        st.tuples(st.just("start"), st.sampled_from(sorted(MEDIA))),
        st.tuples(st.just("reconnect"), st.sampled_from([*sorted(MEDIA), "router-1"])),
        st.tuples(st.just("list"), st.sampled_from([(), ("media-1",), ("media-1", "media-2")])),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 4.0])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_every_ask_has_exactly_one_answer_whatever_happens(actions: list[tuple[object, ...]]) -> None:
    bus = Bus(["balancer-1"], dict(MEDIA))
    asked = 0
    for action, *details in actions:
        if action == "ask":
            operation, worker, key = details
            asked += 1
            bus.ask("router-1", ask(asked, operation=operation, worker=worker, key=key))  # type: ignore[arg-type]
        elif action == "reply":
            worker, status = details
            if worker in bus.services and bus.jobs[str(worker)]:
                bus.reply(str(worker), Reply(bus.jobs[str(worker)].pop(0).number, str(status), b"media-2"))
        elif action == "kill" and details[0] in bus.services:
            bus.kill(str(details[0]))
        elif action == "start" and details[0] not in bus.services:
            bus.start(str(details[0]), ["balancer-1"])
        elif action == "reconnect" and details[0] in bus.services:
            bus.connect(str(details[0]), "balancer-1")
        elif action == "list":
            bus.configure("balancer-1", details[0])  # type: ignore[arg-type]
        elif action == "wait":
            bus.run(details[0])  # type: ignore[arg-type]
        bus.settle()
    bus.run(8.0)
    assert sorted(one.ask for one in bus.answers["router-1"]) == list(range(1, asked + 1))
    balancer = bus.balancers["balancer-1"]
    assert balancer.remaining() <= 1  # its router is connected
    assert all(connection.jobs == 0 for connection in balancer._connections.values())
