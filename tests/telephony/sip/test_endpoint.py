"""Two user agents joined by a link: calls, cancellations, changes, and what a lossy network does to them (RFC 3261)."""

import random

import pytest

from telephony.sip.digest import Credentials, Nonces, challenges, fields, ha1, verify
from telephony.sip.endpoint import Endpoint
from telephony.sip.errors import StateError
from telephony.sip.events import (
    Acknowledged,
    Answered,
    ByeAnswered,
    Cancelled,
    Ended,
    InfoReceived,
    InviteReceived,
    Progressed,
    ReinviteAnswered,
    ReinviteReceived,
    Rejected,
    RequestReceived,
    ResponseReceived,
)
from telephony.sip.session import Session
from tests.telephony.sip.network import Network

A = ("192.0.2.1", 5060)
B = ("192.0.2.2", 5060)


class Pair:
    def __init__(self, **options: object) -> None:
        self.network = Network(**options)  # type: ignore[arg-type]
        self.a = Endpoint("192.0.2.1:5060", random=random.Random(1).randbytes)
        self.b = Endpoint("192.0.2.2:5060", random=random.Random(2).randbytes)
        self.network.add(*A, self.a)
        self.network.add(*B, self.b)

    def invite(self, body: bytes = b"offer", **options: object) -> Session:
        flow = self.network.flow(*B)
        return self.a.invite("sip:b@192.0.2.2", "<sip:a@192.0.2.1>", "<sip:b@192.0.2.2>", flow, now=self.network.now, body=body, **options)  # type: ignore[arg-type]

    def run(self, seconds: float = 0.1) -> tuple[list[object], list[object]]:
        self.network.run(seconds)
        return self.network.happened(*A), self.network.happened(*B)

    @property
    def now(self) -> float:
        return self.network.now

    def call(self) -> tuple[Session, Session]:
        caller = self.invite()
        _, b = self.run()
        callee = b[0].session  # type: ignore[attr-defined]
        callee.accept(b"answer", now=self.now)
        a, b = self.run()
        assert [type(event) for event in a] == [Answered]
        assert [type(event) for event in b] == [Acknowledged]
        return caller, callee

    def at_rest(self) -> None:
        """Nothing is left after the longest timer."""
        self.network.run(200)
        for endpoint in (self.a, self.b):
            assert not endpoint.sessions
            assert not endpoint._dialogs
            assert not endpoint._invites
            assert not endpoint.transactions.clients
            assert not endpoint.transactions.servers
            assert endpoint.deadline() is None


def kinds(events: list[object]) -> list[type]:
    return [type(event) for event in events]


def test_call_from_invite_to_bye() -> None:
    pair = Pair()
    caller = pair.invite()
    a, b = pair.run()
    assert kinds(a) == []
    assert kinds(b) == [InviteReceived]
    callee = b[0].session  # type: ignore[attr-defined]
    assert callee.invite.body == b"offer"
    callee.progress(180, now=pair.now)
    a, _ = pair.run()
    assert kinds(a) == [Progressed]
    assert a[0].status == 180  # type: ignore[attr-defined]
    callee.accept(b"answer", now=pair.now)
    a, b = pair.run()
    assert kinds(a) == [Answered]
    assert a[0].message.body == b"answer"  # type: ignore[attr-defined]
    assert kinds(b) == [Acknowledged]
    assert caller.state == callee.state == "established"
    assert caller.remote_target == "sip:192.0.2.2:5060"
    caller.bye(now=pair.now, headers=[("Reason", 'Q.850;cause=16;text="done"')])
    a, b = pair.run()
    assert kinds(a) == [ByeAnswered]
    assert kinds(b) == [Ended]
    assert b[0].reason == "bye"  # type: ignore[attr-defined]
    assert [line.split(" ", 1)[1] for line in pair.network.log] == [
        "INVITE sip:b@192.0.2.2 SIP/2.0",
        "SIP/2.0 100 Trying",
        "SIP/2.0 180 Ringing",
        "SIP/2.0 200 OK",
        "ACK sip:192.0.2.2:5060 SIP/2.0",
        "BYE sip:192.0.2.2:5060 SIP/2.0",
        "SIP/2.0 200 OK",
    ]
    pair.at_rest()


