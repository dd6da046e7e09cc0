"""Steps of a call to a user, or to a member of a queue: ringing, the answer, both legs joined.

- The first provisional response is passed on; early media of a callee is heard by the caller (183).
- The caller is answered when both legs hear each other.
- Whoever answers too late gets BYE.
"""

import contextlib
from typing import TYPE_CHECKING

from media.control import Bridge
from telephony.call_router import failure
from telephony.call_router.desk import HOPS_HEADER, Result
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.uri import Uri
from telephony.voice import leaving, waiting
from telephony.voice.legs import KIND
from telephony.voice.ringing import Fork, Invitation, Ringing, sdp_of
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

RING_SECONDS = 180.0
"""How long a user is rung (RFC 3261 section 16.6: timer C, three minutes)."""


def ring(call: "Call", user: str, seconds: float, now: float, more: tuple[tuple[str, str], ...] = ()) -> None:
    """Ring a user, or a URI outside, at the targets of the last decision; ``callee-...`` events or ``failed`` follow.

    ``more``: further headers of the INVITE.
    """
    call.ringings += 1
    realm = call.desk.configuration.realm
    outside = call.decision.action == "outside"
    headers = [(HOPS_HEADER, str(call.hops + 1))]
    if call.user and not outside:  # an assertion is for those who trust us alone (RFC 3325 section 5)
        headers.append(("P-Asserted-Identity", f"<{Uri.of(call.user, realm)}>"))
    headers += more
    invitation = Invitation(str(call.from_), f"<{user if outside else Uri.of(user, realm)}>", tuple(headers))

    def failed(status: int, now: float) -> None:
        call.happen("failed", now, status)

    name = f"{call.id}.b{call.ringings}"
    call.ringing = Ringing(call.desk, call.legs, call, name, call.decision.targets, invitation, seconds, failed)
    if not outside:
        call.mark(user, now, "trying")
    call.ringing.start(now)


def rung(call: "Call") -> str:
    """The user who is rung; empty: somebody outside."""
    if call.offer is not None:
        return call.offer.member
    return call.decision.target if call.decision.action == "user" else ""


def rang(call: "Call", now: float, fork: Fork, status: int, message: Message) -> str:
    """A provisional response."""
    sdp = fork.keep_early(message)
    with contextlib.suppress(StateError):  # it has ended: the event that says so follows
        if sdp and call.caller.invite.body:
            call.legs.accept(fork.leg, sdp, None)
            call.legs.connect(call.leg, Bridge(leg=fork.leg), None)
            call.caller.progress(183, call.sdp, now=now)
        elif call.caller.state == "calling":
            # A reliable response to a caller without an offer has to bring ours (RFC 3261 section 13.2.1).
            call.early_offered = not call.caller.invite.body and call.caller.wants_reliable
            call.caller.progress(180 if status == 183 else status, call.sdp if call.early_offered else b"", now=now)
    if call.caller.state == "ringing":
        call.advance(call.user, "early")
    call.advance(rung(call), "early")
    return call.state


def rang_member(call: "Call", now: float, fork: Fork, status: int, message: Message) -> str:
    """A provisional response of a queue's member: the caller goes on hearing music."""
    fork.keep_early(message)
    call.advance(rung(call), "early")
    return call.state


def answered(call: "Call", now: float, fork: Fork, message: Message) -> str:
    """A 2xx: join the legs."""
    if fork.over or call.ringing is None:
        return too_late(call, now, fork)
    call.ringing.won(fork, now)
    call.peer = fork
    fork.user = rung(call)
    call.advance(fork.user, "confirmed")
    join_legs(call, fork, message)
    return "bridging"


def join_legs(call: "Call", fork: Fork, message: Message) -> None:
    """Let the caller hear who has answered; ``bridged`` follows."""
    accepted: list[Result] = []

    def bridged(result: Result, now: float) -> None:
        call.happen("bridged", now, accepted[0] if accepted and not accepted[0].ok else result)

    call.legs.accept(fork.leg, sdp_of(message) or fork.early.get(message.to_tag, b""), lambda result, now: accepted.append(result))
    call.legs.connect(call.leg, Bridge(leg=fork.leg), bridged)


def joined(call: "Call", now: float, result: Result) -> str:
    """Both legs hear each other, or cannot."""
    assert call.peer is not None
    if not result.ok:
        drop(call, call.peer, now, 488)
        if call.offer is not None:
            return waiting.back(call, "unreachable", now)
        return call.finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
    if call.offer is None:
        call.accept(call.peer.user or call.decision.target, now)
    else:
        call.record.joined(call.offer.member, now)
        waiting.say_outcome(call, "answered")
        waiting.leave(call)
    return "talking"


def rejected(call: "Call", now: float, fork: Fork, status: int, message: Message | None) -> str:
    """A leg failed; the search goes on or is over (``failed``)."""
    if call.ringing is not None:
        call.ringing.rejected(fork, status, now, failure.reasons(message))
    return call.state


def failed(call: "Call", now: float, status: int) -> str:
    """Nobody answered."""
    reasons = () if call.ringing is None else call.ringing.reasons
    return call.finish("no-answer" if status == 480 else "rejected", status, now, reasons)


def too_late(call: "Call", now: float, fork: Fork, *details: object) -> str:
    """Somebody answered after it was over for it."""
    if fork.session is not None and fork is not call.peer:
        fork.session.end(now=now)
        call.legs.release(fork.leg)
    return call.state


def left_early(call: "Call", now: float, fork: Fork, *details: object) -> str:
    """The callee hung up while the legs were being joined."""
    if fork is not call.peer:
        return leaving.left(call, now, fork)
    drop(call, fork, now, 480)
    if call.offer is not None:
        return waiting.back(call, "unreachable", now)
    return call.finish("callee-hung-up", 480, now)


def ended(call: "Call", now: float, fork: Fork, reason: str, message: Message | None) -> str:
    """The callee hung up."""
    if fork is not call.peer:
        return leaving.left(call, now, fork)
    return call.finish("callee-hung-up" if reason == "bye" else f"callee-{reason}", 200, now, failure.reasons(message, reason))


def drop(call: "Call", fork: Fork, now: float, status: int) -> None:
    """A callee has no part in the call."""
    if fork is call.peer:
        call.peer = None
    fork.over = True
    call.legs.release(fork.leg)
    if fork.session is not None:
        fork.session.end(status, now=now)


STEPS: dict[tuple[str, str], Step] = {
    ("ringing", "callee-rang"): rang,
    ("ringing", "callee-answered"): answered,
    ("ringing", "callee-rejected"): rejected,
    ("ringing", "failed"): failed,
    ("offered", "callee-rang"): rang_member,
    ("offered", "callee-answered"): answered,
    ("offered", "callee-rejected"): rejected,
    ("bridging", "bridged"): joined,
    ("bridging", "callee-ended"): left_early,
    ("talking", "callee-ended"): ended,
}
ANYWHERE: dict[str, Step] = {"callee-answered": too_late}
