"""All subscriptions of an endpoint, from both sides: which one a SUBSCRIBE or a NOTIFY belongs to (RFC 6665 section 4.4.1).

Rules:
- A subscription is a dialog and an Event: package and id.
- A package that the owner does not serve is 489 with Allow-Events; a time too short 423; a NOTIFY that nobody asked for 481.
- Where the owner serves no package at all, requests are its own matter (`RequestReceived`).

Bound: `SUBSCRIPTIONS_MAX` in both directions together; more are 503.
"""

from typing import TYPE_CHECKING

from telephony.sip.address import Address
from telephony.sip.dialog import Dialog
from telephony.sip.errors import MessageError
from telephony.sip.events import SubscribeReceived
from telephony.sip.message import Message
from telephony.sip.notifier import Notifier
from telephony.sip.request import ServerRequest
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.subscriber import Subscriber
from telephony.sip.text import parameter

if TYPE_CHECKING:
    from telephony.sip.endpoint import Endpoint

SUBSCRIPTIONS_MAX = 20_000
EXPIRES_SECONDS = 3600
"""Where SUBSCRIBE names no time; and the longest one."""
EXPIRES_SECONDS_MIN = 60
EVENT_CHARACTERS_MAX = 128


class Subscriptions:
    """Subscriptions that are not over."""

    def __init__(self, endpoint: "Endpoint") -> None:
        self._endpoint = endpoint
        self.packages: tuple[str, ...] = ()
        """Event packages that the owner serves."""
        self._notifiers: dict[str, Notifier] = {}
        self._subscribers: dict[str, Subscriber] = {}

    def __len__(self) -> int:
        return len(self._notifiers) + len(self._subscribers)

    def add(self, one: Subscriber | Notifier) -> None:
        """From now on it gets its messages."""
        if isinstance(one, Notifier):
            self._notifiers[one.key] = one
        else:
            self._subscribers[one.key] = one

    def forget(self, one: Subscriber | Notifier) -> None:
        """It is over."""
        if isinstance(one, Notifier):
            self._notifiers.pop(one.key, None)
        else:
            self._subscribers.pop(one.key, None)

    def receive(self, transaction: ServerTransaction, message: Message, now: float) -> bool:
        """SUBSCRIBE or NOTIFY; False: it is none of ours.

        Raises:
            MessageError: a header cannot be read.
        """
        event = event_of(message)
        key = f"{message.call_id} {message.to_tag} {event}"
        request = ServerRequest(self._endpoint, transaction, message)
        if message.method == "NOTIFY":
            subscriber = self._subscribers.get(key)
            if subscriber is not None:
                subscriber.notified(request, now)
            return subscriber is not None
        if not self.packages:
            return False
        if message.to_tag:
            self._again(request, key, now)
        else:
            self._new(request, event, now)
        return True

    def _again(self, request: ServerRequest, key: str, now: float) -> None:
        message = request.message
        notifier = self._notifiers.get(key)
        if notifier is None or notifier.state != "active" or notifier.dialog.remote_tag != message.from_tag:
            request.respond(481, now=now)
        elif message.cseq <= notifier.dialog.remote_cseq:
            request.respond(500, now=now)
        else:
            notifier.dialog.remote_cseq = message.cseq
            seconds = self._seconds(request, now)
            if seconds is not None:
                notifier.subscribed(request, seconds, now)

    def _new(self, request: ServerRequest, event: str, now: float) -> None:
        message = request.message
        if event.partition(";")[0] not in self.packages:
            request.respond(489, now=now, headers=(("Allow-Events", ", ".join(self.packages)),))
            return
        if len(self) >= SUBSCRIPTIONS_MAX:
            request.respond(503, now=now, headers=(("Retry-After", "5"),))
            return
        seconds = self._seconds(request, now)
        if seconds is None:
            return
        try:
            if not Address.parse(message.get_all("contact")[0]).uri.is_sip:
                raise ValueError("Contact is no sip URI")
            dialog = Dialog.of_request(message, request.tag)
        except (ValueError, IndexError, MessageError):
            request.respond(400, "bad or missing Contact or Record-Route", now=now)
            return
        notifier = Notifier(self._endpoint, dialog, request.flow, event, seconds, request)
        self.add(notifier)
        self._endpoint.events.append(SubscribeReceived(notifier, message))

    def _seconds(self, request: ServerRequest, now: float) -> int | None:
        """Time that is asked for; None: it is refused."""
        given = request.message.number("expires")
        if given is None:
            return EXPIRES_SECONDS
        if 0 < given < EXPIRES_SECONDS_MIN:
            request.respond(423, now=now, headers=(("Min-Expires", str(EXPIRES_SECONDS_MIN)),))
            return None
        return min(given, EXPIRES_SECONDS)


def event_of(message: Message) -> str:
    """Package and id of the Event header in one spelling: ``refer;id=93``; empty: there is none."""
    value = (message.get("event") or "")[:EVENT_CHARACTERS_MAX]
    package = value.partition(";")[0].strip().lower()
    id = parameter(value, "id")
    return f"{package};id={id}" if id else package
