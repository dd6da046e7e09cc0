"""REGISTER at the proxy: challenge, binding job, answers (RFC 3261 section 10.3)."""

import pytest

from telephony.effects import Ask
from telephony.jobs.resource import BoundOne
from telephony.sip.digest import Credentials
from telephony.sip.events import ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from tests.telephony.proxy.registering import binds, bound, reached
from tests.telephony.proxy.setting import OWN, PHONE, Setting

CREDENTIALS = Credentials("1001", "one")


def register(setting: Setting, credentials: Credentials | None = CREDENTIALS, to: str = "1001", **options: object) -> None:
    headers = options.pop("headers", [("Contact", "<sip:1001@192.0.2.1:5060>;q=0.5")])
    setting.phone.request(
        "REGISTER", "sip:192.0.2.100", f"<sip:{to}@hotswitch>", f"<sip:{to}@hotswitch>", setting.outside, now=setting.now,
        headers=headers, credentials=credentials, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    setting.network.run(0.1)


def asked(setting: Setting) -> Ask:
    (ask,) = setting.network.events[id(setting.proxy)]
    setting.network.events[id(setting.proxy)].clear()
    assert isinstance(ask, Ask)
    return ask


def outcome(setting: Setting) -> ResponseReceived:
    setting.network.run(0.1)
    (event,) = setting.network.happened(*PHONE)
    assert isinstance(event, ResponseReceived)
    return event


def test_a_phone_registers() -> None:
    setting = Setting()
    register(setting)
    ask = asked(setting)
    (bind,) = binds(ask)
    assert bind.aor == "1001"
    assert bind.cseq == 2
    (change,) = bind.bindings
    assert change.contact == "sip:1001@192.0.2.1:5060"
    assert change.expires_seconds == 3600
    assert change.q == 0.5
    assert change.received == "192.0.2.1:5060"
    assert change.path.endswith("@192.0.2.100:5060;lr;ob>")
    held = setting.proxy._way.tokens.read(change.path[5:].partition("@")[0])
    assert held is not None
    assert held.flow == Flow("udp", "public-udp", "192.0.2.1", 5060)
    body = bound(reached(change.contact, setting.now + 3600, q=0.5, instance="<urn:uuid:1>"))
    setting.proxy.reply(ask.id, "ok", body, "db", setting.now)
    event = outcome(setting)
    assert event.status == 200
    assert event.message is not None
    assert event.message.get("contact") == '<sip:1001@192.0.2.1:5060>;q=0.5;+sip.instance="<urn:uuid:1>";expires=3600'
    setting.at_rest()


def test_proxies_between_us_are_on_the_way_back() -> None:
    """RFC 3327 section 5.3."""
    setting = Setting()
    register(setting, headers=[("Contact", "<sip:1001@10.0.0.1>"), ("Path", "<sip:edge.example;lr>, <sip:far.example;lr>")])
    ask = asked(setting)
    (change,) = binds(ask)[0].bindings
    ours, *others = change.path.split(", ")
    assert ours.endswith("@192.0.2.100:5060;lr;ob>")
    assert others == ["<sip:edge.example;lr>", "<sip:far.example;lr>"]
    setting.proxy.reply(ask.id, "ok", bound(BoundOne("ok")), "db", setting.now)
    event = outcome(setting)
    assert event.status == 200
    assert event.message is not None
    assert event.message.get_all("path") == others
    setting.at_rest()


def test_a_router_reaches_the_phone_through_them() -> None:
    setting = Setting()
    path = setting.proxy.way.path(Flow("udp", "public-udp", *PHONE)) + ", <sip:edge.example;lr>, <sip:far.example;lr>"
    router = setting.routers[0]
    parties = ("<sip:1002@hotswitch>", "<sip:1001@hotswitch>")
    router.invite("sip:1001@10.0.0.1", *parties, setting.network.flow(*OWN), now=setting.now, route=[path])
    (invited,), _ = setting.run()
    assert invited.message.get_all("route") == ["<sip:edge.example;lr>", "<sip:far.example;lr>"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("status", "answer"), [("timeout", 503), ("unavailable", 503), ("ok", 500)])
def test_the_database_refuses(status: str, answer: int) -> None:
    setting = Setting()
    register(setting)
    setting.proxy.reply(asked(setting).id, status, b"", "", setting.now)
    assert outcome(setting).status == answer
    setting.at_rest()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Contact", "<sip:1001@192.0.2.1>;expires=5")], 423),
        ([("Contact", "<sip:1001@192.0.2.1>"), ("Expires", "59")], 423),
        ([("Contact", "*"), ("Expires", "60")], 400),
        ([("Contact", "*")], 400),
        ([("Contact", "*"), ("Contact", "<sip:1001@192.0.2.1>"), ("Expires", "0")], 400),
        ([("Contact", "<sip:1001@192.0.2.1")], 400),
        ([("Contact", "sip:1001@192.0.2.1?a=b")], 400),
        ([("Contact", "<sip:1@192.0.2.1>")] * 11, 413),
        ([("Contact", "<sip:1@192.0.2.1>"), ("Require", "telepathy")], 420),
        ([("Contact", "<sip:1@192.0.2.1>"), ("Require", "gruu")], 420),
        ([("Contact", "<sip:1@192.0.2.1>"), ("Path", "<sip:edge")], 400),
        ([("Contact", "<sip:1@192.0.2.1>"), ("Path", "<tel:+1>")], 400),
        ([("Contact", "<sip:1@192.0.2.1>")] + [("Path", "<sip:edge;lr>")] * 9, 400),
    ],
)
def test_what_is_wrong_with_it_is_said(headers: list[tuple[str, str]], status: int) -> None:
    setting = Setting()
    register(setting, headers=headers)
    event = outcome(setting)
    assert event.status == status
    if status == 423:
        assert event.message is not None
        assert event.message.get("min-expires") == "60"
    setting.at_rest()


def test_wildcard_and_query() -> None:
    setting = Setting()
    register(setting, headers=[("Contact", "*"), ("Expires", "0")])
    (bind,) = binds(asked(setting))
    assert bind.wildcard
    assert bind.bindings == []
    register(setting, headers=[])
    (bind,) = binds(asked(setting))
    assert not bind.wildcard
    assert bind.bindings == []


def test_only_the_user_registers() -> None:
    setting = Setting()
    register(setting, to="1002")
    assert outcome(setting).status == 403
    register(setting, Credentials("1001", "wrong"))
    assert outcome(setting).status == 401
    register(setting, None)
    event = outcome(setting)
    assert event.status == 401
    assert event.message is not None
    assert "algorithm=MD5" in (event.message.get("www-authenticate") or "")


def test_a_recorded_request_is_worth_nothing() -> None:
    setting = Setting()
    kept: list[bytes] = []
    setting.network.drop = lambda source, target, data: bool(b"Authorization:" in data and kept.append(data))
    register(setting)
    asked(setting)
    replayed = kept[0].replace(b"branch=z9hG4bK", b"branch=z9hG4bKreplayed")
    setting.proxy.receive(replayed, Flow("udp", "public-udp", "192.0.2.66", 5060), setting.now)
    (send,) = setting.proxy.take()
    response = Message.parse(send.data)  # type: ignore[union-attr]
    assert response.status == 401
    assert "stale=true" in (response.get("www-authenticate") or "")
