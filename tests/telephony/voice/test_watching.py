"""Phones that watch users: presence and dialogs, as the resource database knows them."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.sip.flow import Flow
from telephony.sip.subscriber import Subscriber
from tests.telephony.voice.simulation import PROXY, Simulation
from tests.telephony.voice.test_dialogs import said

PIDF = "{urn:ietf:params:xml:ns:pidf}"
DIALOGS = "{urn:ietf:params:xml:ns:dialog-info}"


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(3700.0)
    assert len(one.router._desk.endpoint.subscriptions) == 0, "a subscription is left"  # type: ignore[union-attr]
    watching = one.router._behaviour.watching  # type: ignore[union-attr]
    assert (watching._watches, watching._states, dict(watching._of_watcher)) == ({}, {}, {})
    one.close()


def watch(simulation: Simulation, package: str, user: str = "1002", by: str = "1001", seconds: int = 600, **headers: str) -> Subscriber:
    phone = simulation.phones[by]
    given = [("P-Asserted-Identity", f"<sip:{by}@hotswitch>")] if by != "guest" else []
    given += list(headers.items())
    flow = Flow("udp", "sip-udp", *PROXY)
    target = f"sip:{user}@hotswitch"
    now = simulation.now
    return phone.endpoint.subscribe(package, target, f"<sip:{by}@hotswitch>", f"<{target}>", flow, now=now, seconds=seconds, headers=given)


def presences(simulation: Simulation, by: str = "1001") -> list[str]:
    """What NOTIFYs have said: open or closed, and the note."""
    found = []
    for message in said(simulation.phones[by], "Notified"):
        tree = ElementTree.fromstring(message.body)
        basic, note = tree.findtext(f".//{PIDF}basic"), tree.findtext(f".//{PIDF}note")
        found.append(f"{basic} {note}" if note else str(basic))
    return found


def test_presence_from_absent_to_busy_and_back(simulation: Simulation) -> None:
    subscriber = watch(simulation, "presence")
    simulation.run(0.1)
    assert presences(simulation) == ["closed"]
    simulation.register("1002")
    simulation.run(0.1)
    assert presences(simulation)[1:] == ["open"]
    session = simulation.phones["1003"].call("1002")
    simulation.run(30.0)
    assert presences(simulation)[2:] == ["closed On the phone"]
    session.bye(now=simulation.now)
    simulation.run(0.5)
    assert presences(simulation)[3:] == ["open"]
    first = said(simulation.phones["1001"], "Notified")[0]
    assert first.get("content-type") == "application/pidf+xml"
    assert ElementTree.fromstring(first.body).get("entity") == "sip:1002@hotswitch"
    subscriber.unsubscribe(simulation.now)
    simulation.run(0.5)
    assert subscriber.state == "ended"


def watched_dialogs(simulation: Simulation, by: str = "1001") -> list[list[str]]:
    """What dialog documents have said, in order: direction and state of each dialog."""
    trees = [ElementTree.fromstring(message.body) for message in said(simulation.phones[by], "Notified")]
    return [[f"{one.get('direction')} {one.findtext(f'{DIALOGS}state')}" for one in tree.iter(f"{DIALOGS}dialog")] for tree in trees]


@pytest.mark.parametrize("watched", ["1002", "1003"])
def test_dialogs_from_trying_to_terminated(simulation: Simulation, watched: str) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = 5.0
    subscriber = watch(simulation, "dialog", user=watched)
    simulation.run(0.5)
    session = simulation.phones["1003"].call("1002")
    simulation.run(10.0)
    session.bye(now=simulation.now)
    simulation.run(1.0)
    trees = [ElementTree.fromstring(message.body) for message in said(simulation.phones["1001"], "Notified")]
    direction = "recipient" if watched == "1002" else "initiator"
    states = watched_dialogs(simulation)
    assert states == [[], *([f"{direction} {state}"] for state in ("trying", "early", "confirmed", "terminated"))]
    assert [tree.get("version") for tree in trees] == ["0", "1", "2", "3", "4"]
    assert len({one.get("id") for tree in trees for one in tree.iter(f"{DIALOGS}dialog")}) == 1
    assert session.call_id.encode() not in said(simulation.phones["1001"], "Notified")[2].body
    subscriber.unsubscribe(simulation.now)


def test_dialogs_of_a_call_that_nobody_takes(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].reject = 486
    subscriber = watch(simulation, "dialog")
    simulation.run(0.5)
    simulation.phones["1003"].call("1002")
    simulation.run(1.0)
    assert watched_dialogs(simulation) == [[], ["recipient trying"], ["recipient terminated"]]
    subscriber.unsubscribe(simulation.now)


def test_a_second_call_beside_the_first(simulation: Simulation) -> None:
    subscriber = watch(simulation, "dialog", user="1003")
    simulation.run(0.5)
    first = simulation.phones["1003"].call("9196")
    simulation.run(0.5)
    second = simulation.phones["1003"].call("9664")
    simulation.run(0.5)
    first.bye(now=simulation.now)
    simulation.run(0.5)
    assert watched_dialogs(simulation)[-2:] == [["initiator confirmed"] * 2, ["initiator confirmed", "initiator terminated"]]
    second.bye(now=simulation.now)
    simulation.run(0.5)
    assert watched_dialogs(simulation)[-1] == ["initiator terminated"]
    subscriber.unsubscribe(simulation.now)


def test_who_picks_a_call_up_is_in_it_and_who_was_rung_is_not(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.phones["1002"].ring_seconds = None
    subscriber = watch(simulation, "dialog")
    simulation.run(0.5)
    caller = simulation.phones["1003"].call("1002")
    simulation.run(0.5)
    rung = simulation.phones["1002"].sessions[0].dialog
    replaces = f"{rung.call_id};to-tag={rung.remote_tag};from-tag={rung.local_tag};early-only"
    taken = simulation.phones["1001"].call("1002", replaces=replaces)
    simulation.run(0.5)
    assert taken.state == "established"
    assert watched_dialogs(simulation)[-1] == ["recipient terminated"]
    caller.bye(now=simulation.now)
    simulation.run(0.5)
    subscriber.unsubscribe(simulation.now)


def test_it_goes_on_for_hours_and_through_a_restart_of_the_database(simulation: Simulation) -> None:
    subscriber = watch(simulation, "presence")
    simulation.run(3000.0)
    simulation.dead.add("database-1")
    simulation.run(20.0)
    simulation.cores["database-1"].close()  # type: ignore[attr-defined]
    simulation.dead.clear()
    simulation.start("database-1")
    simulation.run(20.0)
    before = len(presences(simulation))
    simulation.register("1002")
    simulation.run(10.0)
    assert presences(simulation)[before:] == ["open"]
    subscriber.unsubscribe(simulation.now)


def test_the_state_once(simulation: Simulation) -> None:
    simulation.register("1002")
    subscriber = watch(simulation, "presence", seconds=0)
    simulation.run(0.5)
    assert presences(simulation) == ["open"]
    assert subscriber.state == "ended"


def test_a_database_that_is_away(simulation: Simulation) -> None:
    simulation.dead.add("database-1")
    subscriber = watch(simulation, "presence")
    simulation.run(5.0)
    assert presences(simulation) == ["closed"]
    simulation.dead.clear()
    simulation.register("1002")
    simulation.run(10.0)
    assert presences(simulation)[-1] == "open"
    subscriber.unsubscribe(simulation.now)


@pytest.mark.parametrize(
    ("package", "by", "headers", "status"),
    [
        ("presence", "guest", {}, 403),
        ("refer", "1001", {}, 403),
        ("message-summary", "1001", {}, 489),
        ("dialog", "1001", {"Accept": "application/pidf+xml"}, 406),
    ],
)
def test_what_is_refused(simulation: Simulation, package: str, by: str, headers: dict[str, str], status: int) -> None:
    watch(simulation, package, by=by, **headers)
    simulation.run(0.5)
    assert said(simulation.phones[by], "SubscriptionEnded")[0].status == status


def test_one_watcher_has_so_many_at_most(simulation: Simulation) -> None:
    from telephony.voice.watching import WATCHES_PER_USER_MAX

    for number in range(WATCHES_PER_USER_MAX + 1):
        watch(simulation, "presence", user=f"user{number}", seconds=60)
    simulation.run(0.5)
    assert [message.status for message in said(simulation.phones["1001"], "SubscriptionEnded")] == [503]
    simulation.phones.pop("1001")


def test_a_router_that_drains_sends_watchers_elsewhere(simulation: Simulation) -> None:
    subscriber = watch(simulation, "presence")
    simulation.run(0.5)
    simulation.router.drain(simulation.now + 5.0, simulation.now)
    simulation.run(5.0)
    assert subscriber.state == "ended"
    assert [event.reason for event in simulation.phones["1001"].named("SubscriptionEnded")] == ["deactivated"]  # type: ignore[union-attr]
    watch(simulation, "presence")
    simulation.run(0.5)
    assert said(simulation.phones["1001"], "SubscriptionEnded")[1].status == 503
