"""INVITE with Replaces: its sender takes somebody's place in a call of ours (RFC 3891), after an attended transfer or to pick a call up.

| the dialog that is named | answer |
| --- | --- |
| none of ours | 481 |
| is over, or ending | 603 |
| not answered yet, and its INVITE came to us | 481 |
| not answered yet, and the INVITE was ours | who was rung gets CANCEL, the sender is joined with the caller |
| answered | 486 for ``early-only``; else the sender is joined with the other side, and who was there gets BYE |

Who is not authenticated gets 403; a header that is broken or double 400.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from media.control import Answer, Bridge, Echo, Play, Proposal, Room, Sink
from telephony.call_router import failure
from telephony.call_router.desk import Result, caller_of
from telephony.jobs.routing import Target
from telephony.sip.errors import StateError
from telephony.sip.refer import read_replaces
from telephony.sip.session import Session
from telephony.voice import bodies, callee, talking
from telephony.voice.legs import KIND
from telephony.voice.ringing import ELSEWHERE, Fork
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call
    from telephony.voice.calls import Calls

_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode
_REPLACED = (("Reason", 'SIP;cause=200;text="Replaced"'),)


def received(calls: "Calls", session: Session, now: float) -> None:
    """An INVITE with Replaces."""
    found = _find(calls, session)
    if isinstance(found, int):
        session.reject(found, now=now)
        return
    call, replaced = found
    if not call.happen("replaced", now, session, replaced):
        session.reject(481, now=now)


def _find(calls: "Calls", session: Session) -> "tuple[Call, Session] | int":
    """The call, and the session whose place is wanted; or the status that refuses."""
    values = session.invite.get_lines("replaces")
    if len(values) != 1:
        return 400
    try:
        wanted = read_replaces(values[0])
    except ValueError:
        return 400
    if not caller_of(session.invite):
        return 403
    unfit = bodies.unfit(session.invite)
    if unfit is not None:
        return unfit.status
    replaced = calls.desk.endpoint.session(wanted.call_id, wanted.local_tag, wanted.remote_tag)
    if replaced is None or replaced.context is None:
        return 481
    call: Call = replaced.context[0]
    if replaced.state == "ending" or call.state == "over":
        return 603
    if replaced.state == "established":
        return 486 if wanted.early_only else (call, replaced)
    return (call, replaced) if replaced.outgoing else 481


def begin(call: "Call", now: float, session: Session, replaced: Session) -> str:
    """Make the newcomer's leg and let it hear the other side."""
    if replaced is not call.caller and (call.peer is None or replaced is not call.peer.session):
        session.reject(481, now=now)
        return call.state
    other = call.peer.leg if replaced is call.caller and call.peer is not None else call.leg
    sink = Bridge(leg=other) if call.peer is not None else _service(call)

    def joined(fork: Fork, sdp: bytes, now: float) -> None:
        if call.state not in ("talking", "queued") or replaced.state != "established":
            _refuse(call, fork, 481, now)
            return
        _accept(call, fork, sdp, now)
        if replaced is call.caller:
            leaving = Fork(call.leg, Target(contact="", path=""))
            leaving.session, leaving.user = replaced, call.user
            call.caller, call.leg, call.user = session, fork.leg, fork.user
            session.context = (call, None)
        else:
            assert call.peer is not None
            leaving, call.peer = call.peer, fork
        replaced.context = (call, leaving)
        call.held.clear()
        call.unmark(leaving.user)
        call.mark(fork.user, now)
        call.leave(leaving, 0.0, _REPLACED, now)
        call.record.joined(fork.user, now)
        if call.peer is not None:
            talking.join(call, now)

    _make_leg(call, session, sink, joined)
    return call.state


def pick_up(call: "Call", now: float, session: Session, replaced: Session) -> str:
    """The newcomer answers in place of somebody who is being rung."""

    def joined(fork: Fork, sdp: bytes, now: float) -> None:
        if call.state not in ("ringing", "offered") or call.ringing is None or replaced.state not in ("calling", "ringing"):
            _refuse(call, fork, 481, now)
            return
        call.ringing.stop(now, ELSEWHERE)
        call.ringing = None
        call.peer = fork
        _accept(call, fork, sdp, now)
        call.unmark(callee.rung(call))
        call.mark(fork.user, now)
        call.happen("picked-up", now, Result("ok", b"", ""))

    _make_leg(call, session, Bridge(leg=call.leg), joined)
    return call.state


def gave_up(call: "Call", now: float, fork: Fork, *details: object) -> str:
    """The newcomer hung up before it was accepted."""
    if fork in call.arriving:
        call.arriving.remove(fork)
        call.release(fork.leg)
    return call.state


def _service(call: "Call") -> Sink:
    """What a caller without a callee hears."""
    action = call.decision.action
    if action == "conference":
        return Room(name=call.room)
    return Echo() if action == "echo" else Play(source="music")


def _make_leg(call: "Call", session: Session, sink: Sink, joined: Callable[[Fork, bytes, float], None]) -> None:
    call.replacements += 1
    fork = Fork(f"{call.id}.r{call.replacements}", Target(contact="", path=""))
    fork.session, fork.user = session, caller_of(session.invite)
    session.context = (call, fork)
    call.arriving.append(fork)
    made: list[Result] = []

    def connected(result: Result, now: float) -> None:
        if fork not in call.arriving:
            call.release(fork.leg)  # it gave up, or the call is over
            return
        result = result if made[0].ok else made[0]
        if not result.ok:
            _refuse(call, fork, failure.of_job(KIND, result.status), now)
        elif session.invite.body:
            joined(fork, _decode_answer(made[0].body).sdp, now)
        else:
            call.proposed.add(session.id)
            joined(fork, _decode_proposal(made[0].body).sdp, now)

    if session.invite.body:
        call.legs.offer(fork.leg, session.invite.body, lambda result, now: made.append(result))
    else:
        call.legs.propose(fork.leg, lambda result, now: made.append(result))
    call.legs.connect(fork.leg, sink, connected)


def _accept(call: "Call", fork: Fork, sdp: bytes, now: float) -> None:
    call.arriving.remove(fork)
    assert fork.session is not None
    try:
        fork.session.accept(sdp, now=now)
    except StateError:
        return  # it has ended: the event that says so follows


def _refuse(call: "Call", fork: Fork, status: int, now: float) -> None:
    call.arriving.remove(fork)
    call.release(fork.leg)
    if fork.session is not None:
        fork.session.end(status, now=now)


STEPS: dict[tuple[str, str], Step] = {
    ("talking", "replaced"): begin,
    ("queued", "replaced"): begin,
    ("ringing", "replaced"): pick_up,
    ("offered", "replaced"): pick_up,
    ("ringing", "picked-up"): callee.joined,
    ("offered", "picked-up"): callee.joined,
}
ANYWHERE: dict[str, Step] = {"callee-cancelled": gave_up}
