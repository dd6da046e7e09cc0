"""One call: the caller's side, whatever it is connected to, and what happens to both.

| state | waits for | steps in |
| --- | --- | --- |
| routing | the routing service's decision | here |
| offering | the caller's leg on a media processor | here |
| connecting | what the caller hears to be connected | here |
| claiming, linking, freeing | the room's hub; a trunk to it; a dead one's claim given up | `conference` |
| moving | the leg on another processor | `moving` |
| ringing, bridging | a callee's answer; both legs to be joined | `callee` |
| joining, queued | a place in the queue; an offer of it | `waiting` |
| locating, offered | where the member is; the member's answer | `waiting` |
| talking | the end | `talking` |
| transferring, referring, completing | where a transfer leads; its answer; both legs to be joined | `transfer` |
| over | reports of the legs, for the record | here |

Rules:
- An event means what `TABLE` says for the state, else what `ANYWHERE` says, else nothing: it came too late.
- Caller and callee have dialogs of their own; SDP is the media processor's on both sides.
- The caller is answered when media is connected. CANCEL and BYE end the call in any state.
- A transfer or a replaced party changes who is caller and callee; the call and its record stay the same.
- The record is written once, after all legs are released.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from media.control import Answer, Echo, LegReport, Play, Proposal, Sink
from telephony.call_router import failure
from telephony.call_router.desk import Desk, Result, caller_of, hops_of
from telephony.jobs.queue import Offered
from telephony.jobs.resource import DialogState
from telephony.jobs.routing import Decision, Route
from telephony.sip.address import Address
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.sip.timers import Timer
from telephony.sip.uri import Uri
from telephony.voice import bodies, callee, conference, messages, moving, replacing, rooms, talking, transfer, waiting
from telephony.voice.legs import KIND, Direction, Legs
from telephony.voice.record import Record
from telephony.voice.renegotiation import Renegotiation
from telephony.voice.ringing import Fork, Ringing
from telephony.voice.step import Step
from telephony.voice.transfer import Transfer

if TYPE_CHECKING:
    from telephony.voice.calls import Calls

_decode_decision = msgspec.msgpack.Decoder(Decision).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode
_DRAINED = (("Reason", 'SIP;cause=503;text="Service moves"'),)


class Call:
    """One call. Its attributes are for its steps; others use `happen`."""

    def __init__(self, calls: "Calls", session: Session, now: float, record: Record | None = None) -> None:
        message = session.invite
        self.id = session.id
        self.state = "routing"
        self.calls = calls
        self.desk: Desk = calls.desk
        self.caller = session
        self.user = caller_of(message)
        """The authenticated caller; empty: a guest."""
        self.hops = hops_of(message)
        self.from_ = Address.parse(message.get("from") or "")._replace(parameters=())
        self.started_at = now
        dialled = Uri.parse(message.uri)
        self._route = Route(method="INVITE", user=dialled.username, host=dialled.host, caller=self.user, hops=self.hops)
        self.record = record or Record(self.desk, self.id, session.call_id, self.user or self.from_.uri.username, dialled.username, now)
        self.decision = Decision(action="", target="")
        self.legs = Legs(self.desk, self.id)
        self.leg = f"{self.id}.a"
        """The caller's leg."""
        self.sdp = b""
        """What the caller is answered with."""
        self.proposed: set[str] = set()
        """Sessions whose ACK brings the answer to an offer of ours."""
        self.moves = 0
        self.hub = ""
        """Processor that has the room."""
        self.room = ""
        """Conference that the caller is in."""
        self.ringing: Ringing | None = None
        self.ringings = 0
        self.peer: Fork | None = None
        """The callee that answered."""
        self.held: set[str] = set()
        """Legs whose peers have put the call on hold."""
        self.transfer: Transfer | None = None
        """A REFER of one side that is being carried out."""
        self.leaving: list[Fork] = []
        """Who has transferred the call or was replaced, until its BYE."""
        self.arriving: list[Fork] = []
        """Who is about to replace somebody."""
        self.replacements = 0
        self.attempts = 0
        """Re-INVITEs of a move that met one of the caller's."""
        self.elsewhere: Legs | None = None
        """The caller's legs on another processor, while an established call moves there."""
        self.early_offered = False
        """The caller, who made no offer, got ours in a provisional response."""
        self._told: dict[str, Renegotiation] = {}
        """Session to what its party is told by offers of ours."""
        self.offer: Offered | None = None
        """Member that the queue offers."""
        self.early_offer: Offered | None = None
        """The same, before the caller is answered."""
        self.queued = False
        self.join_timer: Timer | None = None
        self.messages = 0
        """MESSAGEs that one side has sent and the other has not answered yet."""
        self._busy: list[str] = []

    def start(self, now: float) -> None:
        """Ask where it goes."""
        unfit = bodies.unfit(self.caller.invite)
        if unfit is not None:
            self.finish("unsupported-body", unfit.status, now, unfit.headers)
            return
        self.ask("routing", "route", self._route, "routed")

    def happen(self, event: str, now: float, *details: Any) -> bool:
        """Something happened; False: it means nothing in this state."""
        step = TABLE.get((self.state, event)) or ANYWHERE.get(event)
        if step is None or (self.state == "over" and event not in _WHEN_OVER):
            return False
        state = step(self, now, *details)
        if self.state != "over":
            self.state = state
            self.calls.changed(self)
        return True

    def busy(self) -> list[str]:
        """Users who are marked as busy in it."""
        return list(self._busy)

    def knows_leg(self, worker: str, leg: str) -> bool:
        """Whether this leg on this processor is one of the call's."""
        return worker == self.legs.worker and self.legs.has(leg)

    # What steps use

    def ask(self, kind: str, operation: str, body: msgspec.Struct, event: str, key: str = "") -> None:
        """Submit a job whose answer is this event."""
        self.desk.ask(kind, operation, body, self.on(event), key=key)

    def on(self, event: str) -> Callable[[Result, float], None]:
        """What turns the answer to a job into this event."""

        def done(result: Result, now: float) -> None:
            self.happen(event, now, result)

        return done

    def make_leg(self) -> None:
        """Have the caller's leg made; ``offered`` follows."""
        key = rooms.key_of(self.decision.target) if self.decision.action == "conference" else ""
        sdp = self.caller.invite.body
        if sdp:
            self.legs.offer(self.leg, sdp, self.on("offered"), key=key)
        else:
            self.proposed.add(self.caller.id)
            self.legs.propose(self.leg, self.on("offered"), key=key)

    def keep_sdp(self, result: Result) -> None:
        """What the caller will be answered with."""
        self.sdp = _decode_answer(result.body).sdp if self.caller.invite.body else _decode_proposal(result.body).sdp

    def connect(self, sink: Sink) -> str:
        """What the caller hears; ``connected`` follows."""
        self.legs.connect(self.leg, sink, self.on("connected"))
        return "connecting"

    def accept(self, by: str, now: float) -> None:
        """Answer the caller."""
        try:
            self.caller.accept(self.sdp, now=now)
        except StateError:
            return  # it has ended: the event that says so follows
        self.advance(self.user, "confirmed")
        self.record.answer(by, now)

    def tell(self, session: Session, leg: str, direction: Direction, now: float) -> None:
        """One side is on hold, or not."""
        told = self._told.get(session.id)
        if told is None:
            if direction == "sendrecv":
                return
            told = self._told[session.id] = Renegotiation(self, session, leg)
        told.want(direction, now)

    def told(self, session: Session, status: int, message: Message | None, now: float) -> None:
        """A party has answered an offer of ours."""
        if (told := self._told.get(session.id)) is not None:
            told.answered(status, message, now)

    def idle(self, session: Session, now: float) -> None:
        """A change that this party asked for is over."""
        if (told := self._told.get(session.id)) is not None:
            told.acknowledged(now)

    def move(self, legs: Legs, leg: str, now: float) -> None:
        """The caller's leg is on another processor now; all others of the call end here."""
        self._told.pop(self.caller.id, None)
        self.legs.release_all(self._report)
        self.legs, self.leg = legs, leg

    def release(self, leg: str) -> None:
        """A leg has no part in the call any more."""
        self.legs.release(leg, self._report)

    def leave(self, fork: Fork, seconds: float, headers: tuple[tuple[str, str], ...], now: float) -> None:
        """This party gets BYE in so many seconds, if it has not sent its own."""
        self.leaving.append(fork)

        def due(now: float) -> None:
            if fork in self.leaving:
                self.leaving.remove(fork)
                self.release(fork.leg)
                if fork.session is not None:
                    fork.session.end(now=now, headers=headers)

        if seconds:
            self.desk.after(seconds, now, due)
        else:
            due(now)

    def fail(self, cause: str, status: int, now: float) -> str:
        """Where it should go is not there: the end, or the end of a transfer that was to lead there."""
        return self.finish(cause, status, now) if self.transfer is None else transfer.failed(self, status, now)

    def mark(self, user: str, now: float, state: DialogState = "confirmed", initiator: bool = False) -> None:
        """The user is busy as long as the call lasts."""
        if user:
            self._busy.append(user)
            if self._busy.count(user) == 1:
                self.calls.marks.set(user, self.id, now, state, initiator)

    def advance(self, user: str, state: DialogState) -> None:
        """The user's side of the call has come so far."""
        if user:
            self.calls.marks.advance(user, self.id, state)

    def unmark(self, user: str) -> None:
        """The user has no part in the call (any more)."""
        if user in self._busy:
            self._busy.remove(user)
            if user not in self._busy:
                self.calls.marks.clear(user, self.id)

    def finish(self, cause: str, status: int, now: float, headers: tuple[tuple[str, str], ...] = ()) -> str:
        """End everything that is still there; then write the record."""
        self.state = "over"
        if self.ringing is not None:
            self.ringing.stop(now, headers)
        waiting.give_up(self)
        if self.transfer is not None:
            transfer.abandon(self, now, headers)
        if self.peer is not None and self.peer.session is not None:
            self.peer.session.end(status, now=now, headers=headers)
        self.caller.end(status, now=now, headers=headers)
        for fork in self.leaving:
            if fork.session is not None:
                fork.session.end(now=now, headers=headers)
        for fork in self.arriving:
            if fork.session is not None:
                fork.session.end(481, now=now)
        self.leaving, self.arriving = [], []
        for told in self._told.values():
            told.stop()
        for user in self._busy:
            self.calls.marks.clear(user, self.id)
        if self.room:
            self.calls.rooms.leave(self)
        awaited = 0

        def write() -> None:
            self.record.end(cause, status, now)
            self.calls.forget(self)

        def report(one: LegReport | None) -> None:
            nonlocal awaited
            if one is not None:
                self.record.report(one)
            awaited -= 1
            if not awaited:
                write()

        awaited = self.legs.release_all(report)
        if self.elsewhere is not None:
            awaited += self.elsewhere.release_all(report)
        if not awaited:
            write()
        return "over"

    def _report(self, report: LegReport | None) -> None:
        if report is not None:
            self.record.report(report)


