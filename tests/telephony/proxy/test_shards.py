"""Two proxies that share the public address: what goes to a phone leaves through the one that hears it."""

import pytest

from telephony.effects import Locate, Send
from telephony.shard import SHARDS_MAX, shard_of
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, ByeAnswered, Cancelled, Ended, InviteReceived, Rejected
from telephony.sip.flow import Flow
from telephony.sip.resolution import Hop, Located
from telephony.sip.session import Session
from tests.telephony.proxy.setting import OTHER, OWN, PHONE, PUBLIC, ROUTERS, Setting, configuration

ADDRESSES = [f"{host}:{port}" for host, port in (OWN, OTHER)]


def shards(peer: tuple[str, int]) -> list[str]:
    """The second proxy hears this peer, and so has the public address on the network of the test."""
    return ADDRESSES if shard_of(*peer, 2) == 1 else ADDRESSES[::-1]


def sharded(peer: tuple[str, int] = PHONE) -> Setting:
    setting = Setting(two_proxies=True)
    for proxy, own in ((setting.proxy, OWN), (setting.second, OTHER)):
        proxy.configure(configuration(own=own, public_shards=shards(peer)), setting.now)
    return setting


def call(setting: Setting, target: str, route: str = "") -> Session:
    """The router calls by the proxy that does not hear whom it calls."""
    to_proxy = setting.network.flow(*OWN)
    given = [route] if route else []
    return setting.routers[0].invite(target, "<sip:1002@hotswitch>", f"<{target}>", to_proxy, now=setting.now, route=given, body=b"offer")


def senders(session: Session) -> list[str]:
    return [value.split(";")[0].split(" ")[1] for value in session.invite.get_all("via")]


def test_a_call_to_a_phone_that_the_other_proxy_hears() -> None:
    setting = sharded()
    path = setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))
    caller = call(setting, "sip:phone@10.1.1.1:5099", path)
    at_phone, _ = setting.run()
    assert [type(event) for event in at_phone] == [InviteReceived]
    callee = at_phone[0].session  # type: ignore[attr-defined]
    assert senders(callee) == [f"{PUBLIC[0]}:5060", f"{OWN[0]}:5060", f"{ROUTERS[0][0]}:5060"]
    assert len(callee.invite.get_all("record-route")) == 1
    callee.accept(b"answer", now=setting.now)
    at_phone, at_router = setting.run()
    assert [type(event) for event in at_router] == [Answered]
    assert [type(event) for event in at_phone] == [Acknowledged]
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert [type(event) for event in at_router] == [ByeAnswered]
    assert [type(event) for event in at_phone] == [Ended]
    setting.at_rest()


def test_a_phone_that_the_proxy_itself_hears_is_reached_at_once() -> None:
    setting = sharded()
    setting.proxy.configure(configuration(public_shards=shards(PHONE)[::-1]), setting.now)
    setting.network.add(*PUBLIC, setting.proxy, "public-udp")
    path = setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))
    call(setting, "sip:phone@10.1.1.1:5099", path)
    at_phone, _ = setting.run()
    assert senders(at_phone[0].session) == [f"{PUBLIC[0]}:5060", f"{ROUTERS[0][0]}:5060"]  # type: ignore[attr-defined]


def test_a_place_outside_that_the_other_proxy_hears() -> None:
    place = ("198.51.100.1", 5070)
    setting = sharded(place)
    outside = Endpoint(f"{place[0]}:{place[1]}")
    setting.network.add(*place, outside)
    caller = call(setting, "sip:bob@example.org")
    setting.network.run(0.1)
    [asked] = [one for one in setting.network.happened(*OWN) if isinstance(one, Locate)]
    setting.proxy.located(asked.id, Located([Hop("udp", *place)]), setting.now)
    setting.network.run(0.1)
    callee = setting.network.happened(*place)[0].session
    assert senders(callee) == [f"{PUBLIC[0]}:5060", f"{OWN[0]}:5060", f"{ROUTERS[0][0]}:5060"]
    assert callee.invite.get_all("record-route") == [f"<sip:{PUBLIC[0]}:5060;lr>"]
    callee.accept(b"answer", now=setting.now)
    setting.run()
    caller.bye(now=setting.now)
    setting.run()
    assert [type(event) for event in setting.network.happened(*place)] == [Acknowledged, Ended]
    setting.at_rest()


def test_proxies_that_disagree_for_a_moment_do_not_hand_it_to_and_fro() -> None:
    setting = sharded()
    setting.second.configure(configuration(own=OTHER, public_shards=shards(PHONE)[::-1]), setting.now)
    path = setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))
    call(setting, "sip:phone@10.1.1.1:5099", path)
    at_phone, _ = setting.run()
    assert [type(event) for event in at_phone] == [InviteReceived]
    assert sum("INVITE" in line for line in setting.network.log) == 3


def test_the_number_of_shards_is_bounded() -> None:
    setting = Setting()
    with pytest.raises(ValueError, match="at most"):
        setting.proxy.configure(configuration(public_shards=["192.0.2.1:5060"] * (SHARDS_MAX + 1)), setting.now)


