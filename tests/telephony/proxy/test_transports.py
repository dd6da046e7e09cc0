"""Users over TCP, and flows that another proxy holds (RFC 5626 section 5.3, RFC 5658)."""

import random

import msgspec
import pytest
from msgspec.structs import replace

from telephony.config import Peer
from telephony.effects import Ask, Send
from telephony.jobs.resource import Bind, Unbind
from telephony.proxy.core import Proxy
from telephony.sip import digest
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_request, make_response
from tests.telephony.proxy.registering import binds, bound
from tests.telephony.proxy.setting import OTHER, OWN, ROUTERS, configuration

TCP = Flow("tcp", "public-tcp", "192.0.2.1", 40000, 7)
ROUTER = Flow("udp", "sip-udp", *ROUTERS[0])


def proxy(**options: object) -> Proxy:
    made = Proxy(random.Random(3).randbytes)
    made.configure(configuration(**options), 0.0)  # type: ignore[arg-type]
    return made


def sent(core: Proxy) -> list[tuple[Message, Flow]]:
    return [(Message.parse(effect.data), effect.flow) for effect in core.take() if isinstance(effect, Send)]


def invite(uri: str, via: str, *headers: tuple[str, str]) -> Message:
    given = [("Via", via), ("From", "<sip:guest@a>;tag=1"), ("To", "<sip:9196@b>"), ("Call-ID", "x"), ("CSeq", "1 INVITE"), *headers]
    return make_request("INVITE", uri, given)


def from_user(core: Proxy) -> tuple[Message, Flow]:
    message = invite("sip:9196@192.0.2.100", "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKa", ("Contact", "<sip:a@192.0.2.1;transport=tcp>"))
    core.receive(message.serialize(), TCP, 0.0)
    (trying, back), (forwarded, to) = sent(core)
    assert (trying.status, back) == (100, TCP)
    return forwarded, to


