"""What was bad is reported once, in few words."""

from telephony.effects import Notify
from telephony.sip.flow import Flow
from tests.telephony.proxy.setting import Setting

EVIL = Flow("udp", "public-udp", "198.51.100.7", 5060)
GARBAGE = b"INVITE sip:x SIP/2.0\r\nVia: x"


def reports(setting: Setting, seconds: float) -> list[dict[str, object]]:
    setting.network.run(seconds)
    events = setting.network.events[id(setting.proxy)]
    found = [event.body for event in events if isinstance(event, Notify)]
    events.clear()
    return found


def test_nothing_bad_nothing_said() -> None:
    setting = Setting()
    setting.invite(target="sip:9197@192.0.2.100")
    assert reports(setting, 60) == [], "a challenge is no refusal"
    setting.at_rest()


def test_a_flood_is_one_line_every_ten_seconds() -> None:
    setting = Setting()
    for _ in range(600):
        setting.proxy.receive(GARBAGE, EVIL, setting.now)
    ban = {"source": "198.51.100.7", "seconds": 30.0, "cause": "broken"}
    first = {"event": "proxy-refusals", "broken": 500, "dropped": 100, "bans": 1, "banned": [ban]}
    assert reports(setting, 0.9) == []
    assert reports(setting, 0.2) == [first]
    for _ in range(8):
        setting.proxy.receive(GARBAGE, EVIL, setting.now)
        assert reports(setting, 1.0) == []
    assert reports(setting, 2.0) == [{"event": "proxy-refusals", "dropped": 8}]
    assert reports(setting, 60) == []
    setting.at_rest()


def test_refusals_of_ours_are_reported() -> None:
    setting = Setting(routers=0)
    setting.invite()
    assert reports(setting, 5) == [{"event": "proxy-refusals", "refused": 1}]
    setting.at_rest()
