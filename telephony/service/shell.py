"""The process of a service: starts without configuration, applies each one that the agent sends, ends when told.

A standby makes everything ready with each configuration, and applies the last one when the process that runs dies, which the kernel tells
by the end of the socket between the two: the agent hears of it through its launcher, milliseconds later. What the standby says meanwhile
waits for the agent's word, which makes it the unit's process; where the word is another one, it ends.

A turn: wait -> handle what is readable -> timers that are due -> effects -> acknowledgement of a configuration and reports to the agent. So
whoever waits for the acknowledgement knows that what was read before it has been sent.
"""

import gc
import os
import signal
import socket
from typing import Protocol

import msgspec

from telephony.config import Configuration, decode
from telephony.effects import Effect, Notify
from telephony.service import clock, kinds, running
from telephony.service.agent import (
    REPORTS_PER_SECOND,
    Agent,
    Configured,
    DrainWanted,
    Environment,
    StandbyReady,
    StopWanted,
    TakeOverWanted,
    UndrainWanted,
    Word,
    read_environment,
)
from telephony.service.log import failure, say
from telephony.service.loop import READ, Loop

FLUSH_SECONDS = 0.05
"""Pause before something is offered again to an agent that does not read."""
GC_THRESHOLDS = (20_000, 20, 50)
LOOK_SECONDS = 0.1
"""A standby looks this often at what the process that runs has done."""
TIMERS_SECONDS = 0.01
"""Deadlines of kinds that are not `kinds.PRECISE` are looked at this often: one wake-up runs all timers that end within it."""


class Engine(Protocol):
    """What the shell runs: a core with its sockets (`running.Running`), or a load balancer."""

    def configure(self, configuration: Configuration, now: float) -> None: ...
    def drain(self, deadline: float, now: float) -> None: ...
    def undrain(self, now: float) -> None: ...
    def ready(self) -> bool: ...
    def remaining(self) -> int: ...
    def deadline(self) -> float | None: ...
    def timeout(self, now: float) -> None: ...
    def exchange(self, now: float) -> tuple[list[Effect], bool]: ...
    def close(self) -> None: ...


