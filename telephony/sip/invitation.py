"""One INVITE, first or later one of its session, from either side (RFC 3261 sections 13 and 14).

Rules:
- The caller acknowledges every 2xx, again each time it is repeated; a 2xx of another branch of a fork is acknowledged
  and ended by BYE (section 13.2.2.4).
- The callee repeats its 2xx, T1 doubled up to T2, until ACK or 64 T1, over any transport (section 13.3.1.4).
- CANCEL waits for the first provisional response (section 9.1); 64 T1 after it the INVITE is given up.
- 401 and 407 are answered where there are credentials, twice at most (a second time if the nonce was stale).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from telephony.sip.build import make_cancel
from telephony.sip.client_transaction import ClientTransaction
from telephony.sip.errors import StateError
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Headers, Message, make_response
from telephony.sip.request import ClientRequest
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.session_timer import minimum
from telephony.sip.timers import T1, T2, T64, Timer, cancel

if TYPE_CHECKING:
    from telephony.sip.digest import Credentials
    from telephony.sip.session import Session

WAITING_MAX = 8
"""Responses that wait for a PRACK."""
FORKS_MAX = 8
"""2xx of different branches of a fork that are looked at; more are ignored."""
_EARLY_SECONDS = 1e-6


class OutgoingInvite:
    """An INVITE that we sent."""

    __slots__ = (
        "_acks",
        "_attempts",
        "_cancel_headers",
        "_cancel_sent",
        "_cancelling",
        "_credentials",
        "_session",
        "_timer",
        "_transaction",
        "done",
        "flow",
        "message",
        "silent",
    )

    def __init__(self, session: "Session", message: Message, flow: Flow, credentials: "Credentials | None") -> None:
        self._session = session
        self._credentials = credentials
        self._attempts = 0
        self._acks: dict[str, tuple[bytes, Flow] | None] = {}
        self._cancelling = False
        self._cancel_sent = False
        self._cancel_headers: tuple[tuple[str, str], ...] = ()
        self._timer: Timer | None = None
        self._transaction: ClientTransaction | None = None
        self.message = message
        self.flow = flow
        self.silent = False
        """Our own matter: the owner hears nothing of its outcome."""
        self.done = False
        """It has its final response (or never gets one)."""

    @property
    def late_offer(self) -> bool:
        """It carried no offer: the answer goes into the ACK."""
        return not self.message.body

    def send(self, now: float) -> None:
        """Send it, in a transaction of its own."""
        endpoint = self._session.endpoint
        self._transaction = endpoint.begin(self, self.message, self.flow, now)

    def cancel(self, now: float, headers: Headers) -> None:
        """Give it up."""
        if self.done or self._cancelling:
            return
        self._cancelling = True
        self._cancel_headers = tuple(headers)
        self._timer = self._session.endpoint.timers.start(now, T64, self._give_up)
        if self._transaction is not None and self._transaction.proceeding:
            self._send_cancel(now)

    def abandon(self, now: float) -> None:
        """Its session is over; the peer that knows answers it."""
        if not self.done and self._transaction is not None:
            self._transaction.cancelled(now)

    def acknowledge(self, body: bytes, content_type: str, now: float) -> None:
        """Send the ACK of its 2xx, if that is not done yet."""
        dialog = self._session.dialog
        if not self.done or dialog.remote_tag not in self._acks or self._acks[dialog.remote_tag] is not None:
            raise StateError("there is no 2xx that waits for its ACK")
        self._acks[dialog.remote_tag] = sent = self._session.make_ack(self.message, body, content_type)
        self._session.endpoint.out.append(Send(*sent))

    def response(self, transaction: ClientTransaction, message: Message, now: float) -> None:
        """From the transaction layer."""
        status = message.status
        session = self._session
        if status < 200:
            if self._cancelling:
                self._send_cancel(now)
            elif status > 100 and not self._cancelling:
                session.provisional(self, message, now)
        elif status < 300:
            self._success(message, now)
        elif not self.done:
            wanted = minimum(message) if status == 422 else 0
            if wanted and not self._cancelling and self._attempts < 2:
                self._attempts += 1
                self.message = session.endpoint.again(self.message)
                self.message.set("session-expires", str(wanted))
                self.message.set("min-se", str(wanted))
                session.dialog.local_cseq = self.message.cseq
                self.send(now)
                return
            if status in (401, 407) and self._credentials is not None and not self._cancelling and self._attempts < 2:
                again = session.endpoint.with_credentials(self.message, message, self._credentials, self._attempts)
                if again is not None:
                    self._attempts += 1
                    session.dialog.local_cseq = again.cseq
                    self.message = again
                    self.send(now)
                    return
            self._finish(status, message, now)

    def failed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """From the transaction layer."""
        again = None if self.done or status != 503 else self._session.endpoint.over_datagrams(transaction, self.message, self.flow)
        if again is not None and not self._cancelling:
            self.message = again
            self.send(now)
        elif not self.done:
            self._finish(status, None, now)

    def _success(self, message: Message, now: float) -> None:
        session = self._session
        endpoint = session.endpoint
        tag = message.to_tag
        if tag in self._acks:
            sent = self._acks[tag]
            if sent is not None:
                endpoint.out.append(Send(*sent))
            return
        if self._cancelling or (self.done and len(self._acks) < FORKS_MAX):
            self._acks[tag] = session.refuse_success(self, message, now)
            if not self.done:
                self._finish(487, message, now)
            return
        if self.done:
            return
        self.done = True
        cancel(self._timer)
        self._acks[tag] = None
        session.success(self, message, now)

    def _finish(self, status: int, message: Message | None, now: float) -> None:
        self.done = True
        cancel(self._timer)
        self._session.refused(self, status, message, now)

    def _send_cancel(self, now: float) -> None:
        invite = self._transaction.message if self._transaction is not None else None
        if invite is None or self._cancel_sent or self.done:
            return
        self._cancel_sent = True
        flow = self._transaction.flow if self._transaction is not None else self.flow
        ClientRequest(self._session.endpoint, make_cancel(invite, self._cancel_headers), flow, None, self._session).send(now)

    def _give_up(self, now: float) -> None:
        if not self.done:
            self._finish(487, None, now)


class IncomingInvite:
    """An INVITE that we were sent."""

    __slots__ = (
        "_expires",
        "_interval",
        "_reliable",
        "_reliable_timer",
        "_rseq",
        "_session",
        "_success",
        "_timer",
        "_transaction",
        "_waiting",
        "message",
    )

    def __init__(self, session: "Session", message: Message, transaction: ServerTransaction) -> None:
        self._session = session
        self._transaction = transaction
        self._success = b""
        self._timer: Timer | None = None
        self._interval = T1
        self._expires = 0.0
        self._rseq = 0
        """RSeq of the last reliable response; 0: none was sent."""
        self._reliable = b""
        """Reliable response that waits for its PRACK."""
        self._reliable_timer: Timer | None = None
        self._waiting: list[Callable[[float], None]] = []
        """Responses that wait for that PRACK, in order."""
        self.message = message

    @property
    def answered(self) -> bool:
        """A final response was sent."""
        return self._transaction.answered

    @property
    def unacknowledged(self) -> bool:
        """A 2xx was sent whose ACK has not come, or is to be sent after a PRACK."""
        return bool(self._success or self._waiting)

    def progress(
        self, status: int, reason: str | None, body: bytes, content_type: str, headers: Headers, contact: str, reliable: bool, now: float
    ) -> None:
        """Send a provisional response, reliably where that is required or wanted."""
        if status == 100 or not self._reliably(reliable):
            self.respond(status, reason, body, content_type, headers, contact, now)
        elif self._reliable:
            if len(self._waiting) >= WAITING_MAX:
                raise StateError("too many responses wait for a PRACK")
            self._waiting.append(lambda later: self.progress(status, reason, body, content_type, headers, contact, True, later))
        else:
            self._rseq = self._rseq + 1 if self._rseq else 1 + int(self._session.endpoint.tokens.take()[:7], 16)
            given = [("Require", "100rel"), ("RSeq", str(self._rseq)), *headers]
            self._reliable = self.respond(status, reason, body, content_type, given, contact, now)
            self._interval = T1
            self._expires = now + T64
            self._reliable_timer = self._session.endpoint.timers.start(now, T1, self._repeat_reliable)

    def accept(self, body: bytes, content_type: str, headers: Headers, contact: str, now: float) -> None:
        """Send 200, after the PRACK that is waited for (RFC 3262 section 3)."""
        if self._reliable:
            self._waiting.append(lambda later: self.accept(body, content_type, headers, contact, later))
        else:
            self.respond(200, None, body, content_type, headers, contact, now)

    def respond(self, status: int, reason: str | None, body: bytes, content_type: str, headers: Headers, contact: str, now: float) -> bytes:
        """Send a response; a 2xx is repeated until its ACK comes. What was sent."""
        endpoint = self._session.endpoint
        given = endpoint.response_headers(headers, body, content_type)
        if contact and status < 300:
            given = [("Contact", contact), *given]
            if status >= 200:
                given.append(("Allow", endpoint.allow))
        response = make_response(self.message, status, reason, to_tag=self._session.dialog.local_tag, headers=given, body=body)
        data = response.serialize()
        if not self._transaction.respond(status, data, now):
            raise StateError("the INVITE has its final response already")
        if status >= 200:
            self._forget_reliable()
        if 200 <= status < 300:
            self._success = data
            self._interval = T1
            self._expires = now + T64
            self._timer = endpoint.timers.start(now, T1, self._repeat)
        return data

    def expects(self, number: int) -> bool:
        """Whether a PRACK with this RSeq is waited for."""
        return bool(self._reliable) and number == self._rseq

    def reliably_acknowledged(self, now: float) -> None:
        """The PRACK came: send what has waited for it."""
        waiting, self._waiting = self._waiting, []
        self._forget_reliable()
        for position, send in enumerate(waiting):
            if self._reliable:
                self._waiting = waiting[position:]
                return
            send(now)

    def acknowledged(self) -> bool:
        """The ACK came: True for the first one."""
        if not self._success:
            return False
        self.stop()
        return True

    def stop(self) -> None:
        """Do not repeat the 2xx any more."""
        self._success = b""
        cancel(self._timer)
        self._forget_reliable()

    def _forget_reliable(self) -> None:
        self._reliable = b""
        self._waiting = []
        cancel(self._reliable_timer)

    def _reliably(self, wanted: bool) -> bool:
        """Whether the caller requires reliable responses, or supports the one that is wanted."""
        if any("100rel" in value.lower() for value in self.message.get_lines("require")):
            return True
        return wanted and any("100rel" in value.lower() for value in self.message.get_lines("supported"))

    def _repeat_reliable(self, now: float) -> None:
        """RFC 3262 section 3: T1, doubled, for 64 T1; then the INVITE fails."""
        if now >= self._expires - _EARLY_SECONDS:
            self._session.unreliable(now)
            return
        endpoint = self._session.endpoint
        endpoint.out.append(Send(self._reliable, self._transaction.flow))
        self._interval *= 2
        self._reliable_timer = endpoint.timers.start(now, min(self._interval, self._expires - now), self._repeat_reliable)

    def _repeat(self, now: float) -> None:
        if now >= self._expires - _EARLY_SECONDS:
            self.stop()
            self._session.unacknowledged(now)
            return
        endpoint = self._session.endpoint
        endpoint.out.append(Send(self._success, self._transaction.flow))
        self._interval = min(self._interval * 2, T2)
        self._timer = endpoint.timers.start(now, min(self._interval, self._expires - now), self._repeat)