def test_a_strict_router_on_the_way() -> None:
    """It gets its own URI as the Request-URI, and the target last (RFC 3261 section 12.2.1.1)."""
    pair = Pair()
    caller, _ = pair.call()
    caller.dialog.route_set = ["<sip:192.0.2.2:5060;x=1>", "<sip:192.0.2.9;lr>"]
    target = caller.remote_target
    caller.bye(now=pair.now)
    _, (ended,) = pair.run()
    assert ended.message.uri == "sip:192.0.2.2:5060;x=1"  # type: ignore[attr-defined]
    assert ended.message.get_all("route") == ["<sip:192.0.2.9;lr>", f"<{target}>"]  # type: ignore[attr-defined]
    pair.at_rest()


def test_callee_ends() -> None:
    pair = Pair()
    _, callee = pair.call()
    callee.bye(now=pair.now)
    a, b = pair.run()
    assert kinds(a) == [Ended]
    assert kinds(b) == [ByeAnswered]
    pair.at_rest()


def test_rejection() -> None:
    pair = Pair()
    pair.invite()
    _, b = pair.run()
    b[0].session.reject(486, now=pair.now)  # type: ignore[attr-defined]
    a, _ = pair.run()
    assert kinds(a) == [Rejected]
    assert a[0].status == 486  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        b[0].session.accept(b"", now=pair.now)  # type: ignore[attr-defined]
    pair.at_rest()


def test_cancel_waits_for_a_provisional_response() -> None:
    pair = Pair()
    pair.network.drop = lambda source, target, data: source == B and pair.now < 1003
    caller = pair.invite()
    pair.run(1)
    caller.cancel(now=pair.now)
    pair.run(1)
    assert not any("CANCEL" in line for line in pair.network.log)
    a, b = pair.run(10)
    assert kinds(a) == [Rejected]
    assert a[0].status == 487  # type: ignore[attr-defined]
    assert kinds(b) == [Cancelled]
    pair.at_rest()


def test_cancel_crosses_success() -> None:
    pair = Pair()
    caller = pair.invite()
    _, b = pair.run()
    callee = b[0].session  # type: ignore[attr-defined]
    callee.progress(now=pair.now)
    pair.run()
    callee.accept(b"answer", now=pair.now)
    caller.cancel(now=pair.now)
    a, b = pair.run()
    assert kinds(a) == [Rejected]
    assert a[0].status == 487  # type: ignore[attr-defined]
    assert kinds(b) == [Acknowledged, Ended]
    pair.at_rest()


def test_bye_crosses_bye() -> None:
    pair = Pair()
    caller, callee = pair.call()
    caller.bye(now=pair.now)
    callee.bye(now=pair.now)
    a, b = pair.run()
    assert ByeAnswered in kinds(a)
    assert ByeAnswered in kinds(b)
    assert Ended not in kinds(a) + kinds(b)
    pair.at_rest()


def test_success_is_repeated_until_ack_and_given_up() -> None:
    pair = Pair()
    pair.network.drop = lambda source, target, data: data.startswith(b"ACK")
    pair.invite()
    _, b = pair.run()
    b[0].session.accept(b"answer", now=pair.now)  # type: ignore[attr-defined]
    start = len(pair.network.log)
    a, b = pair.run(31.9)
    assert kinds(a) == [Answered]
    assert kinds(b) == []
    # T1 doubled up to T2 within 32 s: at 0, 0.5, 1.5, 3.5, 7.5, 11.5, ... 31.5
    assert sum("200 OK" in line for line in pair.network.log[start:]) == 11
    a, b = pair.run(1)
    assert kinds(b) == [Ended, ByeAnswered]
    assert b[0].reason == "no-ack"  # type: ignore[attr-defined]
    assert kinds(a) == [Ended]
    pair.at_rest()