def passed(setting: Setting) -> None:
    """What the first proxy heard of the phone, the second one hears from now on."""
    owners = [f"{OTHER[0]}:{OTHER[1]}"]
    setting.proxy.configure(configuration(public=False, public_shards=owners), setting.now)
    setting.second.configure(configuration(own=OTHER, public_shards=owners), setting.now)
    setting.network.add(*PUBLIC, setting.second, "public-udp")


def single() -> Setting:
    """The first proxy hears all."""
    setting = Setting(two_proxies=True)
    owners = [f"{OWN[0]}:{OWN[1]}"]
    setting.proxy.configure(configuration(public_shards=owners), setting.now)
    setting.second.configure(configuration(own=OTHER, public=False, public_shards=owners), setting.now)
    setting.network.add(*PUBLIC, setting.proxy, "public-udp")
    return setting


def test_answers_find_the_proxy_that_asked_when_its_share_has_passed() -> None:
    setting = single()
    path = setting.proxy.way.path(setting.network.flow(*PHONE)._replace(socket="public-udp"))
    caller = call(setting, "sip:phone@192.0.2.1:5060", path)
    at_phone, _ = setting.run()
    passed(setting)
    at_phone[0].session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    at_phone, at_router = setting.run()
    assert [type(event) for event in at_router] == [Answered]
    assert setting.proxy.remaining() == 0
    assert [type(event) for event in at_phone] == [Acknowledged]
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert [type(event) for event in (*at_phone, *at_router)] == [Ended, ByeAnswered]
    setting.at_rest()


def test_a_call_that_rings_is_cancelled_where_its_invite_is() -> None:
    setting = single()
    calling = setting.invite()
    _, at_router = setting.run()
    at_router[0].session.progress(180, now=setting.now)  # type: ignore[attr-defined]
    setting.run()
    passed(setting)
    calling.cancel(now=setting.now)
    at_phone, at_router = setting.run()
    assert [type(event) for event in at_router] == [Cancelled]
    assert [(type(event), event.status) for event in at_phone] == [(Rejected, 487)]  # type: ignore[attr-defined]
    sent = [line for line in setting.network.log if "CANCEL" in line or "ACK" in line]
    setting.run(5.0)
    assert [line for line in setting.network.log if "CANCEL" in line or "ACK" in line] == sent  # each was answered at once
    setting.at_rest()


def test_a_cancel_of_nothing_is_told_so_by_the_one_who_should_know() -> None:
    setting = single()
    passed(setting)
    setting.second.receive(cancel(), setting.network.flow(*PHONE)._replace(socket="public-udp"), setting.now)
    [handed] = setting.second.take()
    assert isinstance(handed, Send)
    assert handed.flow[2:4] == OWN
    setting.proxy.receive(handed.data, Flow("udp", "sip-udp", *OTHER), setting.now)
    [answer] = setting.proxy.take()
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 481")
    assert answer.flow == Flow("udp", "public-udp", *PHONE)


def test_nobody_else_hands_anything_over() -> None:
    setting = single()
    passed(setting)
    setting.second.receive(cancel(), setting.network.flow(*PHONE)._replace(socket="public-udp"), setting.now)
    [handed] = setting.second.take()
    assert isinstance(handed, Send)
    for data, source in (
        (handed.data, Flow("udp", "public-udp", *PHONE)),
        (handed.data.replace(b"CANCEL", b"INVITE"), Flow("udp", "sip-udp", *OTHER)),
        (handed.data.replace(PHONE[0].encode(), b"192.0.2.2", 1), Flow("udp", "sip-udp", *OTHER)),
        (b"\x04", Flow("udp", "sip-udp", *OTHER)),
        (b"\x04\xff|1|2\n", Flow("udp", "sip-udp", *OTHER)),
        (b"\x04a|b\nc", Flow("udp", "sip-udp", *OTHER)),
    ):
        setting.proxy.receive(data, source, setting.now)
        assert setting.proxy.take() == []
    assert setting.proxy.counters.broken == 6


def test_an_answer_to_a_proxy_goes_no_further_than_that() -> None:
    """Its Vias name the proxies by turns: each message makes one, not one for each Via."""
    setting = single()
    vias = "".join(f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{number}\r\n" for number in range(20) for host, port in (OTHER, OWN))
    answer = (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {PUBLIC[0]}:5060;branch=z9hG4bK1\r\n{vias}"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    setting.proxy.receive(answer, setting.network.flow(*PHONE)._replace(socket="public-udp"), setting.now)
    [passed_on] = setting.proxy.take()
    assert isinstance(passed_on, Send)
    assert passed_on.flow == Flow("udp", "sip-udp", *OTHER)
    setting.second.receive(passed_on.data, Flow("udp", "sip-udp", *OWN), setting.now)
    assert setting.second.take() == []


def test_who_hears_a_share_first_has_nobody_to_ask() -> None:
    setting = single()
    setting.proxy.receive(cancel(), setting.network.flow(*PHONE)._replace(socket="public-udp"), setting.now)
    [answer] = setting.proxy.take()
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 481")


def cancel() -> bytes:
    return (
        f"CANCEL sip:9196@{PUBLIC[0]} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE[0]}:5060;branch=z9hG4bKnone\r\nMax-Forwards: 70\r\n"
        f"From: <sip:a@b>;tag=1\r\nTo: <sip:9196@{PUBLIC[0]}>\r\nCall-ID: c\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
    ).encode()
