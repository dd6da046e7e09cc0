"""A call's record: what the controller is told of it, once at its start, answer and end each."""

from typing import Any

import msgspec

from media.control import LegReport
from telephony.call_router.desk import Desk


class Record:
    """What is known of one call for those who look at it from outside."""

    def __init__(self, desk: Desk, call: str, sip_call_id: str, caller: str, dialled: str, now: float) -> None:
        self._desk = desk
        self._call = call
        self._sip_call_id = sip_call_id
        self._caller = caller
        self._dialled = dialled
        self._started_at = now
        self._answered_at: float | None = None
        self._reports: list[object] = []
        self.action = ""
        self.target = ""
        self.answered_by = ""
        desk.notify({"event": "call-started", "call": call, "sip_call_id": sip_call_id, "at": now, "caller": caller, "dialled": dialled})

    @staticmethod
    def resumed(desk: Desk, kept: dict[str, Any]) -> "Record":
        """The record of a call that the process before had; what it has told is not told again."""
        record = Record.__new__(Record)
        record.__dict__.update(kept)
        record._desk = desk
        return record

    def kept(self) -> dict[str, Any]:
        """All of it, for `resumed`."""
        return {name: value for name, value in self.__dict__.items() if name != "_desk"}

    @property
    def answered(self) -> bool:
        return self._answered_at is not None

    def answer(self, by: str, now: float) -> None:
        """The call is answered, by a user or a service; said once."""
        self.answered_by = by
        if self._answered_at is None:
            self._answered_at = now
            self._desk.notify({"event": "call-answered", "call": self._call, "at": now, "by": by})

    def joined(self, by: str, now: float) -> None:
        """A caller who waited in a queue was joined with a member."""
        self.answered_by = by
        self._desk.notify({"event": "call-joined", "call": self._call, "at": now, "by": by})

    def transferred(self, by: str, to: str, now: float) -> None:
        """One side was sent elsewhere by the other one."""
        self.answered_by = to
        self._desk.notify({"event": "call-transferred", "call": self._call, "at": now, "by": by, "to": to})

    def report(self, report: LegReport) -> None:
        """How one of its legs fared."""
        self._reports.append(msgspec.to_builtins(report))

    def end(self, cause: str, status: int, ended_at: float) -> None:
        """Write it. ``status`` is the SIP status that the call failed with, 200 where it was answered."""
        self._desk.notify(
            {
                "event": "call-ended",
                "call": self._call,
                "sip_call_id": self._sip_call_id,
                "router": self._desk.configuration.id,
                "caller": self._caller,
                "dialled": self._dialled,
                "action": self.action,
                "target": self.target,
                "answered_by": self.answered_by,
                "started_at": self._started_at,
                "answered_at": self._answered_at,
                "ended_at": ended_at,
                "seconds": 0.0 if self._answered_at is None else ended_at - self._answered_at,
                "cause": cause,
                "status": status,
                "legs": self._reports,
            }
        )
