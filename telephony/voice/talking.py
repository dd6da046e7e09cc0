"""Steps within a call: ACK, re-INVITE and UPDATE of both sides, hold, digits.

- A change of media concerns one side and the media processor; the other side's session stays as it is.
- Who is put on hold hears music until the other side is back.
- An offer of ours (in a 200, or answering a re-INVITE without a body) has its answer in the ACK (RFC 3264 section 4).
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Answer, Bridge, Play, Proposal
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.voice.legs import KIND
from telephony.voice.ringing import Fork, sdp_of
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

DIGITS = "0123456789*#ABCD"
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode


def caller_acknowledged(call: "Call", now: float, message: Message) -> str:
    """The caller's ACK."""
    return _acknowledged(call, now, call.caller, call.leg, message)


def callee_acknowledged(call: "Call", now: float, fork: Fork, message: Message) -> str:
    """The callee's ACK to our 200 of its re-INVITE."""
    return call.state if fork.session is None else _acknowledged(call, now, fork.session, fork.leg, message)


def caller_changed(call: "Call", now: float, message: Message) -> str:
    """The caller's re-INVITE or UPDATE."""
    return _changed(call, now, call.caller, call.leg, message)


def callee_changed(call: "Call", now: float, fork: Fork, message: Message) -> str:
    """The callee's re-INVITE or UPDATE."""
    if fork.session is None:
        return call.state
    if fork is not call.peer or call.state != "talking":
        fork.session.reject_reinvite(491, now=now)
        return call.state
    return _changed(call, now, fork.session, fork.leg, message)


def caller_info(call: "Call", now: float, message: Message) -> str:
    """INFO of the caller."""
    if call.peer is not None:
        _send_digits(call, call.peer.leg, message)
    return call.state


def callee_info(call: "Call", now: float, fork: Fork, message: Message) -> str:
    """INFO of the callee."""
    if fork is call.peer:
        _send_digits(call, call.leg, message)
    return call.state


def _acknowledged(call: "Call", now: float, session: Session, leg: str, message: Message) -> str:
    if session.id not in call.proposed:
        return call.state
    call.proposed.discard(session.id)
    sdp = sdp_of(message)
    if not sdp:
        return call.finish("no-answer-in-ack", 488, now)
    call.legs.accept(leg, sdp, None)
    return call.state


def _changed(call: "Call", now: float, session: Session, leg: str, message: Message) -> str:
    def answered(result: Result, now: float) -> None:
        if call.state == "over":
            return
        try:
            if not result.ok:
                session.reject_reinvite(failure.of_job(KIND, result.status), now=now)
            elif message.body:
                answer = _decode_answer(result.body)
                session.answer_reinvite(answer.sdp, now=now)
                _hold(call, leg, answer.held)
            else:
                call.proposed.add(session.id)
                session.answer_reinvite(_decode_proposal(result.body).sdp, now=now)
        except StateError:
            return  # it has ended: the event that says so follows

    if not call.legs.has(leg):
        session.reject_reinvite(491, now=now)
    elif message.body:
        call.legs.offer(leg, message.body, answered)
    else:
        call.legs.propose(leg, answered)
    return call.state


def _hold(call: "Call", leg: str, held: bool) -> None:
    """One side does not want to hear the other (any more, or again)."""
    peer = call.peer
    if peer is None or (leg in call.held) == held:
        return
    if held:
        call.held.add(leg)
        call.legs.connect(peer.leg if leg == call.leg else call.leg, Play(source="music"), None)
    else:
        call.held.discard(leg)
        if not call.held:
            call.legs.connect(call.leg, Bridge(leg=peer.leg), None)


def _send_digits(call: "Call", leg: str, message: Message) -> None:
    """A digit by INFO (``application/dtmf-relay``) goes on as the other leg wants it."""
    if (message.get("content-type") or "").lower() != "application/dtmf-relay":
        return
    for line in message.body.decode("ascii", "replace").splitlines():
        name, _, value = line.partition("=")
        digit = value.strip().upper()
        if name.strip().lower() == "signal" and len(digit) == 1 and digit in DIGITS:
            call.legs.digits(leg, digit)


ANYWHERE: dict[str, Step] = {
    "caller-acknowledged": caller_acknowledged,
    "caller-reinvited": caller_changed,
    "caller-info": caller_info,
    "callee-acknowledged": callee_acknowledged,
    "callee-reinvited": callee_changed,
    "callee-info": callee_info,
}
