"""Steps of a member of a conference who goes on by another media processor: a new leg there, one re-INVITE to the caller.

The leg that was there before ends when the caller has agreed.
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Proposal
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.voice import conference, rooms
from telephony.voice.legs import KIND, Legs
from telephony.voice.ringing import sdp_of
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

ATTEMPTS_MAX = 4
"""Re-INVITEs that may meet one of the caller's."""
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode


def begin(call: "Call") -> str:
    """Propose a leg wherever the balancer has room for it."""
    call.moves += 1
    call.attempts = 0
    call.elsewhere = Legs(call.desk, call.id)
    call.elsewhere.propose(_leg(call), call.on("proposed"), key=rooms.key_of(call.room))
    return "moving"


def proposed(call: "Call", now: float, result: Result) -> str:
    """The leg is there, or the processor is gone."""
    assert call.elsewhere is not None
    if result.ok:
        try:
            call.caller.reinvite(_decode_proposal(result.body).sdp, now=now)
        except StateError:
            _later(call, now)
        return call.state
    call.elsewhere = None
    return call.fail(f"media-{result.status}", failure.of_job(KIND, result.status), now)


def answered(call: "Call", now: float, status: int, message: Message | None) -> str:
    """The caller's answer."""
    legs = call.elsewhere
    assert legs is not None
    if status == 491 and call.attempts < ATTEMPTS_MAX:
        _later(call, now)
        return call.state
    sdp = b"" if message is None or status >= 300 else sdp_of(message)
    call.elsewhere = None
    if not sdp:
        legs.release_all(lambda report: None)
        return call.fail("move-refused", 488, now)
    legs.accept(_leg(call), sdp, None)
    call.move(legs, _leg(call), now)
    return conference.begin(call)


def _later(call: "Call", now: float) -> None:
    """A change of the caller's is under way: again (RFC 3261 section 14.1), a few times."""
    call.attempts += 1

    def again(now: float) -> None:
        if call.state != "moving" or call.elsewhere is None:
            return
        if call.attempts >= ATTEMPTS_MAX:
            call.happen("caller-reinvite-answered", now, 491, None)
        else:
            call.elsewhere.propose(_leg(call), call.on("proposed"))

    call.desk.after(call.caller.glare_seconds(), now, again)


def _leg(call: "Call") -> str:
    return f"{call.id}.m{call.moves}"


STEPS: dict[tuple[str, str], Step] = {
    ("moving", "proposed"): proposed,
    ("moving", "caller-reinvite-answered"): answered,
}
