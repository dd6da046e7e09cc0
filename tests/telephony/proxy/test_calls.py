"""Calls through the proxy, both ways, and what may go wrong on the way (RFC 3261 section 16)."""

import pytest

from telephony.sip.digest import Credentials
from telephony.sip.events import (
    Acknowledged,
    Answered,
    ByeAnswered,
    Cancelled,
    Ended,
    InviteReceived,
    Progressed,
    ReinviteAnswered,
    ReinviteReceived,
    Rejected,
)
from telephony.sip.flow import Flow
from telephony.sip.message import make_response
from telephony.sip.session import Session
from telephony.sip.timers import TIMER_C
from tests.telephony.proxy.setting import OTHER, OWN, PHONE, PUBLIC, ROUTERS, Setting, configuration

LINK_SECONDS = TICK = 0.001
"""How long a message is on its way; less than what a timer may be early or late."""


def kinds(events: list[object]) -> list[type]:
    return [type(event) for event in events]


def answer(setting: Setting) -> tuple[Session, Session]:
    """A guest's call, answered."""
    caller = setting.invite()
    _, at_router = setting.run()
    assert kinds(at_router) == [InviteReceived]
    assert setting.proxy.remaining() + setting.second.remaining() == 1
    callee = at_router[0].session  # type: ignore[attr-defined]
    callee.progress(now=setting.now)
    callee.accept(b"answer", now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [Progressed, Answered]
    assert kinds(at_router) == [Acknowledged]
    assert setting.proxy.remaining() == setting.second.remaining() == 0
    return caller, callee


def test_call_of_a_guest() -> None:
    setting = Setting()
    caller, callee = answer(setting)
    invite = callee.invite
    assert [value.split(";")[0] for value in invite.get_all("via")] == ["SIP/2.0/UDP 192.0.2.10:5060", "SIP/2.0/UDP 192.0.2.1:5060"]
    assert invite.get("max-forwards") == "69"
    (route,) = invite.get_all("record-route")
    assert route.endswith("@192.0.2.100:5060;lr>")
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [ByeAnswered]
    assert kinds(at_router) == [Ended]
    assert setting.network.log == [
        "192.0.2.1>192.0.2.100 INVITE sip:9196@192.0.2.100 SIP/2.0",
        "192.0.2.100>192.0.2.1 SIP/2.0 100 Trying",
        "192.0.2.10>192.0.2.20 INVITE sip:9196@192.0.2.100 SIP/2.0",
        "192.0.2.20>192.0.2.10 SIP/2.0 100 Trying",
        "192.0.2.20>192.0.2.10 SIP/2.0 180 Ringing",
        "192.0.2.20>192.0.2.10 SIP/2.0 200 OK",
        "192.0.2.100>192.0.2.1 SIP/2.0 180 Ringing",
        "192.0.2.100>192.0.2.1 SIP/2.0 200 OK",
        "192.0.2.1>192.0.2.100 ACK sip:192.0.2.20:5060 SIP/2.0",
        "192.0.2.10>192.0.2.20 ACK sip:192.0.2.20:5060 SIP/2.0",
        "192.0.2.1>192.0.2.100 BYE sip:192.0.2.20:5060 SIP/2.0",
        "192.0.2.10>192.0.2.20 BYE sip:192.0.2.20:5060 SIP/2.0",
        "192.0.2.20>192.0.2.10 SIP/2.0 200 OK",
        "192.0.2.100>192.0.2.1 SIP/2.0 200 OK",
    ]  # fmt: skip
    setting.at_rest()


@pytest.mark.parametrize("routers", [1, 2])
def test_a_phone_that_forgets_the_route_set_ends_its_call(routers: int) -> None:
    """SIPp's stock scenario addresses ACK and BYE like the INVITE, without Routes."""
    setting = Setting(routers)
    caller, _ = answer(setting)
    caller.dialog.route_set, caller.dialog.remote_target = [], "sip:9196@192.0.2.100:5060"
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [ByeAnswered]
    assert kinds(at_router) == [Ended]
    setting.at_rest()


def test_a_strict_router_before_us() -> None:
    """It has put our Record-Route into the Request-URI and the target last (RFC 3261 section 16.4)."""
    setting = Setting()
    caller, callee = answer(setting)
    (ours,), target = caller.dialog.route_set, caller.dialog.remote_target
    bye = caller.make_request("BYE", b"", "", ())
    bye.retarget(ours.strip("<>"))
    bye.set("route", f"<{target}>")
    setting.proxy.receive(bye.serialize(), Flow("udp", "public-udp", *PHONE), setting.now)
    _, (ended,) = setting.run()
    assert callee.state == "ended"
    assert (ended.message.uri, ended.message.get("route")) == (target, None)  # type: ignore[attr-defined]


def test_router_changes_and_ends_the_call() -> None:
    setting = Setting()
    caller, callee = answer(setting)
    callee.reinvite(b"hold", now=setting.now)
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [ReinviteReceived]
    caller.answer_reinvite(b"held", now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_router) == [ReinviteAnswered]
    assert kinds(at_phone) == [Acknowledged]
    callee.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [Ended]
    setting.at_rest()


def call_user(setting: Setting) -> Session:
    """The router calls the phone by the path of its binding."""
    path = setting.proxy._way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))
    to_proxy = setting.network.flow(*OWN)
    parties = ("<sip:1002@hotswitch>", "<sip:1001@hotswitch>")
    return setting.routers[0].invite("sip:phone@10.1.1.1:5099", *parties, to_proxy, now=setting.now, route=[path], body=b"offer")


