"""Requests other than INVITE, from both sides: sent by us, and received."""

from typing import TYPE_CHECKING, Any

from telephony.sip.client_transaction import ClientTransaction
from telephony.sip.errors import StateError
from telephony.sip.events import ByeAnswered, ReinviteAnswered, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message, make_response
from telephony.sip.server_transaction import ServerTransaction

if TYPE_CHECKING:
    from telephony.sip.digest import Credentials
    from telephony.sip.endpoint import Endpoint
    from telephony.sip.session import Session


class ClientRequest:
    """A request that we sent; its outcome is `ResponseReceived`."""

    __slots__ = ("_attempts", "_endpoint", "context", "credentials", "flow", "id", "message", "method", "session", "silent")

    def __init__(
        self, endpoint: "Endpoint", message: Message, flow: Flow, credentials: "Credentials | None", session: "Session | None"
    ) -> None:
        self._endpoint = endpoint
        self._attempts = 0
        self.id = message.branch
        self.method = message.method or ""
        self.message = message
        """As sent last (a challenge was answered by a second one)."""
        self.flow = flow
        self.credentials = credentials
        self.session = session
        """The session that it belongs to; None outside of any."""
        self.silent = False
        """Our own matter: the owner hears nothing of it."""
        self.context: Any = None
        """For the owner."""

    def send(self, now: float) -> None:
        """Send it, in a transaction of its own."""
        self._endpoint.begin(self, self.message, self.flow, now)

    def response(self, transaction: ClientTransaction, message: Message, now: float) -> None:
        """From the transaction layer."""
        status = message.status
        if status < 200:
            if status > 100 and self.method != "CANCEL" and not self.silent:
                self._endpoint.events.append(ResponseReceived(self, status, message))
            return
        if status in (401, 407) and self.credentials is not None and self._attempts < 2:
            again = self._endpoint.with_credentials(self.message, message, self.credentials, self._attempts)
            if again is not None:
                self._attempts += 1
                if self.session is not None:
                    self.session.dialog.local_cseq = max(self.session.dialog.local_cseq, again.cseq)
                self.message = again
                self.send(now)
                return
        self._done(status, message, now)

    def failed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """From the transaction layer."""
        again = self._endpoint.over_datagrams(transaction, self.message, self.flow) if status == 503 else None
        if again is not None:
            self.message = again
            self.send(now)
        else:
            self._done(status, None, now)

    def _done(self, status: int, message: Message | None, now: float) -> None:
        session = self.session
        events = self._endpoint.events
        if self.method == "CANCEL":
            return
        if self.method == "BYE" and session is not None:
            session.over(now)
            events.append(ByeAnswered(session, status, message))
            return
        if self.method == "UPDATE" and session is not None:
            if self.message.body:
                session.offering = False
            if message is not None and status < 300:
                session.dialog.refresh(message)
                if session.state == "established":
                    session.timer.answered(message, now)
            if not self.silent:
                events.append(ReinviteAnswered(session, status, message))
        elif not self.silent:
            events.append(ResponseReceived(self, status, message))
        if session is not None and status in (408, 481) and session.state == "established":
            session.gone(message, "gone", now)


class ServerRequest:
    """A request that we were sent."""

    __slots__ = ("_endpoint", "_transaction", "context", "flow", "id", "message", "tag")

    def __init__(self, endpoint: "Endpoint", transaction: ServerTransaction, message: Message) -> None:
        self._endpoint = endpoint
        self._transaction = transaction
        self.tag = message.to_tag or endpoint.new_tag()
        """Our To tag."""
        self.id = transaction.key
        self.message = message
        self.flow = transaction.flow
        """Where it came from, and the response goes to."""
        self.context: Any = None
        """For the owner."""

    @property
    def answered(self) -> bool:
        """A final response was sent."""
        return self._transaction.answered

    def respond(
        self, status: int, reason: str | None = None, *, now: float, headers: Headers = (), body: bytes = b"", content_type: str = ""
    ) -> None:
        """Send a response; one final response at most.

        Raises:
            StateError: it has its final response already.
            ValueError: a value would break the message.
        """
        response = make_response(
            self.message, status, reason, to_tag=self.tag, headers=self._endpoint.response_headers(headers, body, content_type), body=body
        )
        if not self._transaction.respond(status, response.serialize(), now):
            raise StateError(f"{self.message.method} has its final response already")
