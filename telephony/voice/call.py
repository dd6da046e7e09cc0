"""One call: the caller's side, whatever it is connected to, and what happens to both.

States and events; what is not in the table is ignored, or too late. A method returns the next state.

| state | waits for |
| --- | --- |
| routing | the routing service's decision |
| offering | the caller's leg on a media processor |
| claiming, moving, freeing | the room's processor (conference); the leg there; a claim of a dead one given up |
| joining | a place in the queue |
| connecting | what the caller hears to be connected |
| ringing | a callee's answer |
| bridging | both legs to be joined |
| queued | an offer of the queue; the caller hears music |
| locating, offered | where the member is; the member's answer |
| talking | the end |
| over | reports of the legs, for the record |

Rules:
- Caller and callee have dialogs of their own; SDP is the media processor's on both sides.
- The caller is answered when media is connected. CANCEL and BYE end it in any state.
- A callee's hold gives music to the other side; each side's re-INVITE is answered by the media processor.
- The record is written once, after all legs are released.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from media.control import Answer, Bridge, Echo, LegReport, Play, Proposal, Room, SendDigits, Sink
from telephony.call_router import failure
from telephony.call_router.desk import HOPS_HEADER, Desk, Result, caller_of, hops_of
from telephony.jobs.queue import JOIN_SECONDS, Join, Leave, Offered, Outcome
from telephony.jobs.routing import Decision, Route
from telephony.sip.address import Address
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.sip.timers import Timer, cancel
from telephony.sip.uri import Uri
from telephony.voice import rooms
from telephony.voice.legs import KIND, Legs
from telephony.voice.record import Record
from telephony.voice.ringing import Fork, Invitation, Ringing, sdp_of

if TYPE_CHECKING:
    from telephony.voice.calls import Calls

RING_SECONDS = 180.0
"""How long a user is rung (RFC 3261 section 16.6: timer C, three minutes)."""
MOVES_MAX = 3
"""Attempts to get into a room whose processor changes meanwhile."""

_decode_decision = msgspec.msgpack.Decoder(Decision).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode


class Call:
    """One call."""

    def __init__(self, calls: "Calls", session: Session, now: float) -> None:
        message = session.invite
        self.id = session.id
        self.state = "routing"
        self._calls = calls
        self._desk: Desk = calls.desk
        self._caller = session
        self._user = caller_of(message)
        self._hops = hops_of(message)
        self._from = Address.parse(message.get("from") or "")._replace(parameters=())
        self._dialled = Uri.parse(message.uri).username
        self._record = Record(self._desk, self.id, session.call_id, self._user or self._from.uri.username, self._dialled, now)
        self._started_at = now
        self._legs = Legs(self._desk, self.id)
        self._leg = f"{self.id}.a"
        """The caller's leg."""
        self._sdp = b""
        """What the caller is answered with."""
        self._decision = Decision(action="", target="")
        self._ringing: Ringing | None = None
        self._ringings = 0
        self._moves = 0
        self._room = ""
        self._peer: Fork | None = None
        """The callee that answered."""
        self._busy: list[str] = []
        self._held: set[str] = set()
        self._offer: Offered | None = None
        self._queued = False
        self._join_timer: Timer | None = None
        self._proposed: set[str] = set()
        """Sessions whose ACK brings the answer to our offer."""

    def start(self, now: float) -> None:
        """Ask where it goes."""
        content_type = (self._caller.invite.get("content-type") or "").lower()
        if self._caller.invite.body and not content_type.startswith("application/sdp"):
            self._finish("unsupported-body", 415, now)
            return
        self._mark(self._user, now)
        uri = Uri.parse(self._caller.invite.uri)
        route = Route(method="INVITE", user=self._dialled, host=uri.host, caller=self._user, hops=self._hops)
        self._ask("routing", "route", route, "routed")

    def happen(self, event: str, now: float, *details: Any) -> bool:
        """Something happened; False: it means nothing in this state."""
        step = TABLE.get((self.state, event)) or ANYWHERE.get(event)
        if step is None or (self.state == "over" and event not in _WHEN_OVER):
            return False
        state = step(self, now, *details)
        if self.state != "over":
            self.state = state
        return True

    def knows_leg(self, worker: str, leg: str) -> bool:
        """Whether this leg on this processor is one of the call's."""
        return worker == self._legs.worker and self._legs.has(leg)

    # Getting started

    def _routed(self, now: float, result: Result) -> str:
        if not result.ok:
            return self._finish(f"routing-{result.status}", failure.of_job("routing", result.status), now)
        self._decision = decision = _decode_decision(result.body)
        self._record.action, self._record.target = decision.action, decision.target
        return self._make_leg()

    def _make_leg(self, worker: str = "") -> str:
        key = rooms.key_of(self._decision.target) if self._decision.action == "conference" else ""
        sdp = self._caller.invite.body
        if sdp:
            self._legs.offer(self._leg, sdp, self._on("offered"), key=key, worker=worker)
        else:
            self._proposed.add(self._caller.id)
            self._legs.propose(self._leg, self._on("offered"), key=key, worker=worker)
        return "moving" if worker else "offering"

    def _offered(self, now: float, result: Result) -> str:
        if not result.ok:
            return self._finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
        self._sdp = _decode_answer(result.body).sdp if self._caller.invite.body else _decode_proposal(result.body).sdp
        action = self._decision.action
        if action == "echo":
            return self._connect(Echo())
        if action == "music":
            return self._connect(Play(source="music"))
        if action == "conference":
            self._calls.rooms.claim(self._decision.target, self._legs.worker, self._on("claimed"))
            return "claiming"
        if action == "queue":
            self._join(now)
            return "joining"
        return self._ring(self._decision.target, RING_SECONDS, now)

    def _connect(self, sink: Sink) -> str:
        self._legs.connect(self._leg, sink, self._on("connected"))
        return "connecting"

    def _connected(self, now: float, result: Result) -> str:
        if not result.ok:
            return self._finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
        self._accept(self._decision.action, now)
        if self._decision.action != "queue":
            return "talking"
        self._join_later(now)
        return "queued"

    def _accept(self, by: str, now: float) -> None:
        try:
            self._caller.accept(self._sdp, now=now)
        except StateError:
            return  # it has ended: the event that says so follows
        self._record.answer(by, now)

    # A conference

    def _claimed(self, now: float, result: Result) -> str:
        if not result.ok:
            return self._finish(f"room-{result.status}", failure.of_job("resource_database", result.status), now)
        holder = rooms.holder_of(result.body)
        if holder == self._legs.worker:
            return self._enter(now)
        self._moves += 1
        if self._moves > MOVES_MAX:
            return self._finish("room-moves", 503, now)
        self._legs.release(self._leg)
        return self._again_at(holder)

    def _again_at(self, worker: str) -> str:
        """Make the caller's leg on another processor."""
        self._legs = Legs(self._desk, self.id)
        self._legs.worker = worker
        self._leg = f"{self.id}.a{self._moves}"
        return self._make_leg(worker)

    def _moved(self, now: float, result: Result) -> str:
        if result.ok:
            self._sdp = _decode_answer(result.body).sdp if self._caller.invite.body else _decode_proposal(result.body).sdp
            return self._enter(now)
        if result.status not in ("unavailable", "timeout"):
            return self._finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
        self._calls.rooms.give_up(self._decision.target, self._legs.worker, self._on("freed"))
        return "freeing"

    def _freed(self, now: float, result: Result) -> str:
        return self._again_at("")

    def _enter(self, now: float) -> str:
        self._room = self._decision.target
        self._calls.rooms.enter(self._room, self._legs.worker, now)
        return self._connect(Room(name=self._room))

    # Ringing a user

    def _ring(self, user: str, seconds: float, now: float) -> str:
        self._ringings += 1
        realm = self._desk.configuration.realm
        headers = [(HOPS_HEADER, str(self._hops + 1))]
        if self._user:
            headers.append(("P-Asserted-Identity", f"<{Uri.of(self._user, realm)}>"))
        invitation = Invitation(str(self._from), f"<{Uri.of(user, realm)}>", tuple(headers))
        name = f"{self.id}.b{self._ringings}"
        self._ringing = Ringing(
            self._desk,
            self._legs,
            self,
            name,
            self._decision.targets,
            invitation,
            seconds,
            lambda status, now: self._told_failed(status, now),
        )
        self._mark(user, now)
        self._ringing.start(now)
        return self.state if self.state == "over" else "offered" if self._offer is not None else "ringing"

    def _told_failed(self, status: int, now: float) -> None:
        self.happen("failed", now, status)

    def _rang(self, now: float, fork: Fork, status: int, message: Message) -> str:
        sdp = sdp_of(message)
        try:
            if sdp and self._caller.invite.body:
                self._legs.accept(fork.leg, sdp, None)
                self._legs.connect(self._leg, Bridge(leg=fork.leg), None)
                self._caller.progress(183, self._sdp, now=now)
            elif self._caller.state == "calling":
                self._caller.progress(180 if status == 183 else status, now=now)
        except StateError:
            pass  # it has ended: the event that says so follows
        return self.state

    def _callee_answered(self, now: float, fork: Fork, message: Message) -> str:
        assert self._ringing is not None
        if fork.over:
            return self._too_late(now, fork)
        self._ringing.won(fork, now)
        self._peer = fork
        sdp = sdp_of(message)
        accepted: list[Result] = []
        self._legs.accept(fork.leg, sdp, lambda result, now: accepted.append(result))

        def bridged(result: Result, now: float) -> None:
            self.happen("bridged", now, accepted[0] if accepted and not accepted[0].ok else result)

        self._legs.connect(self._leg, Bridge(leg=fork.leg), bridged)
        return "bridging"

    def _bridged(self, now: float, result: Result) -> str:
        assert self._peer is not None
        if not result.ok:
            self._drop_peer(now, 488)
            if self._offer is not None:
                return self._back_to_queue("unreachable", now)
            return self._finish(f"media-{result.status}", failure.of_job(KIND, result.status), now)
        if self._offer is None:
            self._accept(self._decision.target, now)
        else:
            self._record.joined(self._offer.member, now)
            self._say_outcome("answered")
            self._leave_queue(now)
        return "talking"

    def _callee_rejected(self, now: float, fork: Fork, status: int) -> str:
        if self._ringing is not None:
            self._ringing.rejected(fork, status, now)
        return self.state

    def _failed(self, now: float, status: int) -> str:
        return self._finish("rejected" if status != 480 else "no-answer", status, now)

    def _too_late(self, now: float, fork: Fork, *details: object) -> str:
        """Somebody answered after it was over for it."""
        if fork.session is not None and fork is not self._peer:
            fork.session.end(now=now)
            self._legs.release(fork.leg)
        return self.state

    def _drop_peer(self, now: float, status: int) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.over = True
            self._legs.release(peer.leg)
            if peer.session is not None:
                peer.session.end(status, now=now)

    def _callee_left_early(self, now: float, fork: Fork, *details: object) -> str:
        if fork is not self._peer:
            return self.state
        self._drop_peer(now, 480)
        if self._offer is not None:
            return self._back_to_queue("unreachable", now)
        return self._finish("callee-hung-up", 480, now)

    # Waiting in a queue

    def _join(self, now: float) -> None:
        offer = self._offer
        join = Join(
            queue=self._decision.target,
            call=self.id,
            caller=self._user or self._from.uri.username,
            joined_at=self._started_at,
            offer=0 if offer is None else offer.offer,
            member="" if offer is None else offer.member,
        )
        self._ask("call_queue", "join", join, "joined", key=self._decision.target)

    def _join_later(self, now: float) -> None:
        cancel(self._join_timer)
        self._join_timer = self._desk.after(JOIN_SECONDS, now, self._join_due)

    def _join_due(self, now: float) -> None:
        self.happen("join-due", now)

    def _joined(self, now: float, result: Result) -> str:
        self._queued = True
        if result.status in ("not-found", "full"):
            self._queued = False
            return self._finish(f"queue-{result.status}", failure.of_job("call_queue", result.status), now)
        return self._connect(Play(source="music"))  # also where the queue cannot be reached: it will be back

    def _join_again(self, now: float) -> str:
        self._join(now)
        self._join_later(now)
        return self.state

    def _joined_again(self, now: float, result: Result) -> str:
        if result.status == "not-found":
            return self._finish("queue-closed", 404, now)
        return self.state

    def _member_offered(self, now: float, offered: Offered) -> str:
        self._offer = offered
        route = Route(method="INVITE", user=offered.member, caller=self._user, hops=self._hops)
        self._ask("routing", "route", route, "located")
        return "locating"

    def _offered_again(self, now: float, offered: Offered) -> str:
        return self.state

    def _located(self, now: float, result: Result) -> str:
        assert self._offer is not None
        if not result.ok:
            return self._back_to_queue("unreachable", now)
        decision = _decode_decision(result.body)
        if decision.action != "user":
            return self._back_to_queue("unreachable", now)
        self._decision = msgspec.structs.replace(self._decision, targets=decision.targets)
        return self._ring(self._offer.member, self._offer.ring_seconds, now)

    def _member_failed(self, now: float, status: int) -> str:
        results = {486: "busy", 600: "busy", 480: "no-answer", 408: "no-answer", 603: "refused"}
        return self._back_to_queue(results.get(status, "unreachable"), now)

    def _withdrawn(self, now: float, offer: int) -> str:
        if self._offer is None or self._offer.offer != offer:
            return self.state
        return self._back_to_queue("", now)

    def _back_to_queue(self, result: str, now: float) -> str:
        """The offer came to nothing; the caller goes on hearing music."""
        offer = self._offer
        assert offer is not None
        if self._ringing is not None:
            self._ringing.stop(now)
            self._ringing = None
        if result:
            self._say_outcome(result)
        self._calls.marks.clear(offer.member, self.id)
        self._offer = None
        self._legs.connect(self._leg, Play(source="music"), None)
        return "queued"

    def _say_outcome(self, result: Any) -> None:
        offer = self._offer
        assert offer is not None
        outcome = Outcome(queue=offer.queue, call=self.id, offer=offer.offer, member=offer.member, result=result)
        self._desk.ask("call_queue", "outcome", outcome, None, key=offer.queue)

    def _leave_queue(self, now: float) -> None:
        cancel(self._join_timer)
        self._join_timer = None
        self._offer = None
        self._queued = False

    # Talking

    def _acknowledged(self, now: float, message: Message) -> str:
        return self._answer_in_ack(now, self._caller, self._leg, message)

    def _callee_acknowledged(self, now: float, fork: Fork, message: Message) -> str:
        return self.state if fork.session is None else self._answer_in_ack(now, fork.session, fork.leg, message)

    def _answer_in_ack(self, now: float, session: Session, leg: str, message: Message) -> str:
        if session.id not in self._proposed:
            return self.state
        self._proposed.discard(session.id)
        sdp = sdp_of(message)
        if not sdp:
            return self._finish("no-answer-in-ack", 488, now)
        self._legs.accept(leg, sdp, None)
        return self.state

    def _caller_reinvited(self, now: float, message: Message) -> str:
        return self._reinvited(now, self._caller, self._leg, message)

    def _callee_reinvited(self, now: float, fork: Fork, message: Message) -> str:
        if fork.session is None:
            return self.state
        if fork is not self._peer or self.state != "talking":
            fork.session.reject_reinvite(491, now=now)
            return self.state
        return self._reinvited(now, fork.session, fork.leg, message)

    def _reinvited(self, now: float, session: Session, leg: str, message: Message) -> str:
        def answered(result: Result, now: float) -> None:
            if self.state == "over":
                return
            try:
                if not result.ok:
                    session.reject_reinvite(failure.of_job(KIND, result.status), now=now)
                elif not message.body:
                    self._proposed.add(session.id)
                    session.answer_reinvite(_decode_proposal(result.body).sdp, now=now)
                else:
                    answer = _decode_answer(result.body)
                    session.answer_reinvite(answer.sdp, now=now)
                    self._hold(leg, answer.held)
            except StateError:
                pass  # it has ended: the event that says so follows

        if message.body:
            self._legs.offer(leg, message.body, answered)
        else:
            self._legs.propose(leg, answered)
        return self.state

    def _hold(self, leg: str, held: bool) -> None:
        """One side does not want to hear the other (any more, or again): that one hears music meanwhile."""
        peer = self._peer
        if peer is None or (leg in self._held) == held:
            return
        if held:
            self._held.add(leg)
            self._legs.connect(peer.leg if leg == self._leg else self._leg, Play(source="music"), None)
        else:
            self._held.discard(leg)
            if not self._held:
                self._legs.connect(self._leg, Bridge(leg=peer.leg), None)

    def _caller_info(self, now: float, message: Message) -> str:
        if self._peer is not None:
            self._digits(self._peer.leg, message)
        return self.state

    def _callee_info(self, now: float, fork: Fork, message: Message) -> str:
        if fork is self._peer:
            self._digits(self._leg, message)
        return self.state

    def _digits(self, leg: str, message: Message) -> None:
        """A digit by INFO (application/dtmf-relay) is sent on as the other leg wants it."""
        if (message.get("content-type") or "").lower() != "application/dtmf-relay":
            return
        for line in message.body.decode("ascii", "replace").splitlines():
            name, _, value = line.partition("=")
            digit = value.strip().upper()
            if name.strip().lower() == "signal" and len(digit) == 1 and digit in "0123456789*#ABCD":
                self._desk.ask(KIND, "dtmf", SendDigits(leg=leg, digits=digit), None, worker=self._legs.worker)

    # The end

    def _caller_cancelled(self, now: float) -> str:
        return self._finish("cancelled", 487, now)

    def _caller_ended(self, now: float, reason: str) -> str:
        return self._finish("caller-hung-up" if reason == "bye" else f"caller-{reason}", 200, now)

    def _callee_ended(self, now: float, fork: Fork, reason: str) -> str:
        if fork is not self._peer:
            return self.state
        return self._finish("callee-hung-up" if reason == "bye" else f"callee-{reason}", 200, now)

    def _drained(self, now: float) -> str:
        return self._finish("drained", 503, now, (("Reason", 'SIP;cause=503;text="Service moves"'),))

    def _leg_ending(self, now: float, leg: str) -> str:
        return self._drained(now) if self._legs.has(leg) else self.state

    def _silence(self, now: float, leg: str) -> str:
        """Nobody sends on a leg. With a callee both sides have phones that tell when they are gone; a service has not."""
        return self.state if self._peer is not None else self._finish("silence", 200, now)

    def _finish(self, cause: str, status: int, now: float, headers: tuple[tuple[str, str], ...] = ()) -> str:
        """End everything that is still there; then write the record."""
        self.state = "over"
        if self._ringing is not None:
            self._ringing.stop(now, headers)
        if self._offer is not None:
            self._say_outcome("caller-left")
        if self._queued:
            self._desk.ask("call_queue", "leave", Leave(queue=self._decision.target, call=self.id), None, key=self._decision.target)
        self._leave_queue(now)
        if self._peer is not None and self._peer.session is not None:
            self._peer.session.end(status, now=now, headers=headers)
        self._caller.end(status, now=now, headers=headers)
        self._calls.marks.clear_call(self.id, self._busy)
        if self._room:
            self._calls.rooms.leave(self._room)
        awaited = 0

        def report(one: LegReport | None) -> None:
            nonlocal awaited
            if one is not None:
                self._record.report(one)
            awaited -= 1
            if not awaited:
                write()

        def write() -> None:
            self._record.end(cause, 200 if self._record.answered and status == 487 else status, now)
            self._calls.forget(self)

        awaited = self._legs.release_all(report)
        if not awaited:
            write()
        return "over"

    # Small things

    def _ask(self, kind: str, operation: str, body: msgspec.Struct, event: str, key: str = "") -> None:
        self._desk.ask(kind, operation, body, self._on(event), key=key)

    def _on(self, event: str) -> Callable[[Result, float], None]:
        def done(result: Result, now: float) -> None:
            self.happen(event, now, result)

        return done

    def _mark(self, user: str, now: float) -> None:
        if user:
            self._busy.append(user)
            self._calls.marks.set(user, self.id, now)


