"""Rooms: which media processor a conference is on, the same one for all routers.

The first claim in the resource database wins; each router renews it while it has somebody in the room. A claim of a
processor that is gone is given up by whoever finds that out.
"""

import msgspec

from telephony.call_router.desk import Desk, Done
from telephony.jobs.resource import Claim, Holder, Unclaim

TTL_SECONDS = 30.0
RENEW_SECONDS = 10.0
_decode_holder = msgspec.msgpack.Decoder(Holder).decode


def key_of(room: str) -> str:
    """Key of a room's claim, and affinity of its first leg."""
    return f"room:{room}"


def holder_of(body: bytes) -> str:
    """Who holds the claim, out of the answer to one."""
    return _decode_holder(body).value


class Rooms:
    """Rooms that this router has callers in."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rooms: dict[str, tuple[str, int]] = {}
        """Room to its processor and how many callers of ours are in it."""
        self._renewing = False

    def claim(self, room: str, worker: str, done: Done) -> None:
        """Claim a room for a processor; the answer says who holds it (`holder_of`)."""
        self._desk.ask("resource_database", "claim", Claim(key=key_of(room), value=worker, ttl_seconds=TTL_SECONDS), done)

    def give_up(self, room: str, worker: str, done: Done) -> None:
        """The processor that holds the room is gone."""
        self._desk.ask("resource_database", "release", Unclaim(key=key_of(room), value=worker), done)

    def enter(self, room: str, worker: str, now: float) -> None:
        """A caller of ours is in the room."""
        _, callers = self._rooms.get(room, (worker, 0))
        self._rooms[room] = (worker, callers + 1)
        if not self._renewing:
            self._renewing = True
            self._desk.after(RENEW_SECONDS, now, self._renew)

    def leave(self, room: str) -> None:
        """A caller of ours has left the room."""
        worker, callers = self._rooms.get(room, ("", 1))
        if callers > 1:
            self._rooms[room] = (worker, callers - 1)
        else:
            self._rooms.pop(room, None)

    def _renew(self, now: float) -> None:
        for room, (worker, _) in self._rooms.items():
            self._desk.ask("resource_database", "claim", Claim(key=key_of(room), value=worker, ttl_seconds=TTL_SECONDS), None)
        self._renewing = bool(self._rooms)
        if self._renewing:
            self._desk.after(RENEW_SECONDS, now, self._renew)
