"""Reliable provisional responses (RFC 3262) and session timers (RFC 4028) between two user agents."""

import random

import pytest

from telephony.sip.endpoint import Endpoint
from telephony.sip.errors import StateError
from telephony.sip.events import (
    Acknowledged,
    Answered,
    ByeAnswered,
    Cancelled,
    Ended,
    InviteReceived,
    Progressed,
    Rejected,
    ReliablyAcknowledged,
)
from telephony.sip.session import Session
from tests.telephony.sip.test_endpoint import A, B, Pair, kinds


def ring(pair: Pair, **options: object) -> tuple[Session, Session]:
    caller = pair.invite(**options)  # type: ignore[arg-type]
    _, b = pair.run()
    assert kinds(b) == [InviteReceived]
    return caller, b[0].session  # type: ignore[attr-defined]


def sent(pair: Pair, word: str) -> int:
    return sum(word in line for line in pair.network.log)


def test_reliable_ringing() -> None:
    pair = Pair()
    caller, callee = ring(pair)
    callee.progress(183, b"early", now=pair.now, reliable=True)
    a, b = pair.run()
    assert kinds(a) == [Progressed]
    assert kinds(b) == [ReliablyAcknowledged]
    callee.progress(180, now=pair.now, reliable=True)
    a, b = pair.run(5)
    assert kinds(a) == [Progressed]
    assert kinds(b) == [ReliablyAcknowledged]
    assert sent(pair, "PRACK") == 2
    assert sent(pair, "180 Ringing") == 1
    callee.accept(b"answer", now=pair.now)
    a, b = pair.run()
    assert kinds(a) == [Answered]
    assert kinds(b) == [Acknowledged]
    caller.bye(now=pair.now)
    pair.at_rest()


def test_reliable_only_where_the_caller_wants_it() -> None:
    pair = Pair()
    pair.a.supported = "timer"
    _, callee = ring(pair)
    callee.progress(180, now=pair.now, reliable=True)
    a, b = pair.run(3)
    assert kinds(a) == [Progressed]
    assert b == []
    callee.reject(486, now=pair.now)
    pair.at_rest()


def test_what_comes_after_a_reliable_response_waits_for_its_prack() -> None:
    pair = Pair()
    caller, callee = ring(pair, headers=[("Require", "100rel")])
    pair.network.drop = lambda source, target, data: data.startswith(b"PRACK") and pair.now < 1002
    callee.progress(183, b"early", now=pair.now)
    callee.progress(180, now=pair.now)
    callee.accept(b"answer", now=pair.now)
    a, b = pair.run(1.5)
    assert kinds(a) == [Progressed]
    assert b == []
    assert sent(pair, "183") == 3
    assert sent(pair, "200") == sent(pair, "180") == 0
    a, b = pair.run(5)
    assert kinds(a) == [Progressed, Answered]
    assert kinds(b) == [ReliablyAcknowledged, ReliablyAcknowledged, Acknowledged]
    caller.bye(now=pair.now)
    pair.at_rest()


def test_no_prack_ends_the_invite() -> None:
    pair = Pair()
    _, callee = ring(pair)
    pair.network.drop = lambda source, target, data: data.startswith(b"PRACK")
    callee.progress(183, b"early", now=pair.now, reliable=True)
    a, b = pair.run(31.9)
    assert kinds(a) == [Progressed]
    assert sent(pair, "183") == 7
    a, b = pair.run(0.2)
    assert kinds(b) == [Cancelled]
    assert [(type(event), event.status) for event in a] == [(Rejected, 504)]  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        callee.accept(b"", now=pair.now)
    pair.at_rest()


@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize("ending", ["cancel", "no PRACK"])
def test_the_end_while_an_answer_waits_for_its_prack(hangs_up: bool, ending: str) -> None:
    pair = Pair()
    caller, callee = ring(pair)
    pair.network.drop = lambda source, target, data: data.startswith(b"PRACK")
    callee.progress(183, b"early", now=pair.now, reliable=True)
    callee.accept(b"answer", now=pair.now)
    pair.run(1)
    if hangs_up:
        callee.bye(now=pair.now)
    if ending == "cancel":
        caller.cancel(now=pair.now)
    a, b = pair.run(40)
    assert [(type(event), event.status) for event in a] == [(Rejected, 487 if ending == "cancel" else 504)]  # type: ignore[attr-defined]
    assert kinds(b) == [ByeAnswered if hangs_up else Cancelled if ending == "cancel" else Ended]
    assert callee.state == "ended"
    pair.at_rest()


@pytest.mark.parametrize("rack", ["1", "x 1 INVITE", "1 x INVITE", "1 1 BYE", "7 1 INVITE", ""])
def test_a_prack_for_nothing(rack: str) -> None:
    pair = Pair()
    caller, callee = ring(pair)
    callee.progress(180, now=pair.now)
    pair.run()
    caller.request("PRACK", now=pair.now, headers=[("RAck", rack)])
    a, _ = pair.run()
    assert a[0].status in (400, 481)  # type: ignore[attr-defined]
    callee.reject(486, now=pair.now)
    pair.at_rest()


class Timed(Pair):
    """The caller asks for 100 seconds."""

    def __init__(self, seconds: int = 100) -> None:
        super().__init__()
        self.a = Endpoint("192.0.2.1:5060", random=random.Random(1).randbytes, session_seconds=seconds)
        self.network.add(*A, self.a)
        self.network.events.setdefault(id(self.a), [])


def test_the_caller_refreshes() -> None:
    pair = Timed()
    caller, callee = pair.call()
    a, b = pair.run(49.9)
    assert sent(pair, "UPDATE") == 0
    a, b = pair.run(500)
    assert sent(pair, "UPDATE") == 10
    assert (a, b) == ([], [])
    assert caller.state == callee.state == "established"
    caller.bye(now=pair.now)
    pair.at_rest()


def test_a_peer_without_update_is_refreshed_by_invite() -> None:
    pair = Timed()
    pair.b.allow = "INVITE, ACK, BYE"
    caller, _ = pair.call()
    _, b = pair.run(51)
    assert sent(pair, "INVITE") == 2
    b[0].session.answer_reinvite(b"answer", now=pair.now)  # type: ignore[attr-defined]
    assert b[0].message.body == b"offer"  # type: ignore[attr-defined]
    a, b = pair.run(1)
    assert a == []
    assert kinds(b) == [Acknowledged]
    caller.bye(now=pair.now)
    pair.at_rest()


def test_a_caller_that_vanishes() -> None:
    pair = Timed()
    _, callee = pair.call()
    pair.network.drop = lambda source, target, data: source == A
    _, b = pair.run(67.85)
    assert b == []
    _, b = pair.run(0.1)
    assert kinds(b) == [Ended]
    assert b[0].reason == "expired"  # type: ignore[attr-defined]
    assert callee.state == "ending"


def test_a_callee_that_vanishes() -> None:
    pair = Timed()
    pair.call()
    pair.network.drop = lambda source, target, data: source == B
    a, _ = pair.run(67.5)
    assert a == []
    a, _ = pair.run(1)
    assert kinds(a) == [Ended]


def test_an_interval_that_is_too_small() -> None:
    pair = Timed(30)
    caller, _ = pair.call()
    assert sent(pair, "422") == 1
    pair.run(300)
    assert sent(pair, "UPDATE") >= 5
    caller.bye(now=pair.now)
    a, _ = pair.run()
    assert kinds(a) == [ByeAnswered]
    pair.at_rest()
