"""CPU time of process trees, by the kernel's own accounting.

Rules:
- A process's time is its CPU clock (``clock_getcpuclockid(3)``): nanoseconds, all threads, also those that have ended.
- Waiting is ``run_delay`` of ``/proc/PID/task/TID/schedstat``: time that a thread was ready to run and had no CPU.
- What others burn is the machine's busy time (``/proc/stat``, ticks of 10 ms) minus that of the trees named.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SCHEDULER_CLOCK = 2
"""CPUCLOCK_SCHED of the kernel's ``posix-timers.h``: sum of the threads' run time."""
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used since it started, user and system together.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULER_CLOCK)
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error


def tree(roots: Iterable[int]) -> list[int]:
    """The processes themselves and all that descend from them, each once."""
    found: dict[int, None] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in found or not Path(f"/proc/{pid}").exists():
            continue
        found[pid] = None
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                continue
    return list(found)


def _split(pid: int) -> tuple[float, float]:
    """User and system time, seconds (resolution: a tick)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) * _TICK_SECONDS, int(fields[12]) * _TICK_SECONDS


def _delay(pid: int) -> float:
    total = 0
    for statistics in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(statistics.read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total / 1e9


def memory_bytes(roots: Iterable[int]) -> int:
    """Proportional set size of the trees: shared pages are divided among those who share them."""
    total = 0
    for pid in tree(roots):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


@dataclass(frozen=True)
class Machine:
    """What all CPUs together have spent, seconds."""

    busy: float
    stolen: float
    """Taken by the hypervisor."""

    @staticmethod
    def read(text: str) -> "Machine":
        """From the first line of ``/proc/stat``: user nice system idle iowait irq softirq steal."""
        fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
        user, nice, system, _idle, _wait, irq, softirq, steal = fields
        return Machine((user + nice + system + irq + softirq) * _TICK_SECONDS, steal * _TICK_SECONDS)


@dataclass(frozen=True)
class Snapshot:
    """Counters of some process trees at one moment."""

    at: float
    """Monotonic seconds."""
    cpu: dict[int, float]
    user: float
    system: float
    delay: float
    machine: Machine

    @staticmethod
    def take(roots: Iterable[int]) -> "Snapshot":
        cpu, user, system, delay = {}, 0.0, 0.0, 0.0
        for pid in tree(roots):
            try:
                cpu[pid] = cpu_seconds(pid)
                split = _split(pid)
            except OSError:
                continue
            user, system, delay = user + split[0], system + split[1], delay + _delay(pid)
        return Snapshot(time.monotonic(), cpu, user, system, delay, Machine.read(Path("/proc/stat").read_text()))


@dataclass(frozen=True)
class Usage:
    """What some process trees used between two snapshots, seconds."""

    seconds: float
    """Length of the window."""
    cpu: float
    user_share: float
    """Part of it in user space, 0 to 1."""
    delay: float
    """Ready to run without a CPU, sum over threads."""
    machine: float
    """Busy time of all CPUs, ours included."""
    stolen: float
    ended: int
    """Processes that ended within the window: their time is missing, the figure is not to be trusted."""

    @staticmethod
    def between(first: Snapshot, second: Snapshot) -> "Usage":
        cpu = sum(seconds - first.cpu.get(pid, 0.0) for pid, seconds in second.cpu.items())
        user, system = second.user - first.user, second.system - first.system
        return Usage(
            seconds=second.at - first.at,
            cpu=cpu,
            user_share=user / (user + system) if user + system > 0 else 0.0,
            delay=second.delay - first.delay,
            machine=second.machine.busy - first.machine.busy,
            stolen=second.machine.stolen - first.machine.stolen,
            ended=len(first.cpu.keys() - second.cpu.keys()),
        )

    def waited(self) -> float:
        """Of the time that the trees wanted a CPU, the share that they had none: 0 is a quiet machine."""
        return self.delay / (self.delay + self.cpu) if self.cpu > 0 else 0.0

    def others(self, known: float) -> float:
        """Cores that were kept busy by nobody of ours; ``known`` is the CPU time of load generators, seconds."""
        return max(0.0, (self.machine - self.cpu - known) / self.seconds) if self.seconds > 0 else 0.0
