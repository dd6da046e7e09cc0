"""Two proxies that share the public address: what goes to a phone leaves through the one that hears it."""

import pytest

from telephony.effects import Locate
from telephony.shard import SHARDS_MAX, shard_of
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, ByeAnswered, Ended, InviteReceived
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
