"""Calls through a router: to services, to users, into conferences, and each way in which they end."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.sip.events import Answered, Progressed, Rejected
from tests.telephony.voice.simulation import Simulation, sdp


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    yield one
    assert one.router.remaining() == 0, "a call is left"
    assert one.legs() == 0, "a leg is left"
    ended = [record["call"] for record in one.records()]
    assert sorted(ended) == sorted(record["call"] for record in one.records("call-started")), "each call has one record"
    one.close()


def status_of(simulation: Simulation, user: str = "1001") -> int:
    (rejected,) = simulation.phones[user].named("Rejected")
    assert isinstance(rejected, Rejected)
    return rejected.status


@pytest.mark.parametrize(("number", "action"), [("9196", "echo"), ("9664", "music"), ("3000", "conference")])
def test_a_service_answers_with_media(simulation: Simulation, number: str, action: str) -> None:
    session = simulation.phones["1001"].call(number)
    simulation.run(0.1)
    assert session.state == "established"
    (answered,) = simulation.phones["1001"].named("Answered")
    assert isinstance(answered, Answered)
    assert b"m=audio" in answered.message.body
    assert simulation.legs() == 1
    simulation.run(5.0)
    session.bye(now=simulation.now)
    simulation.run(0.1)
    (record,) = simulation.records()
    assert (record["action"], record["cause"], record["status"], record["answered_by"]) == (action, "caller-hung-up", 200, action)
    assert record["seconds"] == pytest.approx(5.0, abs=0.2)
    assert len(record["legs"]) == 1  # type: ignore[arg-type]
    simulation.run(40.0)


def test_user_to_user(simulation: Simulation) -> None:
    simulation.register("1002")
    caller, callee = simulation.phones["1001"], simulation.phones["1002"]
    session = caller.call("1002")
    simulation.run(0.5)
    assert [event.status for event in caller.named("Progressed") if isinstance(event, Progressed)] == [180]
    assert session.state == "established"
    assert callee.sessions[0].state == "established"
    assert simulation.legs() == 2
    invite = callee.sessions[0].invite
    assert invite.get("p-asserted-identity") == "<sip:1001@hotswitch>"
    assert invite.get("route") == "<sip:token@192.0.2.1:5060;lr>"
    assert invite.call_id != session.call_id
    callee.sessions[0].bye(now=simulation.now)
    simulation.run(0.5)
    assert session.state == "ended"
    (record,) = simulation.records()
    assert (record["cause"], record["answered_by"], len(record["legs"])) == ("callee-hung-up", "1002", 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "status", "cause"),
    [("1002", 480, "routing-not-registered"), ("5555", 404, "routing-not-found")],
)
def test_what_leads_nowhere(simulation: Simulation, number: str, status: int, cause: str) -> None:
    simulation.phones["1001"].call(number)
    simulation.run(0.1)
    assert status_of(simulation) == status
    assert simulation.records()[0]["cause"] == cause


@pytest.mark.parametrize(("answer", "status"), [(486, 486), (603, 603), (302, 480), (404, 404), (500, 500), (401, 480)])
def test_a_callee_refuses(simulation: Simulation, answer: int, status: int) -> None:
    simulation.register("1002")
    simulation.phones["1002"].reject = answer
    simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    assert status_of(simulation) == status
    assert simulation.records()[0]["status"] == status


def test_a_callee_that_is_gone(simulation: Simulation) -> None:
    simulation.register("1002", contact="sip:1002@203.0.113.9:5060")
    simulation.phones["1001"].call("1002")
    simulation.run(35.0)
    assert status_of(simulation) == 408


def test_nobody_answers(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = None
    simulation.phones["1001"].call("1002")
    simulation.run(179.0)
    assert simulation.phones["1001"].named("Rejected") == []
    simulation.run(2.0)
    assert status_of(simulation) == 480
    assert simulation.phones["1002"].sessions[0].state == "ended"
    assert simulation.records()[0]["cause"] == "no-answer"


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
def test_the_caller_gives_up_while_it_rings(simulation: Simulation, after: float) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = None
    session = simulation.phones["1001"].call("1002")
    simulation.run(after)
    session.cancel(now=simulation.now)
    simulation.run(1.0)
    assert status_of(simulation) == 487
    assert simulation.phones["1002"].sessions[0].state == "ended"
    assert simulation.records()[0]["cause"] == "cancelled"
    simulation.run(40.0)


@pytest.mark.parametrize("operation", ["route", "lookup", "offer", "propose", "connect", "claim", "accept"])
@pytest.mark.parametrize("number", ["9196", "1002", "3000", "4000"])
def test_the_caller_gives_up_while_something_is_asked(simulation: Simulation, operation: str, number: str) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = 0.0
    simulation.slow[operation] = 0.5
    session = simulation.phones["1001"].call(number)
    simulation.run(0.3)
    session.end(now=simulation.now)
    simulation.run(4.0)
    assert session.state == "ended"
    assert all(one.state == "ended" for one in simulation.phones["1002"].sessions)


def test_cancel_crosses_the_answer(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = None
    session = simulation.phones["1001"].call("1002")
    simulation.run(0.1)
    callee = simulation.phones["1002"]
    callee.answer(callee.sessions[0])  # both in the same instant
    session.cancel(now=simulation.now)
    simulation.run(3.0)
    assert session.state == "ended"
    assert callee.sessions[0].state == "ended"


def test_both_hang_up_at_once(simulation: Simulation) -> None:
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002")
    simulation.run(1.0)
    simulation.phones["1002"].sessions[0].bye(now=simulation.now)
    session.bye(now=simulation.now)
    simulation.run(3.0)
    assert len(simulation.records()) == 1


def test_the_callee_hangs_up_while_the_legs_are_joined(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.slow["connect"] = 0.5
    simulation.phones["1001"].call("1002")
    simulation.run(0.4)
    simulation.phones["1002"].sessions[0].bye(now=simulation.now)
    simulation.run(2.0)
    assert status_of(simulation) == 480


def test_early_media_is_heard(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].early = True
    simulation.phones["1002"].ring_seconds = 2.0
    session = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (progressed,) = simulation.phones["1001"].named("Progressed")
    assert isinstance(progressed, Progressed)
    assert (progressed.status, b"m=audio" in progressed.message.body) == (183, True)
    simulation.run(3.0)
    assert session.state == "established"
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_all_contacts_ring_and_the_first_answer_wins(simulation: Simulation) -> None:
    simulation.register("1002")
    other = simulation.phones["1003"]
    simulation.register("1002", contact=f"sip:1002@{other.address[0]}:{other.address[1]}")
    simulation.phones["1002"].ring_seconds = 0.2
    other.ring_seconds = 0.2  # both answer in the same instant
    session = simulation.phones["1001"].call("1002")
    simulation.run(3.0)
    states = [simulation.phones[user].sessions[0].state for user in ("1002", "1003")]
    assert sorted(states) == ["ended", "established"]
    assert simulation.legs() == 2
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_flows_of_one_phone_ring_one_after_the_other(simulation: Simulation) -> None:
    phones = [simulation.phones[user] for user in ("1002", "1003")]
    for number, phone in enumerate(phones, 1):
        contact = f"sip:1002@{phone.address[0]}:{phone.address[1]}"
        simulation.register("1002", contact=contact, instance="<urn:uuid:1>", reg_id=number)
    caller = simulation.phones["1001"]
    session = caller.call("1002")
    simulation.run(3.0)
    (first,) = [phone for phone in phones if phone.sessions]
    (second,) = [phone for phone in phones if phone is not first]
    session.bye(now=simulation.now)
    simulation.run(1.0)
    first.reject = 430
    session = caller.call("1002")
    simulation.run(3.0)
    assert (len(first.sessions), len(second.sessions)) == (2, 1)
    assert second.sessions[0].state == session.state == "established"
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_a_phone_that_wants_srtp_is_offered_it(simulation: Simulation) -> None:
    simulation.register("1002")
    phone = simulation.phones["1002"]
    phone.protocol = "RTP/SAVP"
    key = "inline:" + base64.b64encode(bytes(range(30))).decode()
    phone.sdp = sdp(40002).replace(b"RTP/AVP", b"RTP/SAVP") + f"a=crypto:2 AES_CM_128_HMAC_SHA1_80 {key}\r\n".encode()
    session = simulation.phones["1001"].call("1002")
    simulation.run(1.0)
    first, second = phone.sessions
    assert b"m=audio" in first.invite.body and b"a=crypto:" not in first.invite.body
    assert b" RTP/SAVP " in second.invite.body and b"a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" in second.invite.body
    assert session.state == second.state == "established" and simulation.legs() == 2
    session.bye(now=simulation.now)
    simulation.run(1.0)
    assert simulation.legs() == 0


def test_a_phone_that_wants_neither_is_asked_no_third_time(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].reject = 488
    simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    assert len(simulation.phones["1002"].sessions) == 2
    assert status_of(simulation) == 488 and simulation.legs() == 0


@pytest.mark.parametrize("number", ["9196", "1002", "3000", "4000"])
def test_codecs_that_nobody_has_are_488(simulation: Simulation, number: str) -> None:
    simulation.register("1002")
    simulation.phones["1001"].call(number, sdp(codec="3 4"))
    simulation.run(0.5)
    assert status_of(simulation) == 488
    assert simulation.phones["1002"].sessions == []  # nobody was rung for nothing


def test_sdp_that_cannot_be_read_is_400(simulation: Simulation) -> None:
    simulation.phones["1001"].call("9196", b"v=0\r\nnoise")
    simulation.run(0.1)
    assert status_of(simulation) == 400


def test_an_offer_in_the_answer(simulation: Simulation) -> None:
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002", b"")
    simulation.run(1.0)
    assert session.state == "established"
    assert ("media_processor", "accept", simulation.jobs[-1][2]) in simulation.jobs[-3:]
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_hold_gives_music_and_resume_joins_again(simulation: Simulation) -> None:
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002")
    simulation.run(1.0)
    before = len(simulation.jobs)
    session.reinvite(sdp(40002, "sendonly"), now=simulation.now)
    simulation.run(0.2)
    assert [job[1] for job in simulation.jobs[before:]] == ["offer", "connect", "propose", "accept"]
    simulation.phones["1002"].sessions[0].reinvite(b"", now=simulation.now)
    simulation.run(0.2)
    session.reinvite(sdp(40002), now=simulation.now)
    simulation.run(0.2)
    assert [job[1] for job in simulation.jobs[before:]][-4:] == ["offer", "connect", "propose", "accept"]
    told = [event.message.body for event in simulation.phones["1002"].named("ReinviteReceived")]  # type: ignore[union-attr]
    assert [b"a=sendonly" in body for body in told] == [True, False]
    assert b"a=sendrecv" in told[1]
    assert session.state == "established"
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_a_room_is_on_one_processor(simulation: Simulation) -> None:
    sessions = [simulation.phones[user].call("3000") for user in ("1001", "1002", "1003")]
    simulation.run(1.0)
    assert {job[2] for job in simulation.jobs if job[1] == "connect"} == {next(job[2] for job in simulation.jobs if job[1] == "connect")}
    for session in sessions:
        session.bye(now=simulation.now)
    simulation.run(1.0)


def claim(simulation: Simulation, room: str, worker: str) -> None:
    import msgspec

    from telephony.core import Job
    from telephony.jobs.resource import Claim

    body = msgspec.msgpack.encode(Claim(key=f"room:{room}", value=worker, ttl_seconds=30.0))
    simulation.cores["database-1"].job(Job(0, "router-2", "claim", body), simulation.now)
    simulation.settle()


@pytest.mark.parametrize(
    ("dead", "number", "status"), [("routing-1", "9196", 503), ("database-1", "1002", 503), ("database-1", "3000", 503)]
)
def test_a_dependent_is_away(simulation: Simulation, dead: str, number: str, status: int) -> None:
    simulation.dead.add(dead)
    simulation.phones["1001"].call(number)
    simulation.run(1.0)
    assert status_of(simulation) == status


def test_a_media_processor_is_away(simulation: Simulation) -> None:
    simulation.dead |= {"media-1", "media-2"}
    simulation.phones["1001"].call("9196")
    simulation.run(1.0)
    assert status_of(simulation) == 503


def test_a_processor_that_dies_does_not_hold_the_end_up(simulation: Simulation) -> None:
    session = simulation.phones["1001"].call("9196")
    simulation.run(0.5)
    simulation.dead |= {"media-1", "media-2"}
    session.bye(now=simulation.now)
    simulation.run(1.0)
    assert simulation.records()[0]["legs"] == []


def test_draining_refuses_new_calls_and_ends_old_ones_in_time(simulation: Simulation) -> None:
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002")
    simulation.run(1.0)
    simulation.router.drain(simulation.now + 30.0, simulation.now)
    simulation.phones["1003"].call("9196")
    simulation.run(1.0)
    assert status_of(simulation, "1003") == 503
    (refused,) = simulation.phones["1003"].named("Rejected")
    assert refused.message.get("retry-after") == "5"  # type: ignore[union-attr]
    assert session.state == "established"
    simulation.run(29.0)
    assert session.state == "ended"
    (ended,) = simulation.phones["1001"].named("Ended")
    assert 'text="Service moves"' in ended.message.get("reason")  # type: ignore[union-attr,operator]
    assert simulation.records()[-1]["cause"] == "drained"


def test_a_drain_that_is_called_off(simulation: Simulation) -> None:
    simulation.router.drain(simulation.now + 30.0, simulation.now)
    simulation.router.undrain(simulation.now)
    session = simulation.phones["1001"].call("9196")
    simulation.run(60.0)
    assert session.state == "established"
    session.bye(now=simulation.now)
    simulation.run(1.0)


def test_a_processor_that_stops_ends_its_calls_in_order(simulation: Simulation) -> None:
    session = simulation.phones["1001"].call("9196")
    simulation.run(0.5)
    worker = next(job[2] for job in simulation.jobs if job[1] == "offer")
    simulation.cores[worker].drain(simulation.now + 5.0, simulation.now)
    simulation.run(4.5)
    simulation.tick()
    simulation.run(0.5)
    assert session.state == "ended"
    assert simulation.records()[0]["cause"] == "drained"


def test_a_call_that_goes_in_circles_is_482(simulation: Simulation) -> None:
    simulation.phones["1001"].call("9196", hotswitch_hops="9")
    simulation.run(0.5)
    assert status_of(simulation) == 482


def test_a_guest_calls_a_service(simulation: Simulation) -> None:
    session = simulation.phones["guest"].call("9196")
    simulation.run(0.5)
    session.bye(now=simulation.now)
    simulation.run(0.5)
    assert simulation.records()[0]["caller"] == "guest"
    assert ("resource_database", "busy", "database-1") not in simulation.jobs


def test_callers_and_callees_are_busy_meanwhile(simulation: Simulation) -> None:
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    from telephony.resource_database import busy

    store = simulation.cores["database-1"]._store  # type: ignore[attr-defined]
    assert [len(busy.read(store, user, simulation.now)[0]) for user in ("1001", "1002", "1003")] == [1, 1, 0]
    simulation.run(200.0)
    assert busy.read(store, "1001", simulation.now)[0]
    session.bye(now=simulation.now)
    simulation.run(0.5)
    assert [busy.read(store, user, simulation.now)[0] for user in ("1001", "1002", "1003")] == [[], [], []]


def test_requests_from_elsewhere_are_ignored(simulation: Simulation) -> None:
    from telephony.sip.flow import Flow

    phone = simulation.phones["1001"]
    phone.endpoint.invite(
        "sip:9196@hotswitch", "<sip:1001@hotswitch>", "<sip:9196@hotswitch>", Flow("udp", "sip-udp", "203.0.113.1", 5060), now=0.0
    )
    (send,) = phone.take()
    simulation.router.receive(send.data, Flow("udp", "sip-udp", "203.0.113.1", 5060), simulation.now)
    assert list(simulation.router.take()) == []
    assert simulation.router.ignored == 1


@pytest.mark.parametrize("seed", range(8))
def test_over_a_link_that_loses_a_quarter(tmp_path: Path, seed: int) -> None:
    simulation = Simulation(tmp_path, loss=0.25, seed=seed)
    simulation.register("1002")
    session = simulation.phones["1001"].call("1002")
    simulation.run(20.0)
    assert session.state in ("established", "ended")
    if session.state == "established":
        session.bye(now=simulation.now)
    simulation.run(120.0)
    assert simulation.router.remaining() == 0
    assert simulation.legs() == 0
    assert len(simulation.records()) == len(simulation.records("call-started"))
    simulation.close()


def test_a_call_outside(simulation: Simulation) -> None:
    """A trunk that sends its calls to one address; only who is named may use it."""
    caller, trunk = simulation.phones["1001"], simulation.phones["guest"]
    session = caller.call("0123")
    simulation.run(0.5)
    assert session.state == "established"
    invite = trunk.sessions[0].invite
    assert invite.uri == "sip:trunk@198.51.100.4:5062"
    assert invite.get(
        "to",
    ).startswith("<sip:trunk@198.51.100.4:5062>")
    assert invite.get("p-asserted-identity") is None
    assert invite.get("route") is None
    assert simulation.legs() == 2
    session.bye(now=simulation.now)
    simulation.run(0.1)
    (record,) = simulation.records()
    assert (record["action"], record["target"], record["status"]) == ("outside", "sip:trunk@198.51.100.4:5062", 200)
    assert trunk.sessions[0].state == "ended"
    simulation.run(40.0)


def test_nobody_else_calls_outside(simulation: Simulation) -> None:
    for user in ("1002", "guest"):
        simulation.phones[user].call("0123")
        simulation.run(0.5)
        assert status_of(simulation, user) == 403
    simulation.run(40.0)
