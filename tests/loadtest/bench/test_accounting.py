"""What is read from the kernel's accounting."""

import os

import pytest

from loadtest.bench import accounting
from loadtest.bench.accounting import Machine, Snapshot, Usage

PID_UNUSED = 1 << 26
"""Above any that the kernel gives out (at most 1 << 22)."""


def snapshot(at: float, cpu: dict[int, float], delay: float = 0.0, busy: float = 0.0) -> Snapshot:
    total = sum(cpu.values())
    return Snapshot(at, cpu, total * 0.75, total * 0.25, delay, Machine(busy, 0.0))


def test_usage_is_the_difference_and_counts_new_processes_from_their_start() -> None:
    usage = Usage.between(snapshot(10.0, {1: 2.0}, 0.5, 100.0), snapshot(12.0, {1: 3.0, 2: 0.5}, 1.0, 103.0))
    assert (usage.seconds, usage.cpu, usage.delay, usage.ended) == (2.0, 1.5, 0.5, 0)
    assert usage.user_share == pytest.approx(0.75)
    assert usage.waited() == pytest.approx(0.25)
    assert usage.others(0.5) == pytest.approx(0.5)


def test_a_process_that_ended_is_noticed() -> None:
    assert Usage.between(snapshot(0.0, {1: 1.0, 2: 1.0}), snapshot(1.0, {1: 1.5})).ended == 1


def test_nothing_used_is_no_division_by_zero() -> None:
    usage = Usage.between(snapshot(1.0, {}), snapshot(1.0, {}))
    assert usage.waited() == usage.others(0.0) == usage.user_share == 0.0


def test_machine_reads_the_first_line_of_proc_stat() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    machine = Machine.read(f"cpu  {ticks} 0 {2 * ticks} 9 9 {ticks} 0 {3 * ticks} 0 0\ncpu0 1 1 1 1 1 1 1 1\n")
    assert machine == Machine(busy=4.0, stolen=3.0)


def test_this_process_is_seen() -> None:
    assert os.getpid() in accounting.tree([os.getpid()])
    assert accounting.cpu_seconds(os.getpid()) > 0
    assert accounting.memory_bytes([os.getpid()]) > 1 << 20
    assert os.getpid() in Snapshot.take([os.getpid()]).cpu


def test_no_such_process() -> None:
    assert accounting.tree([PID_UNUSED]) == []
    with pytest.raises(ProcessLookupError):
        accounting.cpu_seconds(PID_UNUSED)
