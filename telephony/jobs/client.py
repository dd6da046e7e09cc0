"""The asking half of a service: jobs submitted, answers, retries, time limits.

Rules:
- Every `Ask` gets exactly one `Answered`, at its time limit at the latest (status ``timeout``).
- A job goes to a balancer that is up; several take turns. While none is up it waits.
- ``retry`` is followed after a pause that doubles, ``moved`` at once to the service named, then as before.
- A balancer that was lost: what is repeatable is submitted again, the rest is ``unavailable``.

Bound: `ASKS_MAX` jobs at a time; more are answered ``unavailable`` at once.
"""

from typing import NamedTuple

from telephony.effects import Ask
from telephony.jobs.protocol import (
    MOVED,
    REPEATABLE,
    RETRY,
    SILENCE_SECONDS,
    TIMEOUT,
    TIMEOUT_SECONDS_MAX,
    UNAVAILABLE,
    Answer,
    Submit,
    encode,
)

ASKS_MAX = 8192
SWEEP_SECONDS = 0.1
"""Time limits are looked at this often: how late a ``timeout`` may be."""
PAUSE_SECONDS = 0.05
"""Before the first retry; doubles each time up to `PAUSE_SECONDS_MAX`."""
PAUSE_SECONDS_MAX = 0.4
SERVICE_CHARACTERS_MAX = 128
"""Length of a service's id in the body of ``moved``."""


class Answered(NamedTuple):
    """The end of an `Ask`."""

    ask: int
    status: str
    body: bytes
    worker: str


class Balancer:
    """What a service knows of one load balancer that it is connected to."""

    __slots__ = ("heard_at", "id", "up")

    def __init__(self, id: str, now: float) -> None:
        self.id = id
        self.up = False
        """It said Welcome and has been heard since."""
        self.heard_at = now


class _Pending:
    __slots__ = ("again_at", "ask", "balancer", "deadline", "number", "pause", "worker")

    def __init__(self, ask: Ask, deadline: float) -> None:
        self.ask = ask
        self.deadline = deadline
        self.number = 0
        self.balancer = ""
        """Where it is now; empty: it waits."""
        self.again_at = 0.0
        """Not to be submitted before."""
        self.pause = PAUSE_SECONDS
        self.worker = ask.worker


