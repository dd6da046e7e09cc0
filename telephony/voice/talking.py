"""Steps within a call: ACK, re-INVITE and UPDATE of both sides, hold, digits.

- A change of media concerns one side and the media processor: codecs and addresses of the two sides do not depend on each
  other, so that nothing of it is passed on.
- Hold is passed on: who is held hears music until the other side is back, and is told so by an offer of ours (``sendonly``),
  so that his phone can show it. Where his phone refuses that offer he hears the music all the same.
- An offer of ours (in a 200, or answering a re-INVITE without a body) has its answer in the ACK (RFC 3264 section 4).
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Answer, Bridge, Play, Proposal
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.session import SDP, Session
from telephony.voice.legs import KIND
from telephony.voice.ringing import Fork, sdp_of
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

DIGITS = "0123456789*#ABCD"
INFO_TYPES = ("application/dtmf-relay", "application/dtmf")
"""Bodies of INFO that mean a digit."""
TALKING = ("talking", "transferring", "referring")
"""States in which both sides may change their media."""
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
    if fork.session.state == "established" and (fork is not call.peer or call.state not in TALKING):
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
    call.idle(session, now)
    if session.id not in call.proposed:
        return call.state
    call.proposed.discard(session.id)
    sdp = sdp_of(message)
    if not sdp:
        return call.finish("no-answer-in-ack", 488, now)
    call.legs.accept(leg, sdp, None)
    return call.state


def caller_told(call: "Call", now: float, status: int, message: Message | None) -> str:
    """The caller's answer to an offer of ours."""
    call.told(call.caller, status, message, now)
    return call.state


def callee_told(call: "Call", now: float, fork: Fork, status: int, message: Message | None) -> str:
    """The callee's answer to an offer of ours."""
    if fork.session is not None:
        call.told(fork.session, status, message, now)
    return call.state


def caller_acknowledged_early(call: "Call", now: float, message: Message) -> str:
    """The caller's PRACK; it brings the answer where our provisional response brought the offer (RFC 3262 section 5)."""
    if call.caller.id not in call.proposed or not call.early_offered:
        return call.state
    call.proposed.discard(call.caller.id)
    sdp = sdp_of(message)
    if not sdp:
        return call.finish("no-answer-in-prack", 488, now)
    call.legs.accept(call.leg, sdp, None)
    call.sdp = b""
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
                if session is call.caller and session.state == "ringing":
                    call.sdp = answer.sdp
                session.answer_reinvite(answer.sdp, now=now)
                hold(call, leg, answer.held, now)
            else:
                call.proposed.add(session.id)
                session.answer_reinvite(_decode_proposal(result.body).sdp, now=now)
        except StateError:
            return  # it has ended: the event that says so follows

    if not call.legs.has(leg):
        session.reject_reinvite(491, now=now)
    elif message.body and not sdp_of(message):
        session.reject_reinvite(415, now=now, headers=(("Accept", SDP),))
    elif message.body:
        call.legs.offer(leg, message.body, answered)
    else:
        call.legs.propose(leg, answered)
    return call.state


def hold(call: "Call", leg: str, held: bool, now: float) -> None:
    """One side does not want to hear the other (any more, or again)."""
    if call.peer is None or (leg in call.held) == held:
        return
    if held:
        call.held.add(leg)
    else:
        call.held.discard(leg)
    join(call, now)


def join(call: "Call", now: float) -> None:
    """Let the two sides hear each other, or music where one holds the other; tell them which."""
    peer = call.peer
    assert peer is not None
    call.held &= {call.leg, peer.leg}
    if not call.held:
        call.legs.connect(call.leg, Bridge(leg=peer.leg), None)
    if call.leg in call.held:
        call.legs.connect(peer.leg, Play(source="music"), None)
    if peer.leg in call.held:
        call.legs.connect(call.leg, Play(source="music"), None)
    call.tell(call.caller, call.leg, "sendonly" if peer.leg in call.held else "sendrecv", now)
    if peer.session is not None:
        call.tell(peer.session, peer.leg, "sendonly" if call.leg in call.held else "sendrecv", now)


def _send_digits(call: "Call", leg: str, message: Message) -> None:
    """A digit by INFO goes on as the other leg wants it: ``Signal=5``, or ``5`` alone (``application/dtmf``)."""
    relay = (message.get("content-type") or "").partition(";")[0].strip().lower() == INFO_TYPES[0]
    for line in message.body.decode("ascii", "replace").splitlines():
        name, _, value = line.partition("=") if relay else ("signal", "", line)
        digit = value.strip().upper()
        if name.strip().lower() == "signal" and len(digit) == 1 and digit in DIGITS:
            call.legs.digits(leg, digit)


ANYWHERE: dict[str, Step] = {
    "caller-acknowledged": caller_acknowledged,
    "caller-reinvited": caller_changed,
    "caller-reinvite-answered": caller_told,
    "caller-early-acknowledged": caller_acknowledged_early,
    "caller-info": caller_info,
    "callee-acknowledged": callee_acknowledged,
    "callee-reinvited": callee_changed,
    "callee-reinvite-answered": callee_told,
    "callee-info": callee_info,
}
