"""Calls that wait in a queue: music, offers, members who do and do not answer, and a queue that dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.jobs.queue import LEASE_SECONDS
from telephony.sip.session import Session
from tests.telephony.voice.simulation import Simulation


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(LEASE_SECONDS + 3.0)
    assert one.router.remaining() == 0, "a call is left"
    assert one.legs() == 0, "a leg is left"
    assert one.cores["queue-1"].remaining() == 0, "an offer is left"
    one.close()


def wait_in_queue(simulation: Simulation, user: str = "1001") -> Session:
    session = simulation.phones[user].call("4000")
    simulation.run(0.3)
    assert session.state == "established"
    return session


def outcomes(simulation: Simulation) -> list[object]:
    return [one["result"] for one in simulation.records("queue-offer-ended")]


def test_a_free_member_is_rung_at_once_and_joined(simulation: Simulation) -> None:
    simulation.register("1003")
    session = wait_in_queue(simulation)
    simulation.run(0.5)
    member = simulation.phones["1003"].sessions[0]
    assert member.state == "established"
    assert member.remote.startswith("<sip:1001@hotswitch>")
    assert outcomes(simulation) == ["answered"]
    assert simulation.records("call-joined")[0]["by"] == "1003"
    session.bye(now=simulation.now)
    simulation.run(0.5)
    assert member.state == "ended"
    (record,) = simulation.records()
    assert (record["action"], record["target"], record["answered_by"], record["cause"]) == ("queue", "4000", "1003", "caller-hung-up")


def test_the_caller_waits_until_the_member_registers(simulation: Simulation) -> None:
    wait_in_queue(simulation)
    simulation.run(30.0)
    assert simulation.phones["1003"].sessions == []
    simulation.register("1003")
    simulation.run(0.5)
    assert simulation.phones["1003"].sessions[0].state == "established"


def test_the_second_caller_waits_until_the_member_is_free(simulation: Simulation) -> None:
    simulation.register("1003")
    first = wait_in_queue(simulation, "1001")
    simulation.run(1.0)
    second = wait_in_queue(simulation, "1002")
    simulation.run(20.0)
    assert len(simulation.phones["1003"].sessions) == 1
    first.bye(now=simulation.now)
    simulation.run(1.0)
    assert [one.state for one in simulation.phones["1003"].sessions] == ["ended", "established"]
    assert second.state == "established"


@pytest.mark.parametrize(("status", "result"), [(486, "busy"), (603, "refused"), (480, "no-answer"), (500, "unreachable")])
def test_a_member_who_refuses_is_asked_again_later(simulation: Simulation, status: int, result: str) -> None:
    simulation.register("1003")
    member = simulation.phones["1003"]
    member.reject = status
    wait_in_queue(simulation)
    simulation.run(1.0)
    assert outcomes(simulation) == [result]
    member.reject = 0
    simulation.run(4.0)
    assert outcomes(simulation) == [result, "answered"]


def test_a_member_who_does_not_answer(simulation: Simulation) -> None:
    simulation.register("1003")
    simulation.phones["1003"].ring_seconds = None
    session = wait_in_queue(simulation)
    simulation.run(11.0)
    assert outcomes(simulation) == ["no-answer"]
    assert simulation.phones["1003"].sessions[0].state == "ended"
    assert session.state == "established"


def test_the_caller_hangs_up_while_the_member_rings(simulation: Simulation) -> None:
    simulation.register("1003")
    simulation.phones["1003"].ring_seconds = None
    session = wait_in_queue(simulation)
    simulation.run(1.0)
    session.bye(now=simulation.now)
    simulation.run(0.5)
    assert outcomes(simulation) == ["caller-left"]
    assert simulation.phones["1003"].sessions[0].state == "ended"


def test_the_member_hangs_up_while_being_joined(simulation: Simulation) -> None:
    session = wait_in_queue(simulation)
    simulation.slow["connect"] = 0.5
    simulation.register("1003")
    simulation.run(0.4)
    simulation.phones["1003"].sessions[0].end(now=simulation.now)
    simulation.run(1.0)
    assert outcomes(simulation) == ["unreachable"]
    assert session.state == "established"


def test_a_queue_that_restarts_has_everybody_back(simulation: Simulation) -> None:
    first = wait_in_queue(simulation, "1001")
    simulation.run(1.0)
    wait_in_queue(simulation, "1002")
    simulation.dead.add("queue-1")
    simulation.run(10.0)
    simulation.dead.clear()
    simulation.start("queue-1")
    simulation.run(3.5)
    simulation.register("1003")
    simulation.run(1.0)
    (session,) = simulation.phones["1003"].sessions
    assert session.remote.startswith("<sip:1001@hotswitch>")
    assert first.state == "established"


def test_a_queue_that_restarts_while_the_member_rings(simulation: Simulation) -> None:
    simulation.register("1003")
    simulation.phones["1003"].ring_seconds = 5.0
    wait_in_queue(simulation)
    simulation.run(1.0)
    simulation.dead.add("queue-1")
    simulation.run(0.1)
    simulation.dead.clear()
    simulation.start("queue-1")
    simulation.run(10.0)
    (session,) = simulation.phones["1003"].sessions
    assert session.state == "established"


def test_a_queue_that_is_away_when_the_caller_comes(simulation: Simulation) -> None:
    simulation.register("1003")
    simulation.dead.add("queue-1")
    wait_in_queue(simulation)
    simulation.run(5.0)
    simulation.dead.clear()
    simulation.start("queue-1")
    simulation.run(5.0)
    assert simulation.phones["1003"].sessions[0].state == "established"


def test_a_closed_queue_is_404(simulation: Simulation) -> None:
    from telephony.config import CallQueueConfiguration, Jobs

    simulation.cores["queue-1"].configure(
        CallQueueConfiguration(id="queue-1", platform="voice", jobs=Jobs(curve_public="", curve_secret="")), simulation.now
    )
    simulation.phones["1001"].call("4000")
    simulation.run(0.5)
    assert [event.status for event in simulation.phones["1001"].named("Rejected")] == [404]  # type: ignore[union-attr]


def test_an_offer_for_a_call_that_is_gone_is_refused(simulation: Simulation) -> None:
    import msgspec

    from telephony.jobs.queue import Offered

    offered = Offered(queue="4000", call="gone", offer=7, member="1003", ring_seconds=10.0)
    simulation.router.event("queue-1", "offered", msgspec.msgpack.encode(offered), simulation.now)
    simulation.run(0.1)
    assert simulation.jobs == [("call_queue", "outcome", "queue-1")]
