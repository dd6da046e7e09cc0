"""A core with its sockets: what comes in is handed to it, its effects are carried out in order.

Rules:
- Effects are taken once a turn of the loop, after all that was read in it: a core that commits when its effects are
  taken commits once for all of it.
- A fault of ours in one message is said and costs that message, not the process.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from telephony.config import Configuration, ProxyConfiguration
from telephony.core import Core, Job, LocatingCore, MeasuredCore, PatientCore, ReducibleCore, Replaceable
from telephony.dns import system
from telephony.effects import Admit, Ask, Close, Effect, Locate, Notify, Reply, Send, Tell
from telephony.jobs.client import Answered
from telephony.jobs.participant import EventTold
from telephony.service import clock
from telephony.service.datagrams import Datagrams
from telephony.service.jobs import JobSockets
from telephony.service.kinds import SHARD_PREFIX, SIP_SOCKETS
from telephony.service.log import failure
from telephony.service.loop import Loop
from telephony.service.streams import Streams
from telephony.sip.flow import Flow
from telephony.sip.resolution import Located
from telephony.sip.uri import host_port

if TYPE_CHECKING:
    from telephony.service.names import Names

ROUNDS_MAX = 8
"""Rounds of effects and their answers in one turn of the loop."""


class Running:
    """One core at work.

    Args:
        core: not configured yet.
        loop: where its sockets are watched.
        sockets: descriptors by name.
    """

    def __init__(self, core: Core, loop: Loop, sockets: dict[str, int]) -> None:
        self._core = core
        self._measured = core.waited if isinstance(core, MeasuredCore) else _nothing
        self._patient = core if isinstance(core, PatientCore) else None
        self._loop = loop
        self._names: Names | None = None
        """Made when the core asks for the first name."""
        self._datagrams = Datagrams(loop, self._receive, self._closed, self._waited)
        self._streams = Streams(loop, self._receive, self._closed, self._unsent if isinstance(core, LocatingCore) else None)
        self._jobs = JobSockets(loop)
        for name, descriptor in sockets.items():
            if name not in SIP_SOCKETS and not name.startswith(SHARD_PREFIX):
                continue
            if name.endswith("-udp") or name.startswith(SHARD_PREFIX):
                self._datagrams.add(name, descriptor, shared=name.startswith("public-"))
            else:
                self._streams.add(name, descriptor)
        self._touched = True
        """The core may have effects."""

    def configure(self, configuration: Configuration, now: float) -> None:
        """Swap the configuration between two datagrams.

        Raises:
            ValueError: the core refuses it; the one before stays.
        """
        self._touched = True
        self._jobs.check(configuration.jobs)
        if isinstance(configuration, ProxyConfiguration):
            self._streams.certify(configuration.certificate, configuration.private_key)
            self._streams.trust(configuration.authorities)
        self._core.configure(configuration, now)
        self._jobs.configure(configuration.jobs, now)
        if self._names is not None and isinstance(self._core, LocatingCore):
            self._names.configure(system.read(self._core.name_servers))
        for name in self._datagrams.names():
            self._datagrams.read(name, _reads(configuration, name))
        for name in self._streams.names():
            self._streams.accept(name, _reads(configuration, name))

    def warm(self, configuration: Configuration, now: float) -> None:
        """In a standby: load all that `configure` will need.

        Raises:
            ValueError: the core refuses the configuration, or has no standby.
        """
        if not isinstance(self._core, Replaceable):
            raise ValueError("this kind of service has no standby")
        self._core.warm(configuration, now)

    def standby(self, peer: int) -> None:
        """A standby of this process is warm."""
        if isinstance(self._core, Replaceable):
            self._core.standby(peer)
        else:
            os.close(peer)

    def hear_peer(self) -> bool:
        """In a standby: the process that runs said something; false: it is gone."""
        return isinstance(self._core, Replaceable) and self._core.hear_peer()

    def look(self) -> None:
        """In a standby: make ready what the process that runs did since the last call."""
        if isinstance(self._core, Replaceable):
            self._core.look()

    def died(self) -> bool:
        """In a standby: the process that ran is gone, and did not end in order."""
        return isinstance(self._core, Replaceable) and self._core.died()

    def drain(self, deadline: float, now: float) -> None:
        self._touched = True
        self._core.drain(deadline, now)

    def undrain(self, now: float) -> None:
        self._touched = True
        self._core.undrain(now)

    def ready(self) -> bool:
        return self._core.ready()

    def remaining(self) -> int:
        return self._core.remaining()

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        soonest = self._core.deadline()
        names = None if self._names is None else self._names.deadline()
        for deadline in (self._jobs.deadline(), self._streams.deadline(), names):
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def timeout(self, now: float) -> None:
        """Run what is due."""
        self._jobs.timeout(now)
        self._streams.timeout(now)
        if self._names is not None:
            self._names.timeout(now)
        deadline = self._core.deadline()
        if deadline is not None and deadline <= now:
            self._touched = True
            self._guard("timeout", lambda: self._core.timeout(now))

    def exchange(self, now: float) -> tuple[list[Effect], bool]:
        """Carry out effects and hand over what that brings; what is left to the shell (`Notify`), and whether more is there."""
        left: list[Effect] = []
        for _ in range(ROUNDS_MAX):
            if self._touched:
                self._touched = False
                self._carry_out(now, left)
            arrivals = self._jobs.exchange(now)
            if not arrivals and not self._touched:
                break
            self._touched = True
            core = self._core
            for arrival in arrivals:
                try:
                    if isinstance(arrival, Job):
                        core.job(arrival, now)
                    elif isinstance(arrival, Answered):
                        core.reply(arrival.ask, arrival.status, arrival.body, arrival.worker, now)
                    elif isinstance(arrival, EventTold):
                        core.event(arrival.sender, arrival.operation, arrival.body, now)
                    elif isinstance(core, ReducibleCore):
                        core.reduce(arrival.percent, now)
                except Exception as error:  # noqa: BLE001
                    failure(type(arrival).__name__, error)
                    if isinstance(arrival, Job):
                        self._jobs.reply(Reply(arrival.number, "fault", b""))
        if self._patient is not None:
            self._loop.patience_seconds = self._patient.patience(now)
        return left, self._touched or self._jobs.pending()

    def close(self) -> None:
        self._guard("take", lambda: self._carry_out(clock.now(), []))
        self._jobs.exchange(clock.now())
        close = getattr(self._core, "close", None)
        if close is not None:
            self._guard("close", close)
        self._datagrams.close()
        self._streams.close()
        if self._names is not None:
            self._names.close()
        self._jobs.close()

    def _carry_out(self, now: float, left: list[Effect]) -> None:
        for effect in self._core.take():
            kind = type(effect)
            if kind is Send:
                assert isinstance(effect, Send)
                if effect.flow.transport == "udp":
                    self._datagrams.send(effect.data, effect.flow)
                else:
                    self._streams.send(effect.data, effect.flow)
            elif isinstance(effect, Ask):
                self._jobs.ask(effect, now)
            elif isinstance(effect, Reply):
                self._jobs.reply(effect)
            elif isinstance(effect, Tell):
                self._jobs.tell(effect)
            elif isinstance(effect, Close):
                self._streams.hang_up(effect.flow)
            elif isinstance(effect, Notify):
                left.append(effect)
            elif isinstance(effect, Admit):
                self._datagrams.admit(effect.share, effect.spared)
            elif isinstance(effect, Locate):
                self._locate(effect, now)

    def _locate(self, effect: Locate, now: float) -> None:
        if self._names is None:
            from telephony.service.names import Names

            assert isinstance(self._core, LocatingCore)
            self._names = Names(self._loop, system.read(self._core.name_servers), self._located)
        self._names.locate(effect, now)

    def _located(self, effect: Locate, located: Located) -> None:
        self._touched = True
        for hop in located.hops:
            if hop.transport == "tls":
                self._streams.expect(hop.host, hop.port, effect.sought.host)
        core = self._core
        assert isinstance(core, LocatingCore)
        self._guard("located", lambda: core.located(effect.id, located, clock.now()))

    def _receive(self, data: bytes, flow: Flow) -> None:
        self._touched = True
        try:
            self._core.receive(data, flow, clock.now())
        except Exception as error:  # noqa: BLE001
            failure("a message", error)

    def _waited(self, seconds: float) -> None:
        self._measured(seconds, clock.now())

    def _unsent(self, data: bytes, flow: Flow) -> None:
        self._touched = True
        core = self._core
        assert isinstance(core, LocatingCore)
        self._guard("unsent", lambda: core.unsent(data, flow, clock.now()))

    def _closed(self, flow: Flow) -> None:
        self._touched = True
        self._guard("closed", lambda: self._core.closed(flow, clock.now()))

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001
            failure(what, error)


def _reads(configuration: Configuration, name: str) -> bool:
    """Whether a service hears what comes to a socket."""
    if not isinstance(configuration, ProxyConfiguration) or not name.startswith("public-"):
        return True
    shards = configuration.public_shards
    if not name.startswith("public-udp") or not shards:
        return configuration.public
    number = int(name.removeprefix(SHARD_PREFIX)) if name.startswith(SHARD_PREFIX) else 0
    return number < len(shards) and host_port(shards[number]) == (configuration.host, configuration.port)


def _nothing(seconds: float, now: float) -> None:
    """Waiting of a core that does not want to know."""
