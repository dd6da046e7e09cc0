"""Transfers: blind and attended, to users and services, refused, failed, and with each party hanging up at each moment."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from telephony.sip.session import Session
from tests.telephony.voice.simulation import Phone, Simulation, sdp
from tests.telephony.voice.test_dialogs import said


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
    assert one.router.remaining() == 0, "a call is left"
    assert one.legs() == 0, "a leg is left"
    assert not one.router._desk.endpoint.sessions, "a session is left"  # type: ignore[union-attr]
    assert len(one.router._desk.endpoint.subscriptions) == 0, "a subscription is left"  # type: ignore[union-attr]
    ended = [record["call"] for record in one.records()]
    assert sorted(ended) == sorted(record["call"] for record in one.records("call-started")), "each call has one record"
    one.close()


def talk(simulation: Simulation, caller: str = "1001", callee: str = "1002") -> tuple[Session, Session]:
    before = len(simulation.phones[callee].sessions)
    session = simulation.phones[caller].call(callee)
    simulation.run(0.5)
    other = simulation.phones[callee].sessions[before]
    assert session.state == other.state == "established"
    return session, other


def refer(simulation: Simulation, session: Session, to: str, *more: tuple[str, str]) -> None:
    target = to if ":" in to else f"<sip:{to}@hotswitch>"
    session.request("REFER", now=simulation.now, headers=[("Refer-To", target), *more])
    simulation.settle()


def answer_of(phone: Phone) -> int:
    """Status of the answer to a phone's REFER."""
    return [event.status for event in phone.named("ResponseReceived")][-1]  # type: ignore[union-attr]


def told(phone: Phone) -> list[str]:
    """What NOTIFYs have said."""
    return [message.body.decode().split("\r\n")[0].removeprefix("SIP/2.0 ") for message in phone.notified]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_blind(simulation: Simulation, who: str) -> None:
    first, second = talk(simulation)
    transferor, transferee = (first, second) if who == "caller" else (second, first)
    by, sent = ("1001", "1002") if who == "caller" else ("1002", "1001")
    phone = simulation.phones[by]
    refer(simulation, transferor, "1003")
    assert answer_of(phone) == 202
    simulation.run(0.5)
    third = simulation.phones["1003"].sessions[0]
    assert third.state == transferee.state == "established"
    assert third.remote.startswith(f"<sip:{sent}@hotswitch>")
    assert third.invite.get("referred-by") == f"<sip:{by}@hotswitch>"
    assert third.invite.get("p-asserted-identity") == f"<sip:{sent}@hotswitch>"
    assert told(phone) == ["100 Trying", "180 Ringing", "200 OK"]
    states = [message.get("subscription-state") for message in phone.notified]
    assert [state.partition(";")[0] for state in states if state] == ["active", "active", "terminated"]
    assert phone.notified[0].get("event") == f"refer;id={2 if who == 'caller' else 1}"
    assert phone.notified[0].get("content-type") == "message/sipfrag;version=2.0"
    simulation.run(5.0)
    assert transferor.state == "ended"  # it did not hang up by itself
    assert simulation.legs() == 2
    third.bye(now=simulation.now)
    simulation.run(0.5)
    assert transferee.state == "ended"
    (record,) = simulation.records()
    assert record["answered_by"] == "1003"
    assert len(record["legs"]) == 3  # type: ignore[arg-type]
    (event,) = simulation.records("call-transferred")
    assert (event["by"], event["to"]) == (by, "1003")


def test_the_transferor_holds_then_transfers_then_hangs_up_at_once(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].ring_seconds = 2.0
    first.reinvite(sdp(40002, "sendonly"), now=simulation.now)
    simulation.run(0.5)
    refer(simulation, first, "1003")
    first.bye(now=simulation.now)
    simulation.run(1.0)
    third = simulation.phones["1003"].sessions[0]
    assert (second.state, third.state) == ("established", "ringing")
    simulation.run(2.0)
    assert third.state == "established"
    assert b"a=sendrecv" in said(simulation.phones["1002"], "ReinviteReceived")[-1].body
    assert simulation.legs() == 2


