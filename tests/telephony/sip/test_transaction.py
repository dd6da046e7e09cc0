"""Each timer of the four machines, one tick before and one after; absorption and races (RFC 3261 section 17, RFC 6026)."""

from typing import Any

import pytest

from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message, make_response
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.timers import Timers
from telephony.sip.transaction import Transactions

TICK = 0.001
UDP = Flow("udp", "sip-udp", "192.0.2.9", 5060)
TCP = Flow("tcp", "sip-tcp", "192.0.2.9", 5060, 3)
BRANCH = "z9hG4bKtest"


class Layer:
    """A transaction layer whose user writes everything down."""

    def __init__(self) -> None:
        self.now = 0.0
        self.out: list[Any] = []
        self.timers = Timers()
        self.layer = Transactions(self, self.out, self.timers)
        self.seen: list[str] = []
        self.server: ServerTransaction

    def request_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        self.seen.append(f"{message.method}")
        self.server = transaction

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        self.seen.append("ACK")

    def stray(self, message: Message, flow: Flow, now: float) -> None:
        self.seen.append(f"stray {message.status}")

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        self.seen.append("unacknowledged")

    def response(self, transaction: object, message: Message, now: float) -> None:
        self.seen.append(f"{message.status}")

    def failed(self, transaction: object, status: int, now: float) -> None:
        self.seen.append(f"failed {status}")

    def request(self, method: str, flow: Flow = UDP) -> None:
        self.sent_request = message(method)
        self.layer.request(self, self.sent_request, flow, self.now, BRANCH)

    def respond(self, status: int, to_tag: str = "t") -> None:
        data = make_response(message(self.sent_request.method or ""), status, to_tag=to_tag).serialize()
        self.layer.receive(Message.parse(data), UDP, self.now)

    def receive(self, method: str, flow: Flow = UDP) -> None:
        self.layer.receive(message(method), flow, self.now)

    def answer(self, status: int, method: str) -> bool:
        return self.server.respond(status, make_response(message(method), status, to_tag="t").serialize(), self.now)

    def at(self, now: float) -> list[str]:
        """Let the time come; first words of what was sent since the last call."""
        while (deadline := self.timers.deadline()) is not None and deadline <= now:
            self.now = deadline
            self.timers.run(deadline)
        self.now = now
        return self.sent()

    def sent(self) -> list[str]:
        words = [effect.data.split(b"\r\n")[0].decode() for effect in self.out if isinstance(effect, Send)]
        self.out.clear()
        return [word[8:11] if word.startswith("SIP/2.0") else word.split(" ")[0] for word in words]

    def saw(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen

    @property
    def size(self) -> int:
        return len(self.layer.clients) + len(self.layer.servers)


def message(method: str) -> Message:
    return Message.parse(
        f"{method} sip:b@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch={BRANCH}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:a@192.0.2.1>;tag=f\r\nTo: <sip:b@192.0.2.9>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n".encode()
    )


def test_timers_a_and_b() -> None:
    layer = Layer()
    layer.request("INVITE")
    assert layer.sent() == ["INVITE"]
    for due in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5):
        assert layer.at(due - TICK) == []
        assert layer.at(due) == ["INVITE"]
    assert layer.at(32 - TICK) == []
    assert layer.saw() == []
    assert layer.at(32.0) == []
    assert layer.saw() == ["failed 408"]
    assert layer.size == 0


def test_timer_a_stops_at_the_first_response_and_never_runs_over_tcp() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.sent()
    layer.respond(100)
    assert layer.at(1000) == []
    assert layer.saw() == ["100"]
    assert layer.size == 1
    layer = Layer()
    layer.request("INVITE", TCP)
    assert layer.sent() == ["INVITE"]
    assert layer.at(32 - TICK) == []
    assert layer.saw() == []
    layer.at(32.0)
    assert layer.saw() == ["failed 408"]


def test_timer_d() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.sent()
    layer.respond(486)
    assert layer.sent() == ["ACK"]
    layer.at(32 - TICK)
    layer.respond(486)
    assert layer.sent() == ["ACK"]
    assert layer.saw() == ["486"]
    layer.at(32.0)
    assert layer.size == 0
    layer.respond(486)
    assert layer.saw() == ["stray 486"]


def test_timer_d_is_zero_over_tcp() -> None:
    layer = Layer()
    layer.request("INVITE", TCP)
    layer.respond(486)
    assert layer.sent() == ["INVITE", "ACK"]
    assert layer.size == 0


def test_timer_m_every_success_is_passed_up() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.respond(200)
    layer.at(10.0)
    layer.respond(200)
    layer.respond(200, to_tag="another")
    assert layer.saw() == ["200", "200", "200"]
    layer.respond(486)
    assert layer.saw() == []
    layer.at(32 - TICK)
    assert layer.size == 1
    layer.at(32.0)
    assert layer.size == 0


def test_timers_e_and_f() -> None:
    layer = Layer()
    layer.request("OPTIONS")
    assert layer.sent() == ["OPTIONS"]
    for due in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5):
        assert layer.at(due - TICK) == []
        assert layer.at(due) == ["OPTIONS"]
    assert layer.at(32 - TICK) == []
    assert layer.saw() == []
    layer.at(32.0)
    assert layer.saw() == ["failed 408"]
    assert layer.size == 0


def test_timer_e_is_t2_once_proceeding() -> None:
    layer = Layer()
    layer.request("OPTIONS")
    layer.at(0.1)
    layer.respond(100)
    layer.sent()
    assert layer.at(0.5) == ["OPTIONS"]
    assert layer.at(4.5 - TICK) == []
    assert layer.at(4.5) == ["OPTIONS"]
    layer.at(32.0)
    assert layer.saw() == ["100", "failed 408"]


