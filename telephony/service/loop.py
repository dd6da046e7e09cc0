"""One epoll loop: descriptors and the next deadline.

Level-triggered: a handler may leave the rest for the next round. ``precise`` waits with the kernel's high
resolution timer (select on the epoll descriptor) instead of epoll's milliseconds.

Under load the loop gathers: a wake-up for each message costs more than a short message's handling, so once rounds have
followed each other quickly for a while it sleeps `GATHER_SECONDS` before it looks, and finds several. What comes alone is
handled at once, and a single call's messages are too few to begin it. A precise loop never gathers. Where nothing that comes is urgent
its owner gives it `Loop.patience_seconds`: each wake-up finds the caches cold, and the fewer they are the less is paid for that.
"""

import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR
HANG_UP = select.EPOLLHUP
EVENTS_MAX = 64
GATHER_SECONDS = 0.001
"""The longest that gathering delays a message, without more patience."""
GATHER_FROM = 24
"""Rounds within that time of the one before, slow ones deducted `SLOW_WEIGHT` times, from which on it gathers."""
GATHER_MAX = 64
SLOW_WEIGHT = 4

Handler = Callable[[int], None]
"""Called with the epoll events of its descriptor."""


class Loop:
    """Descriptors with their handlers."""

    def __init__(self, precise: bool = False) -> None:
        self.precise = precise
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._quick = 0
        """How often rounds followed each other quickly, 0 to `GATHER_MAX`."""
        self._round_at = 0.0
        self.patience_seconds = 0.0
        """How long messages may be delayed now; `GATHER_SECONDS` at least."""
        self.more = False
        """A handler has left something unread: the next round begins at once."""

    def add(self, descriptor: int, events: int, handler: Handler) -> None:
        """Watch a descriptor."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Watch it for other events; 0: only errors."""
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Watch it no longer; before it is closed. Nothing happens if it is not watched."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def turn(self, wait_seconds: float | None) -> None:
        """Wait for events, at most so long (None: without limit), and handle them."""
        if wait_seconds is None:
            wait_seconds = -1.0
        elif wait_seconds < 0:
            wait_seconds = 0.0
        if self.precise:
            if wait_seconds > 0:
                select.select([self._epoll], [], [], wait_seconds)
            found = self._epoll.poll(0.0, EVENTS_MAX)
        elif wait_seconds == 0.0:
            found = self._epoll.poll(0.0, EVENTS_MAX)
        else:
            found = self._gather(wait_seconds)
        handlers = self._handlers
        for descriptor, events in found:
            handler = handlers.get(descriptor)
            if handler is not None:  # else a handler before it in this round has removed it
                handler(events)

    def close(self) -> None:
        self._epoll.close()

    def _gather(self, wait_seconds: float) -> list[tuple[int, int]]:
        """Events, after a pause where they come thick and fast."""
        gather_seconds = max(GATHER_SECONDS, self.patience_seconds)
        more, self.more = self.more, False
        if self._quick < GATHER_FROM:
            found = self._epoll.poll(wait_seconds, EVENTS_MAX)
            before, self._round_at = self._round_at, time.monotonic()
            self._quick = self._quick + 1 if self._round_at - before < gather_seconds else max(0, self._quick - SLOW_WEIGHT)
            return found
        worked = time.monotonic() - self._round_at
        if more or 0 <= wait_seconds < GATHER_SECONDS or worked >= gather_seconds:
            found = self._epoll.poll(wait_seconds, EVENTS_MAX)  # while it was at work others have come
        else:
            pause = max(GATHER_SECONDS, self.patience_seconds - worked)
            time.sleep(pause if wait_seconds < 0 else min(pause, wait_seconds))
            found = self._epoll.poll(0.0, EVENTS_MAX)
            self._quick = min(self._quick + 1, GATHER_MAX) if found else self._quick - SLOW_WEIGHT
        self._round_at = time.monotonic()
        return found