@pytest.mark.parametrize(("number", "action"), [("9196", "echo"), ("9664", "music"), ("3000", "conference"), ("4000", "queue")])
def test_to_a_service(simulation: Simulation, number: str, action: str) -> None:
    first, second = talk(simulation)
    refer(simulation, first, number)
    simulation.run(0.5)
    assert told(simulation.phones["1001"])[-1] == "200 OK"
    simulation.run(5.0)
    assert (first.state, second.state) == ("ended", "established")
    if action == "queue":  # its member has been rung and answered
        assert simulation.phones["1003"].sessions[0].remote.startswith("<sip:1002@hotswitch>")
    second.bye(now=simulation.now)
    simulation.run(0.5)
    assert len(simulation.records()) == 1


def test_to_a_conference_on_another_processor(simulation: Simulation) -> None:
    first, second = talk(simulation)
    mine = next(job[2] for job in simulation.jobs if job[1] == "offer")
    other = "media-2" if mine == "media-1" else "media-1"
    from tests.telephony.voice.test_calls import claim

    claim(simulation, "3000", other)
    refer(simulation, first, "3000")
    simulation.run(1.0)
    assert told(simulation.phones["1001"])[-1] == "200 OK"
    assert [job[2] for job in simulation.jobs if job[1] == "connect"][-1] == mine
    assert second.state == "established" and not simulation.phones["1002"].named("ReinviteReceived")
    simulation.run(8.0)
    assert simulation.legs() == 3, "its own, and both ends of a trunk"


def test_to_a_conference_whose_processor_is_dead(simulation: Simulation) -> None:
    from tests.telephony.voice.test_calls import claim

    first, second = talk(simulation)
    claim(simulation, "3000", "media-9")
    refer(simulation, first, "3000")
    simulation.run(1.0)
    assert told(simulation.phones["1001"])[-1] == "200 OK"
    assert second.state == "established"


@pytest.mark.parametrize(
    ("number", "status", "last"),
    [("1003", 486, "486 Busy Here"), ("5555", 0, "404 Not Found"), ("1003", 603, "603 Decline")],
)
@pytest.mark.parametrize("stays", [True, False])
def test_it_fails(simulation: Simulation, number: str, status: int, last: str, stays: bool) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].reject = status
    simulation.slow["route"] = 0.2
    refer(simulation, second, number)
    if not stays:
        second.bye(now=simulation.now)
        simulation.run(0.1)
        assert first.state == "established"
    simulation.run(1.0)
    if stays:
        assert told(simulation.phones["1002"])[-1] == last
        assert first.state == second.state == "established"
        refer(simulation, second, "9196")  # it may be tried again
        simulation.run(0.5)
        assert told(simulation.phones["1002"])[-1] == "200 OK"
    else:
        assert first.state == "ended"
        assert simulation.records()[0]["cause"] == "transfer-failed"


def test_nobody_answers(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].ring_seconds = None
    refer(simulation, first, "1003")
    simulation.run(181.0)
    assert told(simulation.phones["1001"])[-1] == "480 Temporarily Unavailable"
    assert first.state == second.state == "established"


@pytest.mark.parametrize("after", [0.0, 0.1, 0.6])
def test_who_is_sent_elsewhere_hangs_up(simulation: Simulation, after: float) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].ring_seconds = 0.5
    simulation.slow["connect"] = 0.5
    refer(simulation, first, "1003")
    simulation.run(after)
    second.bye(now=simulation.now)
    simulation.run(1.5)
    assert told(simulation.phones["1001"])[-1] == "487 Request Terminated"
    assert first.state == "ended"


