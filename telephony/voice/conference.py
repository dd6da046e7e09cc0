"""Steps of a call into a conference: the processor that the caller's leg is on is joined with the hub of the room, then the leg enters.

The leg is made on the processor that the room's key leads to, which nearly always is the hub. Where the hub is gone, its claim is given up
and the search starts again. A member whose processor ends or is gone comes back by another one (`moving`).
"""

from typing import TYPE_CHECKING

from media.control import Room
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.voice import moving, rooms
from telephony.voice.legs import KIND
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

TRIES_MAX = 3
"""Attempts to get into a room whose hub changes meanwhile."""


def begin(call: "Call") -> str:
    """Claim the room for the processor that the caller's leg is on."""
    call.calls.rooms.claim(call.decision.target, call.legs.worker, call.on("claimed"))
    return "claiming"


def claimed(call: "Call", now: float, result: Result) -> str:
    """Who has the room?"""
    if not result.ok:
        return call.fail(f"room-{result.status}", failure.of_job("resource_database", result.status), now)
    call.hub = rooms.holder_of(result.body)
    if call.hub == call.legs.worker:
        return enter(call, now)
    call.calls.rooms.link(call.decision.target, call.hub, call.legs.worker, call.on("linked"))
    return "linking"


def linked(call: "Call", now: float, result: Result) -> str:
    """The two processors are joined, or the hub is gone."""
    if result.ok:
        return enter(call, now)
    call.moves += 1
    if result.worker != call.hub or result.status not in rooms.GONE or call.moves > TRIES_MAX:
        return call.fail(f"media-{result.status}", failure.of_job(KIND, result.status), now)
    call.calls.rooms.give_up(call.decision.target, call.hub, call.on("freed"))
    return "freeing"


def freed(call: "Call", now: float, result: Result) -> str:
    """Nobody has the room: from the beginning."""
    return begin(call)


def enter(call: "Call", now: float) -> str:
    """The leg is where others hear it."""
    call.room = call.decision.target
    call.calls.rooms.enter(call, call.hub, now)
    return call.connect(Room(name=call.room))


def ending(call: "Call", now: float) -> str:
    """The member's processor ends in a moment: another one shall be the hub, and the member comes by it."""
    call.calls.rooms.give_up(call.room, call.legs.worker, None)
    return gone(call, now)


def gone(call: "Call", now: float) -> str:
    """The member's processor is gone."""
    call.calls.rooms.leave(call)
    return moving.begin(call)


STEPS: dict[tuple[str, str], Step] = {
    ("claiming", "claimed"): claimed,
    ("linking", "linked"): linked,
    ("freeing", "freed"): freed,
}