Step = Callable[..., str]

TABLE: dict[tuple[str, str], Step] = {
    ("routing", "routed"): Call._routed,
    ("offering", "offered"): Call._offered,
    ("claiming", "claimed"): Call._claimed,
    ("moving", "offered"): Call._moved,
    ("freeing", "freed"): Call._freed,
    ("joining", "joined"): Call._joined,
    ("connecting", "connected"): Call._connected,
    ("ringing", "callee-rang"): Call._rang,
    ("ringing", "callee-answered"): Call._callee_answered,
    ("ringing", "callee-rejected"): Call._callee_rejected,
    ("ringing", "failed"): Call._failed,
    ("bridging", "bridged"): Call._bridged,
    ("bridging", "callee-ended"): Call._callee_left_early,
    ("bridging", "join-due"): Call._join_again,
    ("queued", "join-due"): Call._join_again,
    ("queued", "joined"): Call._joined_again,
    ("queued", "member-offered"): Call._member_offered,
    ("locating", "located"): Call._located,
    ("locating", "withdrawn"): Call._withdrawn,
    ("locating", "join-due"): Call._join_again,
    ("locating", "member-offered"): Call._offered_again,
    ("offered", "callee-answered"): Call._callee_answered,
    ("offered", "callee-rejected"): Call._callee_rejected,
    ("offered", "failed"): Call._member_failed,
    ("offered", "withdrawn"): Call._withdrawn,
    ("offered", "join-due"): Call._join_again,
    ("offered", "joined"): Call._joined_again,
    ("offered", "member-offered"): Call._offered_again,
    ("bridging", "member-offered"): Call._offered_again,
    ("talking", "callee-ended"): Call._callee_ended,
}
"""What an event does in a state."""

ANYWHERE: dict[str, Step] = {
    "caller-cancelled": Call._caller_cancelled,
    "caller-ended": Call._caller_ended,
    "caller-acknowledged": Call._acknowledged,
    "caller-reinvited": Call._caller_reinvited,
    "caller-info": Call._caller_info,
    "callee-answered": Call._too_late,
    "callee-acknowledged": Call._callee_acknowledged,
    "callee-reinvited": Call._callee_reinvited,
    "callee-info": Call._callee_info,
    "drained": Call._drained,
    "leg-ending": Call._leg_ending,
    "silence": Call._silence,
}
"""What an event does wherever the table says nothing."""

_WHEN_OVER = frozenset({"callee-answered"})