_RUNG = ("user", "outside")
"""Actions that call somebody."""


def _routed(call: Call, now: float, result: Result) -> str:
    if not result.ok:
        return call.finish(f"routing-{result.status}", failure.of_job("routing", result.status), now)
    call.decision = decision = _decode_decision(result.body)
    call.record.action, call.record.target = decision.action, decision.target
    call.mark(call.user, now, "trying", initiator=True)
    call.make_leg()
    if decision.action == "echo":
        call.connect(Echo())
    elif decision.action == "music":
        call.connect(Play(source="music"))
    elif decision.action in _RUNG:
        callee.ring(call, decision.target, callee.RING_SECONDS, now)
    return "offering"


def _offered(call: Call, now: float, result: Result) -> str:
    if not result.ok:
        return call.finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
    call.keep_sdp(result)
    action = call.decision.action
    if action == "conference":
        return conference.begin(call)
    if action == "queue":
        return waiting.begin(call)
    return "ringing" if action in _RUNG else "connecting"  # the rest was asked for at the same time


def _connected(call: Call, now: float, result: Result) -> str:
    if not result.ok:
        return call.fail(f"media-{result.status}", failure.of_job(KIND, result.status), now)
    if call.transfer is not None:
        transfer.arrived(call, call.decision.action, now)
    else:
        call.accept(call.decision.action, now)
    return waiting.wait(call, now) if call.queued else "talking"


