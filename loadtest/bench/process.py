"""Processes that a benchmark starts, and ends by their ids."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loadtest.bench import accounting

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 10.0
LOG_BYTES_SHOWN = 2000


class NotRunnableError(Exception):
    """A contender cannot take part here; the message says why, and what to do about it."""


class Process:
    """A child with its own process group and a log of its own.

    Args:
        command: program and arguments.
        pass_fds: descriptors that it inherits under their own numbers.
        folder: where it runs; None: here.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = (), folder: Path | None = None
    ) -> None:
        self.command = list(command)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        try:
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
                env=None if env is None else dict(env), pass_fds=pass_fds, start_new_session=True, cwd=folder,
            )  # fmt: skip
        except OSError as error:
            self._log.close()
            raise NotRunnableError(f"{self.command[0]}: {error.strerror}") from error
        self.pid = self._child.pid
        if (nice := os.nice(0)) < 0:
            go_first(self.pid, nice)

    def alive(self) -> bool:
        return self._child.poll() is None

    def said(self) -> str:
        """End of what it printed."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), LOG_BYTES_SHOWN, max(0, size - LOG_BYTES_SHOWN)).decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float = START_SECONDS_MAX) -> None:
        """Poll until it is ready.

        Raises:
            NotRunnableError: it ended, or was not ready in time; with what it printed.
        """
        end = time.monotonic() + seconds
        while not ready():
            if not self.alive():
                raise NotRunnableError(f"{self.command[0]} ended with {self._child.returncode}:\n{self.said()}")
            if time.monotonic() > end:
                raise NotRunnableError(f"{self.command[0]} was not ready after {seconds:.0f} s:\n{self.said()}")
            time.sleep(0.02)

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None when it still runs after ``seconds``."""
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, wait a bounded time, then end what is left of its tree."""
        family = accounting.tree([self.pid])
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(kind)
            self.wait(STOP_SECONDS_MAX)
        for pid in family:
            if pid != self.pid and _started_by(pid, self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.alive():
            self._child.kill()
        self._child.wait()
        self._log.close()


def go_first(pid: int, nice: int) -> None:
    """Let a session run before others: sessions have weights of their own, which nice does not change (sched(7), autogroup)."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _started_by(pid: int, session: int) -> bool:
    """Whether a process still is one of that session's (ids are given out again)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[3]) == session
