"""A call router that cannot keep up says so (RFC 7339)."""

from telephony.call_router.core import CallRouter
from telephony.config import CallRouterConfiguration, Jobs, Peer
from telephony.effects import Send
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.overload import OFFER
from telephony.sip.text import parameter

PROXY = Flow("udp", "sip-udp", "192.0.2.10", 5060)


def invite(number: int) -> bytes:
    via = f"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{number}{OFFER}"
    return (
        f"INVITE sip:9196@h SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:9196@h>\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\n"
        "Contact: <sip:a@192.0.2.1>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def statuses(router: CallRouter) -> list[tuple[int, str | None]]:
    messages = [Message.parse(effect.data) for effect in router.take() if isinstance(effect, Send)]
    return [(message.status, parameter(message.via, "oc")) for message in messages]


def test_a_router_refuses_and_tells_by_how_much_to_reduce() -> None:
    router = CallRouter()
    router.waited(1.0, 0.0)
    router.configure(
        CallRouterConfiguration(
            id="r", platform="voice", jobs=Jobs(curve_public="", curve_secret=""), realm="h", host="192.0.2.20", port=5060,
            public_host="192.0.2.100", public_port=5060, proxies=[Peer(id="p", host="192.0.2.10", port=5060)],
        ),
        1000.0,
    )  # fmt: skip
    router.receive(invite(1), PROXY, 1000.0)
    assert statuses(router) == [(100, "0")]
    router.waited(1.0, 1000.0)
    router.waited(1.0, 1000.2)
    router.receive(invite(2), PROXY, 1000.2)
    router.receive(invite(3), PROXY, 1001.0)
    assert statuses(router) == [(503, "0"), (503, "100")]
