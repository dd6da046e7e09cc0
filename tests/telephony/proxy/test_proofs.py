"""Routers and proxies prove their requests: who forges their addresses gets nowhere (docs/adr/0011-proofs.md)."""

import pytest

from telephony.effects import Send
from telephony.proxy.core import LENIENT_SECONDS
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, ByeAnswered, Ended, InviteReceived, Rejected, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.proof import Proofs
from tests.telephony.proxy.setting import OTHER, OWN, PHONE, PUBLIC, ROUTERS, Setting, configuration

KEY, NEXT = b"k" * 32, b"n" * 32
ROUTER = Flow("udp", "sip-udp", *ROUTERS[0])


def keyed(two_proxies: bool = False, **changes: object) -> Setting:
    setting = Setting(routers=1, two_proxies=two_proxies)
    setting.routers[0].proofs = Proofs([KEY])
    given: dict[str, object] = {"proof_keys": [KEY], **changes}
    setting.proxy.configure(configuration(public=not two_proxies, **given), setting.now)  # type: ignore[arg-type]
    if two_proxies:
        setting.second.configure(configuration(own=OTHER, **given), setting.now)  # type: ignore[arg-type]
    return setting


def call_user(setting: Setting, at: tuple[str, int] = OWN) -> None:
    """The router rings the phone, which answers; the router hangs up."""
    router = setting.routers[0]
    path = setting.second.way.path if at == OTHER or setting.second._configuration is not None else setting.proxy.way.path
    route = [path(setting.network.flow(*PHONE)._replace(socket="public-udp"))]
    session = router.invite(
        "sip:phone@192.0.2.1", "<sip:1002@hotswitch>", "<sip:1001@hotswitch>", setting.network.flow(*at), now=setting.now, route=route,
        body=b"offer", headers=[("P-Asserted-Identity", "<sip:1002@hotswitch>")],
    )  # fmt: skip
    at_phone, _ = setting.run()
    assert [type(event) for event in at_phone] == [InviteReceived]
    at_phone[0].session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    at_phone, at_router = setting.run()
    assert ([type(event) for event in at_phone], [type(event) for event in at_router]) == ([Acknowledged], [Answered])
    session.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert ([type(event) for event in at_phone], [type(event) for event in at_router]) == ([Ended], [ByeAnswered])


@pytest.mark.parametrize("two_proxies", [False, True])
def test_calls_both_ways(two_proxies: bool) -> None:
    setting = keyed(two_proxies)
    caller = setting.invite()
    _, at_router = setting.run()
    (received,) = at_router
    assert Proofs([KEY]).holds(received.message, ";proof=")  # type: ignore[attr-defined]
    received.session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    setting.run()
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert ([type(event) for event in at_phone], [type(event) for event in at_router]) == ([ByeAnswered], [Ended])
    call_user(setting)
    setting.network.run(LENIENT_SECONDS)
    call_user(setting)
    setting.at_rest()


def forged(setting: Setting, data: bytes, source: Flow = ROUTER) -> tuple[list[int], list[object]]:
    """Statuses that are answered to what bears somebody else's address, and what the phone got."""
    setting.proxy.receive(data, source, setting.now)
    statuses = [Message.parse(effect.data).status for effect in setting.proxy.out if isinstance(effect, Send)]
    return statuses, setting.run()[0]


