"""The transaction layer: which message belongs to which transaction (RFC 3261 sections 17.1.3 and 17.2.3, RFC 6026).

Rules:
- A response belongs to the client transaction whose branch its topmost Via has, and whose method its CSeq names.
- With ``same_source`` it must come from the host that the request was sent to; from elsewhere it is dropped: branches can be seen
  on the way.
- A request belongs to the server transaction with its branch, its sent-by and its method (ACK: INVITE's). Without
  the cookie in the branch (RFC 2543 peers): with its Request-URI, tags, Call-ID, CSeq and topmost Via.
- The user of a transaction (`ClientUser`, `ServerUser`) is called directly, never through a queue.
- What is to be sent goes to ``out``, in order.

The machines are in `client_transaction` and `server_transaction`.
"""

from typing import Any

from telephony.sip.build import make_trying, stamp_via
from telephony.sip.client_transaction import ClientTransaction, ClientUser, InviteClient, RequestClient
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.overload import Overload
from telephony.sip.server_transaction import ServerTransaction, ServerUser
from telephony.sip.states import ACK, BROKEN, FAILURE, PROVISIONAL, REQUEST, SUCCESS
from telephony.sip.timers import Timers
from telephony.sip.via import COOKIE

DATAGRAM_BYTES_MAX = 1300
"""Requests above it go over a stream where there is one (RFC 3261 section 18.1.1)."""
VIA_BYTES = 90
"""What a Via of ours takes."""
TRANSACTIONS_MAX = 400_000
"""Server transactions held at once; a request above it is dropped, its sender repeats it."""


class Transactions:
    """All transactions of one core."""

    __slots__ = (
        "_waiting",
        "clients",
        "dropped",
        "out",
        "overload",
        "same_source",
        "servers",
        "strange",
        "timers",
        "transactions_max",
        "user",
    )

    def __init__(
        self, user: ServerUser, out: list[Any], timers: Timers, transactions_max: int = TRANSACTIONS_MAX, same_source: bool = False
    ) -> None:
        self.user = user
        self.same_source = same_source
        self.overload: Overload | None = None
        """What to tell clients that reduce their load as asked (RFC 7339)."""
        self.out = out
        self.timers = timers
        self.transactions_max = transactions_max
        self.clients: dict[str, ClientTransaction] = {}
        """By branch; a CANCEL, which shares its INVITE's branch, by branch and ``CANCEL``."""
        self.servers: dict[str, ServerTransaction] = {}
        self._waiting: dict[Flow, dict[str, ClientTransaction]] = {}
        self.dropped = 0
        """Requests dropped for want of room."""
        self.strange = 0
        """Responses dropped since they came from somewhere else."""

    def receive(self, message: Message, flow: Flow, now: float) -> None:
        """Hand a message to its transaction, or make a server transaction for it and tell the user."""
        if message.method is None:
            status = message.status
            client = self.clients.get(message.branch if message.cseq_method != "CANCEL" else message.branch + "CANCEL")
            if client is not None and (client.message is None or client.message.method == message.cseq_method):
                if self.same_source and flow.host != client.flow.host:
                    self.strange += 1
                    return
                client.on(PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE, message, now)
            else:
                self.user.stray(message, flow, now)
            return
        key = server_key(message)
        known = self.servers.get(key)
        if message.method == "ACK":
            if known is None or known.accepted:
                self.user.acknowledged(message, flow, now)
            else:
                known.on(ACK, now)
            return
        if known is not None:
            known.on(REQUEST, now)
            return
        if len(self.servers) >= self.transactions_max:
            self.dropped += 1
            return
        back = stamp_via(message, flow)
        if self.overload is not None and ";oc" in message.via:
            self.overload.stamp(message, now)
        server = self.servers[key] = ServerTransaction(self, flow, back, key, message.method)
        self.user.request_received(server, message, now)

    def request(self, user: ClientUser, message: Message, flow: Flow, now: float, branch: str) -> ClientTransaction:
        """Send a request, whose topmost Via has ``branch``, in a new client transaction."""
        data = message.serialize()
        method = message.method
        client: ClientTransaction
        if method == "INVITE":
            client = InviteClient(self, user, message, data, flow, branch)
        elif method == "CANCEL":
            client = RequestClient(self, user, message, data, flow, branch + "CANCEL")
            invite = self.clients.get(branch)
            if invite is not None:
                invite.cancelled(now)
        else:
            client = RequestClient(self, user, message, data, flow, branch)
        self.clients[client.key] = client
        waiting = self._waiting.get(flow)
        if waiting is None:
            waiting = self._waiting[flow] = {}
        waiting[client.key] = client
        self.out.append(Send(data, flow))
        client.start(now, flow.transport != "udp")
        return client

    def trying(self, server: ServerTransaction, message: Message, now: float) -> None:
        """Answer 100 Trying."""
        server.respond(100, make_trying(message), now)

    def knows(self, message: Message) -> bool:
        """The request repeats one that has a transaction."""
        return server_key(message) in self.servers

    def cancelled(self, message: Message) -> ServerTransaction | None:
        """The INVITE transaction that a CANCEL means (RFC 3261 section 9.2)."""
        return self.servers.get(server_key(message, "INVITE"))

    def closed(self, flow: Flow, now: float) -> None:
        """A connection is gone, or a destination refuses: the transactions that wait for a response of it fail."""
        waiting = self._waiting.pop(flow, {})
        if flow.connection:
            waiting |= self._waiting.pop(flow._replace(connection=0), {})
        for client in waiting.values():
            client.on(BROKEN, None, now)

    def settled(self, client: ClientTransaction) -> None:
        """The transaction waits for nothing any more."""
        waiting = self._waiting.get(client.flow)
        if waiting is not None and waiting.pop(client.key, None) is not None and not waiting:
            del self._waiting[client.flow]


def server_key(message: Message, method: str = "") -> str:
    """What finds the server transaction of a request; the INVITE's for its ACK."""
    via = message.via
    method = method or message.method or ""
    if method == "ACK":
        method = "INVITE"
    branch = message.branch
    if branch[:7] == COOKIE and len(branch) > 7:
        end = via.find(";")
        return f"{branch} {via[:end]} {method}" if end > 0 else f"{branch} {via} {method}"
    return f"{message.uri} {message.from_tag} {message.call_id} {message.cseq} {via} {method}"
