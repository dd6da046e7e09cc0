"""A proxy that cannot keep up, and routers that cannot (RFC 7339)."""

from telephony.effects import Admit
from telephony.sip.events import Answered, ByeAnswered, Ended, InviteReceived, Rejected
from telephony.sip.overload import Overload
from tests.telephony.proxy.setting import PHONE, ROUTERS, Setting, configuration


def overload(setting: Setting) -> None:
    setting.proxy.waited(0.5, setting.now - 0.2)
    setting.proxy.waited(0.5, setting.now)


def test_new_calls_are_refused_and_those_that_are_there_go_on() -> None:
    setting = Setting()
    caller = setting.invite()
    _, at_router = setting.run()
    at_router[0].session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    overload(setting)
    setting.invite(call_id="another")
    at_phone, at_router = setting.run(0.01)
    assert {type(event) for event in at_phone} == {Answered, Rejected}
    rejected = next(event for event in at_phone if isinstance(event, Rejected))
    assert (rejected.status, rejected.message.get("retry-after")) == (503, "2")  # type: ignore[union-attr]
    caller.bye(now=setting.now)
    at_phone, at_router = setting.run()
    assert [type(event) for event in at_phone] == [ByeAnswered]
    assert [type(event) for event in at_router][-1] is Ended
    assert setting.proxy.overload.refused == 1
    setting.proxy.waited(0.0, setting.now)
    setting.invite(call_id="third")
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [InviteReceived]
    setting.at_rest()


def test_the_kernel_is_told_to_let_less_through_and_all_again() -> None:
    setting = Setting()
    overload(setting)
    for number in range(200):
        setting.invite(call_id=f"call-{number}")
    setting.run(0.06)
    overload(setting)
    setting.run(10)
    shares = [effect.share for effect in setting.network.events[id(setting.proxy)] if isinstance(effect, Admit)]
    assert min(shares) < 1.0
    assert shares[-1] == 1.0
    setting.at_rest()


def test_a_router_that_asks_for_less_gets_less() -> None:
    setting = Setting(routers=2)
    busy = setting.routers[0].transactions
    busy.overload = Overload("0" * 16)
    busy.overload._loss = 1.0
    busy.overload._step_at = setting.now + 60
    for number in range(10):
        setting.invite(call_id=f"call-{number}")
    setting.run(0.2)
    before = len(setting.routers[0].sessions)
    assert 0 < before < 10, "each has its share by Call-ID, until it says that it is busy"
    for number in range(10, 20):
        setting.invite(call_id=f"call-{number}")
    setting.run(0.1)
    assert len(setting.routers[0].sessions) == before
    assert len(setting.routers[1].sessions) == 20 - before
    setting.run(1.0)
    for number in range(20, 30):
        setting.invite(call_id=f"call-{number}")
    setting.run(0.1)
    assert len(setting.routers[0].sessions) > before, "its word held for half a second"


def test_all_routers_are_busy() -> None:
    setting = Setting()
    setting.invite()
    _, at_router = setting.run()
    setting.proxy.restrictions.heed('SIP/2.0/UDP h;branch=z;oc=100;oc-algo="loss"', ROUTERS[0], setting.now)
    setting.invite(call_id="another")
    at_phone, at_router = setting.run()
    (rejected,) = at_phone
    assert (rejected.status, rejected.message.get("retry-after")) == (503, "5")  # type: ignore[attr-defined]
    assert at_router == []


def test_strangers_hold_nobody_back() -> None:
    setting = Setting()
    setting.proxy.restrictions.heed("SIP/2.0/UDP h;branch=z;oc=100", PHONE, setting.now)
    setting.invite()
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [InviteReceived]


def test_nothing_starves_while_a_router_wants_nothing_new() -> None:
    """What is in progress, its responses, and calls for help go on; new calls do so as soon as it says so."""
    setting = Setting()
    there = setting.invite()
    ringing = setting.invite(call_id="ringing")
    _, at_router = setting.run()
    router = setting.routers[0].transactions
    at_router[0].session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    router.overload = Overload("0" * 16)
    router.overload.reduce(100, setting.now, 30.0)
    for number in range(5):
        setting.invite(call_id=f"early-{number}")
    setting.run()
    for number in range(5):
        setting.invite(call_id=f"late-{number}")
    at_phone, at_late = setting.run()
    assert [type(event) for event in at_phone] == [Rejected] * 5, "they are not even asked"
    assert at_late == []
    setting.proxy.configure(configuration(emergency_numbers=["9196"]), setting.now)
    setting.invite(call_id="help")
    there.bye(now=setting.now)
    at_router[1].session.accept(b"answer", now=setting.now)  # type: ignore[attr-defined]
    at_phone, at_router = setting.run()
    assert {type(event) for event in at_phone} == {ByeAnswered, Answered}
    assert [type(event) for event in at_router if type(event) in (Ended, InviteReceived)] == [InviteReceived, Ended]
    setting.network.run(1.0)
    ringing.bye(now=setting.now)
    setting.run()
    router.overload.reduce(0, setting.now, 1.0)
    setting.invite(call_id="another")
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [InviteReceived]
