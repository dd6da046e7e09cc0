"""Forking to a user's bindings: together, in turn, and how it ends (RFC 3261 sections 16.6 and 16.7)."""

import random
from typing import Any

import msgspec
import pytest

from telephony.effects import Ask
from telephony.jobs.resource import Binding, Bound, Lookup
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, Cancelled, Ended, InviteReceived, Progressed, Rejected, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.session import Session
from tests.telephony.proxy.setting import OWN, ROUTERS, Setting

PHONES = [(f"192.0.2.{30 + number}", 5060) for number in range(4)]
PARTIES = ("<sip:1002@hotswitch>", "<sip:1001@hotswitch>")
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


class Fork:
    """A router, a proxy and the phones of one user."""

    def __init__(self, qualities: list[float], instances: list[str] | None = None, paths: dict[int, str] | None = None) -> None:
        self.setting = setting = Setting()
        self.network = setting.network
        self.router = setting.routers[0]
        self.wire: list[tuple[tuple[str, int], tuple[str, int], bytes]] = []
        self.dead: set[tuple[str, int]] = set()
        self.network.drop = self._drop
        bindings = []
        for number, q in enumerate(qualities):
            host, port = PHONES[number]
            phone = Endpoint(f"{host}:{port}", random=random.Random(20 + number).randbytes, user="phone")
            self.network.add(host, port, phone)
            path = setting.proxy.way.path(Flow("udp", "public-udp", host, port)) + (paths or {}).get(number, "")
            bindings.append(
                Binding(contact=f"sip:1001@10.0.0.{number}:5060", path=path, expires_at=9e9, q=q, instance=(instances or [""] * 9)[number])
            )
        self.bindings = bindings

    def _drop(self, source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        self.wire.append((source, target, data))
        return target in self.dead or source in self.dead

    def call(self, headers: tuple[tuple[str, str], ...] = (), status: str = "ok") -> Session:
        to_proxy = self.network.flow(*OWN)
        session = self.router.invite("sip:1001@hotswitch", *PARTIES, to_proxy, now=self.setting.now, body=b"offer", headers=headers)
        self.network.run(0.01)
        self.answer_lookup(status)
        self.network.run(0.05)
        return session

    def answer_lookup(self, status: str = "ok") -> None:
        (ask,) = self.network.events[id(self.setting.proxy)]
        self.network.events[id(self.setting.proxy)].clear()
        assert isinstance(ask, Ask)
        assert (ask.kind, ask.operation, ask.key) == ("resource_database", "lookup", "1001")
        assert msgspec.msgpack.decode(ask.body, type=Lookup).aor == "1001"
        self.setting.proxy.reply(ask.id, status, msgspec.msgpack.encode(Bound(bindings=self.bindings)), "db", self.setting.now)

    def rung(self, *numbers: int) -> list[Session]:
        """Sessions of these phones, which were invited, and nobody else."""
        sessions = []
        for number, address in enumerate(PHONES[: len(self.bindings)]):
            events = self.network.happened(*address)
            assert [type(event) for event in events] == ([InviteReceived] if number in numbers else []), number
            sessions += [event.session for event in events]
        return sessions

    def run(self, seconds: float = 0.1) -> list[Any]:
        self.network.run(seconds)
        return self.network.happened(*ROUTERS[0])

    def events(self, number: int) -> list[Any]:
        return self.network.happened(*PHONES[number])

    def sent(self, first: str, number: int | None = None) -> list[Message]:
        """Messages to a phone, or to anybody, whose first line starts so."""
        target = None if number is None else PHONES[number]
        return [Message.parse(data) for _, to, data in self.wire if data.startswith(first.encode()) and target in (None, to)]

    @property
    def now(self) -> float:
        return self.setting.now

    def at_rest(self) -> None:
        self.network.run(400)
        assert not self.setting.proxy.transactions.clients
        assert not self.setting.proxy.transactions.servers
        assert self.setting.proxy.remaining() == 0
        assert self.setting.proxy.deadline() is None


def test_all_of_one_q_ring_and_the_first_to_answer_has_it() -> None:
    fork = Fork([1.0, 1.0, 0.5])
    call = fork.call()
    first, second = fork.rung(0, 1)
    invite = first.invite
    assert invite.uri == "sip:1001@10.0.0.0:5060"
    assert invite.get("max-breadth") == second.invite.get("max-breadth") == "30"
    assert len(invite.get_all("record-route")) == 1
    assert invite.get("record-route") != second.invite.get("record-route"), "each bears its own flow"
    first.progress(now=fork.now)
    second.progress(183, b"early", now=fork.now)
    assert [event.status for event in fork.run()] == [180, 183]
    second.accept(b"answer", now=fork.now)
    assert [type(event) for event in fork.run()] == [Answered]
    assert [type(event) for event in fork.events(0)] == [Cancelled]
    (cancel,) = fork.sent("CANCEL")
    assert cancel.get("reason") == ELSEWHERE
    call.bye(now=fork.now)
    fork.run()
    assert [type(event) for event in fork.events(1)] == [Acknowledged, Ended]
    assert fork.rung() == []
    fork.at_rest()


def test_the_next_q_rings_when_all_before_have_failed() -> None:
    fork = Fork([1.0, 1.0, 0.5])
    fork.call()
    first, second = fork.rung(0, 1)
    first.reject(486, now=fork.now)
    assert fork.run() == []
    second.reject(480, now=fork.now)
    assert fork.run() == []
    (third,) = fork.rung(2)
    assert third.invite.uri == "sip:1001@10.0.0.2:5060"
    third.reject(404, now=fork.now)
    (rejected,) = fork.run()
    assert rejected.status == 486, "the best of all"
    fork.at_rest()


def test_a_phone_that_is_dead_holds_nobody_up() -> None:
    fork = Fork([1.0, 1.0])
    fork.dead.add(PHONES[0])
    fork.call()
    (living,) = fork.rung(1)
    living.progress(now=fork.now)
    living.reject(486, now=fork.now)
    assert [type(event) for event in fork.run(3.8)] == [Progressed]
    (rejected,) = fork.run(0.2)
    assert rejected.status == 486
    fork.at_rest()


def test_only_dead_phones() -> None:
    fork = Fork([1.0, 0.5])
    fork.dead |= {PHONES[0], PHONES[1]}
    fork.call()
    assert fork.run(7.8) == []
    (rejected,) = fork.run(0.4)
    assert (type(rejected), rejected.status) == (Rejected, 408)
    fork.at_rest()


def test_who_wakes_up_too_late_is_cancelled_or_hung_up() -> None:
    fork = Fork([1.0, 1.0])
    fork.dead |= {PHONES[0], PHONES[1]}
    fork.call()
    (rejected,) = fork.run(4.1)
    assert rejected.status == 408
    fork.dead.clear()
    fork.network.drop = lambda source, target, data: target == PHONES[1] and data.startswith(b"CANCEL")
    fork.run(3.5)
    assert [type(event) for event in fork.events(0)] == [InviteReceived, Cancelled]
    (quick,) = fork.rung(1)
    quick.accept(b"answer", now=fork.now)
    fork.run(0.1)
    assert [type(event) for event in fork.events(1)] == [Acknowledged, Ended]
    assert quick.state == "ended"
    assert fork.run() == [], "nobody asked is told of it"
    fork.at_rest()


def test_a_6xx_ends_all_and_goes_back_when_they_have_ended() -> None:
    fork = Fork([1.0, 1.0, 0.5])
    fork.call()
    first, second = fork.rung(0, 1)
    first.progress(now=fork.now)
    fork.run()
    second.reject(603, now=fork.now)
    (rejected,) = fork.run()
    assert rejected.status == 603
    assert [type(event) for event in fork.events(0)] == [Cancelled]
    (cancel,) = fork.sent("CANCEL")
    assert cancel.get("reason") == 'SIP;cause=603;text="Decline"'
    assert fork.rung() == []
    fork.at_rest()


def test_a_6xx_does_not_wait_for_a_phone_that_is_dead() -> None:
    fork = Fork([1.0, 1.0])
    fork.dead.add(PHONES[0])
    fork.call()
    fork.rung(1)[0].reject(600, now=fork.now)
    (rejected,) = fork.run(4.2)
    assert rejected.status == 600
    fork.at_rest()


def test_two_answers_cross() -> None:
    """Both go back; whoever asked ends the second dialog (section 13.2.2.4)."""
    fork = Fork([1.0, 1.0])
    fork.call()
    first, second = fork.rung(0, 1)
    first.progress(now=fork.now)
    second.progress(now=fork.now)
    fork.run()
    first.accept(b"answer", now=fork.now)
    second.accept(b"answer", now=fork.now)
    events = fork.run(0.5)
    assert Answered in [type(event) for event in events]
    assert [type(event) for event in fork.events(0) + fork.events(1)].count(Ended) == 1
    assert [first.state, second.state].count("ended") == 1
    fork.at_rest()


def test_cancel_reaches_all_with_its_reason() -> None:
    fork = Fork([1.0, 1.0])
    fork.dead.add(PHONES[1])
    call = fork.call()
    (first,) = fork.rung(0)
    first.progress(now=fork.now)
    fork.run()
    call.end(now=fork.now, headers=(("Reason", 'SIP;cause=487;text="Gone"'),))
    fork.run(0.1)
    assert [type(event) for event in fork.events(0)] == [Cancelled]
    assert fork.sent("CANCEL", 0)[0].get("reason") == 'SIP;cause=487;text="Gone"'
    fork.dead.clear()
    events = fork.run(4.2)
    assert [event.status for event in events if isinstance(event, Rejected)] == [487]
    fork.at_rest()


def test_cancel_before_it_is_known_where_they_are() -> None:
    fork = Fork([1.0])
    to_proxy = fork.network.flow(*OWN)
    call = fork.router.invite("sip:1001@hotswitch", *PARTIES, to_proxy, now=fork.now, body=b"offer")
    fork.network.run(0.05)
    call.cancel(now=fork.now)
    (rejected,) = fork.run()
    assert rejected.status == 487
    fork.answer_lookup()
    fork.run()
    assert fork.rung() == []
    fork.at_rest()


def test_timer_c_says_why() -> None:
    fork = Fork([1.0, 1.0])
    fork.call()
    first, second = fork.rung(0, 1)
    first.progress(now=fork.now)
    second.progress(now=fork.now)
    fork.run()
    events = fork.run(181)
    assert [event.status for event in events] == [408]
    assert [cancel.get("reason") for cancel in fork.sent("CANCEL")] == ['SIP;cause=408;text="Request Timeout"'] * 2
    fork.at_rest()


def test_challenges_of_all_branches_go_back_together() -> None:
    fork = Fork([1.0, 1.0, 1.0])
    fork.call()
    first, second, third = fork.rung(0, 1, 2)
    first.reject(401, now=fork.now, headers=[("WWW-Authenticate", 'Digest realm="a", nonce="1"')])
    second.reject(407, now=fork.now, headers=[("Proxy-Authenticate", 'Digest realm="b", nonce="2"')])
    third.reject(404, now=fork.now)
    fork.run()
    (rejected,) = [message for message in fork.sent("SIP/2.0 401") if len(message.get_all("via")) == 1]
    assert rejected.get_lines("www-authenticate") == ['Digest realm="a", nonce="1"']
    assert rejected.get_lines("proxy-authenticate") == ['Digest realm="b", nonce="2"']
    fork.at_rest()


def test_503_of_a_phone_is_not_ours() -> None:
    fork = Fork([1.0])
    fork.call()
    fork.rung(0)[0].reject(503, now=fork.now)
    (rejected,) = fork.run()
    assert rejected.status == 500
    fork.at_rest()


def test_an_early_dialog_that_ends_is_reported() -> None:
    fork = Fork([1.0, 1.0])
    fork.call(headers=(("Supported", "199"),))
    first, second = fork.rung(0, 1)
    first.progress(now=fork.now)
    second.progress(now=fork.now)
    fork.run()
    first.reject(486, now=fork.now)
    (ended,) = fork.run()
    assert (type(ended), ended.status) == (Progressed, 199)
    assert ended.message.get("reason") == "SIP;cause=486"
    assert [busy.to_tag for busy in fork.sent("SIP/2.0 486")] == [ended.message.to_tag]
    fork.at_rest()


@pytest.mark.parametrize(("given", "shares"), [("1", ["1"]), ("2", ["1", "1"]), ("3", ["2", "1"])])
def test_breadth_is_shared(given: str, shares: list[str]) -> None:
    fork = Fork([1.0, 1.0])
    fork.call(headers=(("Max-Breadth", given),))
    assert [session.invite.get("max-breadth") for session in fork.rung(*range(len(shares)))] == shares


def test_what_does_not_fit_into_the_breadth_goes_later() -> None:
    fork = Fork([1.0, 1.0])
    fork.call(headers=(("Max-Breadth", "1"),))
    fork.rung(0)[0].reject(486, now=fork.now)
    fork.run()
    (second,) = fork.rung(1)
    assert second.invite.get("max-breadth") == "1"


def test_no_breadth_is_left() -> None:
    fork = Fork([1.0, 1.0])
    fork.router.invite("sip:1001@hotswitch", *PARTIES, fork.network.flow(*OWN), now=fork.now, headers=[("Max-Breadth", "0")])
    (rejected,) = fork.run()
    assert rejected.status == 440


@pytest.mark.parametrize(("status", "answer"), [("ok", 480), ("timeout", 503)])
def test_nobody_is_there(status: str, answer: int) -> None:
    fork = Fork([])
    fork.call(status=status)
    (rejected,) = fork.run()
    assert rejected.status == answer
    fork.at_rest()


def test_one_flow_of_an_instance_and_the_next_when_it_fails() -> None:
    """RFC 5626 section 5.3: never two flows of one phone at a time."""
    fork = Fork([1.0, 1.0, 1.0], instances=["<urn:uuid:1>", "<urn:uuid:1>", "<urn:uuid:2>"])
    fork.dead.add(PHONES[0])
    fork.call()
    (other,) = fork.rung(2)
    other.progress(now=fork.now)
    fork.run(4.0)
    (same,) = fork.rung(1)
    same.reject(486, now=fork.now)
    fork.run()
    other.accept(b"answer", now=fork.now)
    assert [type(event) for event in fork.run()] == [Answered]
    fork.at_rest()


def test_path_beyond_our_flow_becomes_the_route() -> None:
    fork = Fork([1.0], paths={0: ", <sip:edge.example;lr>, <sip:far.example;lr>"})
    fork.call()
    (session,) = fork.rung(0)
    assert session.invite.get_all("route") == ["<sip:edge.example;lr>", "<sip:far.example;lr>"]
    assert session.invite.uri == "sip:1001@10.0.0.0:5060"


def message(fork: Fork) -> None:
    fork.router.request(
        "MESSAGE", "sip:1001@hotswitch", *PARTIES, fork.network.flow(*OWN), now=fork.now, body=b"x", content_type="text/plain"
    )  # fmt: skip
    fork.network.run(0.01)
    fork.answer_lookup()
    fork.network.run(0.1)


def test_a_message_is_answered_by_the_first_phone() -> None:
    fork = Fork([1.0, 1.0])
    message(fork)
    (first,), (second,) = fork.events(0), fork.events(1)
    assert first.message.get("record-route") is None
    first.request.respond(404, now=fork.now)
    fork.run()
    second.request.respond(200, now=fork.now)
    (event,) = fork.run()
    assert (type(event), event.status) == (ResponseReceived, 200)
    fork.at_rest()


def test_a_message_that_nobody_answers_gets_100_and_no_408() -> None:
    """RFC 4320 section 4."""
    fork = Fork([1.0])
    fork.dead.add(PHONES[0])
    message(fork)
    fork.run(3.3)
    assert not fork.sent("SIP/2.0 100")
    fork.run(0.2)
    assert len(fork.sent("SIP/2.0 100")) == 1
    assert len(fork.sent("MESSAGE", None)) > 4
    fork.run(60)
    assert not fork.sent("SIP/2.0 408")
    fork.at_rest()


def test_a_message_goes_by_those_who_answer() -> None:
    fork = Fork([1.0, 1.0])
    fork.dead.add(PHONES[0])
    message(fork)
    (living,) = fork.events(1)
    living.request.respond(415, now=fork.now)
    assert fork.run(3.5) == []
    events = fork.run(0.5)
    assert [event.status for event in events if event.status >= 200] == [415]
    fork.at_rest()
