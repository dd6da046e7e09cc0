"""A session: the dialog that an INVITE makes, seen from one user agent (RFC 3261 sections 12 to 15).

States and what leads on:

| state | on | to |
| --- | --- | --- |
| calling | provisional response other than 100, sent or received | ringing |
| calling, ringing | 2xx, sent (`accept`) or received | established |
| calling, ringing | failure response, sent (`reject`) or received; CANCEL or BYE of the caller | ended |
| established | `bye`; no ACK for 32 s; 481 or 408 within the dialog | ending |
| established, ending | BYE of the peer | ended |
| ending | BYE is answered, or given up | ended |
"""

from typing import TYPE_CHECKING, Any

from telephony.sip.dialog import Dialog
from telephony.sip.errors import MessageError, StateError
from telephony.sip.events import (
    Acknowledged,
    Answered,
    ByeAnswered,
    Cancelled,
    Ended,
    Progressed,
    ReinviteAnswered,
    Rejected,
)
from telephony.sip.flow import Flow, Send
from telephony.sip.invitation import FORKS_MAX, IncomingInvite, OutgoingInvite
from telephony.sip.message import Headers, Message
from telephony.sip.request import ClientRequest, ServerRequest
from telephony.sip.session_timer import SessionTimer

if TYPE_CHECKING:
    from telephony.sip.digest import Credentials
    from telephony.sip.endpoint import Endpoint

SDP = "application/sdp"
_REASONS = {"no-ack": 'SIP;cause=408;text="No ACK"', "expired": 'SIP;cause=408;text="Session expired"'}
"""Why we end a session by BYE, for its peer (RFC 3326)."""


