"""A whole cluster of ours, started as a user starts it: ``hotswitch up --json`` with a data folder of its own."""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from loadtest.bench import accounting
from loadtest.bench.process import NotRunnableError, Process, go_first

START_SECONDS_MAX = 60.0


class Announced(msgspec.Struct, frozen=True):
    """The one line that ``up --json`` prints."""

    sip: str
    users: dict[str, str]


class Cluster:
    """A running cluster; `started_seconds` is from the command to the line that says that all is healthy.

    Raises:
        NotRunnableError: it was not ready in time; with what it printed.
    """

    name = "hotswitch"
    role = "ours"

    def __init__(self, address: str, machine_net: str, root: Path | None = None) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="hotswitch-cluster-"))
        began = time.monotonic()
        command = "import sys; from controller.cli import main; sys.exit(main())"
        self.process = Process([
            sys.executable, "-c", command, "up", "--json", "--address", address, "--sip-port", "5060", "--api-port", "0",
            "--machine-net", machine_net, "--data", str(self._data),
        ], env={**os.environ, "HOTSWITCH_DATA": str(self._data)}, folder=root)  # fmt: skip
        try:
            self.process.wait_until(lambda: self._line() is not None, START_SECONDS_MAX)
        except NotRunnableError:
            self.stop()
            raise
        self.started_seconds = time.monotonic() - began
        if (nice := os.nice(0)) < 0:
            for pid in accounting.tree([self.process.pid]):
                go_first(pid, nice)  # each of its services is a session of its own
        announced = self._line()
        assert announced is not None
        self.target = announced.sip
        self.users = announced.users

    def _line(self) -> Announced | None:
        for line in self.process.said().splitlines():
            if line.startswith('{"'):
                try:
                    return msgspec.json.decode(line, type=Announced)
                except msgspec.DecodeError:
                    continue
        return None

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self.process.stop(signal.SIGINT)
        shutil.rmtree(self._data, ignore_errors=True)
