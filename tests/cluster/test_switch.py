"""Point 5: a machine is turned from voice to messaging and back while the cluster runs, whichever of the four it is."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.running import COMMAND, Running
from tests.cluster.test_start import kinds
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for

NEEDED = {"proxy", "call_router", "load_balancer", "media_processor", "routing", "call_queue", "resource_database"}


def call_is_answered(cluster: Running) -> None:
    done = cluster.command("call", f"sip:9196@{cluster.sip}", "--duration", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["echo"]


def phone(cluster: Running, folder: Path, user: str, tone: float, friend: str = "") -> Baresip:
    return Baresip(folder, user, server=cluster.sip, password=cluster.users[user], tone=tone, friend=friend)


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_to_messaging_and_back(cluster: Running, tmp_path: Path, position: int) -> None:
    machine = sorted(cluster.machines(), key=lambda one: str(one["name"]))[position]
    first = phone(cluster, tmp_path, "1001", 440.0, friend=f"sip:1002@{cluster.sip}")
    second = phone(cluster, tmp_path, "1002", 1000.0)
    with first, second:
        switched = cluster.command("switch", machine["name"], "--to", "messaging", "--wait", seconds=90)
        assert switched.returncode == 0, switched.stderr
        now = {one["id"]: one for one in cluster.machines()}
        assert now[machine["id"]]["platform"] == "messaging"
        assert sorted(one["platform"] for one in now.values()) == ["messaging", "voice", "voice", "voice"]
        assert {"call_router", "load_balancer"} <= {service["kind"] for service in now[machine["id"]]["services"]}
        voice = {service["kind"] for one in now.values() if one["platform"] == "voice" for service in one["services"]}
        assert voice >= NEEDED - {"resource_database"}

        text = f"written-while-{position}-switched"
        first.message(text)
        second.wait_log(text)
        # whoever was registered before is so still: nobody has registered anew in the meantime
        first.dial(f"sip:1002@{cluster.sip}")
        first.wait("CALL_ESTABLISHED")
        second.wait("CALL_ESTABLISHED")
        wait_for(lambda: second.heard_seconds() > 1.0, name="audio")
        first.hang_up()
        second.wait("CALL_CLOSED")
        assert second.heard().heard(440.0) > 0.5

        back = cluster.command("switch", machine["name"], "--to", "voice", "--wait", seconds=90)
        assert back.returncode == 0, back.stderr
        assert {one["platform"] for one in cluster.machines()} == {"voice"}
        call_is_answered(cluster)
        first.dial(f"sip:1002@{cluster.sip}")
        first.wait("CALL_ESTABLISHED")
        first.hang_up()
        first.wait("CALL_CLOSED")
    assert kinds(cluster).keys() >= NEEDED


def test_no_call_is_cut_before_the_deadline(cluster: Running, tmp_path: Path) -> None:
    """Calls on both routers and both media processors go on until they hang up; only then is the machine done."""
    calls = [phone(cluster, tmp_path, user, tone) for user, tone in (("1001", 440.0), ("1002", 620.0), ("1004", 850.0), ("1005", 1200.0))]
    with calls[0], calls[1], calls[2], calls[3]:
        for caller in calls:
            caller.dial(f"sip:9196@{cluster.sip}")
            caller.wait("CALL_ESTABLISHED")
        machine = next(one for one in cluster.machines() if any(service["kind"] == "media_processor" for service in one["services"]))
        switch = subprocess.Popen(
            [str(COMMAND), "switch", machine["name"], "--to", "messaging", "--drain", "60", "--wait"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=cluster.environment | {"HOTSWITCH_API": cluster.api_url, "HOTSWITCH_TOKEN": cluster.token},
        )
        try:
            wait_for(
                lambda: any(service["state"] == "draining" for one in cluster.machines() for service in one["services"]),
                name="a service that drains",
            )
            heard = [caller.heard_seconds() for caller in calls]
            wait_for(lambda: all(caller.heard_seconds() > before + 2 for caller, before in zip(calls, heard, strict=True)), name="audio")
            assert not [event for caller in calls for event in caller.events if event["type"] == "CALL_CLOSED"]
            call_is_answered(cluster)
            for caller in calls:
                caller.hang_up()
                caller.wait("CALL_CLOSED")
                assert caller.heard().gaps(caller.tone) <= 0.08
            assert switch.wait(60) == 0
        finally:
            switch.kill()
            _, said = switch.communicate()
    assert said is not None
    assert cluster.command("switch", machine["name"], "--to", "voice", "--wait", seconds=90).returncode == 0
    call_is_answered(cluster)


def test_calls_end_with_their_cause_at_the_deadline(cluster: Running, tmp_path: Path) -> None:
    """All machines but one are switched: what still talks at the deadline is ended by BYE, and the last one is refused."""
    names: list[str] = []
    caller = phone(cluster, tmp_path, "1001", 440.0)
    try:
        with caller:
            caller.dial(f"sip:9196@{cluster.sip}")
            caller.wait("CALL_ESTABLISHED")
            carrier = wait_for(lambda: [call for call in cluster.get("calls") if call["detail"].get("caller") == "1001"], name="the call")[
                0
            ]
            names = [  # the machine of the call's router first
                str(one["name"])
                for one in sorted(
                    cluster.machines(), key=lambda one: carrier["router"] not in {service["id"] for service in one["services"]}
                )
            ]
            for name in names[:3]:
                done = cluster.command("switch", name, "--to", "messaging", "--drain", "1", "--wait", seconds=90)
                assert done.returncode == 0, done.stderr
            last = cluster.command("switch", names[3], "--to", "messaging", "--wait", seconds=90)
            assert last.returncode == 1
            assert "voice" in last.stderr
            assert "force" in last.stderr
            call_is_answered(cluster)
            caller.wait("CALL_CLOSED")
            assert 'text="Service moves"' in caller.log()
            record = next(call for call in cluster.get("calls?ended=true") if call["id"] == carrier["id"])
            assert record["detail"]["cause"] == "drained"
    finally:
        for name in names[:3]:
            cluster.command("switch", name, "--to", "voice", "--wait", seconds=90)
    assert {one["platform"] for one in cluster.machines()} == {"voice"}
    call_is_answered(cluster)


def test_through_the_api(cluster: Running) -> None:
    """The same instruction as an outside system gives it; said twice with one key, it is one."""
    machine = cluster.machines()[0]
    for platform in ("messaging", "voice"):
        for _ in range(2):
            answer = cluster.api.post(
                f"/v1/machines/{machine['id']}/replace",
                json={"platform": platform},
                headers={"Idempotency-Key": f"test-{platform}-{cluster.mark}"},
            )
            assert answer.status_code in (200, 202), answer.text
        wait_for(
            lambda wanted=platform: [
                one
                for one in cluster.machines()
                if one["id"] == machine["id"] and one["platform"] == wanted and one["state"] in ("active", "healthy", "ready")
            ],
            seconds=60,
            name=f"machine on {platform}",
        )


def test_unknown_names_are_said(cluster: Running) -> None:
    machine = cluster.machines()[0]["name"]
    for arguments in ((machine, "--to", "telegraph"), ("no-such-machine", "--to", "messaging")):
        done = cluster.command("switch", *arguments)
        assert done.returncode in (1, 2)
        assert arguments[2] in done.stderr or arguments[0] in done.stderr
        assert "Traceback" not in done.stderr
