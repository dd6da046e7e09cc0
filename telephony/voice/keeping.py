"""Calls that outlive their router's process: what is noted of one, and how it goes on.

Rules:
- Noted is a call that talks or waits in a queue, after each turn in which something happened to it; in between (a transfer
  that is under way, say) the note is the one before: who goes on goes on from there. Legs of others, on the media processor,
  fall silent, and are released when that is told.
- The note is thrown away after the call's record is written. Whoever finds it writes the record: once, whatever dies, but for the
  moment between the two.
- Subscriptions are not noted: a watcher's refresh is answered 481, and it subscribes anew (RFC 6665 section 4.1.2.2).
"""

from typing import TYPE_CHECKING

import msgspec

from telephony.jobs.routing import Decision, Target
from telephony.sip.address import Address
from telephony.sip.resumption import Kept, keep, resume
from telephony.voice import waiting
from telephony.voice.legs import Legs
from telephony.voice.record import Record
from telephony.voice.ringing import Fork

if TYPE_CHECKING:
    from telephony.voice.call import Call
    from telephony.voice.calls import Calls

STATES = {"talking": "talking", "queued": "queued", "locating": "queued", "offered": "queued"}
"""States that can be noted, and how they go on: who is being rung in vain is given up."""


class Note(msgspec.Struct, array_like=True):
    """One call."""

    id: str
    state: str
    caller: Kept
    peer: Kept | None
    leg: str
    peer_leg: str
    user: str
    peer_user: str
    from_: str
    hops: int
    action: str
    target: str
    worker: str
    legs: list[str]
    room: str
    held: list[str]
    busy: list[str]
    record: dict[str, object]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


def note(call: "Call") -> bytes | None:
    """The call as it is now; None: it is in no state that can go on elsewhere."""
    state = STATES.get("queued" if call.queued and call.state == "bridging" else call.state)
    peer = call.peer if state == "talking" else None
    other = None if peer is None else peer.session
    established = call.caller.state == "established" and (peer is None or (other is not None and other.state == "established"))
    if state is None or not established:
        return None
    return _encode(
        Note(
            id=call.id,
            state=state,
            caller=keep(call.caller),
            peer=None if other is None else keep(other),
            leg=call.leg,
            peer_leg="" if peer is None else peer.leg,
            user=call.user,
            peer_user="" if peer is None else peer.user,
            from_=str(call.from_),
            hops=call.hops,
            action=call.decision.action,
            target=call.decision.target,
            worker=call.legs.worker,
            legs=[leg for leg in (call.leg, "" if peer is None else peer.leg) if call.legs.has(leg)],
            room=call.room,
            held=sorted(call.held),
            busy=call.busy(),
            record=call.record.kept(),
        )
    )


def go_on(calls: "Calls", data: bytes, now: float) -> "Call":
    """A call of the process before.

    Raises:
        ValueError: it is none that can go on (`msgspec.DecodeError` is one).
    """
    from telephony.voice.call import Call

    found = _decode(data)
    desk = calls.desk
    caller = resume(desk.endpoint, found.caller, now)
    call = Call(calls, caller, now, Record.resumed(desk, found.record))
    call.id, call.state = found.id, found.state
    call.leg, call.user, call.hops = found.leg, found.user, found.hops
    call.from_ = Address.parse(found.from_)
    call.decision = Decision(action=found.action, target=found.target)
    call.legs = Legs.resumed(desk, call.id, found.worker, found.legs)
    caller.context = (call, None)
    if found.peer is not None:
        fork = Fork(found.peer_leg, Target(contact="", path=""))
        fork.user = found.peer_user
        fork.session = resume(desk.endpoint, found.peer, now)
        fork.session.context = (call, fork)
        call.peer = fork
    call.held = set(found.held)
    if found.room:
        call.room = found.room
        calls.rooms.enter(call, found.worker, now)
    for user in found.busy:
        call.mark(user, now)
    if call.state == "queued":
        for user in found.busy:
            if user != found.user:
                call.unmark(user)  # a member whom nobody rings any longer
        call.queued = True
        waiting.come_back(call, now)
    return call
