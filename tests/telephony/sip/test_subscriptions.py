"""Subscriptions between two user agents (RFC 6665)."""

from typing import Any

import pytest

from telephony.sip.errors import StateError
from telephony.sip.events import Notified, ResponseReceived, SubscribeReceived, SubscriptionEnded
from telephony.sip.notifier import Notifier
from telephony.sip.subscriber import Subscriber
from tests.telephony.sip.test_endpoint import A, B, Pair, kinds


class Watching(Pair):
    """A watches B, which serves two packages."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.b.subscriptions.packages = ("presence", "dialog")

    def subscribe(self, event: str = "presence", seconds: int = 600) -> Subscriber:
        flow = self.network.flow(*B)
        return self.a.subscribe(event, "sip:b@192.0.2.2", "<sip:a@192.0.2.1>", "<sip:b@192.0.2.2>", flow, now=self.now, seconds=seconds)

    def accepted(self, **options: Any) -> tuple[Subscriber, Notifier]:
        subscriber = self.subscribe(**options)
        _, b = self.run()
        assert kinds(b) == [SubscribeReceived]
        notifier: Notifier = b[0].notifier  # type: ignore[attr-defined]
        notifier.accept(3600, now=self.now)
        notifier.notify(b"closed", "text/plain", now=self.now)
        return subscriber, notifier

    def at_rest(self) -> None:
        super().at_rest()
        assert len(self.a.subscriptions) == len(self.b.subscriptions) == 0


def bodies(events: list[Any]) -> list[bytes]:
    return [event.message.body for event in events if isinstance(event, Notified)]


def ended(events: list[Any]) -> list[str]:
    return [event.reason for event in events if isinstance(event, SubscriptionEnded)]


def test_from_subscribe_to_unsubscribe() -> None:
    pair = Watching()
    subscriber, notifier = pair.accepted()
    a, b = pair.run()
    assert bodies(a) == [b"closed"]
    assert a[0].message.get("subscription-state") == "active;expires=600"  # type: ignore[attr-defined]
    notifier.notify(b"open", "text/plain", now=pair.now)
    a, _ = pair.run()
    assert bodies(a) == [b"open"]
    subscriber.unsubscribe(pair.now)
    a, b = pair.run()
    assert bodies(a) == [b"open"]
    assert ended(a) == ["timeout"]
    assert ended(b) == ["unsubscribed"]
    assert (subscriber.state, notifier.state) == ("ended", "ended")
    notifier.notify(b"late", "text/plain", now=pair.now)
    pair.at_rest()


def test_it_is_refreshed_and_says_its_state_each_time() -> None:
    pair = Watching()
    subscriber, notifier = pair.accepted()
    a, b = pair.run(3000)
    assert bodies(a) == [b"closed"] * 6
    assert b == []
    assert sum("SUBSCRIBE" in line for line in pair.network.log) == 6
    assert subscriber.state == notifier.state == "active"
    notifier.end("noresource", now=pair.now, body=b"gone", content_type="text/plain")
    a, b = pair.run()
    assert (bodies(a), ended(a), b) == ([b"gone"], ["noresource"], [])
    pair.at_rest()


def test_a_subscriber_that_vanished_is_forgotten_in_time() -> None:
    pair = Watching()
    pair.accepted(seconds=100)
    pair.run()
    pair.network.drop = lambda source, target, data: source == A
    _, b = pair.run(101)
    assert ended(b) == ["expired"]
    pair.at_rest()


def test_a_subscriber_that_answers_no_notify() -> None:
    pair = Watching()
    _, notifier = pair.accepted()
    pair.run()
    pair.network.drop = lambda source, target, data: source == A
    notifier.notify(b"open", "text/plain", now=pair.now)
    _, b = pair.run(33)
    assert ended(b) == ["unreachable"]


def test_a_notifier_that_vanished() -> None:
    pair = Watching()
    pair.network.drop = lambda source, target, data: source == B
    pair.subscribe()
    a, _ = pair.run(33)
    assert ended(a) == ["no-notify"]
    pair = Watching()
    pair.network.drop = lambda source, target, data: data.startswith(b"NOTIFY")
    pair.accepted()
    a, _ = pair.run(33)
    assert ended(a) == ["no-notify"]


def test_the_state_once() -> None:
    pair = Watching()
    _, notifier = pair.accepted(seconds=0)
    a, b = pair.run()
    assert (bodies(a), ended(a)) == ([b"closed"], ["timeout"])
    assert a[0].message.get("subscription-state") == "terminated;reason=timeout"  # type: ignore[attr-defined]
    assert b == []
    assert notifier.state == "ended"
    pair.at_rest()


def test_no_notify_overtakes_another_and_the_newest_counts() -> None:
    pair = Watching()
    _, notifier = pair.accepted()
    pair.run()
    pair.network.drop = lambda source, target, data: data.startswith(b"NOTIFY") and pair.now < 1001
    for body in (b"1", b"2", b"3"):
        notifier.notify(body, "text/plain", now=pair.now)
    a, _ = pair.run(5)
    assert bodies(a) == [b"1", b"3"]


@pytest.mark.parametrize(
    ("event", "seconds", "status", "header"),
    [("weather", 600, 489, ("allow-events", "presence, dialog")), ("", 600, 489, ("allow-events", "presence, dialog"))],
)
def test_a_package_that_nobody_serves(event: str, seconds: int, status: int, header: tuple[str, str]) -> None:
    pair = Watching()
    pair.subscribe(event, seconds)
    a, b = pair.run()
    assert (ended(a), b) == (["refused"], [])
    message = a[0].message  # type: ignore[attr-defined]
    assert (message.status, message.get(header[0])) == (status, header[1])
    pair.at_rest()


def test_a_time_that_is_too_short_is_made_longer() -> None:
    pair = Watching()
    subscriber = pair.subscribe(seconds=5)
    _, b = pair.run()
    b[0].notifier.accept(3600, now=pair.now)  # type: ignore[attr-defined]
    b[0].notifier.notify(b"closed", "text/plain", now=pair.now)  # type: ignore[attr-defined]
    a, _ = pair.run()
    assert subscriber.seconds == 60
    assert bodies(a) == [b"closed"]


def test_it_is_rejected() -> None:
    pair = Watching()
    pair.subscribe()
    _, b = pair.run()
    b[0].notifier.reject(403, now=pair.now)  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        b[0].notifier.accept(60, now=pair.now)  # type: ignore[attr-defined]
    a, _ = pair.run()
    assert (ended(a), a[0].message.status) == (["refused"], 403)  # type: ignore[attr-defined]
    pair.at_rest()


def test_a_notify_that_nobody_asked_for_and_a_refresh_of_nothing() -> None:
    pair = Watching()
    headers = [("Event", "presence"), ("Subscription-State", "active"), ("Contact", "<sip:192.0.2.1>")]
    for method, to in (("NOTIFY", "<sip:b@192.0.2.2>;tag=x"), ("SUBSCRIBE", "<sip:b@192.0.2.2>;tag=x")):
        flow = pair.network.flow(*B)
        pair.a.request(method, "sip:b@192.0.2.2", "<sip:a@192.0.2.1>", to, flow, now=pair.now, headers=headers)
        a, _ = pair.run()
        assert [event.status for event in a if isinstance(event, ResponseReceived)] == [481]
    pair.at_rest()


@pytest.mark.parametrize("seed", range(8))
def test_a_bad_network_leaves_nothing(seed: int) -> None:
    pair = Watching(seed=seed, loss=0.3, repeat=0.2, jitter=0.3)
    subscriber = pair.subscribe()
    notifiers = []
    for step in range(40):
        _, b = pair.run(5)
        for event in b:
            if isinstance(event, SubscribeReceived):
                event.notifier.accept(3600, now=pair.now)
                notifiers.append(event.notifier)
        for notifier in notifiers:
            notifier.notify(b"%d" % step, "text/plain", now=pair.now)
    subscriber.unsubscribe(pair.now)
    for notifier in notifiers:
        notifier.end("noresource", now=pair.now)
    pair.at_rest()
