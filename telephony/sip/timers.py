"""Timers of all transactions and sessions of a process, under a clock that is given.

Rules:
- The few durations that SIP uses again and again (`LANES`) each have a queue of their own: within one, the order of
  starting is the order of expiring, so starting is O(1). Any other duration goes to a heap.
- Cancelling is lazy: the entry forgets its callback. It is dropped when it comes up, or when the queue has doubled
  since it was last swept (from `SWEEP_ENTRIES_MIN` on), so that cancelled entries never outnumber the others for long.
- Timers that are due run in the order of their times, then of their start.
- What only has to be remembered for a while (`Lingering`: most transactions, most of their time) waits in a queue of its
  own: no timer is made for it. It ends after the timers that are due with it.
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

T1 = 0.5
"""Round trip time estimate, seconds (RFC 3261 section 17.1.1.1)."""
T2 = 4.0
"""Longest interval between retransmissions of non-INVITE requests and INVITE responses, seconds."""
T4 = 5.0
"""Longest time that a message stays in the network, seconds."""
T64 = 64 * T1
"""Timers B, D, F, H, J, L, M: 32 s."""
TIMER_C = 181.0
"""A proxy's wait for a final response to INVITE, seconds; more than three minutes (RFC 3261 section 16.6)."""

LANES = (T1, 1.0, 2.0, T2, T4, 8.0, 16.0, T64, TIMER_C)
"""Durations with a queue of their own, seconds."""

SWEEP_ENTRIES_MIN = 1024

Timer = list[Any]
"""``[time, number, callback or None]``; None: cancelled or run."""


LINGERS = (T4, T64)
"""How long things linger, seconds."""


class Lingering(Protocol):
    """Something that is over but for being remembered."""

    expires: float
    """When it may be forgotten; set by `Timers.linger`."""

    def forget(self) -> None:
        """Its time has come. Called once, even if it ended before."""


class _Lane:
    """Timers of one duration, in the order of their times."""

    __slots__ = ("queue", "sweep_at")

    def __init__(self) -> None:
        self.queue: deque[Timer] = deque()
        self.sweep_at = SWEEP_ENTRIES_MIN
        """Length at which cancelled entries are looked for."""

    def sweep(self) -> None:
        """Drop cancelled entries."""
        live = [timer for timer in self.queue if timer[2] is not None]
        self.queue.clear()
        self.queue.extend(live)
        self.sweep_at = max(SWEEP_ENTRIES_MIN, 2 * len(live))


class Timers:
    """Set of timers; `run` calls what is due."""

    __slots__ = ("_head", "_heap", "_heap_sweep_at", "_lanes", "_lingering", "_number", "_queues")

    def __init__(self) -> None:
        self._lanes: dict[float, _Lane] = {seconds: _Lane() for seconds in LANES}
        self._queues = [lane.queue for lane in self._lanes.values()]
        self._lingering: dict[float, deque[Lingering]] = {seconds: deque() for seconds in LINGERS}
        self._heap: list[Timer] = []
        self._heap_sweep_at = SWEEP_ENTRIES_MIN
        self._head: Timer | None = None
        self._number = 0

    def start(self, now: float, seconds: float, callback: Callable[[float], None]) -> Timer:
        """Call ``callback(now)`` at ``now + seconds`` or the first `run` after it."""
        self._number = number = self._number + 1
        timer: Timer = [now + seconds, number, callback]
        lane = self._lanes.get(seconds)
        if lane is None or (lane.queue and lane.queue[-1][0] > timer[0]):
            heappush(self._heap, timer)
            if len(self._heap) > self._heap_sweep_at:
                self._heap = [entry for entry in self._heap if entry[2] is not None]
                heapify(self._heap)
                self._heap_sweep_at = max(SWEEP_ENTRIES_MIN, 2 * len(self._heap))
        else:
            lane.queue.append(timer)
            if len(lane.queue) > lane.sweep_at:
                lane.sweep()
        head = self._head
        if head is None or timer[0] < head[0]:
            self._head = timer
        return timer

    def linger(self, now: float, seconds: float, what: Lingering) -> None:
        """Call ``what.forget()`` at ``now + seconds`` (one of `LINGERS`) or the first `run` after it; once for each thing at the most."""
        what.expires = now + seconds
        self._lingering[seconds].append(what)

    def deadline(self) -> float | None:
        """Time of the next timer that is not cancelled; None: there is none."""
        head = self._head
        if head is not None and head[2] is None:
            head = self._earliest()
        deadline: float | None = None if head is None else head[0]
        for queue in self._lingering.values():
            if queue and (deadline is None or queue[0].expires < deadline):
                deadline = queue[0].expires
        return deadline

    def run(self, now: float) -> None:
        """Run what is due at ``now``."""
        head = self._head
        while head is not None and head[0] <= now:
            due = self._take_due(now)
            due.reverse()
            try:
                while due:
                    timer = due.pop()
                    callback = timer[2]
                    if callback is not None:  # else one before it has cancelled it
                        timer[2] = None
                        callback(now)
            finally:
                for timer in due:  # a callback has failed
                    heappush(self._heap, timer)
                head = self._earliest()
        for queue in self._lingering.values():
            while queue and queue[0].expires <= now:
                queue.popleft().forget()

    def __len__(self) -> int:
        """Entries held, cancelled ones included."""
        return len(self._heap) + sum(map(len, self._queues)) + sum(map(len, self._lingering.values()))

    def _take_due(self, now: float) -> list[Timer]:
        """Take out what is due, in order."""
        due: list[Timer] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            due.append(heappop(heap))
        for queue in self._queues:
            while queue and (queue[0][0] <= now or queue[0][2] is None):
                timer = queue.popleft()
                if timer[2] is not None:
                    due.append(timer)
        due.sort()
        return due

    def _earliest(self) -> Timer | None:
        """Drop cancelled entries in front, and find the next one."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
        head = heap[0] if heap else None
        for queue in self._queues:
            while queue and queue[0][2] is None:
                queue.popleft()
            if queue and (head is None or queue[0] < head):
                head = queue[0]
        self._head = head
        return head


def cancel(timer: Timer | None) -> None:
    """Make sure that a timer does not run (again)."""
    if timer is not None:
        timer[2] = None
