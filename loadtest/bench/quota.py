"""A process held to a part of a core: a control group of the kernel's CPU controller (cgroups(7), version 1 or 2), as root."""

from pathlib import Path

from loadtest.bench.process import NotRunnableError

PERIOD_MICROSECONDS = 10_000
"""In each of these it runs until its part is used up, and waits for the next one."""
ROOT = Path("/sys/fs/cgroup")


class Quota:
    """Holds one process, until `close`, which is called when the process has ended.

    Args:
        pid: all its threads count together.
        cores: part of a core.

    Raises:
        NotRunnableError: this host does not allow it.
    """

    def __init__(self, pid: int, cores: float) -> None:
        quota = round(cores * PERIOD_MICROSECONDS)
        unified = (ROOT / "cgroup.controllers").exists()
        self._group = (ROOT if unified else ROOT / "cpu") / f"hotswitch-bench-{pid}"
        try:
            if unified:
                (ROOT / "cgroup.subtree_control").write_text("+cpu")
            self._group.mkdir()
            if unified:
                (self._group / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
            else:
                (self._group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
                (self._group / "cpu.cfs_quota_us").write_text(str(quota))
            (self._group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self.close()
            raise NotRunnableError(f"a process cannot be held to a part of a core: {error}") from error

    def throttled(self) -> int:
        """Periods in which it had to wait so far."""
        fields = dict(line.split() for line in (self._group / "cpu.stat").read_text().splitlines())
        return int(fields["nr_throttled"])

    def close(self) -> None:
        if self._group.is_dir():
            self._group.rmdir()
