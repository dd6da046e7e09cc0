"""Both dialogs of a call: what one side does to its own, and what the other side learns of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telephony.call_router.core import SESSION_SECONDS
from telephony.sip.flow import Flow
from telephony.sip.session import Session
from tests.telephony.voice.simulation import PROXY, Phone, Simulation, sdp


@pytest.fixture
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulation]:
    """A parameter, where there is one, is its seed."""
    one = Simulation(tmp_path, seed=getattr(request, "param", 1))
    one.register("1002")
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(70.0)
    assert one.router.remaining() == 0, "a call is left"
    assert one.legs() == 0, "a leg is left"
    assert len(one.records()) == len(one.records("call-started")), "each call has one record"
    one.close()


def talk(simulation: Simulation) -> tuple[Session, Session]:
    caller = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (callee,) = simulation.phones["1002"].sessions
    assert caller.state == callee.state == "established"
    return caller, callee


def said(phone: Phone, name: str) -> list[Any]:
    """Messages of a phone's events of this name."""
    return [event.message for event in phone.named(name)]  # type: ignore[union-attr]


def test_hold_is_seen_by_the_other_side_and_refusing_that_changes_nothing(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    simulation.phones["1001"].refuses_changes = 488
    callee.reinvite(sdp(40004, "sendonly"), now=simulation.now)
    simulation.run(0.5)
    (message,) = said(simulation.phones["1001"], "ReinviteReceived")
    assert b"a=sendonly" in message.body
    assert caller.state == callee.state == "established"
    callee.reinvite(sdp(40004), now=simulation.now)
    simulation.run(0.5)
    assert caller.state == "established"


def test_both_hold_and_one_resumes(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    caller.reinvite(sdp(40002, "sendonly"), now=simulation.now)
    simulation.run(5.0)
    callee.reinvite(sdp(40004, "inactive"), now=simulation.now)
    simulation.run(5.0)
    caller.reinvite(sdp(40002), now=simulation.now)
    simulation.run(5.0)
    told = said(simulation.phones["1002"], "ReinviteReceived")
    assert [b"a=sendonly" in message.body for message in told] == [True, False]
    told = said(simulation.phones["1001"], "ReinviteReceived")
    assert [b"a=sendonly" in message.body for message in told] == [True]
    callee.reinvite(sdp(40004), now=simulation.now)
    simulation.run(5.0)
    assert b"a=sendrecv" in said(simulation.phones["1001"], "ReinviteReceived")[-1].body
    assert ("media_processor", "connect", simulation.jobs[-3][2]) in simulation.jobs[-4:]


@pytest.mark.parametrize("simulation", range(4), indirect=True)
def test_hold_that_crosses_a_change_of_the_held_side_is_told_later(simulation: Simulation) -> None:
    caller, _ = talk(simulation)
    callee_phone = simulation.phones["1002"]
    callee_phone.refuses_changes = 491
    caller.reinvite(sdp(40002, "sendonly"), now=simulation.now)
    simulation.run(0.1)
    assert len(said(callee_phone, "ReinviteReceived")) == 1
    callee_phone.refuses_changes = 0
    simulation.run(1.9)  # the router chose the Call-ID of this dialog: 2.1 to 4 s
    assert len(said(callee_phone, "ReinviteReceived")) == 1
    simulation.run(2.2)
    assert len(said(callee_phone, "ReinviteReceived")) == 2


def test_an_early_session_is_changed_by_update_on_both_sides(simulation: Simulation) -> None:
    simulation.phones["1002"].ring_seconds = 3.0
    caller = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (callee,) = simulation.phones["1002"].sessions
    caller.update(sdp(40100), now=simulation.now)
    callee.update(sdp(40102), now=simulation.now)
    simulation.run(0.5)
    for user in ("1001", "1002"):
        (answered,) = simulation.phones[user].named("ReinviteAnswered")
        assert answered.status == 200  # type: ignore[union-attr]
        assert b"m=audio" in answered.message.body  # type: ignore[union-attr]
    simulation.run(4.0)
    assert caller.state == "established"


def test_an_answer_in_a_provisional_response_need_not_be_repeated(simulation: Simulation) -> None:
    phone = simulation.phones["1002"]
    phone.ring_seconds = None
    caller = simulation.phones["1001"].call("1002")
    (callee,) = phone.sessions
    callee.progress(183, phone.sdp, now=simulation.now, reliable=True)
    simulation.run(0.5)
    callee.accept(b"", now=simulation.now)
    simulation.run(0.5)
    assert caller.state == callee.state == "established"
    assert simulation.records("call-answered")


def test_a_caller_without_an_offer_who_wants_reliable_responses(simulation: Simulation) -> None:
    simulation.phones["1002"].ring_seconds = 2.0
    phone = simulation.phones["1001"]
    caller = phone.call("1002", b"", require="100rel")
    simulation.run(0.1)
    (progressed,) = said(phone, "Progressed")
    assert progressed.get("require") == "100rel"
    assert b"m=audio" in progressed.body
    assert said(phone, "Answered") == []
    caller.end(now=simulation.now)
    simulation.run(0.5)
    assert simulation.records()[-1]["cause"] in ("no-answer-in-prack", "cancelled")


def test_branches_of_a_fork_ring_with_early_media_of_their_own(simulation: Simulation) -> None:
    """A proxy before the callee forks: two early dialogs on one outbound leg, and the answer of the first."""
    caller_phone, phone = simulation.phones["1001"], simulation.phones["1002"]
    phone.ring_seconds = None
    phone.early = True
    caller = caller_phone.call("1002")
    (callee,) = phone.sessions
    invite = callee.invite
    from telephony.sip.message import make_response

    other = make_response(invite, 183, to_tag="other", headers=[("Contact", "<sip:x@203.0.113.7>"), ("Content-Type", "application/sdp")])
    other.set_body(sdp(41000))
    simulation.router.receive(other.serialize(), Flow("udp", "sip-udp", *PROXY), simulation.now)
    simulation.run(0.2)
    assert [event.status for event in caller_phone.named("Progressed")] == [183, 183]  # type: ignore[union-attr]
    callee.accept(b"", now=simulation.now)
    simulation.run(0.5)
    assert caller.state == callee.state == "established"
    callee.bye(now=simulation.now)
    simulation.run(0.5)
    assert caller.state == "ended"


def test_the_cause_of_an_end_is_passed_on(simulation: Simulation) -> None:
    _, callee = talk(simulation)
    callee.bye(now=simulation.now, headers=[("Reason", "Q.850;cause=16"), ("Reason", 'X;text="b"')])
    simulation.run(0.5)
    (message,) = said(simulation.phones["1001"], "Ended")
    assert message.get_lines("reason") == ["Q.850;cause=16", 'X;text="b"']


def test_the_cause_of_a_cancellation_is_passed_on(simulation: Simulation) -> None:
    simulation.phones["1002"].ring_seconds = None
    caller = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    caller.cancel(now=simulation.now, headers=[("Reason", 'SIP;cause=600;text="Busy Everywhere"')])
    simulation.run(0.5)
    (message,) = said(simulation.phones["1002"], "Cancelled")
    assert message.get("reason") == 'SIP;cause=600;text="Busy Everywhere"'


def test_the_cause_of_a_refusal_is_passed_on(simulation: Simulation) -> None:
    simulation.phones["1002"].reject = 486
    simulation.phones["1002"].reject_headers = (("Reason", "Q.850;cause=17"),)
    simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (message,) = said(simulation.phones["1001"], "Rejected")
    assert (message.status, message.get("reason")) == (486, "Q.850;cause=17")


def test_a_phone_that_vanished_is_found_out_by_the_session_timer(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    assert callee.invite.get("session-expires") == str(SESSION_SECONDS)
    simulation.run(SESSION_SECONDS / 2 + 5.0)
    assert caller.state == callee.state == "established"
    assert caller.dialog.remote_cseq == 1  # the caller asked for no timer: the router refreshes
    simulation.phones.pop("1002")
    simulation.run(SESSION_SECONDS + 60.0)
    assert caller.state == "ended"
    (message,) = said(simulation.phones["1001"], "Ended")
    assert message.get("reason") == 'SIP;cause=408;text="Session expired"'
    assert simulation.records()[0]["cause"] in ("callee-expired", "callee-gone")


@pytest.mark.parametrize(
    ("given", "body", "status", "answer"),
    [
        ({"content_type": "text/plain"}, b"hello", 415, ("accept", "application/sdp")),
        ({"content_encoding": "gzip"}, sdp(), 415, ("accept-encoding", "identity")),
        ({"accept": "text/plain"}, sdp(), 406, ("accept", "application/sdp")),
        ({"require": "unheard-of"}, sdp(), 420, ("unsupported", "unheard-of")),
    ],
)
def test_what_an_invite_may_not_say(
    simulation: Simulation, given: dict[str, str], body: bytes, status: int, answer: tuple[str, str]
) -> None:
    phone = simulation.phones["1001"]
    phone.call("1002", body, **given)
    simulation.run(0.5)
    (message,) = said(phone, "Rejected")
    assert (message.status, message.get(answer[0])) == (status, answer[1])


def test_methods_of_a_router_of_voice(simulation: Simulation) -> None:
    phone = simulation.phones["1001"]
    for method in ("OPTIONS", "MESSAGE", "PUBLISH", "REGISTER", "JUGGLE", "BYE"):
        flow = Flow("udp", "sip-udp", *PROXY)
        phone.endpoint.request(method, "sip:1002@hotswitch", "<sip:1001@hotswitch>", "<sip:1002@hotswitch>", flow, now=simulation.now)
        simulation.run(0.1)
    answers = said(phone, "ResponseReceived")
    assert [message.status for message in answers] == [200, 405, 405, 405, 501, 481]
    allowed = [(message.get("allow") or "").split(", ") for message in answers[:5]]
    assert all("PRACK" in methods for methods in allowed)
    assert "MESSAGE" not in allowed[1], "it is taken within calls alone"
    assert answers[0].get("accept") == "application/sdp"
    assert "100rel" in answers[0].get("supported")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", 200),
        ("application/dtmf", b"5", 200),
        ("text/plain", b"5", 415),
    ],
)
def test_digits_by_info(simulation: Simulation, content_type: str, body: bytes, status: int) -> None:
    caller, _ = talk(simulation)
    before = len(simulation.jobs)
    caller.info(body, now=simulation.now, content_type=content_type)
    simulation.run(0.2)
    assert said(simulation.phones["1001"], "ResponseReceived")[0].status == status
    assert [job[1] for job in simulation.jobs[before:]] == (["dtmf"] if status == 200 else [])


def test_a_change_with_a_body_that_is_no_sdp(simulation: Simulation) -> None:
    caller, _ = talk(simulation)
    caller.reinvite(b"hello", now=simulation.now, content_type="text/plain")
    simulation.run(0.2)
    (answered,) = simulation.phones["1001"].named("ReinviteAnswered")
    assert answered.status == 415  # type: ignore[union-attr]
    assert caller.state == "established"
