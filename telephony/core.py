"""What every core of the platform's services offers to the one shell that runs it.

Rules:
- A core holds no socket, clock or task. Time comes in as an argument: seconds, of a clock that only grows.
- After each call the shell takes the effects and carries them out in order.
- A core that has no use for a call simply does not get it: a load balancer receives no datagram of SIP.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from telephony.config import Configuration
from telephony.effects import Effect
from telephony.sip.flow import Flow
from telephony.sip.resolution import Located


class Job(NamedTuple):
    """A job that a load balancer gave to this service."""

    number: int
    """Names the job in `Reply`."""
    client: str
    """Id of the service that asks; events about this job go there (`Tell`)."""
    operation: str
    body: bytes


class Core(Protocol):
    """One service's behaviour."""

    def configure(self, configuration: Configuration, now: float) -> None:
        """Take a configuration: the first one starts the service, later ones change it in place.

        Raises:
            ValueError: the configuration cannot be applied; the one before stays in force.
        """

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One datagram, or one framed message of a connection."""

    def closed(self, flow: Flow, now: float) -> None:
        """A connection ended, or could not be opened (what was to be sent on it is lost)."""

    def job(self, job: Job, now: float) -> None:
        """A job to do; answered with `Reply`, now or later."""

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        """The answer to `Ask`; ``worker`` is the service that did it. Status ``timeout`` and ``unavailable`` come from the shell."""

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        """A dependent told this service something (`Tell`)."""

    def drain(self, deadline: float, now: float) -> None:
        """Take no new work; what is left at the deadline is ended with its cause."""

    def undrain(self, now: float) -> None:
        """Take new work again: the replacement was called off."""

    def ready(self) -> bool:
        """The service can be given work. Only a core that prepares itself after `configure` says no for a while."""

    def remaining(self) -> int:
        """Work still carried (calls, legs); a draining service with 0 is stopped."""

    def timeout(self, now: float) -> None:
        """The deadline has passed."""

    def deadline(self) -> float | None:
        """When `timeout` is wanted next; None: not."""

    def take(self) -> Sequence[Effect]:
        """Effects since the last call, in order."""


@runtime_checkable
class MeasuredCore(Protocol):
    """A core that wants to know whether it can keep up."""

    def waited(self, seconds: float, now: float) -> None:
        """How long the datagrams that are handed over now have waited in their socket; 0: none is left there.

        Called only where they are read more slowly than they come, and once when that is over.
        """


@runtime_checkable
class ReducibleCore(Protocol):
    """A core whose load balancer may ask for less."""

    def reduce(self, percent: int, now: float) -> None:
        """Take so much less new work for `telephony.jobs.protocol.REDUCE_SECONDS`; 0: all again."""


@runtime_checkable
class PatientCore(Protocol):
    """A core that knows how urgent it is."""

    def patience(self, now: float) -> float:
        """Seconds that what comes may wait to be read, where much comes; 0: as few as can be."""


@runtime_checkable
class LocatingCore(Protocol):
    """A core that sends to names (`Locate`)."""

    name_servers: list[str]
    """Whom to ask, ``host`` or ``host:port``; empty: whom the machine asks (``/etc/resolv.conf``)."""

    def located(self, id: int, located: Located, now: float) -> None:
        """Where it is reached."""

    def unsent(self, data: bytes, flow: Flow, now: float) -> None:
        """A message could not be sent: its connection is gone."""


@runtime_checkable
class Replaceable(Protocol):
    """A core whose process has a standby (`agent.standby`)."""

    def warm(self, configuration: Configuration, now: float) -> None:
        """In the standby: load everything, touch nothing. `Core.configure` then goes on where the process before was.

        Raises:
            ValueError: as `Core.configure`.
        """

    def standby(self, peer: int) -> None:
        """In the process that runs: a standby is warm; ``peer`` is the socket to it, ours to close."""

    def hear_peer(self) -> bool:
        """In the standby: the socket ``peer`` is readable; false: the running process is gone."""

    def look(self) -> None:
        """In the standby, several times a second: make ready what the running process did since the last call."""

    def died(self) -> bool:
        """In the standby, of a running process that is gone: it did not end in order, and its work goes on here."""