def test_bye_of_the_callee_waits_for_ack() -> None:
    pair = Pair()
    pair.network.drop = lambda source, target, data: data.startswith(b"ACK") and pair.now < 1001
    pair.invite()
    _, b = pair.run()
    callee = b[0].session  # type: ignore[attr-defined]
    callee.accept(b"answer", now=pair.now)
    callee.bye(now=pair.now)
    pair.run(0.5)
    assert not any("BYE" in line for line in pair.network.log)
    pair.run(3)
    assert any("BYE" in line for line in pair.network.log)
    pair.at_rest()


def test_late_offer() -> None:
    pair = Pair()
    caller = pair.invite(b"")
    _, b = pair.run()
    b[0].session.accept(b"their offer", now=pair.now)  # type: ignore[attr-defined]
    a, b = pair.run()
    assert kinds(a) == [Answered]
    assert b == []
    caller.acknowledge(b"our answer", now=pair.now)
    _, b = pair.run(5)
    assert kinds(b) == [Acknowledged]
    assert b[0].message.body == b"our answer"  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        caller.acknowledge(b"again", now=pair.now)
    caller.bye(now=pair.now)
    pair.at_rest()


def test_reinvite_and_update() -> None:
    pair = Pair()
    caller, callee = pair.call()
    callee.reinvite(b"hold", now=pair.now)
    a, _ = pair.run()
    assert kinds(a) == [ReinviteReceived]
    assert a[0].message.body == b"hold"  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        caller.reinvite(b"", now=pair.now)
    caller.answer_reinvite(b"held", now=pair.now)
    a, b = pair.run()
    assert kinds(b) == [ReinviteAnswered]
    assert b[0].message.body == b"held"  # type: ignore[attr-defined]
    assert kinds(a) == [Acknowledged]
    caller.update(b"resume", now=pair.now)
    _, b = pair.run()
    assert kinds(b) == [ReinviteReceived]
    callee.reject_reinvite(488, now=pair.now)
    a, _ = pair.run()
    assert kinds(a) == [ReinviteAnswered]
    assert a[0].status == 488  # type: ignore[attr-defined]
    assert caller.state == callee.state == "established"
    caller.bye(now=pair.now)
    pair.at_rest()


def test_glare() -> None:
    pair = Pair()
    caller, callee = pair.call()
    caller.reinvite(b"mine", now=pair.now)
    callee.reinvite(b"mine too", now=pair.now)
    a, b = pair.run()
    assert [(type(event), event.status) for event in a + b] == [(ReinviteAnswered, 491), (ReinviteAnswered, 491)]  # type: ignore[attr-defined]
    caller.bye(now=pair.now)
    pair.at_rest()


def test_info_and_options_within_a_session() -> None:
    pair = Pair()
    caller, _ = pair.call()
    caller.info(b"Signal=5", now=pair.now)
    caller.request("OPTIONS", now=pair.now)
    a, b = pair.run()
    assert kinds(b) == [InfoReceived]
    assert [event.status for event in a] == [200, 200]  # type: ignore[attr-defined]
    caller.bye(now=pair.now)
    pair.at_rest()