class Shell:
    """One service process."""

    def __init__(self, kind: str, unit: str, environment: Environment) -> None:
        self._kind = kind
        self._unit = unit
        self._environment = environment
        precise = kind in kinds.PRECISE
        self._loop = Loop(precise)
        self._agent = Agent(environment)
        self._made: Engine | None = None
        """It owns the sockets, configured or not."""
        self._engine: Engine | None = None
        """The same, once it has its first configuration."""
        self._stopping = False
        self._standby: Configured | None = None
        """In a standby: what it will apply."""
        self._waits = environment.standby
        self._look_at = 0.0
        self._code = 0
        self._ready = False
        self._applied: int | None = None
        """Generation that is in force and not acknowledged yet: what was read under the one before is sent out first."""
        self._said_remaining = 0
        self._report_at = 0.0
        self._unreported = False
        """Something happened since the last report."""
        self._watchdog_at: float | None = None
        self._timers_seconds = 0.0 if precise else TIMERS_SECONDS
        self._timers_at = 0.0
        """Timers do not run before."""
        self._waiting_for_agent = False
        self._encode = msgspec.msgpack.Encoder().encode

    def run(self) -> int:
        """Until the agent says stop, or SIGTERM does; returns the exit code."""
        wake_reader, wake_writer = socket.socketpair()
        for end in (wake_reader, wake_writer):
            end.setblocking(False)
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_writer.fileno(), warn_on_full_buffer=False)
        self._loop.add(wake_reader.fileno(), READ, lambda events: self._woken(wake_reader))
        self._loop.add(self._agent.fileno(), READ, self._agent_ready)
        if self._environment.watchdog_seconds:
            self._watchdog_at = clock.now()
        more = False
        while not self._stopping:
            self._loop.turn(0.0 if more else self._wait_seconds())
            more = self._work()
        self._agent.state("STOPPING=1")
        if self._made is not None:
            self._made.close()
        self._agent.flush()
        signal.set_wakeup_fd(-1)
        wake_reader.close()
        wake_writer.close()
        self._agent.close()
        self._loop.close()
        return self._code

    def _work(self) -> bool:
        now = clock.now()
        engine = self._engine
        more = False
        if engine is not None:
            deadline = engine.deadline()
            if deadline is not None and deadline <= now and self._timers_at <= now:
                self._timers_at = now + self._timers_seconds
                engine.timeout(now)
            effects, more = engine.exchange(now)
            if self._applied is not None:
                self._agent.applied(self._applied)
                self._applied = None
            for effect in effects:
                if isinstance(effect, Notify):
                    self._agent.notification(self._encode(effect.body))
            self._unreported = self._ready and now < self._report_at
            if not self._unreported and not self._agent.held:
                self._report(engine, now)
        elif self._standby is not None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if isinstance(self._made, running.Running):
                self._made.look()
        if self._watchdog_at is not None and now >= self._watchdog_at:
            self._agent.state("WATCHDOG=1")
            self._watchdog_at = now + self._environment.watchdog_seconds / 3
        self._waiting_for_agent = self._agent.flush()
        return more

    def _report(self, engine: Engine, now: float) -> None:
        if not self._ready and engine.ready():
            self._ready = True
            self._agent.state("READY=1")
            gc.collect()
            gc.freeze()
        self._report_at = now + 1 / REPORTS_PER_SECOND
        remaining = engine.remaining()
        if remaining != self._said_remaining:
            self._said_remaining = remaining
            self._agent.remaining(remaining)

    def _wait_seconds(self) -> float | None:
        now = clock.now()
        soonest: float | None = self._watchdog_at
        if self._engine is not None:
            deadline = self._engine.deadline()
            if deadline is not None:
                deadline = max(deadline, self._timers_at)
                if soonest is None or deadline < soonest:
                    soonest = deadline
            if self._unreported and (soonest is None or self._report_at < soonest):
                soonest = self._report_at
        elif self._standby is not None and (soonest is None or self._look_at < soonest):
            soonest = self._look_at
        if self._waiting_for_agent and (soonest is None or now + FLUSH_SECONDS < soonest):
            soonest = now + FLUSH_SECONDS
        return None if soonest is None else soonest - now

    def _agent_ready(self, events: int) -> None:
        for word in self._agent.read():
            self._obey(word)

    def _obey(self, word: Word) -> None:
        now = clock.now()
        engine = self._engine
        if isinstance(word, Configured):
            if self._waits:
                self._warm(word, now)
            else:
                self._configure(word, now)
        elif isinstance(word, TakeOverWanted):
            self._take_over(now)
        elif isinstance(word, StandbyReady):
            if isinstance(engine, running.Running):
                engine.standby(word.peer)
            else:
                os.close(word.peer)
        elif isinstance(word, StopWanted):
            if word.agent_gone:
                say("the agent is gone")
            self._stopping = True
        elif engine is not None and isinstance(word, DrainWanted):
            engine.drain(now + word.seconds, now)
        elif engine is not None and isinstance(word, UndrainWanted):
            engine.undrain(now)

    def _warm(self, word: Configured, now: float) -> None:
        """In a standby. One that fails ends: the agent starts another one later."""
        try:
            configuration = self._read(word)
            made = self._made
            if made is None:
                self._made = made = self._make(configuration, now)
                peer = self._environment.sockets.get("peer")
                if peer is not None:
                    self._loop.add(peer, READ, self._peer_ready)
            if not isinstance(made, running.Running):
                raise ValueError(f"a {self._kind} has no standby")
            made.warm(configuration, now)
        except (msgspec.DecodeError, ValueError, OSError) as error:
            say(f"standby: {error}")
            self._stopping, self._code = True, 1
            return
        if self._standby is None:
            gc.collect()
            gc.freeze()
            self._agent.state("READY=1")
        self._standby = word

    def _peer_ready(self, events: int) -> None:
        if not isinstance(self._made, running.Running) or self._made.hear_peer():
            return
        self._loop.remove(self._environment.sockets["peer"])
        if self._made.died():
            self._agent.hold()
            self._go_on(clock.now())

    def _go_on(self, now: float) -> None:
        """In a standby: be the process that runs."""
        word, self._standby = self._standby, None
        if not self._waits or word is None:
            return
        self._waits = False
        self._configure(word, now)

    def _take_over(self, now: float) -> None:
        self._go_on(now)
        self._agent.release()
        if self._engine is not None and not self._ready:
            self._ready = True
            self._agent.state("READY=1")

    def _read(self, word: Configured) -> Configuration:
        """Decode and check a configuration.

        Raises:
            msgspec.DecodeError: it is malformed.
            ValueError: it is another unit's.
        """
        configuration = decode(word.data)
        kind = type(configuration).__struct_config__.tag
        if kind != self._kind:
            raise ValueError(f"configuration of a {kind} for a {self._kind}")
        if configuration.id != self._unit:
            raise ValueError(f"configuration of {configuration.id} for {self._unit}")
        return configuration

    def _configure(self, word: Configured, now: float) -> None:
        try:
            configuration = self._read(word)
            if self._made is None:
                self._made = self._make(configuration, now)
            self._made.configure(configuration, now)
        except msgspec.DecodeError as error:
            self._agent.failed(word.generation, "bad-configuration", str(error))
        except (ValueError, OSError) as error:
            self._agent.failed(word.generation, "refused", str(error))
        except Exception as error:  # noqa: BLE001
            failure("configure", error)
            self._agent.failed(word.generation, "fault", f"{type(error).__name__}: {error}")
        else:
            self._engine = self._made
            self._applied = word.generation

    def _make(self, configuration: Configuration, now: float) -> Engine:
        sockets = self._environment.sockets
        if self._kind == "load_balancer":
            from telephony.load_balancer.server import Server

            if "jobs" not in sockets:
                raise ValueError("a load balancer needs its listening socket `jobs`")
            return Server(self._loop, sockets["jobs"], now)
        place = kinds.Place(self._unit, self._environment.state_directory, sockets)
        return running.Running(kinds.make(self._kind, place, configuration, now), self._loop, sockets)

    def _terminated(self, number: int, frame: object) -> None:
        self._stopping = True

    def _woken(self, reader: socket.socket) -> None:
        try:
            reader.recv(64)
        except BlockingIOError:
            return


def run(arguments: list[str]) -> int:
    """Run one service; see `telephony.service.main`."""
    if len(arguments) != 2 or arguments[0] not in kinds.KINDS:
        say(f"usage: python -m telephony.service KIND ID, with KIND one of {', '.join(sorted(kinds.KINDS))}")
        return 2
    try:
        environment = read_environment(dict(os.environ), os.getpid())
    except ValueError as error:
        say(str(error))
        return 2
    gc.set_threshold(*GC_THRESHOLDS)
    return Shell(arguments[0], arguments[1], environment).run()
