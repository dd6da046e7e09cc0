"""What services tell the controller, gathered and bounded on its way out.

Rules: in order; sent `BATCH_SECONDS` after the first one, or when the batch is full; what comes when nothing can be sent (no session)
is kept up to the bounds, the oldest is dropped first and counted. What matters is said again by the services themselves.
"""

from collections import deque

from agent.wire.messages import UnitEvents

BATCH_SECONDS = 0.1
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 256 * 1024
KEPT_EVENTS_MAX = 5000
KEPT_BYTES_MAX = 2 << 20


class Notices:
    """Waiting notifications of all units of a machine."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._due: float | None = None

    def add(self, unit: str, body: bytes, now: float) -> None:
        """A unit said something."""
        self._waiting.append((unit, body))
        self._bytes += len(body)
        while len(self._waiting) > KEPT_EVENTS_MAX or self._bytes > KEPT_BYTES_MAX:
            self._bytes -= len(self._waiting.popleft()[1])
            self._dropped += 1
        if self._due is None:
            self._due = now + BATCH_SECONDS

    def deadline(self) -> float | None:
        """When `batch` has something; None: nothing waits."""
        return self._due

    def batch(self, now: float) -> UnitEvents | None:
        """The next batch that is due; None: none. Call again until None."""
        full = len(self._waiting) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX
        if self._due is None or (now < self._due and not full):
            return None
        events: list[tuple[str, bytes]] = []
        size = 0
        while self._waiting and len(events) < BATCH_EVENTS_MAX and (not events or size + len(self._waiting[0][1]) <= BATCH_BYTES_MAX):
            event = self._waiting.popleft()
            size += len(event[1])
            events.append(event)
        self._bytes -= size
        dropped, self._dropped = self._dropped, 0
        if not self._waiting:
            self._due = None
        return UnitEvents(events=events, dropped=dropped)