def test_message_outside_of_a_session_with_digest() -> None:
    pair = Pair()
    nonces = Nonces(b"secret")
    secret = {"MD5": ha1("a", "r", "pw", "MD5"), "SHA-256": ha1("a", "r", "pw", "SHA-256")}
    flow = pair.network.flow(*B)
    request = pair.a.request(
        "MESSAGE", "sip:b@192.0.2.2", "<sip:a@r>", "<sip:b@r>", flow, now=pair.now, body=b"hello", content_type="text/plain",
        credentials=Credentials("a", "pw"),
    )  # fmt: skip
    _, b = pair.run()
    assert kinds(b) == [RequestReceived]
    nonce = nonces.make(50.0)
    b[0].request.respond(
        401, now=pair.now, headers=[("WWW-Authenticate", value) for value in challenges("r", nonce, algorithms=("SHA-256", "MD5"))]
    )  # type: ignore[attr-defined]
    a, b = pair.run()
    assert a == []
    given = fields(b[0].message.get("authorization"))  # type: ignore[attr-defined]
    assert given is not None
    assert given["algorithm"] == "SHA-256"
    assert nonces.check(given["nonce"], 51.0) == "ok"
    assert verify(given, "MESSAGE", secret, "sip:b@192.0.2.2")
    b[0].request.respond(200, now=pair.now)  # type: ignore[attr-defined]
    a, _ = pair.run()
    assert kinds(a) == [ResponseReceived]
    assert a[0].request is request  # type: ignore[attr-defined]
    assert a[0].status == 200  # type: ignore[attr-defined]
    pair.at_rest()


def test_wrong_password_is_not_tried_for_ever() -> None:
    pair = Pair()
    pair.invite(credentials=Credentials("a", "wrong"))
    refused = 0
    for _ in range(5):
        a, b = pair.run()
        for event in b:
            nonce = Nonces(b"secret").make(50.0)
            event.session.reject(407, now=pair.now, headers=[("Proxy-Authenticate", value) for value in challenges("r", nonce)])  # type: ignore[attr-defined]
            refused += 1
        if a:
            break
    assert refused == 2
    assert kinds(a) == [Rejected]
    assert a[0].status == 407  # type: ignore[attr-defined]
    pair.at_rest()


def test_nobody_answers() -> None:
    pair = Pair()
    pair.network.drop = lambda source, target, data: True
    pair.invite()
    a, _ = pair.run(31.9)
    assert a == []
    a, _ = pair.run(0.2)
    assert kinds(a) == [Rejected]
    assert a[0].status == 408  # type: ignore[attr-defined]
    assert a[0].message is None  # type: ignore[attr-defined]
    assert len(pair.network.log) == 7
    pair.at_rest()


def test_what_the_peer_waits_for_is_answered_when_the_session_ends() -> None:
    pair = Pair()
    caller, callee = pair.call()
    caller.reinvite(b"change", now=pair.now)
    pair.run()
    callee.bye(now=pair.now)
    a, b = pair.run()
    assert kinds(a) == [Ended]
    assert kinds(b) == [ByeAnswered]
    assert [line for line in pair.network.log if "487" in line] == ["192.0.2.2>192.0.2.1 SIP/2.0 487 Request Terminated"]
    pair.at_rest()
    caller, callee = pair.call()
    pair.network.log.clear()
    caller.update(b"change", now=pair.now)
    pair.run()
    callee.bye(now=pair.now)
    pair.run()
    assert [line for line in pair.network.log if "487" in line] == ["192.0.2.2>192.0.2.1 SIP/2.0 487 Request Terminated"]
    pair.at_rest()


def test_session_that_the_peer_has_lost() -> None:
    pair = Pair()
    caller, callee = pair.call()
    callee.over(pair.now)
    caller.info(b"x", now=pair.now)
    a, _ = pair.run()
    assert kinds(a) == [ResponseReceived, Ended, ByeAnswered]
    pair.at_rest()


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_network_ends_every_transaction(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.25, repeat=0.2, jitter=0.4)
    caller = pair.invite()
    callee = None
    for _ in range(40):
        _, b = pair.run(1)
        for event in b:
            if isinstance(event, InviteReceived):
                callee = event.session
                callee.progress(now=pair.now)
                callee.accept(b"answer", now=pair.now)
    if caller.state == "established":
        caller.bye(now=pair.now)
    pair.run(60)
    if callee is not None and callee.state == "established":
        callee.bye(now=pair.now)
    pair.at_rest()