def _cancelled(call: Call, now: float, message: Message) -> str:
    return call.finish("cancelled", 487, now, failure.reasons(message))


def _ended(call: Call, now: float, reason: str, message: Message | None) -> str:
    return call.finish("caller-hung-up" if reason == "bye" else f"caller-{reason}", 200, now, failure.reasons(message, reason))


def _drained(call: Call, now: float) -> str:
    return call.finish("drained", 503, now, _DRAINED)


def _leg_ending(call: Call, now: float, leg: str) -> str:
    if not call.legs.has(leg):
        return call.state
    return conference.ending(call, now) if call.room and call.state == "talking" else _drained(call, now)


def _silence(call: Call, now: float, leg: str) -> str:
    """Nobody sends. With a callee there are two phones, and each tells when it has gone; a service does not."""
    return call.state if call.peer is not None else call.finish("silence", 200, now)


TABLE: dict[tuple[str, str], Step] = {
    ("routing", "routed"): _routed,
    ("offering", "offered"): _offered,
    ("connecting", "connected"): _connected,
    ("talking", "processor-gone"): conference.gone,
    **conference.STEPS,
    **moving.STEPS,
    **callee.STEPS,
    **waiting.STEPS,
    **transfer.STEPS,
    **replacing.STEPS,
}
"""What an event does in a state."""

ANYWHERE: dict[str, Step] = {
    "caller-cancelled": _cancelled,
    "caller-ended": _ended,
    "drained": _drained,
    "leg-ending": _leg_ending,
    "silence": _silence,
    **callee.ANYWHERE,
    **talking.ANYWHERE,
    **messages.ANYWHERE,
    **transfer.ANYWHERE,
    **replacing.ANYWHERE,
}
"""What an event does wherever the table says nothing."""

_WHEN_OVER = frozenset({"callee-answered"})
