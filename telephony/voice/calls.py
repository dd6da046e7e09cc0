"""What a call router of the voice platform does with SIP events and with what dependents tell it.

Rules:
- A session's ``context`` is (call, fork): no search for the call that an event belongs to.
- What is told about a call that is unknown is answered so that the other side need not wait: a leg is released, an
  offer of a queue is refused.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from media.control import Dtmf, Release, RtpTimeout
from telephony.call_router.desk import Desk
from telephony.jobs.media import LegEnding
from telephony.jobs.queue import Offered, Outcome, Withdrawn
from telephony.sip.events import (
    Acknowledged,
    Answered,
    Cancelled,
    Ended,
    Event,
    InfoReceived,
    InviteReceived,
    Progressed,
    ReinviteAnswered,
    ReinviteReceived,
    Rejected,
    ReliablyAcknowledged,
    RequestReceived,
    ResponseReceived,
    SessionRequestReceived,
    SubscribeReceived,
    SubscriptionEnded,
)
from telephony.sip.session import SDP
from telephony.voice import keeping, messages, replacing, watching
from telephony.voice.call import Call
from telephony.voice.legs import KIND
from telephony.voice.marks import Marks
from telephony.voice.rooms import Rooms
from telephony.voice.talking import INFO_TYPES

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, SUBSCRIBE, NOTIFY"
"""Outside of a call."""
ALLOW_WITHIN = f"{ALLOW}, MESSAGE"
_WITHIN = {"REFER": "referred", messages.METHOD: "messaged"}
"""What a request within a call is to it."""
PACKAGES = ("refer", *watching.PACKAGES)
"""Event packages: what a phone may be told of."""
_ALLOW_EVENTS = ("Allow-Events", ", ".join(PACKAGES))
_decode_dtmf = msgspec.msgpack.Decoder(Dtmf).decode
_decode_silence = msgspec.msgpack.Decoder(RtpTimeout).decode
_decode_ending = msgspec.msgpack.Decoder(LegEnding).decode
_decode_offered = msgspec.msgpack.Decoder(Offered).decode
_decode_withdrawn = msgspec.msgpack.Decoder(Withdrawn).decode


class Calls:
    """All calls of one router."""

    def __init__(self, desk: Desk) -> None:
        desk.endpoint.allow = ALLOW_WITHIN
        desk.endpoint.info_types = INFO_TYPES
        desk.endpoint.subscriptions.packages = PACKAGES
        self.desk = desk
        self.marks = Marks(desk)
        self.rooms = Rooms(desk)
        self.watching = watching.Watching(desk)
        self._calls: dict[str, Call] = {}
        self._changed: dict[Call, None] = {}
        """Calls to be noted at the end of this turn."""
        self._handlers: dict[type, Callable[[Any, float], object]] = {
            InviteReceived: self._invite,
            Progressed: lambda event, now: self._happen(event, "rang", now, event.status, event.message),
            Answered: lambda event, now: self._happen(event, "answered", now, event.message),
            Rejected: lambda event, now: self._happen(event, "rejected", now, event.status, event.message),
            Acknowledged: lambda event, now: self._happen(event, "acknowledged", now, event.message),
            ReliablyAcknowledged: lambda event, now: self._happen(event, "early-acknowledged", now, event.message),
            Cancelled: lambda event, now: self._happen(event, "cancelled", now, event.message),
            Ended: lambda event, now: self._happen(event, "ended", now, event.reason, event.message),
            ReinviteReceived: lambda event, now: self._happen(event, "reinvited", now, event.message),
            ReinviteAnswered: lambda event, now: self._happen(event, "reinvite-answered", now, event.status, event.message),
            InfoReceived: lambda event, now: self._happen(event, "info", now, event.message),
            SubscribeReceived: self._subscribe,
            SubscriptionEnded: self.watching.ended,
            SessionRequestReceived: self._session_request,
            RequestReceived: self._request,
            ResponseReceived: messages.answered,
        }

    def sip(self, event: Event, now: float) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, now)

    def told(self, sender: str, operation: str, body: bytes, now: float) -> None:
        try:
            if operation == "offered":
                self._offered(sender, _decode_offered(body), now)
            elif operation == "withdrawn":
                withdrawn = _decode_withdrawn(body)
                if (call := self._calls.get(withdrawn.call)) is not None:
                    call.happen("withdrawn", now, withdrawn.offer)
            elif operation == "rtp-timeout":
                self._silence(sender, _decode_silence(body), now)
            elif operation == "leg-ending":
                ending = _decode_ending(body)
                if (call := self._calls.get(ending.call)) is not None:
                    call.happen("leg-ending", now, ending.leg)
                else:
                    self.rooms.ends(sender, ending.call)
            elif operation == "trunk-lost":
                self.rooms.told(sender, operation, body, now)
            elif operation == "member-changed":
                self.watching.changed(body, now)
            elif operation == "dtmf":
                dtmf = _decode_dtmf(body)
                self.desk.notify({"event": "dtmf", "call": dtmf.call, "leg": dtmf.leg, "digit": dtmf.digit})
        except msgspec.DecodeError:
            return  # of another version: nothing that we could act on

    def end_all(self, now: float) -> None:
        for call in list(self._calls.values()):
            call.happen("drained", now)
        self.watching.end_all(now)

    def remaining(self) -> int:
        return len(self._calls)

    def forget(self, call: Call) -> None:
        """The call's record is written."""
        self._calls.pop(call.id, None)
        if self.desk.ledger is not None:
            self._changed.pop(call, None)
            self.desk.ledger.forget(call.id)

    def changed(self, call: Call) -> None:
        """Something happened to the call: it is noted at the end of this turn."""
        if self.desk.ledger is not None:
            if not self._changed:
                self.desk.at_end(self._note)
            self._changed[call] = None

    def resume(self, now: float) -> None:
        ledger = self.desk.ledger
        if ledger is None:
            return
        for slot, data in ledger.read():
            try:
                call = keeping.go_on(self, data, now)
            except ValueError:
                continue  # of another version
            self._calls[call.id] = call
            ledger.adopt(call.id, slot)
            self.changed(call)
        ledger.settle()

    def _note(self) -> None:
        ledger = self.desk.ledger
        changed, self._changed = self._changed, {}
        for call in changed:
            data = keeping.note(call)
            if data is not None and ledger is not None:
                ledger.keep(call.id, data)

    def _invite(self, event: InviteReceived, now: float) -> None:
        if event.message.has("replaces"):
            replacing.received(self, event.session, now)
            return
        call = Call(self, event.session, now)
        self._calls[call.id] = call
        event.session.context = (call, None)
        call.start(now)

    def _happen(self, event: Any, name: str, now: float, *details: object) -> bool:
        context = event.session.context
        if context is None:
            return False
        call, fork = context
        if fork is None:
            return bool(call.happen(f"caller-{name}", now, *details))
        return bool(call.happen(f"callee-{name}", now, fork, *details))

    def _subscribe(self, event: SubscribeReceived, now: float) -> None:
        if event.notifier.event.partition(";")[0] == "refer":
            event.notifier.reject(403, now=now)  # such subscriptions come from REFER alone (RFC 3515 section 2.4.4)
        else:
            self.watching.subscribe(event, now)

    def _session_request(self, event: SessionRequestReceived, now: float) -> None:
        happens = _WITHIN.get(event.message.method or "")
        if happens is not None and event.session.context is not None:
            if not self._happen(event, happens, now, event.request, event.message):
                event.request.respond(481, now=now)  # the call ended at the same moment
        elif event.message.method == "NOTIFY":
            event.request.respond(481, now=now)  # we have subscribed to nothing
        else:
            self._request(event, now)

    def _request(self, event: SessionRequestReceived | RequestReceived, now: float) -> None:
        if event.message.method == "OPTIONS":
            event.request.respond(
                200, now=now, headers=(("Allow", ALLOW), ("Accept", SDP), ("Supported", self.desk.endpoint.supported), _ALLOW_EVENTS)
            )
        elif event.message.method == "REFER":
            event.request.respond(603, "Only within a call", now=now)
        elif event.message.method == "NOTIFY":
            event.request.respond(481, now=now)
        else:
            event.request.respond(405, now=now, headers=(("Allow", ALLOW),))

    def _offered(self, sender: str, offered: Offered, now: float) -> None:
        call = self._calls.get(offered.call)
        if call is not None and call.happen("member-offered", now, offered):
            return
        if call is None:
            outcome = Outcome(queue=offered.queue, call=offered.call, offer=offered.offer, member=offered.member, result="caller-left")
            self.desk.ask("call_queue", "outcome", outcome, None, worker=sender)

    def _silence(self, sender: str, silence: RtpTimeout, now: float) -> None:
        call = self._calls.get(silence.call)
        if call is None or not call.knows_leg(sender, silence.leg):
            self.desk.ask(KIND, "release", Release(leg=silence.leg), None, worker=sender)
        else:
            call.happen("silence", now, silence.leg)