def test_call_to_a_user() -> None:
    setting = Setting()
    caller = call_user(setting)
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [InviteReceived]
    callee = at_phone[0].session  # type: ignore[attr-defined]
    assert callee.invite.get_all("via")[0].startswith("SIP/2.0/UDP 192.0.2.100:5060;")
    assert callee.invite.get("route") is None
    callee.accept(b"answer", now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_router) == [Answered]
    assert kinds(at_phone) == [Acknowledged]
    callee.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_router) == [Ended]
    assert kinds(at_phone) == [ByeAnswered]
    assert caller.state == callee.state == "ended"
    setting.at_rest()


def test_call_to_a_user_through_a_proxy_that_does_not_serve_the_public_address() -> None:
    setting = Setting(two_proxies=True)
    caller = call_user(setting)
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [InviteReceived]
    callee = at_phone[0].session  # type: ignore[attr-defined]
    assert [value.split(";")[0].split(" ")[1] for value in callee.invite.get_all("via")] == [
        f"{PUBLIC[0]}:5060", f"{OWN[0]}:5060", f"{ROUTERS[0][0]}:5060"
    ]  # fmt: skip
    callee.accept(b"answer", now=setting.now)
    setting.run()
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [Acknowledged, Ended] or kinds(at_phone) == [Ended]
    assert kinds(at_router) == [ByeAnswered]
    setting.at_rest()


def test_a_user_authenticates() -> None:
    setting = Setting()
    setting.invite("sip:1002@192.0.2.100", "<sip:1001@hotswitch>", credentials=Credentials("1001", "one"))
    _, at_router = setting.run()
    assert kinds(at_router) == [InviteReceived]
    invite = at_router[0].message  # type: ignore[attr-defined]
    assert invite.get_all("p-asserted-identity") == ["<sip:1001@hotswitch>"]
    assert invite.get("proxy-authorization") is None
    at_router[0].session.reject(486, now=setting.now)  # type: ignore[attr-defined]
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [Rejected]
    setting.at_rest()


@pytest.mark.parametrize(
    ("from_", "credentials", "status"),
    [
        ("<sip:1001@hotswitch>", None, 407),
        ("<sip:1001@hotswitch>", Credentials("1001", "wrong"), 407),
        ("<sip:1001@hotswitch>", Credentials("1002", "two"), 403),
        ("<sip:nobody@hotswitch>", Credentials("nobody", "x"), 407),
        ("<sip:guest@192.0.2.1>", None, 407),
    ],
)
def test_nobody_else_gets_through(from_: str, credentials: Credentials | None, status: int) -> None:
    setting = Setting()
    setting.invite("sip:1002@192.0.2.100", from_, credentials=credentials)
    at_phone, at_router = setting.run()
    assert at_router == []
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, status)]  # type: ignore[attr-defined]
    setting.at_rest()


def test_asserted_identity_from_outside_is_removed() -> None:
    setting = Setting()
    setting.invite(headers=[("P-Asserted-Identity", "<sip:1001@hotswitch>")])
    _, at_router = setting.run()
    assert at_router[0].message.get("p-asserted-identity") is None  # type: ignore[attr-defined]


