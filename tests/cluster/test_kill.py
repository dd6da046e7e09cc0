"""Point 6: each kind of service is killed while calls go on; it is started again, its balancers know at once, others notice nothing."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.running import Running
from tests.cluster.test_start import SERVICES, kinds
from tests.cluster.test_switch import call_is_answered
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for


def services(cluster: Running, kind: str) -> list[dict[str, Any]]:
    return [service for machine in cluster.machines() for service in machine["services"] if service["kind"] == kind]


@pytest.mark.parametrize("kind", sorted(SERVICES))
def test_killed_service_is_back_and_calls_go_on(cluster: Running, tmp_path: Path, kind: str) -> None:
    before = kinds(cluster)
    with Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=440.0) as caller:
        caller.dial(f"sip:9196@{cluster.sip}")
        caller.wait("CALL_ESTABLISHED")
        wait_for(lambda: caller.heard_seconds() > 0.5, name="audio")
        victim = services(cluster, kind)[-1]
        os.kill(victim["pid"], signal.SIGKILL)
        again = wait_for(
            lambda: [
                service
                for service in services(cluster, kind)
                if service["id"] == victim["id"] and service["state"] == "healthy" and service["pid"] != victim["pid"]
            ],
            name=f"{victim['id']} started again",
        )[0]
        assert again["restarts"] >= 1
        heard = caller.heard_seconds()
        wait_for(lambda: caller.heard_seconds() > heard + 1.0, name="audio after the kill")
        assert not [event for event in caller.events if event["type"] == "CALL_CLOSED"]
        caller.hang_up()
        caller.wait("CALL_CLOSED")
        if kind != "media_processor":  # that is told packet by packet below
            assert caller.heard().gaps(440.0) <= 0.08
    wait_for(lambda: kinds(cluster) == before, name=f"the services {before}")
    done = cluster.command("loadtest", f"sip:9196@{cluster.sip}", "--rate", "8", "--calls", "8", "--duration", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr


def test_calls_of_a_killed_media_processor_lose_no_packet(own_cluster: Running) -> None:
    """Each is killed under calls; its standby goes on with the same sockets, SSRCs and sequence numbers."""

    def warm() -> bool:
        names = list(own_cluster.processes().values())
        return names.count("media-processor") == 2 * len(services(own_cluster, "media_processor"))

    wait_for(warm, name="a standby for each media processor")
    with own_cluster.background(
        "loadtest", f"sip:9196@{own_cluster.sip}", "--rate", "10", "--calls", "20", "--duration", "6", "--json"
    ) as load:
        wait_for(lambda: sum(each["remaining"] for each in services(own_cluster, "media_processor")) == 20, name="20 legs")
        for victim in services(own_cluster, "media_processor"):
            os.kill(victim["pid"], signal.SIGKILL)
        report = json.loads(load.communicate()[0])
    print("longest gap, ms:", report["gap_max_ms"])
    assert (report["completed"], report["with_audio"], report["failed"]) == (20, 20, 0)
    assert report["packets_received"] == report["packets_sent"] > 20 * 290
    assert {each["restarts"] for each in services(own_cluster, "media_processor")} == {1}


def test_calls_outlive_killed_call_routers(cluster: Running, tmp_path: Path) -> None:
    """All call routers are killed while two phones talk: a transfer, and hanging up, still work; the call has one record."""
    victims = {victim["id"]: victim["pid"] for victim in services(cluster, "call_router")}
    phones = [Baresip(tmp_path, user, server=cluster.sip, password=cluster.users[user]) for user in ("1001", "1002", "1003")]
    first, second, third = phones
    with first, second, third:
        first.dial(f"sip:1002@{cluster.sip}")
        first.wait("CALL_ESTABLISHED")
        second.wait("CALL_ESTABLISHED")
        for pid in victims.values():
            os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: all(one["state"] == "healthy" and one["pid"] != victims.get(one["id"]) for one in services(cluster, "call_router")),
            name="all call routers started again",
        )
        heard = second.heard_seconds()
        wait_for(lambda: second.heard_seconds() > heard + 1.0, name="audio after the kill")
        second.transfer(f"sip:1003@{cluster.sip}")
        third.wait("CALL_ESTABLISHED")
        second.wait("CALL_CLOSED")
        first.hang_up()
        third.wait("CALL_CLOSED")

    def records() -> list[dict[str, Any]]:
        return [call for call in cluster.get("calls?ended=true") if call["detail"].get("dialled") == "1002"]

    ended = wait_for(records, name="the call's record")
    assert [(call["detail"]["cause"], call["detail"]["answered_by"]) for call in ended[:1]] == [("caller-hung-up", "1003")]


def test_controller_and_broker_are_not_missed_by_calls(own_cluster: Running, tmp_path: Path) -> None:
    """Calls need neither: both are killed, and new calls are made."""
    before = own_cluster.processes()
    for pid, name in before.items():
        if name in ("hs-controller", "hs-broker"):
            os.kill(pid, signal.SIGKILL)
    with Baresip(tmp_path, "1001", server=own_cluster.sip, password=own_cluster.users["1001"], tone=440.0) as caller:
        caller.dial(f"sip:9196@{own_cluster.sip}")
        caller.wait("CALL_ESTABLISHED")
        wait_for(lambda: caller.heard_seconds() > 1.0, name="audio")
        caller.hang_up()
        caller.wait("CALL_CLOSED")
        assert caller.heard().heard(440.0) > 0.5
    wait_for(
        lambda: {"hs-controller", "hs-broker"} <= {name for pid, name in own_cluster.processes().items() if pid not in before},
        name="controller and broker started again",
    )
    wait_for(lambda: own_cluster.command("status").returncode == 0, seconds=30, name="the API again")
    wait_for(lambda: {machine["state"] for machine in own_cluster.machines()} == {"ready"}, seconds=30, name="all machines ready again")
    call_is_answered(own_cluster)
