"""A user agent, both client and server, without a socket (RFC 3261 sections 8, 9, 12 to 15).

`receive`, `closed` and `timeout` put bytes and time in; `take` gives what shall happen, in order: `Send` (an effect for
the shell) and the events of `telephony.sip.events` (for the owner).

Rules:
- A message finds its transaction by its branch and its dialog by Call-ID and our tag: no cost depends on the number
  of sessions.
- What no owner has to decide is answered here: 100, ACK, CANCEL, BYE, retransmissions, 420, 481, 482, 491, 501, 503.
- Requests outside of dialogs say that they heed overload control to the servers that `Endpoint.restrictions` names; what is held back
  fails with 503, as if it had been refused there (RFC 7339).
- With `Endpoint.proofs` a request outside of dialogs that proves nothing is dropped (`telephony.sip.proof`).
- Broken requests are answered with the status that the parser gives; other noise is dropped and counted.
"""

import ipaddress
import secrets
from collections.abc import Callable, Sequence

from telephony.sip import within
from telephony.sip.address import Address, tag_of
from telephony.sip.build import answer_broken
from telephony.sip.client_transaction import NOBODY, ClientTransaction, ClientUser, InviteClient, RequestClient
from telephony.sip.dialog import Dialog
from telephony.sip.digest import Credentials, answer, answer_again, realm_of
from telephony.sip.errors import MessageError
from telephony.sip.events import Event, InviteReceived, RequestReceived
from telephony.sip.flow import Flow, Send
from telephony.sip.invitation import IncomingInvite, OutgoingInvite
from telephony.sip.message import Headers, Message, make_request, make_response
from telephony.sip.overload import OFFER, Restrictions
from telephony.sip.proof import PROOF, Proofs, prove
from telephony.sip.request import ClientRequest, ServerRequest
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.session import Session
from telephony.sip.session_timer import too_small
from telephony.sip.states import BROKEN
from telephony.sip.subscriber import Subscriber
from telephony.sip.subscriptions import Subscriptions
from telephony.sip.text import safe
from telephony.sip.timers import Timers
from telephony.sip.tokens import Tokens, mark
from telephony.sip.transaction import DATAGRAM_BYTES_MAX, Transactions
from telephony.sip.uri import Uri
from telephony.sip.via import COOKIE