def test_cancel() -> None:
    setting = Setting()
    caller = setting.invite()
    _, at_router = setting.run()
    at_router[0].session.progress(now=setting.now)  # type: ignore[attr-defined]
    setting.run()
    caller.cancel(now=setting.now)
    at_phone, at_router = setting.run()
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 487)]  # type: ignore[attr-defined]
    assert kinds(at_router) == [Cancelled]
    setting.at_rest()


def test_cancel_before_the_router_has_said_anything() -> None:
    setting = Setting()
    setting.network.drop = lambda source, target, data: target == ROUTERS[0] and setting.now < 1001
    caller = setting.invite()
    setting.run()
    caller.cancel(now=setting.now)
    at_phone, at_router = setting.run(0.3)
    assert at_phone == at_router == []
    at_phone, at_router = setting.run(4)
    assert kinds(at_router) == [InviteReceived, Cancelled]
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 487)]  # type: ignore[attr-defined]
    setting.at_rest()


def test_failover_from_a_silent_router() -> None:
    setting = Setting(routers=2)
    first: list[tuple[str, int]] = []

    def drop(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        if target in ROUTERS and not first:
            first.append(target)
        return target in first

    setting.network.drop = drop
    setting.invite()
    setting.network.run(1.9)
    second = ROUTERS[1 - ROUTERS.index(first[0])]
    assert not setting.network.happened(*second)
    setting.network.run(0.2)
    events = setting.network.happened(*second)
    assert kinds(events) == [InviteReceived]
    events[0].session.accept(b"answer", now=setting.now)
    setting.network.run(1)
    assert kinds(setting.network.happened(*PHONE)) == [Answered]
    # the silent one is not asked first again
    for number in range(6):
        setting.invite(call_id=f"call-{number}")
    setting.network.run(0.1)
    assert kinds(setting.network.happened(*second)) == [Acknowledged] + [InviteReceived] * 6


def test_failover_from_a_router_that_says_503_or_refuses() -> None:
    setting = Setting(routers=2)
    setting.invite()
    setting.network.run(0.1)
    asked = next(address for address in ROUTERS if setting.routers[ROUTERS.index(address)].sessions)
    setting.network.happened(*asked)[0].session.reject(503, now=setting.now)
    setting.network.run(0.1)
    other = ROUTERS[1 - ROUTERS.index(asked)]
    assert kinds(setting.network.happened(*other)) == [InviteReceived]
    setting.invite(call_id="second")
    setting.network.collect()
    setting.proxy.closed(setting.network.flow(*other)._replace(socket="sip-udp"), setting.now)
    setting.network.run(0.1)
    assert setting.network.happened(*PHONE) == []


def test_a_router_that_was_not_the_first_is_in_the_dialog_through_us_as_well() -> None:
    setting = Setting(routers=2)
    setting.invite()
    setting.network.run(0.1)
    for router, address in zip(setting.routers, ROUTERS, strict=True):
        if router.sessions:
            setting.network.happened(*address)[0].session.reject(503, now=setting.now)
            break
    setting.network.run(0.1)
    (event,) = setting.network.happened(*ROUTERS[1 - ROUTERS.index(address)])
    assert len(event.message.get_all("record-route")) == 1


def test_an_answer_from_elsewhere_is_none() -> None:
    setting = Setting()
    setting.invite()
    _, at_router = setting.run()
    invite = at_router[0].message  # type: ignore[attr-defined]
    forged = make_response(invite, 200, to_tag="t", headers=[("Contact", "<sip:198.51.100.7>")]).serialize()
    setting.proxy.receive(forged, Flow("udp", "sip-udp", "198.51.100.7", 5060), setting.now)
    at_phone, _ = setting.run()
    assert at_phone == []
    assert setting.proxy.transactions.strange == 1
    setting.proxy.receive(forged, Flow("udp", "sip-udp", *ROUTERS[0]), setting.now)
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [Answered]


def test_no_router_at_all() -> None:
    setting = Setting()
    setting.proxy.configure(configuration(routers=0), setting.now)
    setting.invite()
    at_phone, _ = setting.run()
    assert at_phone[0].status == 503  # type: ignore[attr-defined]
    assert at_phone[0].message.get("retry-after") == "5"  # type: ignore[attr-defined]
    setting.at_rest()


def test_a_router_that_never_answers() -> None:
    setting = Setting()
    setting.network.drop = lambda source, target, data: target == ROUTERS[0]
    setting.invite()
    at_phone, _ = setting.run(31.9)
    assert at_phone == []
    at_phone, _ = setting.run(0.2)
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 408)]  # type: ignore[attr-defined]
    setting.at_rest()