def test_the_target_hangs_up_while_it_is_joined(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.slow["connect"] = 0.5
    refer(simulation, first, "1003")
    simulation.run(0.3)
    simulation.phones["1003"].sessions[0].end(now=simulation.now)
    simulation.run(1.5)
    assert told(simulation.phones["1001"])[-1] == "480 Temporarily Unavailable"
    assert first.state == second.state == "established"


def test_one_transfer_at_a_time(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].ring_seconds = None
    refer(simulation, first, "1003")
    refer(simulation, second, "9196")
    simulation.run(0.1)
    assert answer_of(simulation.phones["1002"]) == 491


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Refer-To", "<sip:1003@hotswitch>"), ("Refer-To", "<sip:9196@hotswitch>")], 400),
        ([("Refer-To", "<sip:1003@hotswitch>, <sip:9196@hotswitch>")], 400),
        ([("Refer-To", "<tel:+15551234>")], 416),
        ([("Refer-To", "nobody")], 400),
        ([("Refer-To", "<sip:1003@hotswitch;method=BYE>")], 501),
        ([("Refer-To", "<sip:1003@hotswitch?Replaces=1>")], 400),
        ([("Refer-To", "<sip:1003@hotswitch?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3%0D%0AX%3A1>")], 400),
    ],
)
def test_what_no_refer_may_say(simulation: Simulation, headers: list[tuple[str, str]], status: int) -> None:
    first, second = talk(simulation)
    first.request("REFER", now=simulation.now, headers=headers)
    simulation.run(0.1)
    assert answer_of(simulation.phones["1001"]) == status
    assert first.state == second.state == "established"
    assert simulation.phones["1001"].notified == []


def test_a_service_cannot_be_sent_elsewhere(simulation: Simulation) -> None:
    session = simulation.phones["1001"].call("9196")
    simulation.run(0.5)
    refer(simulation, session, "1003")
    simulation.run(0.1)
    assert answer_of(simulation.phones["1001"]) == 603


def test_without_notifications(simulation: Simulation) -> None:
    first, _ = talk(simulation)
    refer(simulation, first, "1003", ("Refer-Sub", "false"), ("Require", "norefersub"))
    simulation.run(0.5)
    message = said(simulation.phones["1001"], "ResponseReceived")[-1]
    assert (message.status, message.get("refer-sub")) == (202, "false")
    assert simulation.phones["1001"].notified == []
    assert simulation.phones["1003"].sessions[0].state == "established"


def test_who_referred_is_passed_on_as_he_says(simulation: Simulation) -> None:
    first, _ = talk(simulation)
    refer(simulation, first, "1003", ("Referred-By", '"Boss" <sip:1001@hotswitch>'))
    simulation.run(0.5)
    assert simulation.phones["1003"].sessions[0].invite.get("referred-by") == '"Boss" <sip:1001@hotswitch>'


def replaces(session: Session) -> str:
    """A dialog of a phone, as its peer knows it."""
    return f"{session.call_id};to-tag={session.dialog.remote_tag};from-tag={session.dialog.local_tag}"


@pytest.mark.parametrize("side", ["caller", "callee"])
def test_attended(simulation: Simulation, side: str) -> None:
    """1002 talks to 1001, asks 1003, and puts the two together."""
    first, second = talk(simulation)
    second.reinvite(sdp(40004, "sendonly"), now=simulation.now)
    simulation.run(0.2)
    asked, third = talk(simulation, "1002", "1003") if side == "caller" else reversed(talk(simulation, "1003", "1002"))
    asked.reinvite(sdp(40006, "sendonly"), now=simulation.now)
    simulation.run(0.2)
    refer(simulation, second, f"<sip:1003@hotswitch?Replaces={quote(replaces(asked), safe='')}>")
    simulation.run(1.0)
    assert told(simulation.phones["1002"])[-1] == "200 OK"
    assert asked.state == "ended"
    assert first.state == third.state == "established"
    simulation.run(5.0)
    assert second.state == "ended"
    assert simulation.legs() == 4  # two calls, joined by one more dialog between them
    first.bye(now=simulation.now)
    simulation.run(0.5)
    assert third.state == "ended"
    assert len(simulation.records()) == 2


def test_attended_with_a_dialog_that_is_not_there(simulation: Simulation) -> None:
    first, second = talk(simulation)
    refer(simulation, first, "<sip:1003@hotswitch?Replaces=unknown%3Bto-tag%3Da%3Bfrom-tag%3Db>")
    simulation.run(0.5)
    assert told(simulation.phones["1001"])[-1].startswith("502")  # 481 is the next hop's own
    assert first.state == second.state == "established"


def take_over(simulation: Simulation, user: str, session: Session, more: str = "") -> Session:
    other = simulation.phones[user].call("1001", replaces=replaces(session) + more)
    simulation.run(0.5)
    return other