STREAMLESS_MAX = 10_000
"""Places without TCP that are remembered."""
SESSIONS_MAX = 50_000
"""Sessions at once; an INVITE above it is answered 503."""
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE"
EXTENSIONS = ("100rel", "timer")
"""Option tags that are taken care of here."""
METHODS = frozenset(
    ("INVITE", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER", "NOTIFY", "MESSAGE", "REGISTER", "SUBSCRIBE", "PUBLISH")
)
"""Methods that get further than 501."""
_WITHIN_DIALOG_ONLY = frozenset(("BYE", "INFO", "UPDATE", "PRACK"))

NextHop = Callable[[str, Flow], Flow]


class Endpoint:
    """One user agent with any number of sessions."""

    def __init__(
        self,
        contact: str,
        *,
        user_agent: str = "Hotswitch",
        user: str = "",
        random: Callable[[int], bytes] = secrets.token_bytes,
        next_hop: NextHop | None = None,
        extensions: Sequence[str] = (),
        sessions_max: int = SESSIONS_MAX,
        session_seconds: int = 0,
        stream: str = "",
    ) -> None:
        """
        Args:
            contact: ``host:port`` for Contact and Via sent-by.
            user_agent: value of User-Agent and Server; empty: neither is sent.
            user: user part of the Contact; empty: none.
            random: gives that many unguessable bytes (tags, branches, Call-IDs).
            next_hop: flow for a request within a dialog, given the URI it goes to first (top Route or remote target)
                and the flow of the dialog's last message; None: `next_hop` of this module.
            extensions: option tags that the owner takes care of; a request that requires another one is answered 420.
            sessions_max: sessions at once.
            session_seconds: interval of the session timer that we ask for (RFC 4028), 90 at least; 0: only what peers ask for.
            stream: name of a TCP socket: requests that are too large for a datagram leave through it (RFC 3261 section 18.1.1);
                empty: they are sent in datagrams all the same.

        Raises:
            ValueError: ``contact`` or ``user`` would break a message.
        """
        self._stream = stream
        self._streamless: set[tuple[str, int]] = set()
        """Places that could not be reached over TCP."""
        self.sent_by = safe(contact)
        self.user_agent = safe(user_agent)
        self.allow = ALLOW
        self.info_types: tuple[str, ...] = ()
        """Content types that the owner takes in INFO, lower case; empty: any."""
        self.next_hop = next_hop or default_next_hop
        self.tokens = Tokens(random)
        self.timers = Timers()
        self.out: list[Send | Event] = []
        self.events = self.out
        self.transactions = Transactions(self, self.out, self.timers)
        self.restrictions = Restrictions()
        """What servers have asked us to hold back."""
        self.proofs: Proofs | None = None
        """Our requests prove whose they are, and so have to do new ones of others, except from ``unproven``."""
        self.unproven: frozenset[tuple[str, int]] = frozenset()
        """Addresses of peers that cannot prove their requests (yet)."""
        self.sessions: dict[str, Session] = {}
        """Every session that is not over, by its id."""
        self.subscriptions = Subscriptions(self)
        self.dropped = 0
        """Messages that could be neither taken nor answered."""
        self._dialogs: dict[str, Session] = {}
        self._invites: dict[str, Session] = {}
        self._contact = f"{safe(user)}@{contact}" if user else contact
        self._mark = mark(contact)
        self._extensions = frozenset((*EXTENSIONS, *extensions))
        self.supported = safe(", ".join((*EXTENSIONS, *extensions)))
        self._sessions_max = sessions_max
        self.session_seconds = session_seconds

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One datagram or framed message; what is broken is answered (requests) or dropped, never raised."""
        self.timers.run(now)
        try:
            message = Message.parse(data)
            if message.method is None and ";oc=" in message.via and message.branch in self.transactions.clients:
                self.restrictions.heed(message.via, flow[2:4], now)
            self.transactions.receive(message, flow, now)
        except MessageError as error:
            if error.message is None or error.message.method is None:
                self.dropped += 1
            else:
                self.out.append(Send(answer_broken(error.message, error.status, error.reason, flow, self.tokens.take()), flow))

    def closed(self, flow: Flow, now: float) -> None:
        """A connection ended or could not be opened: requests in flight on it fail with 503."""
        self.transactions.closed(flow, now)

    def timeout(self, now: float) -> None:
        """Run the timers that are due."""
        self.timers.run(now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted next; None: never."""
        return self.timers.deadline()

    def take(self) -> "list[Send | Event]":
        """What shall happen, in order, since the last call."""
        taken = self.out[:]
        self.out.clear()
        return taken

    def invite(
        self,
        target: str,
        from_: str,
        to: str,
        flow: Flow,
        *,
        now: float,
        route: Sequence[str] = (),
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "application/sdp",
        credentials: Credentials | None = None,
        call_id: str = "",
    ) -> Session:
        """Start a call.

        Args:
            target: Request-URI.
            from_: From value without tag (``"Alice" <sip:1001@example.com>``).
            to: To value.
            flow: where the INVITE is sent.
            route: Route values, ``<sip:...;lr>``.
            body: offer; empty: a late offer is asked for (see `Session.acknowledge`).
            credentials: answers 401 and 407 without a word to the owner.

        Raises:
            ValueError: a value would break the message.
        """
        id = self.new_tag()
        call_id = call_id or f"{self.tokens.take()}{self.tokens.take()}"
        dialog = Dialog(call_id, f"{from_};tag={id}", to, 1, target)
        message = self.make("INVITE", target, dialog.local, to, call_id, 1, flow, route, headers, body, content_type)
        session = Session(self, id, dialog, flow, message, True)
        for name, value in session.timer.ask(self.session_seconds):
            message.add(name, value)
        session.credentials = credentials
        session.keep_body(body, content_type)
        session.sent = OutgoingInvite(session, message, flow, credentials)
        self.sessions[id] = session
        self._dialogs[f"{call_id} {id}"] = session
        session.sent.send(now)
        return session

    def request(
        self,
        method: str,
        target: str,
        from_: str,
        to: str,
        flow: Flow,
        *,
        now: float,
        route: Sequence[str] = (),
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        credentials: Credentials | None = None,
        call_id: str = "",
        cseq: int = 1,
        contact: bool = False,
    ) -> ClientRequest:
        """Send a request outside of any session (REGISTER, MESSAGE, OPTIONS, ...); `ResponseReceived` follows.

        ``call_id`` and ``cseq`` continue an earlier one (REGISTER refreshes); ``contact`` adds our Contact.

        Raises:
            ValueError: a value would break the message.
        """
        call_id = call_id or f"{self.tokens.take()}{self.tokens.take()}"
        if not tag_of(from_):
            from_ = f"{from_};tag={self.new_tag()}"
        if contact:
            headers = [("Contact", self.contact_for(flow)), *headers]
        message = self.make(method, target, from_, to, call_id, cseq, flow, route, headers, body, content_type)
        request = ClientRequest(self, message, flow, credentials, None)
        request.send(now)
        return request

    def subscribe(
        self,
        event: str,
        target: str,
        from_: str,
        to: str,
        flow: Flow,
        *,
        now: float,
        seconds: int = 3600,
        route: Sequence[str] = (),
        headers: Headers = (),
        credentials: Credentials | None = None,
    ) -> Subscriber:
        """Ask to be told of something; `Notified` follows as long as it lasts, `SubscriptionEnded` at its end.

        Args:
            event: package and, if any, id.
            seconds: how long; it is refreshed. 0: the state is wanted once.

        Raises:
            ValueError: a value would break the message.
        """
        dialog = Dialog(f"{self.tokens.take()}{self.tokens.take()}", f"{from_};tag={self.new_tag()}", to, 0, target)
        dialog.route_set = list(route)
        subscriber = Subscriber(self, dialog, flow, event, seconds, headers, credentials)
        self.subscriptions.add(subscriber)
        subscriber.subscribe(now)
        return subscriber

    def contact_for(self, flow: Flow) -> str:
        """Our Contact value towards a flow."""
        if flow.transport == "udp":
            return f"<sip:{self._contact}>"
        return f"<sip:{self._contact};transport={'ws' if flow.transport == 'wss' else flow.transport}>"

    def session(self, call_id: str, local_tag: str, remote_tag: str) -> Session | None:
        """The session that has this dialog, early or not (RFC 3891 section 3); None: there is none."""
        session = self._dialogs.get(f"{call_id} {local_tag}")
        return session if session is not None and session.dialog.remote_tag and session.belongs(remote_tag) else None

    # From the transaction layer

    def request_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        """A new request."""
        method = message.method
        if method == "CANCEL":
            self._cancel_received(transaction, message, now)
            return
        if self.proofs is not None and not message.to_tag and not self.proofs.holds(message, PROOF):
            source = transaction.source
            if (source.host, source.port) not in self.unproven:
                self.dropped += 1
                transaction.abandon()
                return
        broken = _broken(message)
        if broken:
            self.refuse(transaction, message, broken, now)
            return
        if method not in METHODS:
            self.refuse(transaction, message, 501, now, (("Allow", self.allow),))
            return
        try:
            unsupported = self._unsupported(message) if message.has("require") else ""
        except MessageError:
            unsupported = message.get("require") or ""
        if unsupported:
            self.refuse(transaction, message, 420, now, (("Unsupported", unsupported),))
        elif method in ("SUBSCRIBE", "NOTIFY") and self._subscription(transaction, message, now):
            return
        elif message.to_tag:
            session = self._dialogs.get(f"{message.call_id} {message.to_tag}")
            if session is None or not session.belongs(message.from_tag):
                self.refuse(transaction, message, 481, now)
            else:
                self._within(session, transaction, message, now)
        elif method in _WITHIN_DIALOG_ONLY:
            self.refuse(transaction, message, 481, now)
        elif method == "INVITE":
            self._invite_received(transaction, message, now)
        else:
            self.out.append(RequestReceived(ServerRequest(self, transaction, message), message))

    def _subscription(self, transaction: ServerTransaction, message: Message, now: float) -> bool:
        """A message of a subscription; False: it belongs to none."""
        try:
            return self.subscriptions.receive(transaction, message, now)
        except MessageError as error:
            self.refuse(transaction, message, error.status, now, reason=error.reason)
            return True

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        """ACK of a 2xx, or a stray one."""
        session = self._dialogs.get(f"{message.call_id} {message.to_tag}")
        if session is not None:
            session.acknowledged(message, flow, now)

    def stray(self, message: Message, flow: Flow, now: float) -> None:
        """A response that we did not ask for."""
        self.dropped += 1

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        """A failure response without ACK: nothing is left to do."""

    # For sessions and requests

    def make(
        self,
        method: str,
        target: str,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
        flow: Flow,
        route: Sequence[str],
        headers: Headers,
        body: bytes,
        content_type: str,
    ) -> Message:
        """A request with a new branch."""
        offer = OFFER if flow[2:4] in self.restrictions.servers and ";tag=" not in to else ""
        lines = [
            ("Via", self._via(flow) + offer),
            *(("Route", value) for value in route),
            ("Max-Forwards", "70"),
            ("From", from_),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if method in ("INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY"):
            lines.append(("Contact", self.contact_for(flow)))
        if method == "INVITE":
            lines.append(("Allow", self.allow))
            lines.append(("Supported", self.supported))
        if self.user_agent:
            lines.append(("User-Agent", self.user_agent))
        lines.extend(headers)
        if body and content_type:
            lines.append(("Content-Type", content_type))
        return self._proved(make_request(method, target, lines, body))

    def begin(self, user: ClientUser, message: Message, flow: Flow, now: float) -> ClientTransaction:
        """Send a request in a transaction of its own; over TCP where it is too large for a datagram."""
        if self.restrictions and not message.to_tag and self._holds_back(message, flow, now):
            client = (InviteClient if message.method == "INVITE" else RequestClient)(
                self.transactions, user, message, b"", flow, message.branch
            )
            self.timers.start(now, 0.0, lambda now: client.on(BROKEN, None, now))
            return client
        if (
            self._stream
            and flow.transport == "udp"
            and message.size() > DATAGRAM_BYTES_MAX
            and (flow.host, flow.port) not in self._streamless
        ):
            message.set("via", message.via.replace("/UDP ", "/TCP ", 1))
            flow = flow._replace(transport="tcp", socket=self._stream)
        return self.transactions.request(user, message, flow, now, message.branch)

    def over_datagrams(self, transaction: ClientTransaction, message: Message, flow: Flow) -> Message | None:
        """The request once more, after it could not be sent over TCP only because of its size; None: that was not the cause."""
        if flow.transport != "udp" or transaction.flow.transport == "udp":
            return None
        if len(self._streamless) >= STREAMLESS_MAX:
            self._streamless.clear()
        self._streamless.add((flow.host, flow.port))
        again = message.copy()
        again.set("via", self._via(flow))
        return self._proved(Message.parse(again.serialize()))

    def with_credentials(self, message: Message, response: Message, credentials: Credentials, attempts: int) -> Message | None:
        """The request once more, with an answer to the challenge of ``response``; None: there is no use in trying.

        Challenges of other realms are answered again along with it (RFC 3261 section 22.3).
        """
        header, proof = ("www-authenticate", "authorization") if response.status == 401 else ("proxy-authenticate", "proxy-authorization")
        values = response.get_lines(header)
        proved = answer(values, credentials, message.method or "", message.uri, self.tokens.take(), body=message.body)
        if proved is None:
            return None
        realm = realm_of(proved)
        before = message.get_lines(proof)
        others = [value for value in before if realm_of(value) != realm]
        if attempts and len(others) < len(before) and not any("stale=true" in value.lower().replace('"', "") for value in values):
            return None
        again = self.again(message)
        again.remove(proof)
        for value in others:
            again.add(proof, answer_again(value, credentials, message.method or "", message.uri, self.tokens.take(), message.body) or value)
        again.add(proof, proved)
        return again

    def again(self, message: Message) -> Message:
        """A request once more: the next number, a branch of its own."""
        again = message.copy()
        via = again.pop("via") or ""
        again.prepend("Via", via.replace(message.branch, f"{COOKIE}{self.tokens.take()}"))
        again.set("cseq", f"{message.cseq + 1} {message.method}")
        return self._proved(Message.parse(again.serialize()))

    def _proved(self, message: Message) -> Message:
        if self.proofs is not None:
            prove(message, self.proofs)
        return message

    def response_headers(self, headers: Headers, body: bytes, content_type: str) -> list[tuple[str, str]]:
        """Headers of a response of ours, besides those that the request gives."""
        given = list(headers)
        if self.user_agent:
            given.append(("Server", self.user_agent))
        if body and content_type:
            given.append(("Content-Type", content_type))
        return given

    def refuse(
        self, transaction: ServerTransaction, message: Message, status: int, now: float, headers: Headers = (), reason: str | None = None
    ) -> None:
        """Answer a request here and now."""
        response = make_response(message, status, reason, to_tag=self.tokens.take(), headers=self.response_headers(headers, b"", ""))
        transaction.respond(status, response.serialize(), now)

    def send_bye(self, bye: Message, flow: Flow, credentials: Credentials | None, now: float) -> None:
        """End a dialog that never became a session of the owner's."""
        self.transactions.request(NOBODY, bye, flow, now, bye.branch)

    def new_tag(self) -> str:
        """A tag for a dialog of ours; its end is our `mark`."""
        return self.tokens.take() + self._mark

    def add(self, session: Session) -> None:
        """A session of another process goes on here."""
        self.sessions[session.id] = session
        self._dialogs[f"{session.call_id} {session.dialog.local_tag}"] = session

    def forget(self, session: Session) -> None:
        """The session is over."""
        self.sessions.pop(session.id, None)
        self._dialogs.pop(f"{session.call_id} {session.dialog.local_tag}", None)
        if not session.outgoing:
            self._invites.pop(_merge_key(session.invite), None)

    def _holds_back(self, message: Message, flow: Flow, now: float) -> bool:
        """Whoever is there has asked for less, and this request is of what is left out."""
        overload = self.transactions.overload
        start = f"{message.method} {message.uri} ".encode("utf-8", "surrogateescape")
        if not self.restrictions.holds_back(flow[2:4], message.call_id, now):
            return False
        return overload is None or not overload.emergencies.spares(start, now)

    def _via(self, flow: Flow) -> str:
        return f"SIP/2.0/{flow.transport.upper()} {self.sent_by};branch={COOKIE}{self.tokens.take()};rport"

    def _invite_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        merged = _merge_key(message)
        if merged in self._invites:
            self.refuse(transaction, message, 482, now)
            return
        if len(self.sessions) >= self._sessions_max:
            self.refuse(transaction, message, 503, now, (("Retry-After", "5"),))
            return
        smallest = too_small(message)
        if smallest:
            self.refuse(transaction, message, 422, now, (("Min-SE", str(smallest)),))
            return
        try:
            if not Address.parse(message.get_all("contact")[0]).uri.is_sip:
                raise ValueError("Contact is no sip URI")
            dialog = Dialog.of_request(message, tag := self.tokens.take())
        except (ValueError, IndexError, MessageError):
            self.refuse(transaction, message, 400, now, reason="bad or missing Contact or Record-Route")
            return
        tag = self.new_tag()
        dialog = Dialog.of_request(message, tag)
        session = Session(self, tag, dialog, transaction.flow, message, False)
        session.incoming = IncomingInvite(session, message, transaction)
        transaction.user = session
        self.sessions[tag] = session
        self._dialogs[f"{message.call_id} {tag}"] = session
        self._invites[merged] = session
        self.transactions.trying(transaction, message, now)
        self.out.append(InviteReceived(session, message))

    def _cancel_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        cancelled = self.transactions.cancelled(message)
        if cancelled is None:
            self.refuse(transaction, message, 481, now)
            return
        self.refuse(transaction, message, 200, now)
        session = self._invites.get(_merge_key(message)) or self._dialogs.get(f"{message.call_id} {message.to_tag}")
        if session is not None:
            session.cancelled(message, now)

    def _within(self, session: Session, transaction: ServerTransaction, message: Message, now: float) -> None:
        try:
            within.receive(session, transaction, message, now)
        except MessageError as error:
            self.refuse(transaction, message, error.status, now, reason=error.reason)

    def _unsupported(self, message: Message) -> str:
        return ", ".join(tag for tag in message.get_all("require") if tag.lower() not in self._extensions)


def default_next_hop(uri: str, flow: Flow) -> Flow:
    """The flow to a URI: its own address where it is an IP literal reached by the same transport, else the flow that is there."""
    try:
        target = Uri.parse(uri)
        ipaddress.ip_address(target.host)
    except ValueError:
        return flow
    transport = target.transport or "udp"
    port = target.port or 5060
    if transport != flow.transport or (target.host, port) == (flow.host, flow.port):
        return flow
    return Flow(transport, flow.socket, target.host, port)


def _broken(message: Message) -> int:
    """Status for a request whose Request-URI, From or To cannot be taken; 0: they can."""
    try:
        if not Uri.parse(message.uri).is_sip:
            return 416
        if not message.to_tag:
            Address.parse(message.get("from") or "")
            Address.parse(message.get("to") or "")
    except ValueError:
        return 400
    return 0


def _merge_key(message: Message) -> str:
    """Equal for the same request on another way (RFC 3261 section 8.2.2.2)."""
    return f"{message.call_id} {message.from_tag} {message.cseq}"
