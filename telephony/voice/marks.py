"""Busy marks in the resource database: who is in a call of this router and how far it has come, renewed as long as it lasts."""

from telephony.call_router.desk import Desk
from telephony.jobs.resource import Busy, DialogState, Mark

TTL_SECONDS = 90.0
RENEW_SECONDS = 30.0
MARKS_PER_JOB = 500


class Marks:
    """Marks of all calls of a router."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._marks: dict[tuple[str, str], Mark] = {}
        """By user and call."""
        self._unsaid: dict[tuple[str, str], Mark | None] = {}
        """What is to be said at the end of this turn; None: the mark is taken back."""
        self._renewing = False

    def set(self, user: str, call: str, now: float, state: DialogState = "confirmed", initiator: bool = False) -> None:
        """The user is in the call; nothing happens for a guest (empty)."""
        mark = Mark(user, call, state, initiator)
        if not user or self._marks.get((user, call)) == mark:
            return
        self._marks[user, call] = mark
        self._change(user, call, mark)
        if not self._renewing:
            self._renewing = True
            self._desk.after(RENEW_SECONDS, now, self._renew)

    def advance(self, user: str, call: str, state: DialogState) -> None:
        """The user's dialog has come so far; nothing happens if it has no mark, or was there already."""
        mark = self._marks.get((user, call))
        if mark is not None and mark.state != state != "trying" and mark.state != "confirmed":
            self._marks[user, call] = mark = Mark(user, call, state, mark.initiator)
            self._change(user, call, mark)

    def clear(self, user: str, call: str) -> None:
        """The user is in the call no longer; nothing happens if it was not."""
        if self._marks.pop((user, call), None) is not None:
            self._change(user, call, None)

    def _change(self, user: str, call: str, mark: Mark | None) -> None:
        if not self._unsaid:
            self._desk.at_end(self._end)
        self._unsaid[user, call] = mark

    def _end(self) -> None:
        unsaid, self._unsaid = self._unsaid, {}
        gone = [Mark(user, call) for (user, call), mark in unsaid.items() if mark is None]
        for marks, busy in ((gone, False), ([mark for mark in unsaid.values() if mark is not None], True)):
            for start in range(0, len(marks), MARKS_PER_JOB):
                self._say(marks[start : start + MARKS_PER_JOB], busy)

    def _say(self, marks: list[Mark], busy: bool) -> None:
        self._desk.ask("resource_database", "busy", Busy(marks=marks, busy=busy, ttl_seconds=TTL_SECONDS), None)

    def _renew(self, now: float) -> None:
        marks = list(self._marks.values())
        for start in range(0, len(marks), MARKS_PER_JOB):
            self._say(marks[start : start + MARKS_PER_JOB], True)
        self._renewing = bool(marks)
        if marks:
            self._desk.after(RENEW_SECONDS, now, self._renew)
