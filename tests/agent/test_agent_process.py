"""A real agent, a real broker, real units; the controller follows the test's script."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.wire.messages import Unit, UnitConfiguration
from tests.agent.scripted import Cluster, Known

pytestmark = pytest.mark.process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


def unit(cluster: Cluster, known: Known, id: str = "tiny-1", **fields: object) -> Unit:
    values = {"id": id, "bundle": cluster.bundle(known).hash, "entry": "tiny.service", "arguments": ["tiny", id], **fields}
    return Unit(**values)  # type: ignore[arg-type]


def state_of(known: Known, id: str = "tiny-1") -> str:
    report = known.unit(id)
    return report.state if report is not None else ""


def healthy(cluster: Cluster, known: Known, *ids: str) -> None:
    cluster.wait(lambda: all(state_of(known, id) == "healthy" for id in ids or ("tiny-1",)))


def configure(cluster: Cluster, known: Known, text: str, id: str = "tiny-1") -> int:
    return cluster.want(known, id, UnitConfiguration(unit=id, body=text.encode()))


def test_a_machine_joins_runs_what_it_is_told_and_ends_cleanly(cluster: Cluster, tmp_path: Path) -> None:
    known = cluster.join()
    generation = cluster.run_units(known, unit(cluster, known), unit(cluster, known, "tiny-2"))
    healthy(cluster, known, "tiny-1", "tiny-2")
    cluster.wait(lambda: known.applied(known.id) == generation and known.applied("tiny-1") == 1)
    assert known.report is not None and known.report.bundles == [cluster.bundle(known).hash]
    pids = [report.pid for report in known.report.units]
    cluster.wait(lambda: known.beats >= 2)
    agent = cluster.processes[-1]
    assert agent.pid is not None
    os.kill(agent.pid, signal.SIGTERM)
    cluster.wait(lambda: known.farewell)
    assert cluster.end(agent) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"keys", "trust", "journal", "lock", "bundles"}


def test_a_killed_unit_is_started_again_and_reported(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    before = known.unit("tiny-1")
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts == 1 and now.state == "healthy")
    after = known.unit("tiny-1")
    assert after is not None and after.pid != before.pid and known.applied("tiny-1") == 1
