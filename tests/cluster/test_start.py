"""Point 1: one command starts all of it, quickly and within its memory; its end leaves nothing; its data outlives it."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import COMMAND, Running
from tests.interop.waiting import wait_for
from tests.telephony.service.phone import Phone

READY_SECONDS_MAX = 20.0
"""A coarse bound that holds on a loaded machine; the figure itself is in the README, measured alone."""
MEMORY_BYTES_MAX = 500 << 20
SERVICES = {"proxy": 2, "call_router": 2, "load_balancer": 2, "media_processor": 2, "routing": 2, "call_queue": 1, "resource_database": 1}


def kinds(cluster: Running) -> dict[str, int]:
    """Kind of service to how many of it are healthy in the whole cluster."""
    found: dict[str, int] = {}
    for machine in cluster.machines():
        for service in machine["services"]:
            if service["state"] == "healthy":
                found[service["kind"]] = found.get(service["kind"], 0) + 1
    return found


class Phones:
    """Phones of one test."""

    def __init__(self) -> None:
        self._made: list[Phone] = []

    def make(self, cluster: Running, user: str) -> Phone:
        host, _, port = cluster.sip.rpartition(":")
        phone = Phone((host, int(port)), user, cluster.users[user])
        self._made.append(phone)
        return phone

    def close(self) -> None:
        for phone in self._made:
            phone.close()


@pytest.fixture
def phones() -> Iterator[Phones]:
    made = Phones()
    yield made
    made.close()


def test_all_that_was_promised_runs(cluster: Running) -> None:
    listed = cluster.command("machine", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    machines = json.loads(listed.stdout)
    assert len(machines) == 4
    for machine in machines:
        assert {"id", "name", "pool", "platform", "state", "services"} <= machine.keys()
        assert machine["platform"] == "voice"
    assert kinds(cluster) == SERVICES
    assert set(cluster.users) == {"1001", "1002", "1003", "1004", "1005"}
    assert cluster.api.get("/healthz").status_code == 200
    assert cluster.api.get("/docs").status_code == 200
    assert "# HELP" in cluster.api.get("/metrics").text


def test_memory_at_rest(cluster: Running) -> None:
    assert cluster.memory_bytes() < MEMORY_BYTES_MAX


def test_starts_anew_with_its_state_and_ends_without_a_trace(tmp_path: Path, phones: Phones) -> None:
    shared_memory = set(Path("/dev/shm").iterdir())
    with Running(tmp_path) as first:
        users, machines = first.users, {machine["id"] for machine in first.machines()}
        callee = phones.make(first, "1001")
        assert callee.register() == 200
        assert first.stop() == 0
        left = first
        assert not wait_for(lambda: {"left": left.processes()}, name="processes")["left"]
        assert not first.sockets()
        assert not first.runtime_files()
    with Running(tmp_path, arguments=("--sip-port", first.sip.rpartition(":")[2])) as second:
        assert second.users == users
        assert {machine["id"] for machine in second.machines()} == machines
        assert second.ready_seconds < READY_SECONDS_MAX
        done = second.command("call", f"sip:9196@{second.sip}", "--duration", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        caller = phones.make(second, "1002")
        session = caller.call("1001", wait=False)
        caller.until(lambda: session.state in ("established", "ended"), callee)
        assert session.state == "established", "by the binding that was made before"
        caller.hang_up(session)
        assert second.stop(signal.SIGTERM) == 0
        assert not second.processes()
        assert not second.sockets()
        assert not second.runtime_files()
    assert set(Path("/dev/shm").iterdir()) <= shared_memory


def test_nothing_outlives_a_killed_cluster(own_cluster: Running) -> None:
    """`up` itself is killed: it cannot tidy up, and yet no process stays behind."""
    own_cluster.process.kill()
    own_cluster.process.wait()
    wait_for(lambda: not own_cluster.processes(), seconds=30, name="processes that are left")
    assert not own_cluster.sockets()


def test_a_second_cluster_in_the_same_place_is_refused(cluster: Running) -> None:
    done = subprocess.run(
        [str(COMMAND), "up", "--json", "--data", str(cluster.data)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=cluster.environment,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip()


@pytest.mark.parametrize("option", [("--sip-port", "70000"), ("--machines", "0"), ("--platform", "telegraph")])
def test_wrong_use_is_said(option: tuple[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [str(COMMAND), "up", "--json", "--data", str(tmp_path / "data"), *option],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
