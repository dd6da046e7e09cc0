"""Steps of a call that waits in a queue: its place renewed, members offered to it, music meanwhile.

- A queue that cannot be reached is one that will be back: the caller waits and joins again every `JOIN_SECONDS`.
- An offer is carried out by ringing the member; its outcome is said to the queue.
"""

from typing import TYPE_CHECKING, Literal

import msgspec

from media.control import Play
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.jobs.queue import JOIN_SECONDS, Join, Leave, Offered, Outcome
from telephony.jobs.routing import Decision, Route
from telephony.sip.timers import cancel
from telephony.voice import callee
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

OutcomeWord = Literal["answered", "busy", "no-answer", "unreachable", "refused", "caller-left"]
_OUTCOMES: dict[int, OutcomeWord] = {486: "busy", 600: "busy", 480: "no-answer", 408: "no-answer", 603: "refused"}
_decode_decision = msgspec.msgpack.Decoder(Decision).decode


def begin(call: "Call") -> str:
    """Join the queue before the caller is answered: a closed or full one refuses the call."""
    _join(call)
    return "joining"


def joined(call: "Call", now: float, result: Result) -> str:
    """In the queue: music, then the answer."""
    if result.status in ("not-found", "full"):
        return call.fail(f"queue-{result.status}", failure.of_job("call_queue", result.status), now)
    call.queued = True
    return call.connect(Play(source="music"))


def stay(call: "Call", now: float) -> None:
    """Renew the place from now on."""

    def due(now: float) -> None:
        call.happen("join-due", now)

    cancel(call.join_timer)
    call.join_timer = call.desk.after(JOIN_SECONDS, now, due)


def come_back(call: "Call", now: float) -> None:
    """The router has started again: the queue hears of its caller at once."""
    _join(call)
    stay(call, now)


def join_again(call: "Call", now: float) -> str:
    """Time to renew the place."""
    _join(call)
    stay(call, now)
    return call.state


def joined_again(call: "Call", now: float, result: Result) -> str:
    """The place is renewed, or the queue exists no longer."""
    if result.status == "not-found":
        return call.finish("queue-closed", 404, now)
    return call.state


def offered(call: "Call", now: float, offer: Offered) -> str:
    """The queue offers a member: where is it?"""
    call.offer = offer
    route = Route(method="INVITE", user=offer.member, caller=call.user, hops=call.hops)
    call.ask("routing", "route", route, "located")
    return "locating"


def offered_early(call: "Call", now: float, offer: Offered) -> str:
    """The queue was quicker than the caller's answer."""
    call.early_offer = offer
    return call.state


def wait(call: "Call", now: float) -> str:
    """The caller hears music: from now on offers can be carried out."""
    stay(call, now)
    offer, call.early_offer = call.early_offer, None
    return "queued" if offer is None else offered(call, now, offer)


def offered_again(call: "Call", now: float, offer: Offered) -> str:
    """The queue was not sure whether we know."""
    return call.state


def located(call: "Call", now: float, result: Result) -> str:
    """Ring the member."""
    offer = call.offer
    assert offer is not None
    decision = _decode_decision(result.body) if result.ok else None
    if decision is None or decision.action != "user":
        return back(call, "unreachable", now)
    call.decision = msgspec.structs.replace(call.decision, targets=decision.targets)
    callee.ring(call, offer.member, offer.ring_seconds, now)
    return "offered"


def member_failed(call: "Call", now: float, status: int) -> str:
    """The member did not answer."""
    return back(call, _OUTCOMES.get(status, "unreachable"), now)


def withdrawn(call: "Call", now: float, offer: int) -> str:
    """The queue takes the offer back."""
    if call.offer is None or call.offer.offer != offer:
        return call.state
    return back(call, None, now)


def back(call: "Call", result: OutcomeWord | None, now: float) -> str:
    """The offer came to nothing: the caller goes on hearing music."""
    assert call.offer is not None
    if call.ringing is not None:
        call.ringing.stop(now)
        call.ringing = None
    if result is not None:
        say_outcome(call, result)
    call.unmark(call.offer.member)
    call.offer = None
    call.legs.connect(call.leg, Play(source="music"), None)
    return "queued"


def say_outcome(call: "Call", result: OutcomeWord) -> None:
    """Tell the queue what became of its offer."""
    offer = call.offer
    assert offer is not None
    outcome = Outcome(queue=offer.queue, call=call.id, offer=offer.offer, member=offer.member, result=result)
    call.desk.ask("call_queue", "outcome", outcome, None, key=offer.queue)


def leave(call: "Call") -> None:
    """The caller waits no longer; the queue knows, or is told by `give_up`."""
    cancel(call.join_timer)
    call.join_timer = None
    call.offer = None
    call.queued = False


def give_up(call: "Call") -> None:
    """The call is over while it waits."""
    if call.offer is not None:
        say_outcome(call, "caller-left")
    if call.queued:
        call.desk.ask("call_queue", "leave", Leave(queue=call.decision.target, call=call.id), None, key=call.decision.target)
    leave(call)


def _join(call: "Call") -> None:
    offer = call.offer
    join = Join(
        queue=call.decision.target,
        call=call.id,
        caller=call.user or call.from_.uri.username,
        joined_at=call.started_at,
        offer=0 if offer is None else offer.offer,
        member="" if offer is None else offer.member,
    )
    call.ask("call_queue", "join", join, "joined", key=call.decision.target)


STEPS: dict[tuple[str, str], Step] = {
    ("joining", "joined"): joined,
    ("joining", "member-offered"): offered_early,
    ("connecting", "member-offered"): offered_early,
    ("queued", "join-due"): join_again,
    ("queued", "joined"): joined_again,
    ("queued", "member-offered"): offered,
    ("locating", "located"): located,
    ("locating", "withdrawn"): withdrawn,
    ("locating", "join-due"): join_again,
    ("locating", "joined"): joined_again,
    ("locating", "member-offered"): offered_again,
    ("offered", "failed"): member_failed,
    ("offered", "withdrawn"): withdrawn,
    ("offered", "join-due"): join_again,
    ("offered", "joined"): joined_again,
    ("offered", "member-offered"): offered_again,
    ("bridging", "join-due"): join_again,
    ("bridging", "member-offered"): offered_again,
}
