"""When which subject is published: at once when it changes, again with back-off while nobody acknowledges.

Rules:
- Only the current generation of a subject is ever sent; a newer one replaces an older one that still waits.
- A subject is settled when its machine accepted the current generation; then its outbox entry goes.
- Silence is answered by publishing again: after `RETRY_SECONDS_FIRST`, each time twice as long up to `RETRY_SECONDS_MAX`,
  spread by a fraction so that many machines do not answer at once.
- Content that a machine refused is held: the same content is not sent again, another one is.
- Nothing is sent towards a machine without a session; when it has one it asks for a snapshot itself.

Pure: seconds and the spread come in.
"""

from collections.abc import Callable, Iterable

import msgspec

from controller.state import Delivery, Outbox, Subject
from controller.tables import Draft, Tables

RETRY_SECONDS_FIRST = 1.0
RETRY_SECONDS_MAX = 30.0
BATCH_MAX = 2000
"""Subjects that are handed out at once; the rest follows at the next call."""


class _Attempt(msgspec.Struct):
    generation: int
    count: int
    next_at: float


class Publication:
    """Knows what is under way."""

    def __init__(self, spread: Callable[[], float]) -> None:
        """``spread``: a number from 0 to 1, new with each call."""
        self._attempts: dict[str, _Attempt] = {}
        self._spread = spread

    def resume(self, tables: Tables, now: float) -> None:
        """After a start: what stands in the outbox is due, in the time of one retry."""
        for entry in tables.all(Outbox).values():
            self._attempts[entry.id] = _Attempt(entry.generation, 0, now + self._spread() * RETRY_SECONDS_FIRST)

    def changed(self, subject: Subject, now: float) -> None:
        """A subject has a new generation."""
        self._attempts[subject.id] = _Attempt(subject.generation, 0, now)

    def dropped(self, id: str) -> None:
        """A subject is no more."""
        self._attempts.pop(id, None)

    def answered(self, ids: Iterable[str], now: float) -> None:
        """These were just sent in a snapshot: no need to publish them beside it."""
        for id in ids:
            attempt = self._attempts.get(id)
            if attempt is not None:
                attempt.next_at = max(attempt.next_at, now + RETRY_SECONDS_FIRST)

    def settle(self, draft: Draft, ids: Iterable[str]) -> None:
        """Take what was acknowledged out of the outbox, and hold what was refused."""
        for id in ids:
            subject, delivery = draft.get(Subject, id), draft.get(Delivery, id)
            if subject is None or delivery is None:
                continue
            if delivery.accepted >= subject.generation or delivery.failed_hash == subject.content_hash:
                draft.delete(Outbox, id)
                self._attempts.pop(id, None)

    def due(self, tables: Tables, reachable: Callable[[str], bool], now: float) -> list[Subject]:
        """Subjects to send now; ``reachable`` tells whether a machine has a session."""
        found: list[Subject] = []
        for id, attempt in list(self._attempts.items()):
            if attempt.next_at > now or len(found) >= BATCH_MAX:
                continue
            subject = tables.get(Subject, id)
            if subject is None or subject.generation != attempt.generation:
                del self._attempts[id]
                continue
            attempt.count += 1
            pause = min(RETRY_SECONDS_FIRST * 2 ** min(attempt.count - 1, 10), RETRY_SECONDS_MAX)
            attempt.next_at = now + pause * (1 + 0.25 * self._spread())
            if reachable(subject.via or subject.machine):
                found.append(subject)
        return found

    def deadline(self) -> float | None:
        """When something is due next; None: nothing is under way."""
        return min((attempt.next_at for attempt in self._attempts.values()), default=None)
