"""The call router is killed: established calls go on, in every way in which they could before."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.call_router.ledger import SLOT_BYTES
from telephony.resource_database import busy
from telephony.sip.session import Session
from tests.telephony.voice.simulation import Simulation, sdp


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    one.register("1002", "1003")
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(70.0)
    for _ in range(3):  # legs that nobody knows fall silent
        one.tick()
        one.run(60.0)
    assert one.router.remaining() == 0, "a call is left"
    assert one.legs() == 0, "a leg is left"
    ended = [record["call"] for record in one.records()]
    assert sorted(ended) == sorted(record["call"] for record in one.records("call-started")), "each call has one record"
    one.restart()
    assert one.router.remaining() == 0, "a note is left"
    one.close()


def talk(simulation: Simulation) -> tuple[Session, Session]:
    caller = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (callee,) = simulation.phones["1002"].sessions
    assert caller.state == callee.state == "established"
    return caller, callee


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_who_hangs_up_ends_both_sides_and_the_record_tells_all(simulation: Simulation, who: str) -> None:
    caller, callee = talk(simulation)
    started = simulation.records("call-started")[0]
    simulation.run(5.0)
    simulation.restart()
    assert simulation.router.remaining() == 1
    simulation.run(5.0)
    assert caller.state == callee.state == "established"
    (caller if who == "caller" else callee).bye(now=simulation.now)
    simulation.run(0.5)
    assert caller.state == callee.state == "ended"
    (record,) = simulation.records()
    assert record["cause"] == f"{who}-hung-up"
    assert (record["caller"], record["answered_by"], record["started_at"]) == ("1001", "1002", started["at"])
    assert record["seconds"] == pytest.approx(10.0, abs=0.5)
    assert len(record["legs"]) == 2  # type: ignore[arg-type]
    store = simulation.cores["database-1"]._store  # type: ignore[attr-defined]
    assert not any(busy.read(store, user, simulation.now)[0] for user in ("1001", "1002"))


def test_hold_digits_and_transfer_work_after_it(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    caller.reinvite(sdp(40002, "sendonly"), now=simulation.now)
    simulation.run(0.5)
    simulation.restart()
    caller.reinvite(sdp(40002), now=simulation.now)
    simulation.run(0.5)
    assert [event.status for event in simulation.phones["1001"].named("ReinviteAnswered")] == [200, 200]  # type: ignore[union-attr]
    before = len(simulation.jobs)
    callee.info(b"Signal=5\r\n", now=simulation.now)
    simulation.run(0.1)
    assert [job[1] for job in simulation.jobs[before:]] == ["dtmf"]
    callee.request("REFER", now=simulation.now, headers=[("Refer-To", "<sip:1003@hotswitch>")])
    simulation.run(1.0)
    third = simulation.phones["1003"].sessions[0]
    assert caller.state == third.state == "established"
    simulation.restart()
    third.bye(now=simulation.now)
    simulation.run(0.5)
    assert caller.state == "ended"
    assert simulation.records()[0]["answered_by"] == "1003"


@pytest.mark.parametrize("number", ["9196", "3000"])
def test_a_call_to_a_service(simulation: Simulation, number: str) -> None:
    session = simulation.phones["1001"].call(number)
    simulation.run(0.5)
    for _ in range(3):
        simulation.restart()
        simulation.run(40.0)
    assert session.state == "established"
    assert simulation.legs() == 1


def test_who_waits_in_a_queue_keeps_the_place(simulation: Simulation) -> None:
    simulation.phones["1003"].ring_seconds = None
    first = simulation.phones["1001"].call("4000")
    simulation.run(0.5)
    second = simulation.phones["1002"].call("4000")
    simulation.run(0.5)
    simulation.restart()
    simulation.run(20.0)
    simulation.phones["1003"].ring_seconds = 0.1
    simulation.run(40.0)
    assert first.state == second.state == "established"
    joined = simulation.records("call-joined")
    assert [simulation.records("call-started")[0]["call"]] == [one["call"] for one in joined]


def test_the_session_timer_goes_on(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    simulation.restart()
    simulation.run(2000.0)
    assert caller.state == callee.state == "established"
    simulation.phones.pop("1002")
    simulation.run(3600.0)
    assert caller.state == "ended"
    assert simulation.records()[0]["cause"] in ("callee-expired", "callee-gone")


def test_a_hang_up_while_nobody_is_there_is_repeated_and_found(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    simulation.dead.add("router-1")
    loss, simulation.loss = simulation.loss, 1.0
    caller.bye(now=simulation.now)
    simulation.run(0.2)
    simulation.dead.clear()
    simulation.loss = loss
    simulation.restart()
    simulation.run(5.0)
    assert caller.state == callee.state == "ended"


def test_a_call_that_was_ringing_is_over_with_its_router(simulation: Simulation) -> None:
    simulation.phones["1002"].ring_seconds = None
    simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    assert os.fstat(simulation.memory).st_size == SLOT_BYTES
    simulation.restart()
    assert simulation.router.remaining() == 0
    simulation.phones["1001"].sessions[0].cancel(now=simulation.now)
    for phone in simulation.phones.values():
        phone.sessions.clear()
    simulation.run(100.0)
    for core in (simulation.cores["media-1"], simulation.cores["media-2"]):
        core.close()  # type: ignore[attr-defined]
    simulation.dead |= {"media-1", "media-2"}
    simulation.notified = []


@pytest.mark.parametrize("content", [b"\x93\x01\x02", b"\x90", b"\xc1"])
def test_a_note_that_cannot_be_read_is_thrown_away(simulation: Simulation, content: bytes) -> None:
    talk(simulation)
    simulation.router._ledger.keep("noise", content)  # type: ignore[union-attr]
    simulation.restart()
    assert simulation.router.remaining() == 1
    simulation.restart()
    assert simulation.router.remaining() == 1
