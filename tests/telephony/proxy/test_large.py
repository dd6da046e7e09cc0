"""Requests that are too large for a datagram (RFC 3261 section 18.1.1)."""

import random

import pytest

from telephony.effects import Send
from telephony.proxy.core import STREAMLESS_SECONDS, Proxy
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_response
from tests.telephony.proxy.setting import OWN, PHONE, PUBLIC, ROUTERS, configuration

ROUTER = Flow("udp", "sip-udp", *ROUTERS[0])
LARGE = b"x" * 1400
HEAD = "Max-Forwards: 70\r\nFrom: <sip:guest@b>;tag=1\r\nCSeq: 1 INVITE\r\n"
PLACE = ("198.51.100.1", 5070)


class Sent:
    """A proxy that a router gives requests to."""

    def __init__(self) -> None:
        self.proxy = Proxy(random.Random(5).randbytes)
        self.proxy.configure(configuration(), 1000.0)
        self.now = 1000.0
        self._count = 0

    def request(self, target: str, body: bytes = LARGE, route: str = "") -> Send:
        """A new INVITE of the router; what is sent on."""
        self._count += 1
        via = f"Via: SIP/2.0/UDP {ROUTERS[0][0]}:5060;branch=z9hG4bK{self._count}"
        head = f"INVITE {target} SIP/2.0\r\n{via}\r\n{route}{HEAD}To: <{target}>\r\nCall-ID: {self._count}\r\n"
        self.proxy.receive(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, ROUTER, self.now)
        return self.sent()

    def sent(self) -> Send:
        """The request that was sent last."""
        return [one for one in self.proxy.take() if isinstance(one, Send) and one.data.startswith(b"INVITE")][-1]

    def answered(self, request: Send, status: int) -> list[Send]:
        response = make_response(Message.parse(request.data), status, to_tag="x")
        self.proxy.receive(response.serialize(), request.flow, self.now)
        return [one for one in self.proxy.take() if isinstance(one, Send)]


def via(request: Send) -> str:
    return Message.parse(request.data).get_all("via")[0].split(" ")[0]


def test_over_tcp_and_over_udp_where_that_is_refused() -> None:
    setting = Sent()
    target = f"sip:bob@{PLACE[0]}:{PLACE[1]}"
    first = setting.request(target)
    assert (first.flow, via(first)) == (Flow("tcp", "public-tcp", *PLACE), "SIP/2.0/TCP")
    setting.proxy.closed(first.flow, setting.now)
    second = setting.sent()
    assert (second.flow, via(second)) == (Flow("udp", "public-udp", *PLACE), "SIP/2.0/UDP")
    for one in (first, second):
        assert Message.parse(one.data).get_all("record-route") == [f"<sip:{PUBLIC[0]}:{PUBLIC[1]};lr>"]
        assert len(Message.parse(one.data).get_all("via")) == 2
    assert setting.request(target).flow.transport == "udp", "it is known by now"
    setting.now += STREAMLESS_SECONDS + 1
    assert setting.request(target).flow.transport == "tcp", "it may have changed"


def test_over_udp_where_no_connection_comes_about() -> None:
    setting = Sent()
    assert setting.request(f"sip:bob@{PLACE[0]}:{PLACE[1]}").flow.transport == "tcp"
    setting.now += 2.0
    setting.proxy.timeout(setting.now)
    assert setting.sent().flow == Flow("udp", "public-udp", *PLACE)


@pytest.mark.parametrize(("status", "passed"), [(503, 500), (486, 486)])
def test_an_answer_over_tcp_is_the_answer(status: int, passed: int) -> None:
    setting = Sent()
    first = setting.request(f"sip:bob@{PLACE[0]}:{PLACE[1]}")
    acknowledged, answer = setting.answered(first, status)
    assert acknowledged.data.startswith(b"ACK")
    assert acknowledged.flow == first.flow
    assert answer.flow == ROUTER
    assert answer.data.startswith(f"SIP/2.0 {passed}".encode())


@pytest.mark.parametrize("size", [0, 800])
def test_what_fits_goes_over_udp(size: int) -> None:
    assert Sent().request(f"sip:bob@{PLACE[0]}", b"x" * size).flow.transport == "udp"


@pytest.mark.parametrize(("contact", "transport"), [(f"{PHONE[0]}:{PHONE[1]}", "tcp"), (PHONE[0], "tcp"), ("10.1.1.1:5060", "udp")])
def test_a_user_is_reached_over_tcp_where_no_nat_is_between(contact: str, transport: str) -> None:
    setting = Sent()
    flow = Flow("udp", "public-udp", *PHONE)
    sent = setting.request(f"sip:phone@{contact}", route=f"Route: {setting.proxy.way.path(flow)}\r\n")
    assert sent.flow == flow._replace(transport=transport, socket=f"public-{transport}")
    [recorded] = Message.parse(sent.data).get_all("record-route")
    held = setting.proxy.way.tokens.read(recorded[len("<sip:") : recorded.index("@")])
    assert held is not None
    assert held.flow == flow, "the dialog goes on over the flow that the user registered"


def test_what_goes_to_routers_stays_in_datagrams() -> None:
    setting = Sent()
    head = f"INVITE sip:9196@hotswitch SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKu\r\n{HEAD}To: <sip:9196@hotswitch>\r\n"
    data = f"{head}Call-ID: u\r\nContact: <sip:guest@192.0.2.1>\r\nContent-Length: 1400\r\n\r\n".encode() + LARGE
    setting.proxy.receive(data, Flow("udp", "public-udp", *PHONE), setting.now)
    assert setting.sent().flow == ROUTER


def test_a_proxy_that_holds_the_flow_decides_itself() -> None:
    setting = Sent()
    setting.proxy.configure(configuration(public=False), setting.now)
    sent = setting.request(f"sip:bob@{PLACE[0]}:{PLACE[1]}")
    assert sent.flow == Flow("udp", "sip-udp", *PUBLIC)
    assert OWN[0] in via(sent) + sent.data.decode()
