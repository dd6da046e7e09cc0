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
from telephony.sip.errors import StateError
from telephony.sip.events import (
    Acknowledged,
    Answered,
    Cancelled,
    Ended,
    InfoReceived,
    Progressed,
    ReinviteAnswered,
    ReinviteReceived,
    Rejected,
    SessionRequestReceived,
)
from telephony.sip.flow import Flow, Send
from telephony.sip.invitation import IncomingInvite, OutgoingInvite
from telephony.sip.message import Headers, Message
from telephony.sip.request import ClientRequest, ServerRequest
from telephony.sip.server_transaction import ServerTransaction

if TYPE_CHECKING:
    from telephony.sip.digest import Credentials
    from telephony.sip.endpoint import Endpoint

SDP = "application/sdp"
RETRY_AFTER_SECONDS = 1
"""Told to a peer whose re-INVITE crosses one that it has under way itself (RFC 3261 section 14.2: 0 to 10)."""


class Session:
    """Made by `Endpoint.invite` or handed out by `InviteReceived`. Every action takes the time (`now`, seconds)."""

    __slots__ = (
        "_bye_headers",
        "context",
        "credentials",
        "dialog",
        "endpoint",
        "flow",
        "id",
        "incoming",
        "invite",
        "outgoing",
        "sent",
        "state",
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
        self.update_received: ServerRequest | None = None
        """The peer's UPDATE that waits for `answer_reinvite`."""
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

    # Actions of the callee

    def progress(
        self, status: int = 180, body: bytes = b"", *, now: float, headers: Headers = (), content_type: str = SDP, reason: str | None = None
    ) -> None:
        """Send a provisional response (incoming, not answered yet).

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.incoming.respond(status, reason, body, content_type, headers, self.endpoint.contact_for(self.flow), now)
        if status > 100:
            self.state = "ringing"

    def accept(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Answer 200; it is repeated until the ACK comes (`Acknowledged`), for 32 s at most (then `Ended`, ``no-ack``).

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.incoming.respond(200, None, body, content_type, headers, self.endpoint.contact_for(self.flow), now)
        self.state = "established"

    def reject(self, status: int, reason: str | None = None, *, now: float, headers: Headers = ()) -> None:
        """Refuse an incoming INVITE by a final response of 300 or above.

        Raises:
            StateError: it is answered or over.
        """
        self._expect("calling", "ringing")
        assert self.incoming is not None
        self.incoming.respond(status, reason, b"", "", headers, "", now)
        self.over()

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
        if not self.idle:
            raise StateError("an INVITE of this session is under way")
        message = self.make_request("INVITE", body, content_type, headers)
        self.sent = OutgoingInvite(self, message, self.next_flow(), self.credentials)
        self.sent.send(now)

    def update(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = SDP) -> None:
        """Change the session by UPDATE (RFC 3311), early or established. `ReinviteAnswered` follows.

        Raises:
            StateError: the session has no dialog yet, or is over.
        """
        self._expect("ringing", "established")
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

    @property
    def idle(self) -> bool:
        """No INVITE is under way in either direction: a re-INVITE may be sent (RFC 3261 section 14.1)."""
        if self.sent is not None and not self.sent.done:
            return False
        return self.incoming is None or (self.incoming.answered and not self.incoming.unacknowledged)

    # From our own INVITE (`OutgoingInvite`)

    def provisional(self, sent: OutgoingInvite, message: Message, now: float) -> None:
        """1xx other than 100."""
        if message.body and self.state == "established":
            return
        if self.state in ("calling", "ringing"):
            if message.to_tag:
                self.dialog.learn(message)
                self.state = "ringing"
            self.endpoint.events.append(Progressed(self, message.status, message))

    def success(self, sent: OutgoingInvite, message: Message, now: float) -> None:
        """The first 2xx."""
        first = self.state in ("calling", "ringing")
        if first:
            self.dialog.learn(message)
            self.state = "established"
        else:
            self.dialog.refresh(message)
        events = self.endpoint.events
        if not sent.late_offer or self.state in ("ending", "ended"):
            sent.acknowledge(b"", "", now)
        if first:
            events.append(Answered(self, message))
        elif self.state == "established":
            events.append(ReinviteAnswered(self, message.status, message))

    def refuse_success(self, sent: OutgoingInvite, message: Message, now: float) -> tuple[bytes, Flow]:
        """A 2xx that nobody wants: of another branch of a fork, or after CANCEL. Acknowledge it and end it by BYE."""
        kept = self.dialog
        self.dialog = Dialog(kept.call_id, kept.local, kept.remote, sent.message.cseq, kept.remote_target)
        self.dialog.learn(message)
        ack = self.make_ack(sent.message, b"", "")
        endpoint = self.endpoint
        endpoint.out.append(Send(*ack))
        bye = self.make_request("BYE", b"", "", ())
        endpoint.send_bye(bye, self.next_flow(), self.credentials, now)
        self.dialog = kept
        return ack

    def refused(self, sent: OutgoingInvite, status: int, message: Message | None, now: float) -> None:
        """A failure response, or none at all."""
        if self.state in ("calling", "ringing"):
            self.over()
            self.endpoint.events.append(Rejected(self, status, message))
        elif self.state == "established":
            self.endpoint.events.append(ReinviteAnswered(self, status, message))
            if status in (408, 481):
                self._gone(message, now)

    # From the peer

    def receive(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        """A request within the dialog, other than ACK and CANCEL."""
        endpoint = self.endpoint
        dialog = self.dialog
        method = message.method
        if message.cseq < dialog.remote_cseq:
            endpoint.refuse(transaction, message, 500, now, (("Retry-After", str(RETRY_AFTER_SECONDS)),))
            return
        dialog.remote_cseq = message.cseq
        self.flow = transaction.flow
        if method == "BYE":
            self._bye_received(transaction, message, now)
        elif self.state not in ("ringing", "established"):
            endpoint.refuse(transaction, message, 481, now)
        elif method in ("INVITE", "UPDATE"):
            self._change_received(transaction, message, now)
        elif method == "INFO":
            endpoint.refuse(transaction, message, 200, now)
            endpoint.events.append(InfoReceived(self, message))
        elif method == "OPTIONS":
            endpoint.refuse(transaction, message, 200, now, (("Allow", endpoint.allow),))
        else:
            endpoint.events.append(SessionRequestReceived(self, ServerRequest(endpoint, transaction, message), message))

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        """ACK of a 2xx of ours."""
        incoming = self.incoming
        if incoming is not None and message.cseq == incoming.message.cseq and incoming.acknowledged():
            if self.state == "ending":
                self._request("BYE", b"", "", self._bye_headers, now)
            else:
                self.endpoint.events.append(Acknowledged(self, message))

    def cancelled(self, message: Message, now: float) -> None:
        """CANCEL of the INVITE that we have not answered."""
        incoming = self.incoming
        if incoming is None or incoming.answered:
            return
        incoming.respond(487, None, b"", "", (), "", now)
        if self.state in ("calling", "ringing"):
            self.over()
            self.endpoint.events.append(Cancelled(self, message))

    def unacknowledged(self, now: float) -> None:
        """No ACK came for our 2xx (RFC 3261 section 13.3.1.4)."""
        if self.state == "ending":
            self._request("BYE", b"", "", self._bye_headers, now)
        elif self.state == "established":
            self.bye(now=now)
            self.endpoint.events.append(Ended(self, None, "no-ack"))

    def over(self) -> None:
        """Forget the session."""
        self.state = "ended"
        if self.incoming is not None:
            self.incoming.stop()
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

    def _request(self, method: str, body: bytes, content_type: str, headers: Headers, now: float) -> ClientRequest:
        message = self.make_request(method, body, content_type, headers)
        request = ClientRequest(self.endpoint, message, self.next_flow(), self.credentials, self)
        request.send(now)
        return request

    def _bye_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        endpoint = self.endpoint
        before = self.state
        endpoint.refuse(transaction, message, 200, now)
        incoming = self.incoming
        if incoming is not None and not incoming.answered:
            incoming.respond(487, None, b"", "", (), "", now)
        self.over()
        if before in ("calling", "ringing") and not self.outgoing:
            endpoint.events.append(Cancelled(self, message))
        elif before in ("calling", "ringing"):
            endpoint.events.append(Rejected(self, 487, message))
        elif before == "established":
            endpoint.events.append(Ended(self, message, "bye"))

    def _change_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        endpoint = self.endpoint
        incoming = self.incoming
        waiting = (incoming is not None and not incoming.answered and self.state == "established") or self.update_received is not None
        later = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
        if message.method == "INVITE":
            if self.state != "established" or waiting:
                endpoint.refuse(transaction, message, 500, now, later)
            elif self.sent is not None and not self.sent.done:
                endpoint.refuse(transaction, message, 491, now)
            else:
                endpoint.transactions.trying(transaction, message, now)
                self.dialog.refresh(message)
                if incoming is not None:
                    incoming.stop()
                self.incoming = IncomingInvite(self, message, transaction)
                endpoint.events.append(ReinviteReceived(self, message))
            return
        if message.body and waiting:
            endpoint.refuse(transaction, message, 500, now, later)
        elif message.body and self.state == "established" and self.sent is not None and not self.sent.done:
            endpoint.refuse(transaction, message, 491, now)
        else:
            self.dialog.refresh(message)
            if message.body:
                self.update_received = ServerRequest(endpoint, transaction, message)
                endpoint.events.append(ReinviteReceived(self, message))
            else:
                endpoint.refuse(transaction, message, 200, now, (("Contact", endpoint.contact_for(self.flow)),))

    def _answer_change(self, status: int, reason: str | None, body: bytes, content_type: str, headers: Headers, now: float) -> None:
        contact = self.endpoint.contact_for(self.flow)
        update = self.update_received
        if update is not None:
            self.update_received = None
            given = [("Contact", contact), *headers] if status < 300 else headers
            update.respond(status, reason, now=now, headers=given, body=body, content_type=content_type)
            return
        incoming = self.incoming
        if self.state != "established" or incoming is None or incoming.answered:
            raise StateError("there is no re-INVITE to answer")
        incoming.respond(status, reason, body, content_type, headers, contact, now)

    def _gone(self, message: Message | None, now: float) -> None:
        self.bye(now=now)
        self.endpoint.events.append(Ended(self, message, "gone"))

    def _expect(self, *states: str) -> None:
        if self.state not in states:
            raise StateError(f"session is {self.state}, not {' or '.join(states)}")

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state} {self.local} - {self.remote}>"
