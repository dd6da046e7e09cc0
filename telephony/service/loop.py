"""One epoll loop: descriptors and the next deadline.

Level-triggered: a handler may leave the rest for the next round. ``precise`` waits with the kernel's high
resolution timer (select on the epoll descriptor) instead of epoll's milliseconds.
"""

import select
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR
HANG_UP = select.EPOLLHUP
EVENTS_MAX = 64

Handler = Callable[[int], None]
"""Called with the epoll events of its descriptor."""


class Loop:
    """Descriptors with their handlers."""

    def __init__(self, precise: bool = False) -> None:
        self.precise = precise
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

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
        if self.precise and wait_seconds > 0:
            select.select([self._epoll], [], [], wait_seconds)
            wait_seconds = 0.0
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(wait_seconds, EVENTS_MAX):
            handler = handlers.get(descriptor)
            if handler is not None:  # else a handler before it in this round has removed it
                handler(events)

    def close(self) -> None:
        self._epoll.close()
