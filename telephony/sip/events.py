"""What an endpoint tells its owner, in order (`telephony.sip.endpoint.Endpoint.take`).

One tuple an event, named in the past tense. ``message`` is what came, None where nothing came (a timeout, a broken
connection). Who only needs the outcome reads the event; headers and body are read from the message.
"""

from typing import TYPE_CHECKING, NamedTuple

from telephony.sip.message import Message

if TYPE_CHECKING:
    from telephony.sip.notifier import Notifier
    from telephony.sip.request import ClientRequest, ServerRequest
    from telephony.sip.session import Session
    from telephony.sip.subscriber import Subscriber


class InviteReceived(NamedTuple):
    """A new call came in; 100 Trying is sent already. Answer with `Session.progress`, `accept` or `reject`."""

    session: "Session"
    message: Message


class Progressed(NamedTuple):
    """Our INVITE got a provisional response other than 100; its body, if any, is early media's answer."""

    session: "Session"
    status: int
    message: Message


class Answered(NamedTuple):
    """Our INVITE was answered by 2xx. The ACK is sent already, unless the INVITE had no body: then call `Session.acknowledge`."""

    session: "Session"
    message: Message


class Rejected(NamedTuple):
    """Our INVITE failed: a final response, 408 (nobody answered), 503 (transport broke), 487 (we cancelled it). The session is over."""

    session: "Session"
    status: int
    message: Message | None


class Acknowledged(NamedTuple):
    """The ACK to our 2xx came (also to the 2xx of a re-INVITE); a body is the answer to an offer that our 2xx made."""

    session: "Session"
    message: Message


class ReinviteReceived(NamedTuple):
    """The peer wants to change the session: re-INVITE, or UPDATE with a body (`Message.method`).

    Answer with `Session.answer_reinvite` or `Session.reject_reinvite`. A re-INVITE without body wants our offer.
    """

    session: "Session"
    message: Message


class ReinviteAnswered(NamedTuple):
    """Our re-INVITE or UPDATE got its final response (491: try again later). A 2xx is acknowledged already, unless we sent no body."""

    session: "Session"
    status: int
    message: Message | None


class ReliablyAcknowledged(NamedTuple):
    """PRACK came for a provisional response that we sent reliably (RFC 3262); 200 is sent. A body answers an offer in it."""

    session: "Session"
    message: Message


class Cancelled(NamedTuple):
    """The caller gave up before we answered; 487 is sent already. The session is over."""

    session: "Session"
    message: Message


class Ended(NamedTuple):
    """An established session is over and its peer knows: BYE came (200 is sent), or the dialog broke (a BYE of ours is under way)."""

    session: "Session"
    message: Message | None
    reason: str
    """``bye``, ``no-ack``, ``timeout``, ``gone`` (481 or 408 within the dialog), ``expired`` (session timer)."""


class InfoReceived(NamedTuple):
    """INFO within a session; 200 is sent already."""

    session: "Session"
    message: Message


class SessionRequestReceived(NamedTuple):
    """Another request within a session (REFER, NOTIFY, MESSAGE, ...). Answer with `ServerRequest.respond`."""

    session: "Session"
    request: "ServerRequest"
    message: Message


class RequestReceived(NamedTuple):
    """A request outside of any session (MESSAGE, OPTIONS, REGISTER, SUBSCRIBE, ...). Answer with `ServerRequest.respond`."""

    request: "ServerRequest"
    message: Message


class ResponseReceived(NamedTuple):
    """A response to a request of ours (`Endpoint.request`, `Session.request`); status 408 or 503 without message: none came."""

    request: "ClientRequest"
    status: int
    message: Message | None


class ByeAnswered(NamedTuple):
    """Our BYE is done (2xx, 481, or no answer): nothing of the session is left on the wire."""

    session: "Session"
    status: int
    message: Message | None


class SubscribeReceived(NamedTuple):
    """A peer wants to know something (RFC 6665). Answer with `Notifier.accept` and `notify`, or with `reject`."""

    notifier: "Notifier"
    message: Message


class Notified(NamedTuple):
    """A NOTIFY for a subscription of ours came; 200 is sent already."""

    subscriber: "Subscriber"
    message: Message


class SubscriptionEnded(NamedTuple):
    """A subscription is over, from either side; not told where the owner ended it by `Notifier.end`."""

    subscription: "Notifier | Subscriber"
    reason: str
    """``expired``, ``unsubscribed``, ``refused``, ``unreachable``, ``no-notify``, or what the notifier says (section 4.1.3)."""
    message: Message | None


Event = (
    InviteReceived
    | Progressed
    | Answered
    | Rejected
    | Acknowledged
    | ReinviteReceived
    | ReinviteAnswered
    | ReliablyAcknowledged
    | Cancelled
    | Ended
    | InfoReceived
    | SessionRequestReceived
    | RequestReceived
    | ResponseReceived
    | ByeAnswered
    | SubscribeReceived
    | Notified
    | SubscriptionEnded
)