def test_a_router_that_does_not_answer_bye() -> None:
    """RFC 4320 section 4: 100 after a while, and never 408."""
    setting = Setting()
    caller, _ = answer(setting)
    setting.network.drop = lambda source, target, data: target == ROUTERS[0]
    setting.network.log.clear()
    caller.bye(now=setting.now)
    setting.run(3.4)
    assert not [line for line in setting.network.log if "SIP/2.0 100" in line]
    setting.run(40)
    assert {line for line in setting.network.log if "SIP/2.0 " in line and "SIP/2.0 1" in line} == {
        f"{PUBLIC[0]}>{PHONE[0]} SIP/2.0 100 Trying"
    }
    assert not [line for line in setting.network.log if "SIP/2.0 408" in line]


def test_timer_c() -> None:
    setting = Setting()
    setting.invite()
    _, at_router = setting.run()
    at_router[0].session.progress(now=setting.now)  # type: ignore[attr-defined]
    setting.run(100)
    at_router[0].session.progress(now=setting.now)  # type: ignore[attr-defined]
    setting.run(LINK_SECONDS + TIMER_C - TICK)
    assert not any("CANCEL" in line for line in setting.network.log)
    setting.run(1.001 * TICK)
    assert sum("CANCEL" in line for line in setting.network.log) == 1
    at_phone, at_router = setting.run(0.1)
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 408)]  # type: ignore[attr-defined]
    assert kinds(at_router) == [Cancelled]
    setting.at_rest()


@pytest.mark.parametrize("rings", [False, True])
def test_timer_c_and_a_router_that_says_nothing_more(rings: bool) -> None:
    """Nothing is left of the branch either, although its CANCEL is not answered (RFC 3261 section 9.1)."""
    setting = Setting()
    setting.invite()
    _, at_router = setting.run()
    if rings:
        at_router[0].session.progress(now=setting.now)  # type: ignore[attr-defined]
        setting.run()
    setting.network.drop = lambda source, target, data: ROUTERS[0] in (source, target)
    at_phone, _ = setting.run(180.8)
    assert at_phone == []
    at_phone, _ = setting.run(0.2)
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 408)]  # type: ignore[attr-defined]
    setting.run(33)
    assert not setting.proxy.transactions.clients


def test_drained_proxy_takes_no_new_call_and_keeps_the_others() -> None:
    setting = Setting()
    caller, _ = answer(setting)
    setting.proxy.drain(setting.now + 60, setting.now)
    setting.invite(call_id="another")
    assert setting.proxy.remaining() == 0
    at_phone, _ = setting.run()
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 503)]  # type: ignore[attr-defined]
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [ByeAnswered]
    assert kinds(at_router) == [Ended]
    assert setting.proxy.remaining() == 0
    setting.proxy.undrain(setting.now)
    setting.invite(call_id="third")
    _, at_router = setting.run()
    assert kinds(at_router) == [InviteReceived]


def test_public_address_moves_during_a_call() -> None:
    setting = Setting(two_proxies=True)
    caller, callee = answer(setting)
    setting.network.add(*PUBLIC, setting.proxy, "public-udp")
    setting.proxy.configure(configuration(), setting.now)
    setting.second.configure(configuration(own=OTHER, public=False), setting.now)
    callee.reinvite(b"hold", now=setting.now)
    at_phone, _ = setting.run()
    assert kinds(at_phone) == [ReinviteReceived]
    caller.answer_reinvite(b"held", now=setting.now)
    setting.run()
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert kinds(at_phone) == [ByeAnswered]
    assert kinds(at_router) == [Ended]
    setting.at_rest()


@pytest.mark.parametrize("seed", range(8))
def test_a_bad_network_ends_every_transaction(seed: int) -> None:
    setting = Setting(routers=2, seed=seed, loss=0.2, repeat=0.2, jitter=0.3)
    caller = setting.invite()
    for _ in range(60):
        setting.network.run(1)
        for address in ROUTERS:
            for event in setting.network.happened(*address):
                if isinstance(event, InviteReceived) and event.session.state == "calling":
                    event.session.progress(now=setting.now)
                    event.session.accept(b"answer", now=setting.now)
    caller.end(now=setting.now)
    setting.network.run(60)
    for router in setting.routers:
        for session in list(router.sessions.values()):
            session.end(now=setting.now)
    setting.at_rest()
