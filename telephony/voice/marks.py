"""Busy marks in the resource database: who is in a call of this router, renewed as long as it lasts."""

from telephony.call_router.desk import Desk
from telephony.jobs.resource import Busy, Mark

TTL_SECONDS = 90.0
RENEW_SECONDS = 30.0
MARKS_PER_JOB = 500


class Marks:
    """Marks of all calls of a router."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._marks: dict[tuple[str, str], None] = {}
        self._unsaid: dict[Mark, bool] = {}
        """What is to be said at the end of this turn."""
        self._renewing = False

    def set(self, user: str, call: str, now: float) -> None:
        """The user is in the call; nothing happens for a guest (empty)."""
        if not user or (user, call) in self._marks:
            return
        self._marks[user, call] = None
        self._change(user, call, True)
        if not self._renewing:
            self._renewing = True
            self._desk.after(RENEW_SECONDS, now, self._renew)

    def clear(self, user: str, call: str) -> None:
        """The user is in the call no longer; nothing happens if it was not."""
        if (user, call) in self._marks:
            del self._marks[user, call]
            self._change(user, call, False)

    def _change(self, user: str, call: str, busy: bool) -> None:
        if not self._unsaid:
            self._desk.at_end(self._end)
        self._unsaid[Mark(user, call)] = busy

    def _end(self) -> None:
        unsaid, self._unsaid = self._unsaid, {}
        for busy in (False, True):
            marks = [mark for mark, is_busy in unsaid.items() if is_busy is busy]
            for start in range(0, len(marks), MARKS_PER_JOB):
                self._say(marks[start : start + MARKS_PER_JOB], busy)

    def _say(self, marks: list[Mark], busy: bool) -> None:
        self._desk.ask("resource_database", "busy", Busy(marks=marks, busy=busy, ttl_seconds=TTL_SECONDS), None)

    def _renew(self, now: float) -> None:
        marks = [Mark(user, call) for user, call in self._marks]
        for start in range(0, len(marks), MARKS_PER_JOB):
            self._say(marks[start : start + MARKS_PER_JOB], True)
        self._renewing = bool(marks)
        if marks:
            self._desk.after(RENEW_SECONDS, now, self._renew)
