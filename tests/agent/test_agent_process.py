"""A real agent, a real broker, real units; the controller follows the test's script."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.wire.link import unused_ports
from agent.wire.messages import Socket, Unit, UnitConfiguration
from tests.agent.scripted import SERVICE, Cluster, Known

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


def test_a_crash_tells_its_last_line_and_backs_off(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known), configuration=b"crash")
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts >= 3)
    now = known.unit("tiny-1")
    assert now is not None and "RuntimeError: told to crash" in now.message
    assert known.report is not None and known.report.subjects
    configure(cluster, known, "well")
    healthy(cluster, known)


def test_a_hung_unit_is_killed_by_the_watchdog(cluster: Cluster) -> None:
    known = cluster.join(watchdog_seconds=1.5)
    cluster.run_units(known, unit(cluster, known), configuration=b"hang")
    healthy(cluster, known)
    before = known.unit("tiny-1")
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts >= 1)
    after = known.unit("tiny-1")
    assert before is not None and after is not None and after.pid != before.pid


def with_standby(cluster: Cluster, known: Known, **fields: object) -> int:
    """A unit with a memory file runs, and its standby is warm; its pid."""
    cluster.run_units(known, unit(cluster, known, memory=["state"], standby=True, **fields), configuration=b"remember")
    cluster.wait(lambda: known.events.count(("tiny-1", b"standby")) == 1)
    running = known.unit("tiny-1")
    assert running is not None and running.state == "healthy" and running.restarts == 0
    return running.pid


TOOK_OVER = ("tiny-1", b"took over something, a word")


def kill_and_wait(cluster: Cluster, known: Known, restarts: int) -> None:
    running = known.unit("tiny-1")
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts == restarts and now.state == "healthy")


def test_a_standby_takes_over(cluster: Cluster) -> None:
    known = cluster.join()
    with_standby(cluster, known)
    kill_and_wait(cluster, known, 1)
    cluster.wait(lambda: known.events.count(("tiny-1", b"standby")) == 2)  # there is another one
    assert known.events.count(TOOK_OVER) == 1
    kill_and_wait(cluster, known, 2)
    cluster.wait(lambda: known.events.count(TOOK_OVER) == 2)
    assert known.applied("tiny-1") == 1


def test_what_drains_is_taken_over_too(cluster: Cluster) -> None:
    known = cluster.join()
    pid = with_standby(cluster, known)
    configure(cluster, known, "work 2")
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.remaining == 2)
    cluster.run_units(known, unit(cluster, known, memory=["state"], standby=True, drain_seconds=60.0))
    cluster.wait(lambda: state_of(known) == "draining")
    os.kill(pid, signal.SIGKILL)
    cluster.wait(lambda: known.events.count(("tiny-1", b"drain 60.0")) == 2)
    assert TOOK_OVER in known.events


def test_other_software_finds_empty_memory(cluster: Cluster) -> None:
    known = cluster.join()
    with_standby(cluster, known)
    changed = unit(cluster, known, memory=["state"], standby=True, arguments=["tiny", "other"])
    cluster.run_units(known, changed)
    cluster.wait(lambda: known.events.count(("tiny-1", b"standby")) == 2)
    assert TOOK_OVER not in known.events
    running = known.unit("tiny-1")
    assert running is not None and running.restarts == 0


def test_drain_keeps_the_unit_while_it_has_work(cluster: Cluster) -> None:
    known = cluster.join()
    one = unit(cluster, known)
    cluster.run_units(known, one, configuration=b"work 2")
    healthy(cluster, known)
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.remaining == 2)
    generation = cluster.run_units(known, unit(cluster, known, drain_seconds=60.0))
    cluster.wait(lambda: state_of(known) == "draining" and ("tiny-1", b"drain 60.0") in known.events)
    cluster.run_units(known, one)
    cluster.wait(lambda: state_of(known) == "healthy" and ("tiny-1", b"undrain") in known.events)
    cluster.run_units(known, unit(cluster, known, drain_seconds=61.0))
    configure(cluster, known, "work 0")
    cluster.wait(lambda: state_of(known) == "stopped")
    assert known.applied(known.id) == generation + 2
    last = cluster.want(known, known.id, known.wanted[known.id][1].__class__(platform="tiny"))
    cluster.wait(lambda: known.report is not None and known.report.units == [] and known.applied(known.id) == last)


def test_a_unit_gets_its_sockets_folders_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    known = cluster.join()
    port, other = unused_ports("127.0.0.1", 2)
    sockets = [Socket(name="udp", kind="udp", host="127.0.0.1", port=port), Socket(name="tcp", kind="tcp", host="127.0.0.1", port=other)]
    cluster.run_units(known, unit(cluster, known, sockets=sockets, state=True), configuration=b"facts")
    cluster.wait(lambda: known.events)
    folder, state, names, file, *standard, count, leader, environment = known.events[0][1].decode().split("\n")
    assert folder == str(tmp_path / "one" / "run" / "tiny-1")
    assert state == str(tmp_path / "one" / "units" / "tiny-1")
    assert names == "udp:tcp"
    assert file.startswith("/proc/self/fd/")
    assert standard[0] == "/dev/null" and standard[1] == standard[2] and standard[1].startswith("pipe:")
    # 0 to 2, two sockets, service, bundle, the notification socket, the configuration, and the listing itself.
    assert int(count) <= 10
    assert leader == "True"
    assert "HOTSWITCH_JOIN_TOKEN" not in environment
    socket.create_connection(("127.0.0.1", other), 5).close()


def test_sockets_and_what_they_hold_outlive_a_restart(cluster: Cluster) -> None:
    known = cluster.join()
    (port,) = unused_ports("127.0.0.1", 1)
    sockets = [Socket(name="udp", kind="udp", host="127.0.0.1", port=port)]
    cluster.run_units(known, unit(cluster, known, sockets=sockets), configuration=b"first")
    healthy(cluster, known)
    report = known.unit("tiny-1")
    assert report is not None
    os.kill(report.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"queued", ("127.0.0.1", port))
    configure(cluster, known, "read")
    os.kill(report.pid, signal.SIGKILL)
    cluster.wait(lambda: ("tiny-1", b"queued") in known.events)


def test_state_outlives_a_restart_and_goes_with_the_unit(cluster: Cluster, tmp_path: Path) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known, state=True), configuration=b"keep")
    healthy(cluster, known)
    report = known.unit("tiny-1")
    assert report is not None
    os.kill(report.pid, signal.SIGKILL)
    cluster.wait(lambda: ("tiny-1", b"xx") in known.events)
    healthy(cluster, known)
    cluster.run_units(known, unit(cluster, known, "tiny-2"))
    cluster.wait(lambda: known.report is not None and [each.id for each in known.report.units] == ["tiny-2"])
    assert not (tmp_path / "one" / "units" / "tiny-1").exists()


def test_a_configuration_that_is_refused_leaves_the_one_before(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known), configuration=b"good")
    healthy(cluster, known)
    generation = configure(cluster, known, "refuse")
    cluster.wait(lambda: known.report is not None and any(each.failure for each in known.report.subjects))
    assert known.report is not None
    status = next(each for each in known.report.subjects if each.subject == "tiny-1")
    assert (status.accepted, status.applied) == (generation, generation - 1)
    assert status.failure is not None and (status.failure.code, status.failure.message) == ("bad-value", "it says so")
    report = known.unit("tiny-1")
    assert report is not None
    os.kill(report.pid, signal.SIGKILL)
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts == 1 and now.state == "healthy")
    assert known.applied("tiny-1") == generation - 1


def test_a_lost_publication_is_fetched_by_a_snapshot(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    before = len(known.snapshots)
    cluster.lose = lambda message: getattr(message, "subject", "") == "tiny-1"
    lost = configure(cluster, known, "lost")
    cluster.lose = lambda message: False
    cluster.run_units(known, unit(cluster, known))
    cluster.wait(lambda: known.applied("tiny-1") == lost)
    assert len(known.snapshots) > before and known.snapshots[-1].have["tiny-1"] == lost - 1


def test_a_head_that_does_not_come_is_fetched_by_a_snapshot(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    cluster.mute = True
    silent = configure(cluster, known, "silent")
    cluster.heads(known)
    cluster.wait(lambda: known.applied("tiny-1") == silent)


def test_chunks_that_get_lost_are_asked_for_again(cluster: Cluster) -> None:
    known = cluster.join()
    lost: list[int] = []

    def lose(message: object) -> bool:
        if type(message).__name__ == "Envelope" and len(lost) < 2:
            lost.append(1)
            return True
        return False

    cluster.lose = lose
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    assert len(lost) == 2


def test_new_software_replaces_the_old_in_place(cluster: Cluster) -> None:
    known = cluster.join()
    (port,) = unused_ports("127.0.0.1", 1)
    sockets = [Socket(name="udp", kind="udp", host="127.0.0.1", port=port)]
    cluster.run_units(known, unit(cluster, known, sockets=sockets))
    healthy(cluster, known)
    newer = cluster.bundle(known, "2", b"# newer\n" + SERVICE)
    generation = cluster.run_units(known, unit(cluster, known, sockets=sockets, bundle=newer.hash))
    cluster.wait(lambda: known.report is not None and known.report.bundles == [newer.hash] and known.applied(known.id) == generation)
    report = known.unit("tiny-1")
    assert report is not None and (report.state, report.restarts) == ("healthy", 0)


def test_the_relay_passes_what_it_cannot_read(cluster: Cluster) -> None:
    balancer, dependent = cluster.join("balancer"), cluster.join("dependent")
    cluster.run_units(dependent, unit(cluster, dependent), configuration=None)
    generation = cluster.want(dependent, "tiny-1", UnitConfiguration(unit="tiny-1", body=b"relayed"), via=balancer.id)
    healthy(cluster, dependent)
    assert dependent.applied("tiny-1") == generation
    cluster.wait(lambda: balancer.report is not None and [each.delivered for each in balancer.report.relayed] == [generation])
    assert not dependent.snapshots or "tiny-1" not in dependent.snapshots[-1].have


def test_a_silent_balancer_does_not_keep_its_dependent_waiting(cluster: Cluster) -> None:
    balancer, dependent = cluster.join("balancer"), cluster.join("dependent")
    assert cluster.end(cluster.processes[-2], signal.SIGKILL) == -signal.SIGKILL
    cluster.run_units(dependent, unit(cluster, dependent), configuration=None)
    generation = cluster.want(dependent, "tiny-1", UnitConfiguration(unit="tiny-1", body=b"relayed"), via=balancer.id)
    cluster.heads(dependent)
    healthy(cluster, dependent)
    assert dependent.applied("tiny-1") == generation


def test_everything_survives_a_new_controller(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    before = known.unit("tiny-1")
    cluster.restart_controller()
    known = cluster.machines[known.id]
    cluster.wait(lambda: known.report is not None)
    assert known.unit("tiny-1") == before
    generation = configure(cluster, known, "term 2")
    cluster.wait(lambda: known.applied("tiny-1") == generation)


def test_everything_survives_a_new_broker(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    before = known.unit("tiny-1")
    assert cluster.end(cluster.broker, signal.SIGKILL) == -signal.SIGKILL
    cluster.broker = cluster.start_broker()
    beats = known.beats
    cluster.wait(lambda: known.beats > beats + 1)
    generation = configure(cluster, known, "new broker")
    cluster.heads(known)
    cluster.wait(lambda: known.applied("tiny-1") == generation)
    after = known.unit("tiny-1")
    assert before is not None and after is not None and after.pid == before.pid


def test_an_agent_that_is_killed_takes_its_units_along_and_comes_back_alone(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    report = known.unit("tiny-1")
    assert report is not None
    with open(f"/proc/{report.pid}/stat") as stat:
        launcher = int(stat.read().rsplit(")", 1)[1].split()[1])
    ended = [os.pidfd_open(pid) for pid in (report.pid, launcher)]
    assert cluster.end(cluster.processes[-1], signal.SIGKILL) == -signal.SIGKILL
    cluster.wait(lambda: len(select.select(ended, [], [], 0)[0]) == 2)
    for each in ended:
        os.close(each)
    # Without a word of the controller it runs what it ran.
    assert cluster.end(cluster.broker, signal.SIGKILL) == -signal.SIGKILL
    before = len(known.snapshots)
    cluster.start_agent("one")
    known.report = None
    cluster.broker = cluster.start_broker()
    healthy(cluster, known)
    cluster.wait(lambda: len(known.snapshots) > before)
    assert known.snapshots[-1].have == {subject: wanted[0] for subject, wanted in known.wanted.items()}


def test_a_dead_launcher_is_replaced(cluster: Cluster) -> None:
    known = cluster.join()
    cluster.run_units(known, unit(cluster, known))
    healthy(cluster, known)
    report = known.unit("tiny-1")
    assert report is not None
    with open(f"/proc/{report.pid}/stat") as stat:
        launcher = int(stat.read().rsplit(")", 1)[1].split()[1])
    os.kill(launcher, signal.SIGKILL)
    cluster.wait(lambda: (now := known.unit("tiny-1")) is not None and now.restarts >= 1 and now.state == "healthy")


def test_a_token_is_for_one_machine(cluster: Cluster) -> None:
    token = str(cluster.token())
    first = cluster.start_agent("one", token)
    cluster.wait(lambda: len(cluster.machines) == 1 and next(iter(cluster.machines.values())).report)
    second = cluster.start_agent("two", token)
    cluster.wait(lambda: "used" in cluster.verdicts)
    second.join(20)
    assert second.exitcode == 1
    assert cluster.end(first) == 0
    again = cluster.start_agent("one", token)
    known = next(iter(cluster.machines.values()))
    known.report = None
    cluster.wait(lambda: known.report is not None)
    assert cluster.end(again) == 0


@pytest.mark.parametrize(("token", "code"), [(None, 2), ("hotswitch-join-nonsense", 2)])
def test_wrong_tokens_end_the_agent(cluster: Cluster, token: str | None, code: int) -> None:
    process = cluster.start_agent("one", token)
    process.join(20)
    assert process.exitcode == code


def test_an_agent_that_waits_to_be_let_in_can_be_ended(cluster: Cluster) -> None:
    cluster.end(cluster.broker)
    process = cluster.start_agent("one", str(cluster.token()))
    cluster.wait(lambda: (cluster.folder / "one" / "keys").exists())
    assert cluster.end(process) == 0
