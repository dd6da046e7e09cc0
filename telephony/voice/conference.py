"""Steps of a call into a conference: the caller's leg has to be on the one media processor that has the room.

The leg was made on the processor that the room's key leads to, which nearly always is the right one. Where another one
holds the claim, the leg is made anew over there; where that one is gone, its claim is given up and the search starts
again.
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

MOVES_MAX = 3
"""Attempts to get into a room whose processor changes meanwhile."""


def begin(call: "Call") -> str:
    """Claim the room for the processor that the caller's leg is on."""
    call.calls.rooms.claim(call.decision.target, call.legs.worker, call.on("claimed"))
    return "claiming"


def claimed(call: "Call", now: float, result: Result) -> str:
    """Who has the room?"""
    if not result.ok:
        return call.fail(f"room-{result.status}", failure.of_job("resource_database", result.status), now)
    holder = rooms.holder_of(result.body)
    if holder == call.legs.worker:
        return enter(call, now)
    call.moves += 1
    if call.moves > MOVES_MAX:
        return call.fail("room-moves", 503, now)
    if call.caller.state == "established":
        return moving.begin(call, holder)
    call.legs.release(call.leg)
    call.make_leg(worker=holder, anew=True)
    return "moving"


def moved(call: "Call", now: float, result: Result) -> str:
    """The leg is where the room is, or the room's processor is gone."""
    if result.ok:
        call.keep_sdp(result)
        return enter(call, now)
    if result.status not in ("unavailable", "timeout"):
        return call.fail(f"media-{result.status}", failure.of_job(KIND, result.status), now)
    return give_up(call, call.legs.worker)


def give_up(call: "Call", worker: str) -> str:
    """The room's processor is gone."""
    call.calls.rooms.give_up(call.decision.target, worker, call.on("freed"))
    return "freeing"


def freed(call: "Call", now: float, result: Result) -> str:
    """Nobody has the room: from the beginning."""
    if call.caller.state == "established":
        return begin(call)
    call.make_leg(anew=True)
    return "offering"


def enter(call: "Call", now: float) -> str:
    """The leg is where the room is."""
    call.room = call.decision.target
    call.calls.rooms.enter(call.room, call.legs.worker, now)
    return call.connect(Room(name=call.room))


STEPS: dict[tuple[str, str], Step] = {
    ("claiming", "claimed"): claimed,
    ("moving", "offered"): moved,
    ("freeing", "freed"): freed,
}