def test_timer_k() -> None:
    layer = Layer()
    layer.request("OPTIONS")
    layer.at(1.0)
    layer.respond(200)
    layer.at(6 - TICK)
    layer.respond(200)
    assert layer.saw() == ["200"]
    assert layer.size == 1
    layer.at(6.0)
    assert layer.size == 0


def test_timers_e_f_and_k_over_tcp() -> None:
    layer = Layer()
    layer.request("OPTIONS", TCP)
    assert layer.sent() == ["OPTIONS"]
    assert layer.at(32 - TICK) == []
    assert layer.saw() == []
    layer.at(32.0)
    assert layer.saw() == ["failed 408"]
    layer.request("OPTIONS", TCP)
    layer.respond(200)
    assert layer.saw() == ["200"]
    assert layer.size == 0


def test_timers_g_and_h() -> None:
    layer = Layer()
    layer.receive("INVITE")
    layer.answer(486, "INVITE")
    assert layer.sent() == ["486"]
    for due in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5):
        assert layer.at(due - TICK) == []
        assert layer.at(due) == ["486"]
    layer.at(32 - TICK)
    assert layer.saw() == ["INVITE"]
    layer.at(32.0)
    assert layer.saw() == ["unacknowledged"]
    assert layer.size == 0


def test_timer_i() -> None:
    layer = Layer()
    layer.receive("INVITE")
    layer.answer(486, "INVITE")
    layer.at(0.2)
    layer.receive("ACK")
    layer.sent()
    assert layer.at(5.2 - TICK) == []
    layer.receive("ACK")
    layer.receive("INVITE")
    assert layer.sent() == []
    assert layer.saw() == ["INVITE"]
    assert layer.size == 1
    layer.at(5.2)
    assert layer.size == 0


def test_timers_g_and_i_over_tcp() -> None:
    layer = Layer()
    layer.receive("INVITE", TCP)
    layer.answer(486, "INVITE")
    layer.sent()
    assert layer.at(31.0) == []
    layer.receive("ACK", TCP)
    assert layer.size == 0


def test_timer_l_absorbs_the_request_and_lets_successes_pass() -> None:
    layer = Layer()
    layer.receive("INVITE")
    layer.answer(180, "INVITE")
    layer.receive("INVITE")
    assert layer.sent() == ["180", "180"]
    layer.answer(200, "INVITE")
    layer.receive("INVITE")
    assert layer.sent() == ["200"]
    assert layer.answer(200, "INVITE")
    assert not layer.answer(486, "INVITE")
    assert layer.sent() == ["200"]
    layer.receive("ACK")
    assert layer.saw() == ["INVITE", "ACK"]
    layer.at(32 - TICK)
    assert layer.size == 1
    layer.at(32.0)
    assert layer.size == 0


def test_timer_j() -> None:
    layer = Layer()
    layer.receive("OPTIONS")
    layer.receive("OPTIONS")
    assert layer.sent() == []
    layer.answer(200, "OPTIONS")
    assert layer.at(32 - TICK) == ["200"]
    layer.receive("OPTIONS")
    assert layer.sent() == ["200"]
    assert not layer.answer(200, "OPTIONS")
    assert layer.saw() == ["OPTIONS"]
    layer.at(32.0)
    assert layer.size == 0
    layer.receive("OPTIONS", TCP)
    layer.answer(200, "OPTIONS")
    assert layer.size == 0


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_broken_transport_fails_what_waits_for_it(method: str) -> None:
    layer = Layer()
    layer.request(method, TCP._replace(connection=0))
    layer.layer.closed(TCP, 0.0)
    assert layer.saw() == ["failed 503"]
    assert layer.size == 0
    layer.layer.closed(TCP, 0.0)
    assert layer.saw() == []


def test_a_response_to_cancel_is_not_one_to_invite() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.sent_request = message("CANCEL")
    layer.respond(200)
    assert layer.saw() == ["stray 200"]


def test_requests_above_the_bound_are_dropped() -> None:
    layer = Layer()
    layer.layer.transactions_max = 0
    layer.receive("OPTIONS")
    assert layer.saw() == []
    assert layer.layer.dropped == 1


def test_old_peers_are_matched_without_branch() -> None:
    layer = Layer()
    data = message("INVITE").serialize().replace(b";branch=z9hG4bKtest", b"")
    layer.layer.receive(Message.parse(data), UDP, 0.0)
    layer.layer.receive(Message.parse(data), UDP, 0.0)
    layer.answer(486, "INVITE")
    layer.layer.receive(Message.parse(data.replace(b"INVITE sip", b"ACK sip").replace(b"1 INVITE", b"1 ACK")), UDP, 0.0)
    assert layer.saw() == ["INVITE"]
    assert layer.at(31.0) == ["486"]


def test_a_cancelled_invite_is_over_64_t1_after_the_cancel() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.respond(180)
    layer.at(10.0)
    layer.layer.request(layer, message("CANCEL"), UDP, layer.now, BRANCH)
    layer.at(42 - TICK)
    assert layer.saw() == ["180"]
    layer.at(42.0)
    assert layer.saw() == ["failed 408", "failed 408"]
    assert layer.size == 0


def test_a_response_after_the_cancel_ends_the_wait_for_it() -> None:
    layer = Layer()
    layer.request("INVITE")
    layer.respond(180)
    layer.layer.request(layer, message("CANCEL"), UDP, layer.now, BRANCH)
    layer.at(1.0)
    layer.respond(200)
    assert layer.saw() == ["180", "200"]
    layer.at(33 - TICK)
    layer.respond(200)
    assert layer.saw() == ["failed 408", "200"]
    layer.at(33.0)
    assert layer.size == 0