class Session:
    """Made by `Endpoint.invite` or handed out by `InviteReceived`. Every action takes the time (`now`, seconds)."""

    __slots__ = (
        "_answer",
        "_body",
        "_bye_headers",
        "_early",
        "_reliable",
        "context",
        "credentials",
        "dialog",
        "endpoint",
        "flow",
        "id",
        "incoming",
        "invite",
        "offering",
        "outgoing",
        "sent",
        "state",
        "timer",
        "update_received",
    )

    def __init__(self, endpoint: "Endpoint", id: str, dialog: Dialog, flow: Flow, invite: Message, outgoing: bool) -> None:
        self.endpoint = endpoint
        self.id = id
        """Unique within the endpoint, unguessable."""
        self.dialog = dialog
        self.flow = flow
        """Where the last message within the dialog came from; what we send goes there, or where the route leads."""
        self.invite = invite
        """The first INVITE, as sent or received."""
        self.outgoing = outgoing
        """True: we sent the first INVITE."""
        self.state = "calling"
        """``calling``, ``ringing``, ``established``, ``ending``, ``ended``."""
        self.credentials: Credentials | None = None
        self.sent: OutgoingInvite | None = None
        """Our last INVITE."""
        self.incoming: IncomingInvite | None = None
        """The peer's last INVITE."""
        self.offering = False
        """An offer of ours in an UPDATE has no answer yet."""
        self.update_received: ServerRequest | None = None
        """The peer's UPDATE that waits for `answer_reinvite`."""
        self.timer = SessionTimer(self)
        """Ends it when the peer has vanished (RFC 4028)."""
        self._body = (b"", "")
        """Our last offer or answer and its type: what a refresh by re-INVITE repeats."""
        self._answer: Message | None = None
        """The 2xx to our first INVITE."""
        self._early: dict[str, Dialog] = {}
        """Tag of a peer to its dialog, as long as our first INVITE is not answered: a fork makes several."""
        self._reliable: dict[str, int] = {}
        """Tag of a peer to the RSeq of its last reliable response (RFC 3262)."""
        self._bye_headers: tuple[tuple[str, str], ...] = ()
        self.context: Any = None
        """For the owner: whatever it wants to find again in an event."""

    @property
    def local(self) -> str:
        """Our From or To value, with our tag."""
        return self.dialog.local

    @property
    def remote(self) -> str:
        """The peer's From or To value; with its tag once it is known."""
        return self.dialog.remote

    @property
    def remote_target(self) -> str:
        """URI of the peer's Contact: Request-URI of what we send within the dialog."""
        return self.dialog.remote_target

    @property
    def call_id(self) -> str:
        """Call-ID of the dialog."""
        return self.dialog.call_id

    @property
    def wants_reliable(self) -> bool:
        """The caller requires that provisional responses be reliable (RFC 3262 section 3)."""
        return any("100rel" in value.lower() for value in self.invite.get_lines("require"))

    @property
    def peer_allow(self) -> str:
        """Methods that the peer has said it takes; empty: it has said nothing."""
        peer = self._answer if self.outgoing else self.invite
        return "" if peer is None else ", ".join(peer.get_lines("allow"))

    @property
    def last_body(self) -> bytes:
        """Our last offer or answer."""
        return self._body[0]

    def resumed(self, body: bytes, peer: Message) -> None:
        """It was established in another process; ``body``: our last offer or answer, ``peer``: says what the peer takes."""
        self.state = "established"
        self._body = (body, SDP)
        self._answer = peer

    # Actions of the callee

    def progress(
        self,
        status: int = 180,
        body: bytes = b"",
        *,
        now: float,
        headers: Headers = (),
        content_type: str = SDP,
        reason: str | None = None,
        reliable: bool = False,
    ) -> None:
        """Send a provisional response (incoming, not answered yet).

        It is sent reliably (RFC 3262) where the caller requires that, or supports it and ``reliable`` is wanted; then
        `ReliablyAcknowledged` follows, and the next response waits for it.

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.keep_body(body, content_type)
        self.incoming.progress(status, reason, body, content_type, headers, self.endpoint.contact_for(self.flow), reliable, now)
        if status > 100:
            self.state = "ringing"

    def accept(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Answer 200; it is repeated until the ACK comes (`Acknowledged`), for 32 s at most (then `Ended`, ``no-ack``).

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.keep_body(body, content_type)
        given = [*headers, *self.timer.answer(self.incoming.message, now)]
        self.incoming.accept(body, content_type, given, self.endpoint.contact_for(self.flow), now)
        self.state = "established"

    def reject(self, status: int, reason: str | None = None, *, now: float, headers: Headers = ()) -> None:
        """Refuse an incoming INVITE by a final response of 300 or above.

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.incoming.respond(status, reason, b"", "", headers, "", now)
        self.over(now)

    # Actions of the caller

    def cancel(self, *, now: float, headers: Headers = ()) -> None:
        """Give up an outgoing INVITE. CANCEL waits for the first provisional response; the end is always `Rejected`.

        A 2xx that crosses it is acknowledged and ended by BYE without a word to the owner but `Rejected` with 487.
        Nothing happens if it is over already.
        """
        if self.outgoing and self.sent is not None and self.state in ("calling", "ringing"):
            self.sent.cancel(now, headers)

    def acknowledge(self, body: bytes, *, now: float, content_type: str = SDP) -> None:
        """Send the ACK of a 2xx whose INVITE (or re-INVITE) had no body: ``body`` is the answer to the offer in the 2xx.

        Raises:
            StateError: no 2xx waits for its ACK.
        """
        if self.sent is None:
            raise StateError("there is no 2xx that waits for its ACK")
        self.keep_body(body, content_type)
        self.sent.acknowledge(body, content_type, now)

    # Actions of both

    def bye(self, *, now: float, headers: Headers = ()) -> None:
        """End an established session; `ByeAnswered` follows. Add a Reason header by ``headers`` (RFC 3326).

        A callee whose 2xx waits for its ACK sends BYE after it (RFC 3261 section 15).

        Raises:
            StateError: it is not established.
        """
        self._expect("established")
        self.state = "ending"
        if self.incoming is not None and self.incoming.unacknowledged:
            self._bye_headers = tuple(headers)
        else:
            self._request("BYE", b"", "", headers, now)

    def end(self, status: int = 480, *, now: float, headers: Headers = ()) -> None:
        """Whatever ends the session in its present state: reject with ``status``, cancel, or bye; nothing if it is over."""
        if self.state == "established":
            self.bye(now=now, headers=headers)
        elif self.state in ("calling", "ringing"):
            if self.outgoing:
                self.cancel(now=now, headers=headers)
            else:
                self.reject(status, now=now, headers=headers)

    def reinvite(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Change the session by a re-INVITE; an empty body asks for the peer's offer. `ReinviteAnswered` follows.

        Raises:
            StateError: another one is under way in either direction, or the session is not established.
        """
        self._expect("established")
        self.keep_body(body, content_type)
        self._reinvite(body, content_type, [*headers, *self.timer.headers], False, now)

    def update(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Change the session by UPDATE (RFC 3311), early or established. `ReinviteAnswered` follows.

        Raises:
            StateError: the session has no dialog yet, or is over.
        """
        self._expect("ringing", "established")
        if body and (self.offering or self.update_received is not None or (self.state == "established" and not self.idle)):
            raise StateError("another offer has no answer yet")
        self.offering = bool(body)
        self.keep_body(body, content_type)
        self._request("UPDATE", body, content_type, headers, now)

    def answer_reinvite(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Answer `ReinviteReceived` by 200.

        Raises:
            StateError: there is none to answer.
        """
        self._answer_change(200, None, body, content_type, headers, now)

    def reject_reinvite(self, status: int = 488, reason: str | None = None, *, now: float, headers: Headers = ()) -> None:
        """Refuse `ReinviteReceived`; the session goes on as before.

        Raises:
            StateError: there is none to answer.
        """
        self._answer_change(status, reason, b"", "", headers, now)

    def info(self, body: bytes, *, now: float, content_type: str = "application/dtmf-relay", headers: Headers = ()) -> ClientRequest:
        """Send INFO; `ResponseReceived` follows."""
        return self.request("INFO", body, now=now, headers=headers, content_type=content_type)

    def request(self, method: str, body: bytes = b"", *, now: float, headers: Headers = (), content_type: str = "") -> ClientRequest:
        """Send another request within the dialog (REFER, NOTIFY, OPTIONS, MESSAGE); `ResponseReceived` follows.

        Raises:
            StateError: the session has no dialog yet, or is over.
        """
        self._expect("ringing", "established")
        return self._request(method, body, content_type, headers, now)

    def keep_body(self, body: bytes, content_type: str) -> None:
        """Remember our last offer or answer."""
        if body:
            self._body = (body, content_type)

    def refresh(self, now: float) -> None:
        """Tell the peer that we are there, and see whether it is (RFC 4028 section 9); the owner hears nothing of it.

        Raises:
            StateError: a re-INVITE is under way.
        """
        if "UPDATE" in self.peer_allow.upper():
            self._request("UPDATE", b"", "", self.timer.headers, now, silent=True)
        else:
            self._reinvite(*self._body, self.timer.headers, True, now)

    def _reinvite(self, body: bytes, content_type: str, headers: Headers, silent: bool, now: float) -> None:
        if not self.idle:
            raise StateError("an INVITE of this session is under way")
        message = self.make_request("INVITE", body, content_type, headers)
        self.sent = OutgoingInvite(self, message, self.next_flow(), self.credentials)
        self.sent.silent = silent
        self.sent.send(now)

    @property
    def idle(self) -> bool:
        """No offer is under way in either direction: a re-INVITE may be sent (RFC 3261 section 14.1, RFC 3311 section 5.1)."""
        if self.offering or self.update_received is not None or (self.sent is not None and not self.sent.done):
            return False
        return self.incoming is None or (self.incoming.answered and not self.incoming.unacknowledged)

    def glare_seconds(self) -> float:
        """When to try again what was refused with 491: 2.1 to 4 s for who chose the Call-ID, else 0 to 2 s (RFC 3261 section 14.1)."""
        steps = int(self.endpoint.tokens.take()[:6], 16)
        return 2.1 + steps % 191 / 100 if self.outgoing else steps % 201 / 100

    # From our own INVITE (`OutgoingInvite`)

    def provisional(self, sent: OutgoingInvite, message: Message, now: float) -> None:
        """1xx other than 100."""
        if self.state not in ("calling", "ringing"):
            return
        tag = message.to_tag
        if tag:
            if tag not in self._early:
                if len(self._early) >= FORKS_MAX:
                    return
                self._early[tag] = self._fresh(sent)
            self.dialog = self._early[tag]
            self.dialog.learn(message)
            self.state = "ringing"
            if any("100rel" in value for value in message.get_lines("require")) and not self._acknowledge_reliably(sent, message, now):
                return
        self.endpoint.events.append(Progressed(self, message.status, message))

    def _acknowledge_reliably(self, sent: OutgoingInvite, message: Message, now: float) -> bool:
        """Send PRACK (RFC 3262 section 4); False: the response is a repetition, or out of order."""
        try:
            number = message.number("rseq")
        except MessageError:
            return False
        last = self._reliable.get(message.to_tag)
        if number is None or (last is not None and number != last + 1):
            return False
        self._reliable[message.to_tag] = number
        self._request("PRACK", b"", "", (("RAck", f"{number} {message.cseq} INVITE"),), now, silent=True)
        return True

    def success(self, sent: OutgoingInvite, message: Message, now: float) -> None:
        """The first 2xx."""
        first = self.state in ("calling", "ringing")
        if first:
            self.dialog = self._early.get(message.to_tag) or self._fresh(sent)
            self._early.clear()
            self.dialog.learn(message)
            self.state = "established"
            self._answer = message
        else:
            self.dialog.refresh(message)
        events = self.endpoint.events
        if not sent.late_offer or self.state in ("ending", "ended"):
            sent.acknowledge(b"", "", now)
        if self.state == "established":
            self.timer.answered(message, now)
        if first:
            events.append(Answered(self, message))
        elif self.state == "established" and not sent.silent:
            events.append(ReinviteAnswered(self, message.status, message))

    def refuse_success(self, sent: OutgoingInvite, message: Message, now: float) -> tuple[bytes, Flow]:
        """A 2xx that nobody wants: of another branch of a fork, or after CANCEL. Acknowledge it and end it by BYE."""
        kept = self.dialog
        self.dialog = self._fresh(sent)
        self.dialog.learn(message)
        ack = self.make_ack(sent.message, b"", "")
        endpoint = self.endpoint
        endpoint.out.append(Send(*ack))
        bye = self.make_request("BYE", b"", "", ())
        endpoint.send_bye(bye, self.next_flow(), self.credentials, now)
        self.dialog = kept
        return ack

    def belongs(self, tag: str) -> bool:
        """Whether a peer with this tag is in a dialog of this session; from here on we talk to that one."""
        if not self.dialog.remote_tag or self.dialog.remote_tag == tag:
            return True
        early = self._early.get(tag) if self.state == "ringing" else None
        if early is not None:
            self.dialog = early
        return early is not None

    def _fresh(self, sent: OutgoingInvite) -> Dialog:
        """The dialog with a branch of a fork that has not been heard of yet."""
        if not self.dialog.remote_tag:
            return self.dialog
        branch = self.dialog.branch()
        branch.local_cseq = sent.message.cseq
        return branch

    def refused(self, sent: OutgoingInvite, status: int, message: Message | None, now: float) -> None:
        """A failure response, or none at all."""
        if self.state in ("calling", "ringing"):
            self.over(now)
            self.endpoint.events.append(Rejected(self, status, message))
        elif self.state == "established":
            if sent.silent:
                self.timer.refused(status, now)
            else:
                self.endpoint.events.append(ReinviteAnswered(self, status, message))
            if status in (408, 481):
                self.gone(message, "gone", now)

    # From the peer

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        """ACK of a 2xx of ours."""
        incoming = self.incoming
        if incoming is not None and message.cseq == incoming.message.cseq and incoming.acknowledged():
            if self.state == "ending":
                self._request("BYE", b"", "", self._bye_headers, now)
            else:
                self.endpoint.events.append(Acknowledged(self, message))

    def cancelled(self, message: Message, now: float) -> None:
        """CANCEL of the INVITE that we have not answered, or whose answer still waits for a PRACK."""
        incoming = self.incoming
        if incoming is None or incoming.answered:
            return
        incoming.respond(487, None, b"", "", (), "", now)
        if incoming.message is self.invite:
            ending = self.state == "ending"
            self.over(now)
            self.endpoint.events.append(ByeAnswered(self, 487, message) if ending else Cancelled(self, message))

    def unacknowledged(self, now: float) -> None:
        """No ACK came for our 2xx (RFC 3261 section 13.3.1.4)."""
        if self.state == "ending":
            self._request("BYE", b"", "", self._bye_headers, now)
        elif self.state == "established":
            self.gone(None, "no-ack", now)

    def unreliable(self, now: float) -> None:
        """No PRACK came for a reliable response (RFC 3262 section 3)."""
        if self.state == "ringing":
            self.reject(504, now=now)
            self.endpoint.events.append(Cancelled(self, self.invite))
        elif self.incoming is not None and not self.incoming.answered:
            ending = self.state == "ending"
            self.incoming.respond(504, None, b"", "", (), "", now)
            self.over(now)
            self.endpoint.events.append(ByeAnswered(self, 504, None) if ending else Ended(self, None, "no-ack"))

    def expired(self, now: float) -> None:
        """The peer has not been heard of for the agreed time (RFC 4028 section 10)."""
        self.gone(None, "expired", now)

    def gone(self, message: Message | None, reason: str, now: float) -> None:
        """The peer is not there any more: end an established session, and tell the owner."""
        why = _REASONS.get(reason)
        self.bye(now=now, headers=(("Reason", why),) if why else ())
        self.endpoint.events.append(Ended(self, message, reason))

    def over(self, now: float) -> None:
        """Forget the session. What the peer still waits for is answered 487 (RFC 3261 section 15.1.2)."""
        self.state = "ended"
        self.timer.stop()
        update, self.update_received = self.update_received, None
        if update is not None:
            update.respond(487, now=now)
        if self.incoming is not None:
            if not self.incoming.answered:
                self.incoming.respond(487, None, b"", "", (), "", now)
            self.incoming.stop()
        if self.sent is not None:
            self.sent.abandon(now)
        self.endpoint.forget(self)

    # Messages of the dialog

    def make_request(self, method: str, body: bytes, content_type: str, headers: Headers) -> Message:
        """A request within the dialog, with a branch of its own."""
        self.dialog.local_cseq += 1
        return self._make(method, self.dialog.local_cseq, body, content_type, headers)

    def make_ack(self, invite: Message, body: bytes, content_type: str) -> tuple[bytes, Flow]:
        """ACK of a 2xx: the INVITE's number and credentials (RFC 3261 section 13.2.2.4)."""
        proofs = [(name, value) for name in ("authorization", "proxy-authorization") for value in invite.get_lines(name)]
        return self._make("ACK", invite.cseq, body, content_type, proofs).serialize(), self.next_flow()

    def next_flow(self) -> Flow:
        """Where a request within the dialog goes to."""
        return self.endpoint.next_hop(self.dialog.target()[2], self.flow)

    def _make(self, method: str, cseq: int, body: bytes, content_type: str, headers: Headers) -> Message:
        uri, routes, hop = self.dialog.target()
        dialog = self.dialog
        endpoint = self.endpoint
        return endpoint.make(
            method,
            uri,
            dialog.local,
            dialog.remote,
            dialog.call_id,
            cseq,
            endpoint.next_hop(hop, self.flow),
            routes,
            headers,
            body,
            content_type,
        )

    def _request(self, method: str, body: bytes, content_type: str, headers: Headers, now: float, silent: bool = False) -> ClientRequest:
        message = self.make_request(method, body, content_type, headers)
        request = ClientRequest(self.endpoint, message, self.next_flow(), self.credentials, self)
        request.silent = silent
        request.send(now)
        return request

    def _answer_change(self, status: int, reason: str | None, body: bytes, content_type: str, headers: Headers, now: float) -> None:
        contact = self.endpoint.contact_for(self.flow)
        update = self.update_received
        if update is not None:
            self.update_received = None
            given = [("Contact", contact), *headers, *self.timer.answer(update.message, now)] if status < 300 else headers
            update.respond(status, reason, now=now, headers=given, body=body, content_type=content_type)
            return
        incoming = self.incoming
        if self.state != "established" or incoming is None or incoming.answered:
            raise StateError("there is no re-INVITE to answer")
        if status < 300:
            self.keep_body(body, content_type)
            headers = [*headers, *self.timer.answer(incoming.message, now)]
        incoming.respond(status, reason, body, content_type, headers, contact, now)

    def _expect(self, *states: str) -> None:
        if self.state not in states:
            raise StateError(f"session is {self.state}, not {' or '.join(states)}")

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state} {self.local} - {self.remote}>"