class Client:
    """Jobs that this service has asked for."""

    def __init__(self) -> None:
        self._balancers: dict[str, Balancer] = {}
        self._turn = 0
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        """By the number on the wire."""
        self._waiting: list[_Pending] = []
        self._sweep_at: float | None = None
        self._answered: list[Answered] = []
        self._outgoing: list[tuple[str, bytes]] = []

    def configure(self, balancers: dict[str, Balancer], now: float) -> None:
        """Take the balancers there are from now on."""
        self._balancers = balancers
        for pending in [pending for pending in self._pending.values() if pending.balancer not in balancers]:
            self._lost(pending, now)

    def ask(self, ask: Ask, now: float) -> None:
        """Submit a job."""
        if len(self._pending) + len(self._waiting) >= ASKS_MAX:
            self._answered.append(Answered(ask.id, UNAVAILABLE, b"too many jobs", ""))
            return
        pending = _Pending(ask, now + min(ask.timeout_seconds, TIMEOUT_SECONDS_MAX))
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_SECONDS
        self._submit(pending, now)

    def answer(self, answer: Answer, now: float) -> Answered | None:
        """An answer came; None where it is unknown, or not the end yet."""
        pending = self._pending.pop(answer.number, None)
        if pending is None:
            return None
        if answer.status == RETRY:
            return self._pause(pending, now)
        if answer.status == MOVED:
            moved_to = answer.body[:SERVICE_CHARACTERS_MAX].decode("utf-8", "replace")
            if pending.ask.worker or pending.worker or not moved_to:
                return self._pause(pending, now)
            pending.worker = moved_to
            self._submit(pending, now)
            return None
        if answer.status == UNAVAILABLE and pending.worker != pending.ask.worker:
            return self._pause(pending, now)
        return Answered(pending.ask.id, answer.status, answer.body, answer.worker)

    def welcome(self, balancer: str, now: float) -> None:
        """A connection to this balancer is new: what was submitted over the one before is lost."""
        for pending in [pending for pending in self._pending.values() if pending.balancer == balancer]:
            self._lost(pending, now)
        self._resubmit(now)

    def timeout(self, now: float) -> None:
        """Look at the time limits; see `deadline`."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        for number, pending in list(self._pending.items()):
            if pending.deadline <= now:
                del self._pending[number]
                self._answered.append(Answered(pending.ask.id, TIMEOUT, b"", ""))
            elif not self._is_up(pending.balancer, now) and self._repeatable(pending) and self._choose(now):
                del self._pending[number]
                self._submit(pending, now)
        for pending in [pending for pending in self._waiting if pending.deadline <= now]:
            self._waiting.remove(pending)
            self._answered.append(Answered(pending.ask.id, TIMEOUT, b"", ""))
        self._resubmit(now)
        self._sweep_at = now + SWEEP_SECONDS if self._pending or self._waiting else None

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        return self._sweep_at

    def refused(self, number: int, now: float) -> None:
        """The message with this number could not be sent: the queue to the balancer is full."""
        pending = self._pending.pop(number, None)
        if pending is not None and (answered := self._pause(pending, now)) is not None:
            self._answered.append(answered)

    def take(self) -> tuple[list[tuple[str, bytes]], list[Answered]]:
        """Messages to send (balancer, bytes), and asks that came to their end, since the last call."""
        outgoing, self._outgoing = self._outgoing, []
        answered, self._answered = self._answered, []
        return outgoing, answered

    def outstanding(self) -> int:
        """Asks without an answer."""
        return len(self._pending) + len(self._waiting)

    def _submit(self, pending: _Pending, now: float) -> None:
        balancer = self._choose(now)
        if balancer is None:
            pending.balancer = ""
            self._waiting.append(pending)
            return
        self._number = number = self._number + 1
        pending.number = number
        pending.balancer = balancer
        self._pending[number] = pending
        ask = pending.ask
        left_ms = max(1, int((pending.deadline - now) * 1000))
        repeatable = (ask.kind, ask.operation) in REPEATABLE
        self._outgoing.append(
            (balancer, encode(Submit(number, ask.kind, ask.operation, ask.body, pending.worker, ask.key, left_ms, repeatable)))
        )

    def _choose(self, now: float) -> str | None:
        balancers = [balancer.id for balancer in self._balancers.values() if balancer.up and now - balancer.heard_at < SILENCE_SECONDS]
        if not balancers:
            return None
        self._turn += 1
        return balancers[self._turn % len(balancers)]

    def _is_up(self, id: str, now: float) -> bool:
        balancer = self._balancers.get(id)
        return balancer is not None and balancer.up and now - balancer.heard_at < SILENCE_SECONDS

    def _repeatable(self, pending: _Pending) -> bool:
        return (pending.ask.kind, pending.ask.operation) in REPEATABLE

    def _lost(self, pending: _Pending, now: float) -> None:
        del self._pending[pending.number]
        if self._repeatable(pending):
            self._submit(pending, now)
        else:
            self._answered.append(Answered(pending.ask.id, UNAVAILABLE, b"load balancer lost", ""))

    def _pause(self, pending: _Pending, now: float) -> Answered | None:
        pending.again_at = now + pending.pause
        pending.pause = min(pending.pause * 2, PAUSE_SECONDS_MAX)
        pending.worker = pending.ask.worker
        if pending.again_at >= pending.deadline:
            return Answered(pending.ask.id, UNAVAILABLE, b"nobody took it in time", "")
        pending.balancer = ""
        self._waiting.append(pending)
        self._sweep_at = pending.again_at if self._sweep_at is None else min(self._sweep_at, pending.again_at)
        return None

    def _resubmit(self, now: float) -> None:
        if not self._waiting or self._choose(now) is None:
            return
        waiting, self._waiting = self._waiting, []
        for pending in waiting:
            if pending.again_at <= now:
                self._submit(pending, now)
            else:
                self._waiting.append(pending)