def test_a_user_over_tcp_gets_two_record_routes() -> None:
    core = proxy()
    forwarded, to = from_user(core)
    assert to == ROUTER
    first, second = forwarded.get_all("record-route")
    assert first.endswith("@192.0.2.100:5060;lr>")
    assert second.endswith("@192.0.2.100:5060;transport=tcp;lr>")
    core.receive(make_response(forwarded, 200, to_tag="t", headers=[("Contact", "<sip:192.0.2.20>")]).serialize(), ROUTER, 0.0)
    ((answer, back),) = sent(core)
    assert back == TCP
    assert answer.get_all("record-route") == [first, second]
    # both come back as Routes: from the user in reverse, from the router in order
    routes = [("Route", second), ("Route", first)]
    needed = [("From", "<sip:guest@a>;tag=1"), ("To", "<sip:9196@b>;tag=t"), ("Call-ID", "x"), ("CSeq", "2 BYE"), *routes]
    core.receive(make_request("BYE", "sip:192.0.2.20", [("Via", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKb"), *needed]).serialize(), TCP, 0.0)
    ((bye, to),) = sent(core)
    assert to == ROUTER
    assert bye.get("route") is None
    needed = [
        ("From", "<sip:9196@b>;tag=t"),
        ("To", "<sip:guest@a>;tag=1"),
        ("Call-ID", "x"),
        ("CSeq", "2 BYE"),
        ("Route", first),
        ("Route", second),
    ]
    core.receive(
        make_request("BYE", "sip:a@192.0.2.1", [("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKc"), *needed]).serialize(), ROUTER, 0.0
    )
    ((bye, to),) = sent(core)
    assert to == TCP
    assert (bye.get("via") or "").startswith("SIP/2.0/TCP 192.0.2.100:5060;branch=")


@pytest.mark.parametrize(
    ("flow", "uri", "entry", "via"),
    [
        (Flow("tls", "public-tls", "192.0.2.1", 40000, 7), "sip:9196@192.0.2.100", "sip:{}@192.0.2.100:5061;transport=tls;lr", "TLS"),
        (Flow("tls", "public-tls", "192.0.2.1", 40000, 7), "sips:9196@192.0.2.100", "sips:{}@192.0.2.100:5061;transport=tls;lr", "TLS"),
        (Flow("ws", "public-ws", "192.0.2.1", 40000, 7), "sip:9196@192.0.2.100", "sip:{}@192.0.2.100:5066;transport=ws;lr", "WS"),
        (Flow("wss", "public-wss", "2001:db8::1", 40000, 7), "sip:9196@192.0.2.100", "sip:{}@192.0.2.100:7443;transport=ws;lr", "WSS"),
    ],
)
def test_users_over_tls_and_websocket(flow: Flow, uri: str, entry: str, via: str) -> None:
    core = proxy(public_ports={"tls": 5061, "ws": 5066, "wss": 7443})
    message = invite(uri, f"SIP/2.0/{via} df7jal23ls0d.invalid;branch=z9hG4bKa", ("Contact", "<sip:a@df7jal23ls0d.invalid;transport=ws>"))
    core.receive(message.serialize(), flow, 0.0)
    (trying, back), (forwarded, to) = sent(core)
    assert (trying.status, back, to) == (100, flow, ROUTER)
    assert trying.get("via") == f"SIP/2.0/{via} df7jal23ls0d.invalid;branch=z9hG4bKa;received={flow.host}"
    first, second = forwarded.get_all("record-route")
    assert second == f"<{entry.format(core._way.tokens.make(flow))}>"
    # back to the user, over the connection that it has, and below the Via of its transport
    needed = [("From", "<sip:9196@b>;tag=t"), ("To", "<sip:guest@a>;tag=1"), ("Call-ID", "x"), ("CSeq", "2 BYE")]
    routes = [("Route", first), ("Route", second)]
    bye = make_request(
        "BYE", "sip:a@df7jal23ls0d.invalid;transport=ws", [("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKc"), *needed, *routes]
    )
    core.receive(bye.serialize(), ROUTER, 0.0)
    ((delivered, to),) = sent(core)
    assert to == flow
    assert delivered.get("route") is None
    port = {"TLS": 5061, "WS": 5066, "WSS": 7443}[via]
    assert (delivered.get("via") or "").startswith(f"SIP/2.0/{via} 192.0.2.100:{port};branch=")
    # the user's own request within the dialog has both Routes, its own side's first
    needed = [("From", "<sip:guest@a>;tag=1"), ("To", "<sip:9196@b>;tag=t"), ("Call-ID", "x"), ("CSeq", "2 INFO")]
    routes = [("Route", second), ("Route", first)]
    info = make_request("INFO", "sip:192.0.2.20", [("Via", f"SIP/2.0/{via} df7jal23ls0d.invalid;branch=z9hG4bKb"), *needed, *routes])
    core.receive(info.serialize(), flow, 0.0)
    ((forwarded, to),) = sent(core)
    assert to == ROUTER
    assert forwarded.get("route") is None


def test_browsers_find_the_challenge_that_they_know_last() -> None:
    for transport, place in (("udp", 0), ("wss", -1)):
        core = proxy(public_ports={"wss": 7443})
        message = invite("sip:1002@192.0.2.100", "SIP/2.0/WSS a.invalid;branch=z9hG4bKa")
        core.receive(message.serialize(), Flow(transport, f"public-{transport}", "192.0.2.1", 40000, 7), 0.0)
        challenges = next(answer for answer, _ in sent(core) if answer.status == 407).get_all("proxy-authenticate")
        assert len(challenges) > 1
        assert ["algorithm=MD5" in each for each in challenges].index(True) == place % len(challenges)


def test_ipv6_outside_and_ipv4_inside() -> None:
    user = Flow("udp", "public-udp", "2001:db8::1", 5080)
    for public in (True, False):
        core = proxy(public_host="2001:db8::100", public=public)
        contact = ("Contact", "<sip:a@[2001:db8::1]:5080>")
        message = invite("sip:9196@[2001:db8::100]", "SIP/2.0/UDP [2001:db8::1]:5080;branch=z9hG4bKa", contact)
        core.receive(message.serialize(), user, 0.0)
        _, (forwarded, to) = sent(core)
        assert to == ROUTER
        inner, outer = forwarded.get_all("record-route")
        assert inner.endswith("@192.0.2.10:5060;lr>")
        assert outer.endswith("@[2001:db8::100]:5060;lr>")
        # the router's way back: to us, and out of the public socket, whoever reads that now
        needed = [("From", "<sip:9196@b>;tag=t"), ("To", "<sip:guest@a>;tag=1"), ("Call-ID", "x"), ("CSeq", "2 BYE")]
        routes = [("Route", inner), ("Route", outer)]
        via = ("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKc")
        core.receive(make_request("BYE", "sip:a@[2001:db8::1]:5080", [via, *needed, *routes]).serialize(), ROUTER, 0.0)
        ((bye, to),) = sent(core)
        assert to == user
        assert bye.get("route") is None
        assert (bye.get("via") or "").startswith("SIP/2.0/UDP [2001:db8::100]:5060;branch=")
        assert core._way.path(user).endswith("@192.0.2.10:5060;lr;ob>")


def test_ipv6_throughout() -> None:
    user = Flow("udp", "public-udp", "2001:db8::1", 5080)
    router = Flow("udp", "sip-udp", "2001:db8::20", 5060)
    peer = Peer(id="router-0", host="2001:db8::20", port=5060)
    core = Proxy(random.Random(3).randbytes)
    addresses = {"host": "2001:db8::10", "public_host": "2001:db8::100", "proxies": ["[2001:db8::10]:5060"]}
    core.configure(replace(configuration(), routers={"voice": [peer]}, trusted=["[2001:db8::20]:5060"], **addresses), 0.0)
    contact = ("Contact", "<sip:a@[2001:db8::1]:5080>")
    message = invite("sip:9196@[2001:DB8:0::100]", "SIP/2.0/UDP [2001:db8::1]:5080;branch=z9hG4bKa", contact)
    core.receive(message.serialize(), user, 0.0)
    (trying, back), (forwarded, to) = sent(core)
    assert (trying.status, back, to) == (100, user, router)
    assert trying.get("via") == "SIP/2.0/UDP [2001:db8::1]:5080;branch=z9hG4bKa"
    assert (forwarded.get("via") or "").startswith("SIP/2.0/UDP [2001:db8::10]:5060;branch=")
    (route,) = forwarded.get_all("record-route")
    assert route.endswith("@[2001:db8::100]:5060;lr>")
    answer = make_response(forwarded, 200, to_tag="t", headers=[("Contact", "<sip:[2001:db8::20]>")])
    core.receive(answer.serialize(), router, 0.0)
    assert [(each.status, flow) for each, flow in sent(core)] == [(200, user)]
    needed = [("From", "<sip:guest@a>;tag=1"), ("To", "<sip:9196@b>;tag=t"), ("Call-ID", "x"), ("CSeq", "1 ACK"), ("Route", route)]
    ack = make_request("ACK", "sip:[2001:db8:0:0::20]", [("Via", "SIP/2.0/UDP [2001:db8::1]:5080;branch=z9hG4bKb"), *needed])
    core.receive(ack.serialize(), user, 0.0)
    assert [flow for _, flow in sent(core)] == [router]


def test_a_lost_connection_fails_the_request_at_once() -> None:
    core = proxy()
    path = core._way.path(TCP)
    core.receive(invite("sip:a@192.0.2.1", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKd", ("Route", path)).serialize(), ROUTER, 0.0)
    assert [flow for _, flow in sent(core)] == [ROUTER, TCP]
    core.closed(TCP, 0.0)
    effects = core.take()
    (answer,) = [Message.parse(effect.data) for effect in effects if isinstance(effect, Send)]
    assert answer.status == 430  # RFC 5626 section 5.3: another flow may be tried
    assert [unbound(effect) for effect in effects if isinstance(effect, Ask)] == [("9196", TCP)]
    assert core.remaining() == 0


def unbound(ask: Ask) -> tuple[str, Flow]:
    """Who is not reached over which flow any more."""
    assert (ask.kind, ask.operation) == ("resource_database", "unbind")
    body = msgspec.msgpack.decode(ask.body, type=Unbind)
    held = proxy()._way.tokens.read(body.token)
    assert held is not None
    return body.aor, held.flow


def registered(core: Proxy, flow: Flow, contact: str, *headers: tuple[str, str]) -> tuple[Bind, Message]:
    """What a REGISTER over a flow makes of the database's job, and its answer."""
    challenges: list[str] = []
    for number in range(2):
        given = [("Via", f"SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKr{flow.connection}{number}"), ("From", "<sip:1001@h>;tag=1")]
        given += [("To", "<sip:1001@h>"), ("Call-ID", "r"), ("CSeq", f"{number} REGISTER"), ("Contact", contact), *headers]
        message = make_request("REGISTER", "sip:192.0.2.100", given)
        if number:
            proved = digest.answer(challenges, digest.Credentials("1001", "one"), "REGISTER", message.uri, "c")
            assert proved is not None
            message.set("authorization", proved)
        core.receive(message.serialize(), flow, 0.0)
        if not number:
            challenges = sent(core)[0][0].get_lines("www-authenticate")
    core.timeout(0.1)
    (ask,) = core.take()
    assert isinstance(ask, Ask)
    (bind,) = binds(ask)
    core.reply(ask.id, "ok", bound(None), "db", 0.0)
    ((done, back),) = sent(core)
    assert (done.status, back) == (200, flow)
    return bind, done


def test_a_phone_with_flows_of_its_own() -> None:
    contact = '<sip:a@192.0.2.1;transport=tcp>;reg-id=2;+sip.instance="<urn:uuid:1>"'
    bind, done = registered(proxy(), TCP, contact, ("Supported", "path, Outbound"))
    assert (bind.bindings[0].instance, bind.bindings[0].reg_id) == ("<urn:uuid:1>", 2)
    assert (done.get("require"), done.get("flow-timer")) == ("outbound", "120")
    assert ";reg-id=2;" in (done.get("contact") or "")
    for wrong, supported in (
        (contact, "path"),
        (contact.replace("=2", "=0"), "outbound"),
        (contact.replace("=2", "=2147483648"), "outbound"),
        (contact.partition(";+sip")[0], "outbound"),
    ):
        bind, done = registered(proxy(), TCP, wrong, ("Supported", supported))
        assert bind.bindings[0].reg_id == 0
        assert not done.has("require") and not done.has("flow-timer")


def test_a_binding_ends_with_its_connection() -> None:
    core = proxy()
    registered(core, TCP, "<sip:a@192.0.2.1;transport=tcp>")
    core.closed(TCP._replace(connection=8), 0.0)
    assert core.take() == []
    core.closed(TCP, 0.0)
    (ask,) = core.take()
    assert isinstance(ask, Ask)
    assert unbound(ask) == ("1001", TCP)
    core.closed(TCP, 0.0)
    assert core.take() == []
    udp = Flow("udp", "public-udp", "192.0.2.1", 5060)
    registered(core, udp, "<sip:a@192.0.2.1>")
    core.closed(udp, 0.0)
    assert core.take() == []


def test_keepalives_over_udp_are_no_broken_messages() -> None:
    core = proxy()
    flow = Flow("udp", "public-udp", "192.0.2.1", 5060)
    binding_request = bytes.fromhex("000100002112a442b7e7a701bc34d686fa87dfae")
    core.receive(binding_request, flow, 0.0)
    (send,) = core.take()
    assert isinstance(send, Send)
    assert send.flow == flow
    assert send.data[:2] == b"\x01\x01"
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0"):
        core.receive(data, flow, 0.0)
    assert core.take() == []
    assert core.counters.broken == 0
    for data in (binding_request[:-1], b"\r\n" * 10, b"\0\1rubbish"):
        core.receive(data, flow, 0.0)
    core.receive(binding_request, TCP, 0.0)
    assert core.counters.broken == 4


def test_a_connection_that_another_proxy_holds_is_reached_through_it() -> None:
    holder, other = proxy(own=OTHER), proxy()
    path = holder._way.path(TCP)
    other.receive(invite("sip:a@192.0.2.1", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKe", ("Route", path)).serialize(), ROUTER, 0.0)
    relayed, to = sent(other)[1]
    assert to == Flow("udp", "sip-udp", *OTHER)
    holder.receive(relayed.serialize(), Flow("udp", "sip-udp", *OWN), 0.0)
    delivered, to = sent(holder)[1]
    assert to == TCP
    assert len(delivered.get_all("record-route")) == 2
    # the proof is worth nothing for another request or from elsewhere, and a stranger has none
    for stolen in (
        relayed.serialize(),
        relayed.serialize().replace(b"Call-ID: x", b"Call-ID: y"),
        relayed.serialize().replace(b";relay=", b";relax="),
    ):
        thief = proxy(own=OTHER)
        thief.receive(stolen, Flow("udp", "public-udp", "192.0.2.66", 5060), 0.0)
        assert [message.status for message, _ in sent(thief)] == [407]


def test_a_stranger_cannot_use_a_users_token() -> None:
    core = proxy()
    message = invite("sip:a@192.0.2.1", "SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bKf", ("Route", core._way.path(TCP)))
    core.receive(message.serialize(), Flow("udp", "public-udp", "192.0.2.66", 5060), 0.0)
    assert [message.status for message, _ in sent(core)] == [407]


def test_a_forged_token_is_no_token() -> None:
    core = proxy()
    forged = core._way.path(TCP).replace(".", ".0", 1)
    core.receive(invite("sip:a@192.0.2.1", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKg", ("Route", forged)).serialize(), ROUTER, 0.0)
    assert TCP not in [flow for _, flow in sent(core)]


def test_no_open_relay() -> None:
    core = proxy()
    stranger = Flow("udp", "public-udp", "192.0.2.66", 5060)
    for number, (uri, route) in enumerate(
        [("sip:x@198.51.100.1", ""), ("sip:x@192.0.2.100", "<sip:198.51.100.1;lr>"), ("sip:x@192.0.2.20", "<sip:198.51.100.1;lr>")]
    ):
        given = [("Route", route)] if route else []
        message = invite(uri, f"SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bKh{number}", *given)
        message.set("to", "<sip:x@y>;tag=t")
        core.receive(message.serialize(), stranger, 0.0)
        assert [(answer.status, flow) for answer, flow in sent(core)] == [(403, stranger)]
    response = make_response(invite("sip:a@b", "SIP/2.0/UDP 192.0.2.100:5060;branch=z9hG4bKi"), 200, to_tag="t")
    response.add("via", "SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKj")
    core.receive(response.serialize(), stranger, 0.0)
    assert sent(core) == []


def test_a_response_without_a_transaction_finds_its_router() -> None:
    core = proxy()
    response = make_response(invite("sip:a@b", "SIP/2.0/UDP 192.0.2.100:5060;branch=z9hG4bKi"), 200, to_tag="t")
    response.add("via", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKj")
    core.receive(response.serialize(), Flow("udp", "public-udp", "192.0.2.1", 5060), 0.0)
    ((answer, to),) = sent(core)
    assert to == ROUTER
    assert answer.get_all("via") == ["SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKj"]


def test_loops_and_hops() -> None:
    core = proxy()
    forwarded, _ = from_user(core)
    core.receive(forwarded.serialize(), Flow("udp", "sip-udp", "192.0.2.66", 5060), 0.0)
    ((answer, _),) = sent(core)
    assert answer.status == 482
    message = invite("sip:9196@192.0.2.100", "SIP/2.0/UDP 192.0.2.66;branch=z9hG4bKk", ("Max-Forwards", "0"))
    core.receive(message.serialize(), TCP, 0.0)
    ((answer, _),) = sent(core)
    assert answer.status == 483
    message = invite("sip:9196@192.0.2.100", "SIP/2.0/UDP 192.0.2.66;branch=z9hG4bKl", ("Proxy-Require", "telepathy"))
    core.receive(message.serialize(), TCP, 0.0)
    ((answer, _),) = sent(core)
    assert (answer.status, answer.get("unsupported")) == (420, "telepathy")
