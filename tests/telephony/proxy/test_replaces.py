"""INVITE with Replaces (RFC 3891): it goes to the router that has the dialog, whoever sends it."""

import pytest

from telephony.sip.digest import Credentials
from telephony.sip.events import Acknowledged, Answered, ByeAnswered, Ended, InviteReceived
from telephony.sip.flow import Flow
from tests.telephony.proxy.setting import OWN, ROUTERS, Setting
from tests.telephony.proxy.test_calls import kinds


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("call_id", ["a", "b", "c", "d"])
def test_of_a_user(number: int, call_id: str) -> None:
    setting = Setting(routers=2)
    tag = setting.routers[number].new_tag()
    setting.invite(
        "sip:1002@192.0.2.100",
        "<sip:1001@192.0.2.100>",
        headers=[("Replaces", f"x;to-tag={tag};from-tag=y")],
        call_id=call_id,
        credentials=Credentials("1001", "one"),
    )
    setting.network.run(0.2)
    found = [setting.network.happened(*address) for address in ROUTERS]
    assert kinds(found[number]) == [InviteReceived]
    assert found[1 - number] == []
    found[number][0].session.reject(481, now=setting.now)
    setting.at_rest()


def test_of_a_router_and_the_dialog_after_it() -> None:
    setting = Setting(routers=2)
    first, second = setting.routers
    headers = [("Replaces", f"x;to-tag={second.new_tag()};from-tag=y"), ("P-Asserted-Identity", "<sip:1001@hotswitch>")]
    caller = first.invite(
        "sip:1003@192.0.2.100",
        "<sip:1001@hotswitch>",
        "<sip:1003@hotswitch>",
        Flow("udp", "sip", *OWN),
        now=setting.now,
        headers=headers,
        body=b"offer",
    )
    _, at_first = setting.run()
    (received,) = setting.network.happened(*ROUTERS[1])
    assert isinstance(received, InviteReceived)
    assert received.message.get("p-asserted-identity") == "<sip:1001@hotswitch>"
    received.session.accept(b"answer", now=setting.now)
    _, at_first = setting.run()
    assert kinds(at_first) == [Answered]
    assert kinds(setting.network.happened(*ROUTERS[1])) == [Acknowledged]
    setting.network.log.clear()
    received.session.info(b"", now=setting.now)
    setting.run()
    caller.bye(now=setting.now)
    _, at_first = setting.run()
    assert kinds(at_first) == [ByeAnswered]
    assert kinds(setting.network.happened(*ROUTERS[1]))[-1] == Ended
    assert all("192.0.2.10" in line.partition(" ")[0].split(">") for line in setting.network.log), (
        "a router takes requests from proxies alone"
    )
    setting.at_rest()


def test_of_a_router_to_a_dialog_that_nobody_has() -> None:
    setting = Setting()
    headers = [("Replaces", "x;to-tag=unknown;from-tag=y")]
    flow = Flow("udp", "sip", *OWN)
    setting.routers[0].invite(
        "sip:1003@192.0.2.100", "<sip:1001@hotswitch>", "<sip:1003@hotswitch>", flow, now=setting.now, headers=headers, body=b"offer"
    )
    _, at_router = setting.run()
    assert [event.status for event in at_router] == [404]  # type: ignore[attr-defined]
    setting.at_rest()
