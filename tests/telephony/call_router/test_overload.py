"""A call router that cannot keep up says so (RFC 7339)."""

from telephony.call_router.core import CallRouter
from telephony.config import CallRouterConfiguration, Jobs, Peer
from telephony.effects import Send
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.overload import OFFER
from telephony.sip.text import parameter

PROXY = Flow("udp", "sip-udp", "192.0.2.10", 5060)


def configured() -> CallRouter:
    router = CallRouter()
    router.configure(
        CallRouterConfiguration(
            id="r", platform="voice", jobs=Jobs(curve_public="", curve_secret=""), realm="h", host="192.0.2.20", port=5060,
            public_host="192.0.2.100", public_port=5060, proxies=[Peer(id="p", host="192.0.2.10", port=5060)],
        ),
        1000.0,
    )  # fmt: skip
    return router


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
    CallRouter().waited(1.0, 0.0)
    router = configured()
    router.receive(invite(1), PROXY, 1000.0)
    assert statuses(router) == [(100, "")]
    router.waited(1.0, 1000.0)
    router.waited(1.0, 1000.2)
    router.receive(invite(2), PROXY, 1000.2)
    router.receive(invite(3), PROXY, 1001.0)
    assert statuses(router) == [(503, "0"), (503, "100")]


def test_a_router_hands_on_what_its_load_balancer_asks_for() -> None:
    CallRouter().reduce(100, 0.0)
    router = configured()
    router.reduce(100, 1000.0)
    router.receive(invite(1), PROXY, 1000.1)
    assert statuses(router) == [(503, "100")]
    router.reduce(0, 1000.2)
    router.receive(invite(2), PROXY, 1000.3)
    assert statuses(router) == [(100, "0")], "the end of it is said"
    router.reduce(100, 1000.4)
    router.receive(invite(3), PROXY, 1001.4)
    assert statuses(router)[0][0] == 100, "what is not renewed is over"


def test_a_router_holds_back_what_a_proxy_does_not_want() -> None:
    """Its own calls fail as if the proxy had refused them; dialogs go on; strangers are not believed."""
    router = configured()
    desk = router._desk
    assert desk is not None
    endpoint = desk.endpoint
    proxy = Flow("udp", "sip-udp", "192.0.2.10", 5060)

    def call(target: str, now: float) -> list[bytes]:
        endpoint.invite(target, "<sip:a@h>", f"<{target}>", proxy, now=now, body=b"x")
        endpoint.timeout(now)
        sent = [effect.data for effect in endpoint.take() if isinstance(effect, Send)]
        return [data for data in sent if data.startswith(f"INVITE {target} ".encode())]

    (sent,) = call("sip:b@h", 1000.0)
    request = Message.parse(sent)
    assert request.via.endswith(OFFER)

    def answer(status: str, percent: int, branch: str, source: Flow, now: float) -> None:
        via = request.via.replace(request.branch, branch).replace(";oc;", f";oc={percent};") + f";oc-validity=500;oc-seq={now}"
        to = f"{request.get('to')};tag=9"
        endpoint.receive(
            f"SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {request.get('from')}\r\nTo: {to}\r\nCall-ID: {request.call_id}\r\n"
            "CSeq: 1 INVITE\r\nContact: <sip:b@192.0.2.7>\r\nContent-Length: 0\r\n\r\n".encode(),
            source,
            now,
        )

    answer("180 Ringing", 100, "z9hG4bKguess", proxy, 1000.1)
    answer("180 Ringing", 100, request.branch, Flow("udp", "sip-udp", "192.0.2.66", 5060), 1000.1)
    assert len(call("sip:c@h", 1000.1)) == 1
    answer("200 OK", 100, request.branch, proxy, 1000.2)
    session = next(session for session in endpoint.sessions.values() if session.call_id == request.call_id)
    endpoint.take()
    assert call("sip:d@h", 1000.3) == []
    assert len(call("sip:112@h", 1000.3)) == 1
    session.bye(now=1000.3)
    (bye,) = [effect.data for effect in endpoint.take() if isinstance(effect, Send)]
    assert bye[:3] == b"BYE"
    assert b";oc" not in bye
    assert len(call("sip:e@h", 1000.8)) == 1, "its word held for half a second"
