"""Getting one bundle: asks for chunks against credit until it is whole. No socket, no clock.

Rules:
- At most `CREDIT_CHUNKS_MAX` chunks are on their way; the next are asked for when all of them came.
- Silence repeats the question, later each time; any chunk that comes makes it patient from the start again.
- A chunk that does not open is counted and asked for again.
"""

import random
from typing import NamedTuple

from agent.wire.bundle import BundleReader
from agent.wire.envelope import Header
from agent.wire.refusal import Undecipherable

RETRY_SECONDS_FIRST = 0.25
RETRY_SECONDS_MAX = 10.0


class Ask(NamedTuple):
    """Publish a request for these chunks."""

    bundle: str
    chunks: list[int]


class Fetch:
    """One bundle on its way."""

    def __init__(self, reader: BundleReader, rng: random.Random) -> None:
        self.reader = reader
        self.refused = 0
        """Chunks that did not open."""
        self.stored: dict[int, bytes] = {}
        """Chunks as they came: ciphertext, for the disk."""
        self._rng = rng
        self._asked: set[int] = set()
        self._next_at: float | None = None
        self._pause = RETRY_SECONDS_FIRST
        self._asks: list[Ask] = []

    @property
    def complete(self) -> bool:
        return self.reader.complete

    def take(self) -> list[Ask]:
        """What to ask for since the last call."""
        asks, self._asks = self._asks, []
        return asks

    def begin(self, now: float) -> None:
        """There is a session and a subscription: ask."""
        self._pause = RETRY_SECONDS_FIRST
        self._ask(now)

    def pause(self) -> None:
        """There is no session."""
        self._next_at = None

    def chunk(self, header: Header, body: bytes, now: float) -> None:
        """A chunk came, of whatever bundle."""
        if header.subject != self.reader.hash:
            return
        try:
            new = self.reader.take(header, body)
        except Undecipherable:
            self.refused += 1
            return
        index = header.sequence - 1
        if new:
            self.stored[index] = body
            self._pause = RETRY_SECONDS_FIRST
        self._asked.discard(index)
        if self.complete:
            self._next_at = None
        elif not self._asked:
            self._ask(now)

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self._next_at is not None and now >= self._next_at:
            self._pause = min(self._pause * 2, RETRY_SECONDS_MAX)
            self._ask(now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        return self._next_at

    def _ask(self, now: float) -> None:
        chunks = self.reader.missing()
        self._asked = set(chunks)
        self._asks.append(Ask(self.reader.hash, chunks))
        self._next_at = now + self._pause * (1 + 0.25 * self._rng.random())
