"""Calls as their routers report them: kept in memory, bounded.

A call router says ``{"event": "call-...", "call": id, ...}`` with each change; the last one is ``call-ended``.
What other services say of a call (a queue that offers it) is a notification of theirs and changes no call.
Ended calls are kept until `ENDED_MAX` newer ones have ended.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

ENDED_MAX = 2000
ACTIVE_MAX = 100_000
ROUTER_EVENTS = "call-"
ENDED_EVENT = "call-ended"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call, with all that its router says of it."""

    id: str
    router: str
    state: str
    since: float
    """When this was reported, seconds of the Unix epoch."""
    detail: dict[str, Any]


class Calls:
    """Calls that go on, and the latest that ended."""

    def __init__(self) -> None:
        self._active: dict[str, Call] = {}
        self._ended: OrderedDict[str, Call] = OrderedDict()
        self.total = 0
        """Calls heard of since the controller's start."""

    def take(self, unit: str, event: dict[str, Any], now: float) -> Call | None:
        """Take one notification; None: it is not about a call."""
        id = event.get("call")
        kind = event.get("event")
        if not isinstance(id, str) or not isinstance(kind, str) or not kind.startswith(ROUTER_EVENTS):
            return None
        state = event.get("state")
        known = self._active.get(id)
        name = state if isinstance(state, str) else kind
        detail = {
            **(known.detail if known else {}),
            **{key: value for key, value in event.items() if key not in ("event", "call", "state")},
        }
        call = Call(id=id, router=unit, state=name, since=now, detail=detail)
        if known is None and id not in self._ended:
            self.total += 1
        if name == ENDED_EVENT:
            self._active.pop(id, None)
            self._ended[id] = call
            while len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
        elif id not in self._ended and (known is not None or len(self._active) < ACTIVE_MAX):
            self._active[id] = call
        return call

    def lost(self, units: Iterable[str], now: float) -> None:
        """Routers that are no more: their calls can't be followed any longer."""
        gone = set(units)
        for call in [call for call in self._active.values() if call.router in gone]:
            del self._active[call.id]
            self._ended[call.id] = msgspec.structs.replace(call, state="lost", since=now)

    def active(self) -> list[Call]:
        """Calls that go on, oldest first."""
        return list(self._active.values())

    def rooms(self) -> dict[str, list[Call]]:
        """Conferences, and the calls that are in them."""
        found: dict[str, list[Call]] = {}
        for call in self._active.values():
            if isinstance(room := call.detail.get("room"), str) and room:
                found.setdefault(room, []).append(call)
        return found

    def ended(self) -> list[Call]:
        """Calls that ended, latest first."""
        return list(reversed(self._ended.values()))
