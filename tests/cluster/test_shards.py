"""Two proxies share the public address of a real cluster: both serve, and each may be killed or moved away under load."""

import base64
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.running import Running
from tests.interop import sipp
from tests.interop.waiting import wait_for

CALLS = 80
RATE = 20.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("shared"), arguments=("--sip-shards", "2")) as running:
        yield running


def shares(cluster: Running) -> dict[str, int]:
    """Healthy proxies that hear a share, to how many."""
    services = [service for machine in cluster.machines() for service in machine["services"]]
    return {each["id"]: each["public_shares"] for each in services if each["public_shares"] and each["state"] == "healthy"}


def proxies(cluster: Running) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Machine and service of each proxy with a share."""
    return [(machine, service) for machine in cluster.machines() for service in machine["services"] if service["public_shares"]]


def holders(messages: str) -> Counter[str]:
    """Which proxy put its flow's token into the Record-Route of how many answers."""
    found: Counter[str] = Counter()
    for token in re.findall(r"Record-Route: <sip:([\w-]+)\.[0-9a-f]{24}@", messages):
        found[base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().rpartition("|")[2]] += 1
    return found


class Load(threading.Thread):
    """SIPp, each call from a port of its own."""

    def __init__(self, folder: Path, cluster: Running, calls: int = CALLS) -> None:
        super().__init__()
        self._folder = folder
        self._target = cluster.sip
        self._calls = calls
        self.verdict: sipp.Verdict

    def run(self) -> None:
        messages = ("-trace_msg", "-message_file", str(self._folder / "messages.log"))
        self.verdict = sipp.call(
            self._folder, self._target, service="9196", calls=self._calls, rate=RATE, duration_ms=1000, transport="un", options=messages
        )

    def messages(self) -> str:
        log = self._folder / "messages.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def finish(self) -> sipp.Verdict:
        self.join()
        return self.verdict


def test_both_serve_and_a_killed_one_loses_no_call(shared: Running, tmp_path: Path) -> None:
    assert sorted(shares(shared).values()) == [1, 1]
    load = Load(tmp_path, shared)
    load.start()
    wait_for(lambda: len(holders(load.messages())) == 2, name="calls by both")
    _, victim = proxies(shared)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    verdict = load.finish()
    assert (verdict.successful, verdict.failed) == (CALLS, 0), verdict.errors
    served = holders(load.messages())
    assert len(served) == 2
    assert min(served.values()) > CALLS / 5
    wait_for(lambda: sorted(shares(shared).values()) == [1, 1], name="each its share again")


def test_a_machine_switched_away_under_load_loses_no_call(shared: Running, tmp_path: Path) -> None:
    machine, victim = proxies(shared)[0]
    load = Load(tmp_path, shared)
    load.start()
    wait_for(lambda: len(holders(load.messages())) == 2, name="calls by both")
    done = shared.command("switch", machine["name"], "--to", "messaging", "--drain", "10", "--wait", seconds=90)
    verdict = load.finish()
    assert done.returncode == 0, done.stderr
    assert (verdict.successful, verdict.failed) == (CALLS, 0), verdict.errors
    assert victim["id"] not in shares(shared)
    assert sum(shares(shared).values()) == 2
