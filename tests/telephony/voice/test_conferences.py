"""Conferences over several media processors: who is joined with whom, and what happens when a processor goes."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from media.control import LegReport, Query
from telephony.core import Job
from telephony.effects import Reply
from telephony.sip.session import Session
from telephony.voice.rooms import CHECK_SECONDS, trunk
from tests.telephony.voice.simulation import Simulation
from tests.telephony.voice.test_calls import claim


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    one.register("1002", "1003")
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(70.0)
    one.trunks_end()
    assert one.router.remaining() == 0 and one.legs() == 0
    assert sorted(record["call"] for record in one.records()) == sorted(record["call"] for record in one.records("call-started"))
    one.close()


def names(simulation: Simulation, worker: str) -> set[str]:
    """Legs of the router on a processor, and what they are connected to."""
    core = simulation.cores[worker]
    core.job(Job(-1, "router-1", "query", msgspec.msgpack.encode(Query())), simulation.now)
    (reply,) = [effect for effect in core.take() if isinstance(effect, Reply)]
    return {f"{one.leg.rpartition('.')[2]} {one.connected_to}" for one in msgspec.msgpack.decode(reply.body, type=list[LegReport])}


def joined(simulation: Simulation, user: str, worker: str, room: str = "3000") -> Session:
    """Somebody comes into the room by this processor."""
    simulation.preferred = worker
    session = simulation.phones[user].call(room)
    simulation.run(0.5)
    simulation.preferred = ""
    assert session.state == "established"
    return session


def rooms(simulation: Simulation) -> dict[str, tuple[str, str]]:
    """Calls that go on, to their processor and hub, as the controller is told."""
    over = {record["call"] for record in simulation.records()}
    told = [one for one in simulation.records("call-room") if one["call"] not in over]
    return {str(one["call"]): (str(one["processor"]), str(one["hub"])) for one in told}


def test_members_on_two_processors_are_joined(simulation: Simulation) -> None:
    joined(simulation, "1001", "media-1")
    assert names(simulation, "media-1") == {"a room"} and not names(simulation, "media-2")
    joined(simulation, "1002", "media-2")
    joined(simulation, "1003", "media-2")
    near, far = trunk("3000", "media-1", "media-2"), trunk("3000", "media-2", "media-1")
    assert names(simulation, "media-1") == {"a room", f"{near} room"}
    assert names(simulation, "media-2") == {"a room", f"{far} room"} and simulation.legs() == 5
    assert sorted(rooms(simulation).values()) == [("media-1", "media-1"), ("media-2", "media-1"), ("media-2", "media-1")]
    simulation.run(3 * CHECK_SECONDS)
    assert simulation.legs() == 5, "looking after it changes nothing"
    assert not [job for job in simulation.jobs if job[1] == "release"]


def test_a_hub_that_another_router_has_chosen(simulation: Simulation) -> None:
    claim(simulation, "3000", "media-2")
    joined(simulation, "1001", "media-1")
    assert rooms(simulation).popitem()[1] == ("media-1", "media-2") and simulation.legs() == 3


@pytest.mark.parametrize("holds", ["media-9", "media-2"])
def test_a_room_whose_hub_is_dead_is_opened_anew(simulation: Simulation, holds: str) -> None:
    claim(simulation, "3000", holds)
    simulation.dead.add("media-2")
    joined(simulation, "1001", "media-1")
    assert rooms(simulation).popitem()[1] == ("media-1", "media-1") and simulation.legs() == 1


@pytest.mark.parametrize("glare", [False, True])
def test_members_of_a_processor_that_is_gone_come_back_by_another(simulation: Simulation, glare: bool) -> None:
    first = joined(simulation, "1001", "media-1")
    second = joined(simulation, "1002", "media-2")
    simulation.dead.add("media-1")
    simulation.phones["1001"].refuses_changes = 491 if glare else 0
    simulation.run(CHECK_SECONDS + 0.5)
    simulation.phones["1001"].refuses_changes = 0
    simulation.run(8.0)
    assert first.state == second.state == "established"
    assert len(simulation.phones["1001"].named("ReinviteReceived")) >= 1 and not simulation.phones["1002"].named("ReinviteReceived")
    assert set(rooms(simulation).values()) == {("media-2", "media-2")}
    assert {name.partition(" ")[2] for name in names(simulation, "media-2") if not name.startswith("trunk")} == {"room"}
    first.bye(now=simulation.now)
    simulation.run(0.5)
    (record,) = simulation.records()
    assert (record["cause"], record["status"]) == ("caller-hung-up", 200)


def test_members_of_a_processor_that_will_end_leave_it_first(simulation: Simulation) -> None:
    first, second = joined(simulation, "1001", "media-1"), joined(simulation, "1002", "media-2")
    drained = simulation.cores["media-1"]
    drained.drain(simulation.now + 5.0, simulation.now)
    simulation.kinds["media-1"] = "aside"  # the balancer gives it nothing new but what names it
    simulation.run(4.5)
    simulation.tick()
    simulation.kinds["media-1"] = "media_processor"
    simulation.run(1.0)
    assert first.state == second.state == "established"
    simulation.run(2 * CHECK_SECONDS)
    assert len([job for job in simulation.jobs if job[1] == "accept"]) >= 1 and simulation.records() == []


def test_who_refuses_to_move_is_let_go(simulation: Simulation) -> None:
    first = joined(simulation, "1001", "media-1")
    simulation.phones["1001"].refuses_changes = 488
    simulation.dead.add("media-1")
    simulation.run(CHECK_SECONDS + 1.0)
    assert first.state == "ended"
    assert simulation.records()[0]["cause"] == "move-refused"


def test_a_restarted_router_goes_on_looking_after_its_rooms(simulation: Simulation) -> None:
    first = joined(simulation, "1001", "media-1")
    joined(simulation, "1002", "media-2")
    simulation.restart()
    simulation.dead.add("media-1")
    simulation.run(CHECK_SECONDS + 1.0)
    assert first.state == "established" and set(rooms(simulation).values()) == {("media-2", "media-2")}
