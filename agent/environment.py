"""Environment and folders that a unit's process starts with."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from agent import unit as units
from agent.wire.messages import Unit

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONHASHSEED")
_SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A machine runs many processes on few cores; libraries must not start a thread for each core in each of them."""


class Folders:
    """``run/<unit>`` is a process's working directory, ``units/<unit>`` the state that lives across its restarts."""

    def __init__(self, folder: Path) -> None:
        self._run = folder / "run"
        self._state = folder / "units"
        self.clear_run()

    def prepare(self, unit: Unit) -> Path:
        """Make them; returns the working directory.

        Raises:
            OSError: the disk does not take them.
        """
        if unit.state:
            (self._state / unit.id).mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._run / unit.id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def environment(self, unit: Unit, notify: str, *, standby: bool = False) -> dict[str, str]:
        """What the launcher completes with ``LISTEN_*`` and ``HOTSWITCH_SERVICE_FD``; ``notify`` is ``NOTIFY_SOCKET``."""
        environment = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
        environment |= _SINGLE_THREADED
        environment["NOTIFY_SOCKET"] = notify
        environment["WATCHDOG_USEC"] = str(int(units.WATCHDOG_SECONDS * 1_000_000))
        if standby:
            environment["HOTSWITCH_STANDBY"] = "1"
        if unit.state:
            environment["STATE_DIRECTORY"] = str((self._state / unit.id).absolute())
        return environment

    def remove(self, unit: str, state: bool) -> None:
        """A unit is gone; ``state``: for good."""
        shutil.rmtree(self._run / unit, ignore_errors=True)
        if state:
            shutil.rmtree(self._state / unit, ignore_errors=True)

    def sweep(self, known: Collection[str]) -> None:
        """State of units that went while the agent was not there."""
        try:
            names = os.listdir(self._state)
        except FileNotFoundError:
            return
        for name in names:
            if name not in known:
                shutil.rmtree(self._state / name, ignore_errors=True)

    def clear_run(self) -> None:
        """No process runs."""
        shutil.rmtree(self._run, ignore_errors=True)
