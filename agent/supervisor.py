"""The supervisor: carries out what each unit's state machine says, and tells it what happened. It holds the launcher, the listening
sockets, the watchdog's socket and the folders of units.

Rules:
- A unit's sockets stay open from its first start until it is gone, so that a restart loses nothing that the kernel queued.
- Each start is followed by the newest configuration; where that one was not applied, by the last one that was.
- A readiness or watchdog word counts only from the process that the kernel names as its sender.
- Where the agent itself was late, no unit is called silent.
- What a standby says is not heard before it takes over, but that it is warm.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from agent.bundles import Bundles
from agent.configured import Configuration, Configured
from agent.environment import Folders
from agent.launcher import Exited, Kill, Launch, Launched, LaunchFailed
from agent.launcher import Word as LauncherWord
from agent.launching import AGAIN_SECONDS, LauncherLink
from agent.log import Log
from agent.memory_files import MEMORY_FILES_MAX, MemoryFiles
from agent.names import is_name
from agent.notify import NotifySocket
from agent.process import Applied, NotApplied, Notified, Process, Remaining, Word
from agent.sockets import SocketError, Sockets
from agent.standby import Standbys
from agent.unit import TAKE_OVERS_MAX, Action, State, UnitMachine
from agent.wire.messages import Failure, MachineDocument, Unit, UnitReport

LATE_SECONDS = 2.0
"""Between two looks at the units more than this passed beyond what was due: the agent was late."""
ROUND_MESSAGES_MAX = 200
SOCKETS_MAX = 32
"""Of one unit."""


class Supervisor:
    """All units of a machine."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        launcher: socket.socket,
        sockets: Sockets,
        folder: Path,
        log: Log,
        changed: Callable[[], None],
        noticed: Callable[[str, bytes], None],
        applied: Callable[[str, int], None],
    ) -> None:
        """``changed()``: a report is due; ``noticed(unit, body)``: a unit told something; ``applied(unit, generation)``: remember that
        configuration as good."""
        self.units: dict[str, UnitMachine] = {}
        self.configurations: dict[str, Configured] = {}
        self.bundles: Bundles
        """Set by the shell before the first document."""
        self._loop = loop
        self._launcher = LauncherLink(loop, launcher, self._launcher_said, self._launcher_died, log)
        self._sockets = sockets
        self._folders = Folders(folder)
        self._memory = MemoryFiles()
        self._standbys = Standbys(loop, self._start_standby, self._standby_warm, lambda number: self._order(Kill(number, signal.SIGKILL)))
        self._log = log
        self._changed = changed
        self._noticed = noticed
        self._applied = applied
        self._processes: dict[int, Process] = {}
        self._numbers: dict[str, int] = {}
        self._number = 0
        self._due: float | None = None
        self._ending = False
        self._wanted: dict[str, Unit] = {}
        self._notify = NotifySocket()
        loop.add_reader(self._notify.fileno(), self._notified)

    # -- what is wanted ----------------------------------------------------------------------------------------

    def apply(self, document: MachineDocument, now: float) -> None:
        """Run the units of a document, and no others."""
        wanted = self._wanted = {unit.id: unit for unit in document.units if is_name(unit.id)}
        for unit in document.units:
            if unit.id not in wanted:
                self._log.say("agent", f"unit {unit.id!r} is not run: its id is no name")
        for id, machine in list(self.units.items()):
            if id not in wanted:
                machine.want(None, now)
        for id, unit in wanted.items():
            known = self.units.get(id)
            if known is None:
                self.units[id] = UnitMachine(unit, now)
            elif known.wanted:
                known.want(unit, now)
        for machine in list(self.units.values()):
            self._act(machine, now)
        self._folders.sweep({*wanted, *self.units})
        self._changed()

    def configure(self, unit: str, generation: int, body: bytes, now: float) -> None:
        """A unit has a new configuration."""
        self.configurations.setdefault(unit, Configured()).take(generation, body)
        machine = self.units.get(unit)
        process = self._process(unit)
        if machine is not None and process is not None:
            process.configure(generation, body)
            machine.configured(now)
            standby = self._processes.get(self._standbys.number(unit))
            if standby is not None:
                standby.configure(generation, body)

    def restore_good(self, unit: str, generation: int, body: bytes) -> None:
        """What was remembered as good before a start."""
        self.configurations.setdefault(unit, Configured()).good = Configuration(generation, body)

    def forget(self, unit: str) -> None:
        """A unit's configuration is no more."""
        self.configurations.pop(unit, None)

    def bundle_settled(self, hash: str, error: str, now: float) -> None:
        """A bundle can be run, or cannot be had."""
        for machine in self.units.values():
            if machine.spec.bundle == hash and machine.state is State.FETCHING:
                if error:
                    machine.bundle_failed(f"bundle: {error}")
                    self._log.say(machine.id, machine.message)
                else:
                    machine.bundle(now)
                    self._act(machine, now)
        self._changed()

    # -- what it is like ---------------------------------------------------------------------------------------

    def reports(self) -> list[UnitReport]:
        """Every unit, for the report."""
        return [machine.report() for machine in self.units.values()]

    def settled(self) -> bool:
        """Whether every unit is as it is wanted: healthy, or draining where it shall, and none is left to go."""
        return all(
            machine.wanted
            and (
                machine.state in (State.DRAINING, State.STOPPING, State.STOPPED)
                if machine.spec.drain_seconds is not None
                else machine.state is State.HEALTHY
            )
            for machine in self.units.values()
        )

    def failure(self) -> Failure | None:
        """The first unit that does not come up."""
        for machine in self.units.values():
            if machine.state in (State.BACKOFF, State.FETCHING, State.ENDING) and machine.message and machine.wanted:
                return Failure(unit=machine.id, code="unit-failed", message=machine.message)
        return None

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values() if process.pid]

    # -- time --------------------------------------------------------------------------------------------------

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self._due is not None and now > self._due + LATE_SECONDS:
            for machine in self.units.values():
                machine.forgive(now)
        for machine in list(self.units.values()):
            deadline = machine.deadline()
            if deadline is not None and now >= deadline:
                before = machine.state
                machine.timeout(now)
                if machine.state in (State.ENDING, State.STOPPING) and before not in (State.ENDING, State.STOPPING) and machine.message:
                    self._log.say(machine.id, machine.message)
                self._act(machine, now)
                self._changed()

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        self._due = min((at for machine in self.units.values() if (at := machine.deadline()) is not None), default=None)
        return self._due

    # -- the end -----------------------------------------------------------------------------------------------

    async def end(self, seconds: float) -> None:
        """Stop every unit, kill what is left after ``seconds``, and let the launcher go."""
        self._ending = True
        self._standbys.close()
        now = self._loop.time()
        for machine in list(self.units.values()):
            machine.want(None, now)
            self._act(machine, now)
        until = now + seconds
        while self._processes and self._loop.time() < until:
            await asyncio.sleep(0.01)
        for number in list(self._processes):
            self._order(Kill(number, signal.SIGKILL))
        until = self._loop.time() + 2.0
        while self._processes and self._loop.time() < until:
            await asyncio.sleep(0.01)
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        self._loop.remove_reader(self._notify.fileno())
        self._notify.close()
        self._launcher.close()
        self._sockets.close()
        self._memory.close()
        self._folders.clear_run()

    # -- inside ------------------------------------------------------------------------------------------------

    def _process(self, unit: str) -> Process | None:
        return self._processes.get(self._numbers.get(unit, 0))

    def _act(self, machine: UnitMachine, now: float) -> None:
        """Carry out what a unit's machine says."""
        process = self._process(machine.id)
        while actions := machine.take():
            for action in actions:
                match action:
                    case Action.FETCH:
                        if machine.spec.bundle in self.bundles.opened:
                            machine.bundle(now)
                    case Action.START:
                        self._start(machine, now)
                    case Action.TAKE_OVER if process is not None:
                        process.take_over()
                        machine.configured(now)
                    case Action.KILL:
                        self._order(Kill(self._numbers.get(machine.id, 0), signal.SIGKILL))
                    case Action.CLEAR:
                        self._clear(machine)
                    case Action.DRAIN if process is not None:
                        process.drain(machine.spec.drain_seconds or 0.0)
                    case Action.UNDRAIN if process is not None:
                        process.undrain()
                    case Action.STOP if process is not None:
                        self._standbys.drop(machine.id)
                        # What a process leaves in memory when it ends in order is not for the next one.
                        self._memory.release(machine.id)
                        process.stop()

    def _start(self, machine: UnitMachine, now: float) -> None:
        if machine.failures >= TAKE_OVERS_MAX:
            self._memory.release(machine.id)
        try:
            number = self._launch(machine.spec, self._said)
        except OSError as error:
            self._failed(machine, str(error), now)
            return
        self._numbers[machine.id] = number
        if self._send_configuration(self._processes[number]):
            machine.configured(now)

    def _launch(self, spec: Unit, said: Callable[[str, Word], None], peer: socket.socket | None = None) -> int:
        """Start a process of a unit; ``peer``: it is a standby, and this is its end of the socket to the process that runs.

        Raises:
            OSError: something that it needs is not to be had.
        """
        bundle = self.bundles.opened.get(spec.bundle)
        if bundle is None:
            raise SocketError("its bundle is not open")
        names = [each.name for each in spec.sockets] + spec.memory
        if len(spec.sockets) > SOCKETS_MAX or len(spec.memory) > MEMORY_FILES_MAX or not all(is_name(name) for name in names):
            raise SocketError(f"expected at most {SOCKETS_MAX} sockets and {MEMORY_FILES_MAX} memory files with plain names")
        self._sockets.release(spec.id, spec.sockets)
        listen = [self._sockets.take(spec.id, each).fileno() for each in spec.sockets]
        listen += self._memory.take(spec.id, spec.memory, spec.bundle)
        if peer is not None:
            listen.append(peer.fileno())
            names.append("peer")
        folder = self._folders.prepare(spec)
        process = Process(self._loop, spec.id, said, self._log)
        self._number += 1
        self._processes[self._number] = process
        order = Launch(
            number=self._number,
            name=spec.id,
            entry=spec.entry,
            arguments=list(spec.arguments),
            environment=self._folders.environment(spec, self._notify.name, standby=peer is not None),
            folder=str(folder),
            packages=bundle.packages,
            listen=names,
        )
        self._order(order, [bundle.descriptor, process.output, process.theirs.fileno(), *listen])
        process.given()
        return self._number

    def _send_configuration(self, process: Process) -> bool:
        """To a fresh process; false: there is none yet."""
        configured = self.configurations.get(process.unit)
        sent = configured.for_start() if configured is not None else None
        if sent is not None:
            process.configure(*sent)
        return sent is not None

    def _start_standby(self, unit: str, peer: socket.socket) -> int | None:
        machine = self.units.get(unit)
        if machine is None or machine.state is not State.HEALTHY or not machine.spec.standby or self._ending:
            return None
        try:
            number = self._launch(machine.spec, lambda unit, word: None, peer)
        except OSError as error:
            self._log.say(unit, f"no standby: {error}")
            return None
        self._send_configuration(self._processes[number])
        return number

    def _standby_warm(self, unit: str, peer: socket.socket) -> None:
        process = self._process(unit)
        if process is not None:
            process.standby(peer)

    def _order(self, order: Launch | Kill, descriptors: list[int] | None = None) -> None:
        if not self._launcher.order(order, descriptors) and isinstance(order, Launch):
            self._loop.call_later(AGAIN_SECONDS, self._not_launched, order.number)

    def _not_launched(self, number: int) -> None:
        """There was no launcher to start it."""
        if number in self._processes:
            self._gone(number, "no launcher", self._loop.time())

    def _failed(self, machine: UnitMachine, message: str, now: float) -> None:
        self._log.say(machine.id, message)
        machine.exited(message, now)
        self._act(machine, now)
        self._changed()

    def _clear(self, machine: UnitMachine) -> None:
        self._standbys.drop(machine.id)
        self._sockets.release(machine.id)
        self._memory.release(machine.id)
        self._folders.remove(machine.id, state=not self._ending)
        self.units.pop(machine.id, None)
        again = self._wanted.get(machine.id)
        if again is not None and not self._ending:
            self._loop.call_soon(self._renew, again)

    def _renew(self, unit: Unit) -> None:
        """A unit was wanted again while it was going."""
        if unit.id not in self.units and self._wanted.get(unit.id) == unit:
            now = self._loop.time()
            self._act(self.units.setdefault(unit.id, UnitMachine(unit, now)), now)
            self._changed()

    def _said(self, unit: str, word: Word) -> None:
        machine, configured = self.units.get(unit), self.configurations.get(unit)
        if machine is None:
            return
        now = self._loop.time()
        match word:
            case Remaining(work):
                machine.left(work)
                self._changed()
            case Notified(body):
                self._noticed(unit, body)
            case Applied(generation):
                machine.applied = generation
                if configured is not None and configured.applied(generation):
                    self._applied(unit, generation)
                self._changed()
            case NotApplied(generation, code, message):
                self._log.say(unit, f"configuration {generation} not applied: {code}: {message}")
                if configured is not None:
                    configured.refused(generation, Failure(unit=unit, code=code, message=message))
                    good, process = configured.good, self._process(unit)
                    if machine.applied == 0 and good is not None and process is not None and good.generation != generation:
                        process.configure(*good)
                self._changed()
        self._act(machine, now)

    def _notified(self) -> None:
        """Words of systemd's protocol, from whichever unit."""
        now = self._loop.time()
        for _ in range(ROUND_MESSAGES_MAX):
            word = self._notify.read()
            if word is None:
                return
            number = self._number_of(word.pid)
            if not number:
                # Its start may be known to the launcher's socket alone.
                self._launcher.read()
                number = self._number_of(word.pid)
            machine = self.units.get(self._processes[number].unit) if number else None
            if machine is None:
                continue
            if number == self._standbys.number(machine.id):
                if b"READY=1" in word.fields:
                    self._standbys.ready(machine.id)
                continue
            machine.fed(now)
            before = machine.state
            if b"READY=1" in word.fields:
                machine.ready(now)
                if machine.spec.standby and machine.state is State.HEALTHY:
                    self._standbys.want(machine.id)
            self._act(machine, now)
            if machine.state is not before:
                self._changed()

    def _number_of(self, pid: int) -> int:
        return next((number for number, process in self._processes.items() if process.pid == pid), 0)

    def _launcher_said(self, word: LauncherWord) -> None:
        process = self._processes.get(word.number)
        if process is None:
            return
        now = self._loop.time()
        match word:
            case Launched(_, pid):
                process.pid = pid
                machine = self.units.get(process.unit)
                if machine is not None and self._numbers.get(process.unit) == word.number:
                    machine.started(pid)
                self._changed()
            case LaunchFailed(number, message):
                self._gone(number, message, now)
            case Exited(number, status):
                self._gone(number, _ending_of(status), now)

    def _launcher_died(self) -> None:
        """And every unit with it."""
        for number in list(self._processes):
            self._gone(number, "its launcher died", self._loop.time())

    def _gone(self, number: int, ending: str, now: float) -> None:
        process = self._processes[number]
        process.close()
        del self._processes[number]
        machine = self.units.get(process.unit)
        if number == self._standbys.number(process.unit):
            self._log.say(process.unit, f"standby: {ending}: {process.last_line}")
            self._standbys.gone(process.unit)
            return
        if self._numbers.get(process.unit) != number:
            return
        del self._numbers[process.unit]
        if machine is None:
            return
        expected = machine.state in (State.STOPPING, State.ENDING)
        message = ending if expected or not process.last_line else f"{ending}: {process.last_line}"
        taker = self._standbys.take(machine.id) if machine.can_be_replaced(now) else 0
        if taker:
            self._numbers[machine.id] = taker
            self._processes[taker].said = self._said
            machine.replaced(self._processes[taker].pid, message, now)
        else:
            self._standbys.drop(machine.id)
            machine.exited(message, now)
        self._act(machine, now)
        if not expected:
            self._log.say(machine.id, f"{message}; its standby goes on" if taker else message)
        self._changed()


def _ending_of(status: int) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit code {status}"
