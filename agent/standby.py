"""Warm standbys: a second process of a unit that has everything loaded, holds the same sockets and memory files, and waits for the word.

Rules:
- A unit that shall have one gets it `START_SECONDS` after it is healthy, so that it takes nothing from the start of the machine.
- A standby that dies is replaced, each time later, up to `AGAIN_SECONDS_MAX`.
- The process that runs and its standby have a socket between them, from the moment the standby is warm; what they say there is theirs.
- A standby is killed where its unit is told to stop: other software or arguments need another one.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

START_SECONDS = 1.0
AGAIN_SECONDS_MAX = 60.0


class Standby:
    """One of them."""

    def __init__(self, number: int, peer: socket.socket) -> None:
        self.number = number
        """Of its process."""
        self.warm = False
        self.peer = peer
        """The running process's end of the socket between the two, until it was passed on."""


class Standbys:
    """All of a machine.

    Args:
        start: starts one for a unit, with one end of the socket; returns its number, None: not now.
        warm: tells the unit's running process that a standby is there, with the other end.
        kill: ends a process by its number.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[str, socket.socket], int | None],
        warm: Callable[[str, socket.socket], None],
        kill: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._start, self._warm, self._kill = start, warm, kill
        self._units: dict[str, Standby] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._deaths: dict[str, int] = {}

    def number(self, unit: str) -> int:
        """Of the standby's process; 0: there is none."""
        standby = self._units.get(unit)
        return standby.number if standby else 0

    def want(self, unit: str) -> None:
        """The unit is healthy and shall have one."""
        if unit not in self._units and unit not in self._timers:
            seconds = min(START_SECONDS * 2 ** self._deaths.get(unit, 0), AGAIN_SECONDS_MAX)
            self._timers[unit] = self._loop.call_later(seconds, self._begin, unit)

    def ready(self, unit: str) -> None:
        """The standby is warm."""
        standby = self._units[unit]
        if not standby.warm:
            standby.warm = True
            self._deaths.pop(unit, None)
            self._warm(unit, standby.peer)
            standby.peer.close()

    def take(self, unit: str) -> int:
        """The unit's process is gone: the number of the one that takes over; 0: none is warm."""
        standby = self._units.get(unit)
        if standby is None or not standby.warm:
            return 0
        del self._units[unit]
        return standby.number

    def gone(self, unit: str) -> None:
        """The standby died, or could not be started."""
        standby = self._units.pop(unit)
        standby.peer.close()
        self._deaths[unit] = self._deaths.get(unit, 0) + 1
        self.want(unit)

    def drop(self, unit: str) -> None:
        """The unit shall have none any more; its process is killed."""
        timer = self._timers.pop(unit, None)
        if timer is not None:
            timer.cancel()
        standby = self._units.pop(unit, None)
        if standby is not None:
            standby.peer.close()
            self._kill(standby.number)
        self._deaths.pop(unit, None)

    def close(self) -> None:
        """No more are started."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _begin(self, unit: str) -> None:
        del self._timers[unit]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = None
        with contextlib.closing(theirs):
            number = self._start(unit, theirs)
        if number is None:
            ours.close()
            return
        self._units[unit] = Standby(number, ours)
