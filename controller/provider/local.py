"""Machines as processes of this host: each has an address of its own and inherits the sockets of the public address.

Rules:
- An agent is forked from a process that has imported all it needs, so that machines share memory and start quickly.
- An agent that ends by itself is started again, with growing pauses.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controller.embedded.child import Child, fork
from controller.provider import Booted, MachineRequest, ProviderError

if TYPE_CHECKING:
    from controller.embedded.folder import DataFolder

RESTART_SECONDS_FIRST = 0.2
RESTART_SECONDS_MAX = 10.0
_TRUST_FILE = "trust"
"""An agent's folder has it once the machine has joined."""


RunAgent = Callable[[Path, str | None, str, str], int]
"""Be an agent: its folder, the join token (None: it has joined before), its name and address; returns the exit code."""


class _Machine:
    def __init__(self, request: MachineRequest, address: str, child: Child) -> None:
        self.request = request
        self.address = address
        self.child: Child | None = child
        self.pause = RESTART_SECONDS_FIRST
        self.due: float | None = None


class LocalProvider:
    """`controller.provider.Provider` for `hotswitch up`."""

    def __init__(self, folder: "DataFolder", agent: RunAgent, sockets: dict[str, int], addresses: dict[str, str]) -> None:
        """``agent``: what the forked process does; ``sockets``: names and descriptors of the public ones; ``addresses``: of each machine
        that can be booted.
        """
        self._folder = folder
        self._agent = agent
        self._sockets = sockets
        self._addresses = addresses
        self._running: dict[str, _Machine] = {}

    def boot(self, request: MachineRequest) -> Booted:
        address = self._addresses.get(request.name)
        if address is None:
            raise ProviderError(f"{request.name} has no address here")
        if request.name in self._running:
            raise ProviderError(f"{request.name} runs already")
        self._log(request.name).unlink(missing_ok=True)
        self._running[request.name] = _Machine(request, address, self._fork(request, address))
        return Booted(request.name, address)

    def remembers(self, name: str) -> bool:
        return (self._folder.machine(name) / _TRUST_FILE).exists()

    def machines(self) -> list[Booted]:
        return [Booted(name, machine.address) for name, machine in self._running.items() if machine.child is not None]

    def terminate(self, name: str) -> None:
        machine = self._running.pop(name, None)
        if machine is not None and machine.child is not None:
            os.kill(machine.child.pid, signal.SIGTERM)

    def pids(self) -> list[int]:
        """Processes of all agents."""
        return [machine.child.pid for machine in self._running.values() if machine.child is not None]

    def ended(self, pid: int, now: float) -> str | None:
        """A process ended by itself: the machine whose agent it was, which is started again later."""
        for name, machine in self._running.items():
            if machine.child is not None and machine.child.pid == pid:
                machine.child = None
                machine.due = now + machine.pause
                machine.pause = min(machine.pause * 2, RESTART_SECONDS_MAX)
                return name
        return None

    def restart_due(self, now: float) -> None:
        """Start again what waited for it."""
        for machine in self._running.values():
            if machine.due is not None and now >= machine.due:
                machine.due = None
                machine.child = self._fork(machine.request, machine.address)

    def _fork(self, request: MachineRequest, address: str) -> Child:
        folder = self._folder.machine(request.name)

        def run() -> int:
            return self._agent(folder, request.join_token or None, request.name, address)

        return fork(request.name, run, log=self._log(request.name), listen=list(self._sockets.items()))

    def _log(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"
