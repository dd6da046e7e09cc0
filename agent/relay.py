"""The relay: the machine of a load balancer keeps the state of dependents on other machines and passes it on, unopened.

controller -> `Carried` (in the session of the balancer's machine) -> stored -> ``x/`` state -> dependent's machine -> ``x/`` taken -> here

Rules:
- What is relayed is ciphertext for its machine, signed by the controller; this machine can neither read nor change it.
- Only a newer generation replaces what is kept; an empty envelope forgets it.
- It is passed on at once, and again with back-off until that machine says that it took it. What a machine says it took only
  counts for itself, and not beyond what was sent.
- What is kept is stored before it is reported, and passed on again after a start.
"""

import random
from typing import NamedTuple

import msgspec

from agent.wire.messages import Carried, RelayStatus

RETRY_SECONDS_FIRST = 0.3
RETRY_SECONDS_MAX = 30.0
KEPT_MAX = 4096
"""Subjects of other machines; more are refused."""
KEPT_BYTES_MAX = 64 << 20
"""Of all that is kept; what does not fit is refused, and the dependent gets it by snapshot."""


class Forward(NamedTuple):
    """Send a kept envelope to its machine."""

    machine: str
    packed: bytes


class KeepRelayed(NamedTuple):
    """Store what is kept for a machine; ``packed`` empty: forget it."""

    machine: str
    subject: str
    generation: int
    packed: bytes


class Report(NamedTuple):
    """What is stored or delivered has changed."""


Effect = Forward | KeepRelayed | Report


class Kept(msgspec.Struct):
    """One subject that is relayed."""

    generation: int
    packed: bytes
    delivered: int = 0
    """Generation that its machine took."""
    next_at: float | None = None
    """When it is sent again; None: it was taken."""
    pause: float = RETRY_SECONDS_FIRST


class Relay:
    """What one machine keeps for others."""

    def __init__(self, rng: random.Random) -> None:
        self._kept: dict[tuple[str, str], Kept] = {}
        self._rng = rng
        self._effects: list[Effect] = []
        self.refused = 0
        """Subjects that did not fit."""

    def take(self) -> list[Effect]:
        """Effects since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def restore(self, machine: str, subject: str, generation: int, packed: bytes, now: float) -> None:
        """What was stored before a start; it is passed on again, a little later."""
        self._kept[machine, subject] = Kept(generation, packed, next_at=now + self._rng.random())

    def carried(self, carried: Carried, now: float) -> None:
        """The controller has a state for another machine."""
        key = (carried.machine, carried.subject)
        kept = self._kept.get(key)
        if not carried.envelope:
            if kept is not None and carried.generation >= kept.generation:
                del self._kept[key]
                self._effects += [KeepRelayed(*key, 0, b""), Report()]
            return
        if kept is not None and carried.generation <= kept.generation:
            if carried.generation == kept.generation:
                # The controller does not see it taken at the end: try again, and tell it how far it came.
                kept.packed = carried.envelope
                self._send(key, kept, now)
                self._effects.append(Report())
            return
        others = sum(len(each.packed) for each in self._kept.values() if each is not kept)
        if (kept is None and len(self._kept) >= KEPT_MAX) or others + len(carried.envelope) > KEPT_BYTES_MAX:
            self.refused += 1
            return
        delivered = kept.delivered if kept is not None else 0
        kept = self._kept[key] = Kept(carried.generation, carried.envelope, delivered)
        self._effects.append(KeepRelayed(*key, carried.generation, carried.envelope))
        self._send(key, kept, now)
        self._effects.append(Report())

    def taken(self, machine: str, subject: str, generation: int) -> None:
        """A machine says that it took this."""
        kept = self._kept.get((machine, subject))
        if kept is None or generation > kept.generation:
            return
        if generation == kept.generation:
            kept.next_at = None
        if generation > kept.delivered:
            kept.delivered = generation
            self._effects.append(Report())

    def timeout(self, now: float) -> None:
        """Send again what was not taken."""
        for key, kept in self._kept.items():
            if kept.next_at is not None and now >= kept.next_at:
                kept.pause = min(kept.pause * 2, RETRY_SECONDS_MAX)
                self._send(key, kept, now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        return min((kept.next_at for kept in self._kept.values() if kept.next_at is not None), default=None)

    def status(self) -> list[RelayStatus]:
        """For the report."""
        return [
            RelayStatus(machine=machine, subject=subject, stored=kept.generation, delivered=kept.delivered)
            for (machine, subject), kept in self._kept.items()
        ]

    def _send(self, key: tuple[str, str], kept: Kept, now: float) -> None:
        kept.next_at = now + kept.pause * (1 + 0.25 * self._rng.random())
        self._effects.append(Forward(key[0], kept.packed))