def invite(
    method: str = "INVITE", more: str = "", to: str = "<sip:1001@hotswitch>", uri: str = "sip:phone@192.0.2.1", via: str = ""
) -> bytes:
    via = via or "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKforged"
    return (
        f"{method} {uri} SIP/2.0\r\nVia: {via}\r\nFrom: <sip:boss@hotswitch>;tag=1\r\nTo: {to}\r\nCall-ID: forged\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:192.0.2.20>\r\n{more}P-Asserted-Identity: <sip:boss@hotswitch>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def token(setting: Setting) -> str:
    return f"Route: {setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket='public-udp'))}\r\n"


def test_a_forged_router_calls_nobody() -> None:
    setting = keyed()
    for data in (
        invite(more=token(setting)),
        invite("MESSAGE", more=token(setting)),
        invite(uri="sip:1001@hotswitch"),
        invite(uri="sip:anybody@198.51.100.9"),
        invite(to="<sip:1001@hotswitch>;tag=2", uri="sip:anybody@198.51.100.9"),
        invite(via="SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKforged;proof=0123456789abcdef", more=token(setting)),
        invite(via="SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKforged;proof=", more=token(setting)),
    ):
        assert forged(setting, data) == ([403], []), data
    assert forged(setting, invite("ACK", to="<sip:1001@hotswitch>;tag=2", uri="sip:anybody@198.51.100.9")) == ([], [])
    assert forged(setting, invite("ACK", to="<sip:1001@hotswitch>", more=token(setting))) == ([], [])
    sent = [line for line in setting.network.log if not line.startswith("192.0.2.100>192.0.2.20 SIP/2.0")]
    assert all("SIP/2.0 403" in line for line in sent)


def test_what_a_phone_has_seen_takes_it_to_nobody_else() -> None:
    setting = keyed()
    seen: list[bytes] = []
    setting.network.drop = lambda source, target, data: bool(target == PHONE and data.startswith(b"INVITE") and seen.append(data))
    route = [setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))]
    setting.routers[0].invite(
        "sip:phone@192.0.2.1", "<sip:1002@hotswitch>", "<sip:1001@hotswitch>", setting.network.flow(*OWN), now=setting.now, route=route
    )
    setting.run()
    message = Message.parse(seen[0])
    message.pop("via")
    message.remove("record-route")
    again = message.serialize()
    outcomes = []
    for data in (
        again,
        again.replace(b"INVITE sip:phone@192.0.2.1 ", b"INVITE sip:other@192.0.2.7 "),
        again.replace(b"<sip:1002@hotswitch>", b"<sip:boss@hotswitch>"),
        again.replace(b"Call-ID: ", b"P-Asserted-Identity: <sip:boss@hotswitch>\r\nCall-ID: "),
    ):
        fresh = keyed().proxy
        fresh.receive(data, ROUTER, 2000.0)
        outcomes.append([effect.data.split(b"\r\n")[0].split(b" ")[1] for effect in fresh.take() if isinstance(effect, Send)][-1])
    assert outcomes == [b"sip:phone@192.0.2.1", b"403", b"403", b"403"]


def test_a_forged_proxy_reaches_no_router() -> None:
    setting = keyed()
    router = setting.routers[0]
    source = Flow("udp", "sip", *OWN)
    for method in ("INVITE", "MESSAGE", "OPTIONS"):
        router.receive(
            invite(method, via=f"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{method}", uri="sip:9196@hotswitch"), source, setting.now
        )
    assert router.take() == []
    assert router.dropped == 3
    assert not router.transactions.servers
    router.unproven = frozenset([OWN])
    router.receive(invite(via="SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKx", uri="sip:9196@hotswitch"), source, setting.now)
    assert [type(event) for event in router.take() if not isinstance(event, Send)] == [InviteReceived]


def test_what_proxies_hand_each_other_cannot_be_turned_to_somebody_else() -> None:
    setting = keyed(two_proxies=True)
    setting.network.run(LENIENT_SECONDS)
    relayed: list[bytes] = []
    setting.network.drop = lambda source, target, data: bool(source == OWN and target == PUBLIC and relayed.append(data))
    route = [setting.second.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))]
    setting.routers[0].invite(
        "sip:phone@192.0.2.1", "<sip:1002@hotswitch>", "<sip:1001@hotswitch>", setting.network.flow(*OWN), now=setting.now, route=route
    )
    setting.run()
    data = relayed[0]
    source = Flow("udp", "public-udp", *OWN)
    for other in (data.replace(b"<sip:1002@hotswitch>", b"<sip:boss@hotswitch>"), data.replace(b"INVITE sip:phone@", b"INVITE sip:other@")):
        setting.second.receive(other, source, setting.now)
        assert not any(effect.data.startswith(b"INVITE") for effect in setting.second.take() if isinstance(effect, Send))
        setting.second.transactions.servers.clear()
    setting.second.receive(data, source, setting.now)
    assert any(effect.data.startswith(b"INVITE") for effect in setting.second.take() if isinstance(effect, Send))


