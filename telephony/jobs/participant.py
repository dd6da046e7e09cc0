"""A service's half of the job protocol, without a socket: a client, a worker, and their connections' heartbeats.

The shell hands in each message with the balancer it came from, and takes messages to send. See
`telephony.jobs.protocol` for the rules.
"""

from typing import NamedTuple

import msgspec

from telephony.core import Job
from telephony.effects import Ask, Reply, Tell
from telephony.jobs.client import Answered, Balancer, Client
from telephony.jobs.protocol import BEAT, BEAT_SECONDS, Answer, Reduce, Submit, Told, Welcome, Work, decode_to_balancer, decode_to_service
from telephony.jobs.worker import Worker


class EventTold(NamedTuple):
    """A service told this one something."""

    sender: str
    operation: str
    body: bytes


class LessWanted(NamedTuple):
    """A load balancer asks its router to ask for less."""

    percent: int
    """0 to 100; it holds for `telephony.jobs.protocol.REDUCE_SECONDS`."""


Arrival = Job | Answered | EventTold | LessWanted
"""What is handed to the core."""


class Participant:
    """One service in all its connections to load balancers."""

    def __init__(self) -> None:
        self._client = Client()
        self._worker = Worker()
        self._balancers: dict[str, Balancer] = {}
        self._beat_at: float | None = None
        self._outgoing: list[tuple[str, bytes]] = []

    def configure(self, balancers: list[str], now: float) -> None:
        """The balancers that there are from now on, by id; connections to those that stay are kept."""
        self._balancers = {id: self._balancers.get(id) or Balancer(id, now) for id in balancers}
        self._client.configure(self._balancers, now)
        self._beat_at = now + BEAT_SECONDS if balancers else None

    def received(self, balancer: str, data: bytes, now: float) -> Arrival | None:
        """One message; None: nothing for the core. What cannot be read is ignored."""
        state = self._balancers.get(balancer)
        if state is None:
            return None
        try:
            message = decode_to_service(data)
        except msgspec.DecodeError:
            return None
        state.heard_at = now
        kind = type(message)
        if kind is Work:
            assert isinstance(message, Work)
            return self._worker.work(balancer, message, now)
        if kind is Answer:
            assert isinstance(message, Answer)
            return self._client.answer(message, now)
        if isinstance(message, Told):
            return EventTold(message.sender, message.operation, message.body)
        if isinstance(message, Reduce):
            return LessWanted(min(max(message.percent, 0), 100))
        if isinstance(message, Welcome):
            state.up = True
            self._worker.welcome(balancer)
            self._client.welcome(balancer, now)
        return None

    def ask(self, ask: Ask, now: float) -> None:
        self._client.ask(ask, now)

    def reply(self, reply: Reply) -> None:
        self._worker.reply(reply.job, reply.status, reply.body)

    def tell(self, tell: Tell) -> None:
        self._worker.tell(tell.client, tell.operation, tell.body, [balancer.id for balancer in self._balancers.values() if balancer.up])

    def unsent(self, message: bytes, now: float) -> None:
        """A message could not be sent, the queue to its balancer is full: a job of ours waits, all else is lost."""
        try:
            submit = decode_to_balancer(message)
        except msgspec.DecodeError:
            return
        if isinstance(submit, Submit):
            self._client.refused(submit.number, now)

    def timeout(self, now: float) -> None:
        """Heartbeats and time limits that are due."""
        if self._beat_at is not None and now >= self._beat_at:
            self._outgoing += [(balancer.id, BEAT) for balancer in self._balancers.values() if balancer.up]
            self._beat_at = now + BEAT_SECONDS
        self._client.timeout(now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        sweep_at = self._client.deadline()
        if sweep_at is None or self._beat_at is None:
            return self._beat_at if sweep_at is None else sweep_at
        return min(sweep_at, self._beat_at)

    def take(self) -> tuple[list[tuple[str, bytes]], list[Answered]]:
        """Messages to send (balancer, bytes) in order, and asks that ended without an answer from outside."""
        outgoing, answered = self._client.take()
        outgoing += self._worker.take()
        if self._outgoing:
            outgoing += self._outgoing
            self._outgoing = []
        return outgoing, answered

    def outstanding(self) -> int:
        """Jobs given to this service that it has not answered."""
        return self._worker.outstanding()

    def connected(self) -> int:
        """Balancers that are up."""
        return sum(balancer.up for balancer in self._balancers.values())