def test_somebody_takes_a_place_in_a_call(simulation: Simulation) -> None:
    first, second = talk(simulation)
    third = take_over(simulation, "1003", first)
    assert (first.state, second.state, third.state) == ("ended", "established", "established")
    (ended,) = said(simulation.phones["1001"], "Ended")
    assert ended.get("reason") == 'SIP;cause=200;text="Replaced"'
    assert simulation.legs() == 2
    again = take_over(simulation, "1001", second)
    assert (second.state, third.state, again.state) == ("ended", "established", "established")
    again.bye(now=simulation.now)
    simulation.run(0.5)
    assert third.state == "ended"


def test_somebody_takes_a_place_in_a_conference(simulation: Simulation) -> None:
    first = simulation.phones["1001"].call("3000")
    simulation.run(0.5)
    before = len(simulation.jobs)
    second = take_over(simulation, "1002", first)
    assert (first.state, second.state) == ("ended", "established")
    assert [job[1] for job in simulation.jobs[before:] if job[0] == "media_processor"] == ["offer", "connect", "release"]


def test_a_ringing_call_is_picked_up(simulation: Simulation) -> None:
    simulation.phones["1002"].ring_seconds = None
    first = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    (ringing,) = simulation.phones["1002"].sessions
    third = take_over(simulation, "1003", ringing, ";early-only")
    assert (first.state, ringing.state, third.state) == ("established", "ended", "established")
    first.bye(now=simulation.now)
    simulation.run(0.5)
    assert third.state == "ended"
    assert simulation.records()[0]["answered_by"] == "1003"


def test_what_cannot_be_replaced(simulation: Simulation) -> None:
    first, second = talk(simulation)
    phone = simulation.phones["1003"]

    def status(value: str, **headers: str) -> int:
        phone.events.clear()
        phone.call("1002", replaces=value, **headers)
        simulation.run(0.5)
        return said(phone, "Rejected")[0].status

    assert status(replaces(first) + ";early-only") == 486
    assert status("nothing") == 400
    assert status(f"{first.call_id};to-tag={first.dialog.local_tag};from-tag={first.dialog.remote_tag}") == 481
    assert status(f"{first.call_id};to-tag={first.dialog.remote_tag};from-tag=x") == 481
    assert status(replaces(first), p_asserted_identity="") == 403
    assert status(replaces(first), content_type="text/plain") == 415
    simulation.phones["1002"].ring_seconds = None
    ringing = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    assert status(replaces(ringing)) == 481
    assert first.state == second.state == "established"


def test_a_newcomer_gives_up_before_it_is_in(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.slow["offer"] = 1.0
    third = simulation.phones["1003"].call("1002", replaces=replaces(first))
    simulation.run(0.2)
    third.cancel(now=simulation.now)
    simulation.run(2.0)
    assert third.state == "ended"
    assert first.state == second.state == "established"
    assert simulation.legs() == 2


def test_a_newcomer_whose_codecs_nobody_has(simulation: Simulation) -> None:
    first, second = talk(simulation)
    simulation.phones["1003"].call("1002", sdp(codec="3 4"), replaces=replaces(first))
    simulation.run(0.5)
    assert said(simulation.phones["1003"], "Rejected")[0].status == 488
    assert first.state == second.state == "established"


@pytest.mark.parametrize("seed", range(8))
def test_over_a_link_that_loses_a_quarter(tmp_path: Path, seed: int) -> None:
    simulation = Simulation(tmp_path, loss=0.25, seed=seed)
    simulation.register("1002", "1003")
    session = simulation.phones["1001"].call("1002")
    simulation.run(20.0)
    if session.state == "established":
        refer(simulation, session, ["1003", "3000", "4000", "9196"][seed % 4])
        simulation.run(20.0)
    for phone in simulation.phones.values():
        for one in phone.sessions:
            one.end(now=simulation.now)
    simulation.run(150.0)
    assert simulation.router.remaining() == 0
    assert simulation.legs() == 0
    assert len(simulation.records()) == len(simulation.records("call-started"))
    simulation.close()