def test_older_software_is_believed_where_the_configuration_says_so_and_for_a_moment_after_a_change() -> None:
    for changes, waits, reached in (
        ({}, 0.0, True),
        ({}, LENIENT_SECONDS, False),
        ({"unproven": [f"{OWN[0]}:{OWN[1]}", f"{ROUTERS[0][0]}:{ROUTERS[0][1]}"]}, LENIENT_SECONDS, True),
    ):
        setting = keyed(two_proxies=True, unproven=["192.0.2.99:5060"])
        setting.network.run(100)
        setting.proxy.configure(configuration(public=False), setting.now)
        setting.routers[0].proofs = None
        setting.second.configure(configuration(own=OTHER, proof_keys=[KEY], **changes), setting.now)
        setting.network.run(waits)
        route = [setting.second.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))]
        setting.routers[0].request(
            "MESSAGE", "sip:phone@192.0.2.1", "<sip:1002@hotswitch>", "<sip:1001@hotswitch>", setting.network.flow(*OWN), now=setting.now,
            route=route,
        )  # fmt: skip
        at_phone, _ = setting.run()
        assert bool(at_phone) == reached, (changes, waits)
    setting.second.configure(configuration(own=OTHER, proof_keys=[KEY], **changes), setting.now)
    assert not setting.second.way.lenient, "nothing has changed: nothing is believed for longer"


def test_a_key_changes_without_a_moment_in_which_somebody_is_not_believed() -> None:
    """Everybody gets the new configuration at another time."""
    setting = keyed()
    before, after = [KEY, NEXT], [NEXT, KEY]

    def both_ways(at_proxy: list[bytes], at_router: list[bytes], works: bool = True) -> None:
        setting.proxy.configure(configuration(proof_keys=at_proxy), setting.now)
        setting.routers[0].proofs = Proofs(at_router)
        if works:
            call_user(setting)
            setting.invite(call_id=f"{setting.now}")
            assert [type(event) for event in setting.run()[1]] == [InviteReceived]
        else:
            setting.routers[0].request(
                "OPTIONS", "sip:1001@hotswitch", "<sip:a@h>", "<sip:b@h>", setting.network.flow(*OWN), now=setting.now
            )
            (event,) = setting.run()[1]
            assert isinstance(event, ResponseReceived)
            assert event.status == 403

    both_ways(before, before)
    both_ways(after, before)
    both_ways(before, after)
    both_ways(after, after)
    both_ways([NEXT], [KEY], works=False)


def test_an_answer_to_a_challenge_is_proved_anew() -> None:
    endpoint = Endpoint("192.0.2.20:5060")
    endpoint.proofs = Proofs([KEY])
    request = endpoint.request("OPTIONS", "sip:a@b", "<sip:a@b>", "<sip:c@b>", ROUTER, now=1.0).message
    again = endpoint.again(request)
    assert again.branch != request.branch
    assert endpoint.proofs.holds(again, ";proof=")
    assert again.via.count(";proof=") == 1


def test_a_rejected_call_is_said_once_and_leaves_nothing() -> None:
    setting = keyed()
    setting.routers[0].proofs = Proofs([NEXT])
    setting.invite()
    _, at_router = setting.run()
    assert at_router == []
    setting.network.run(40)
    (rejected,) = setting.network.happened(*PHONE)
    assert isinstance(rejected, Rejected)
    setting.at_rest()
