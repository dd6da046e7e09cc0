"""A conference whose members' media is on two machines: they hear each other, and go on doing so whatever becomes of the hub."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.cluster.running import Running
from tests.cluster.test_kill import services
from tests.interop.audio import Recording
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for

TONES = {"1001": 440.0, "1002": 1000.0, "1003": 1700.0, "1004": 2300.0}
TRIES_MAX = 10


def lately(phone: Baresip, frequency: float) -> float:
    """For how much of the last second a phone has heard a tone."""
    heard = phone.heard()
    return Recording(heard.samples[-heard.rate :], heard.rate).heard(frequency)


def all_hear_each_other(phones: list[Baresip]) -> None:
    for phone in phones:
        for other in phones:
            if other is not phone:
                wait_for(lambda phone=phone, other=other: lately(phone, other.tone) > 0.9, name=f"{other.user} at {phone.user}")  # type: ignore[misc]
        assert lately(phone, phone.tone) < 0.1, "nobody hears itself"


def branches(cluster: Running) -> dict[str, tuple[bool, int]]:
    """Processor to whether it is the hub, and how many members it has."""
    return {
        branch["processor"]: (branch["hub"], len(branch["calls"]))
        for room in cluster.get("rooms")
        if room["name"] == "3000"
        for branch in room["branches"]
    }


def legs(cluster: Running) -> dict[str, int]:
    return {service["id"]: service["remaining"] for service in services(cluster, "media_processor")}


def call_elsewhere(cluster: Running, one: Baresip, other: Baresip, hub: str) -> None:
    """Two phones talk by another processor than this one."""
    for _ in range(TRIES_MAX):
        before = legs(cluster)
        one.dial(f"sip:{other.user}@{cluster.sip}")
        one.wait("CALL_ESTABLISHED")
        other.wait("CALL_ESTABLISHED")
        wait_for(lambda before=before: sum(legs(cluster).values()) == sum(before.values()) + 2, name="the legs of the call")  # type: ignore[misc]
        if legs(cluster)[hub] == before[hub]:
            return
        one.hang_up()
        other.wait("CALL_CLOSED")
    raise AssertionError(f"all calls went by {hub}")


def ended(cluster: Running, user: str) -> list[dict[str, Any]]:
    return [
        call["detail"]
        for call in cluster.get("calls?ended=true")
        if call["detail"].get("target") == "3000" and call["detail"]["caller"] == user
    ]


def test_members_on_two_processors_hear_each_other_and_the_hub_may_go(cluster: Running, tmp_path: Path) -> None:
    phones = [Baresip(tmp_path, user, server=cluster.sip, password=cluster.users[user], tone=tone) for user, tone in TONES.items()]
    first, second, third, helper = phones
    known = len(ended(cluster, "1001"))
    with first, second, third, helper:
        for phone in (first, third):
            phone.dial(f"sip:3000@{cluster.sip}")
            phone.wait("CALL_ESTABLISHED")
        (hub,) = wait_for(lambda: list(branches(cluster).values()) == [(True, 2)] and list(branches(cluster)), name="the room")
        call_elsewhere(cluster, second, helper, hub)
        helper.transfer(f"sip:3000@{cluster.sip}")
        helper.wait("CALL_CLOSED")
        members = wait_for(lambda: len(branches(cluster)) == 2 and branches(cluster), name="two branches")
        (other,) = set(members) - {hub}
        assert members == {hub: (True, 2), other: (False, 1)}
        all_hear_each_other([first, second, third])

        # The hub is killed: its standby goes on with its legs, the trunk among them.
        wait_for(lambda: list(cluster.processes().values()).count("media-processor") == 2 * len(legs(cluster)), name="warm standbys")
        os.kill(next(service["pid"] for service in services(cluster, "media_processor") if service["id"] == hub), signal.SIGKILL)
        wait_for(lambda: any(service["restarts"] for service in services(cluster, "media_processor")), name="the hub again")
        all_hear_each_other([first, second, third])
        assert branches(cluster) == members

        # Its machine is switched away: its members come by others.
        machine = next(one["name"] for one in cluster.machines() if hub in {service["id"] for service in one["services"]})

        def moved() -> bool:
            now = branches(cluster)
            return hub not in now and sum(count for _, count in now.values()) == 3 and sum(is_hub for is_hub, _ in now.values()) == 1

        try:
            switched = cluster.command("switch", machine, "--to", "messaging", "--drain", "2", "--wait", seconds=90)
            assert switched.returncode == 0, switched.stderr
            wait_for(moved, name="the members elsewhere")
            all_hear_each_other([first, second, third])
            assert not [event for phone in (first, second, third) for event in phone.events if event["type"] == "CALL_CLOSED"]
        finally:
            for phone in (first, second, third):
                phone.hang_up()
            cluster.command("switch", machine, "--to", "voice", "--wait", seconds=90)
        (record,) = wait_for(lambda: ended(cluster, "1001")[: len(ended(cluster, "1001")) - known], name="the record")
        assert (record["cause"], record["answered_by"], record["status"]) == ("caller-hung-up", "conference", 200)
        wait_for(lambda: not any(legs(cluster).values()), seconds=20, name="no leg and no trunk")
    assert cluster.get("rooms") == []
