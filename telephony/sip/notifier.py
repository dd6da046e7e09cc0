"""A subscription, seen from the notifier (RFC 6665 section 4.2).

| state | on | to |
| --- | --- | --- |
| pending | `accept`: 2xx, then the owner says the first `notify` at once | active |
| pending | `reject` | ended |
| active | `end`; unsubscribed (``Expires: 0``); its time is over; a NOTIFY is refused or not answered | ended |

Rules:
- One NOTIFY at a time, so that none overtakes another. What is to be said meanwhile is said after it, the newest alone: every
  NOTIFY says the whole state.
- A refresh is answered, and followed by the last state once more (section 4.2.1.2); the owner hears of its end only.
- A subscription that REFER makes lives in the dialog of the call, and goes on after the call's end (RFC 3515 section 2.4.4).
"""

from typing import TYPE_CHECKING, Any

from telephony.sip.client_transaction import ClientTransaction
from telephony.sip.dialog import Dialog
from telephony.sip.errors import StateError
from telephony.sip.events import SubscriptionEnded
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.request import ServerRequest
from telephony.sip.timers import Timer, cancel

if TYPE_CHECKING:
    from telephony.sip.endpoint import Endpoint


class Notifier:
    """One subscription of a peer."""

    __slots__ = (
        "_endpoint",
        "_expires_at",
        "_final",
        "_flow",
        "_last",
        "_next",
        "_request",
        "_sending",
        "_timer",
        "context",
        "dialog",
        "event",
        "seconds",
        "state",
    )

    def __init__(self, endpoint: "Endpoint", dialog: Dialog, flow: Flow, event: str, seconds: int, request: ServerRequest | None) -> None:
        self._endpoint = endpoint
        self._flow = flow
        self._request = request
        self._expires_at = 0.0
        self._last = (b"", "")
        self._next: tuple[bytes, str] | None = None
        self._sending = False
        self._final = ""
        """Reason of the end that is to be said, or was; empty: it goes on."""
        self._timer: Timer | None = None
        self.dialog = dialog
        self.event = event
        """Value of the Event header: package and, if any, id."""
        self.seconds = seconds
        """Asked for; 0: the state is wanted once."""
        self.state = "pending"
        """``pending``, ``active``, ``ended``."""
        self.context: Any = None
        """For the owner."""

    @property
    def key(self) -> str:
        """What finds it."""
        return f"{self.dialog.call_id} {self.dialog.local_tag} {self.event}"

    def accept(self, seconds: int, *, now: float, status: int = 200) -> None:
        """Take the subscription for so many seconds at most; `notify` shall follow at once.

        Raises:
            StateError: it has its answer.
        """
        if self.state != "pending":
            raise StateError("the subscription has its answer already")
        self.state = "active"
        self.seconds = min(seconds, self.seconds)
        request, self._request = self._request, None
        if request is not None:
            contact = self._endpoint.contact_for(self._flow)
            request.respond(status, now=now, headers=(("Contact", contact), ("Expires", str(self.seconds))))
        self._extend(now)

    def reject(self, status: int, *, now: float, headers: Headers = ()) -> None:
        """Refuse it.

        Raises:
            StateError: it has its answer.
        """
        if self.state != "pending":
            raise StateError("the subscription has its answer already")
        request, self._request = self._request, None
        self._forget()
        if request is not None:
            request.respond(status, now=now, headers=headers)

    def notify(self, body: bytes, content_type: str, *, now: float) -> None:
        """Say the state as it is now; nothing happens once it is over."""
        if self.state == "active" and not self._final:
            self._last = (body, content_type)
            if not self.seconds:
                self._final = "timeout"
            self._say(now)

    def end(self, reason: str, *, now: float, body: bytes = b"", content_type: str = "") -> None:
        """Say the last state, ``Subscription-State: terminated`` (reasons: RFC 6665 section 4.1.3); nothing happens if it is over."""
        if self.state == "active" and not self._final:
            self._final = reason
            if body:
                self._last = (body, content_type)
            self._say(now)

    # From the endpoint

    def subscribed(self, request: ServerRequest, seconds: int, now: float) -> None:
        """A further SUBSCRIBE: a refresh, or the end."""
        self._flow = request.flow
        self.dialog.refresh(request.message)
        self.seconds = seconds
        contact = self._endpoint.contact_for(self._flow)
        request.respond(200, now=now, headers=(("Contact", contact), ("Expires", str(seconds))))
        if seconds:
            self._extend(now)
            self._say(now)
        else:
            self.end("timeout", now=now)
            self._endpoint.events.append(SubscriptionEnded(self, "unsubscribed", request.message))

    # From the transaction layer

    def response(self, transaction: ClientTransaction, message: Message, now: float) -> None:
        """To our NOTIFY."""
        if message.status < 200:
            return
        if message.status >= 300 and not message.has("retry-after"):
            self._broke("refused", message)
        else:
            self._said(now)

    def failed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """Nobody answers our NOTIFY."""
        self._broke("unreachable", None)

    def _said(self, now: float) -> None:
        self._sending = False
        if self._next is not None:
            self._send(now)
        elif self._final:
            self._forget()

    def _say(self, now: float) -> None:
        self._next = self._last
        if not self._sending:
            self._send(now)

    def _send(self, now: float) -> None:
        assert self._next is not None
        (body, content_type), self._next = self._next, None
        state = f"terminated;reason={self._final}" if self._final else f"active;expires={max(round(self._expires_at - now), 0)}"
        dialog, endpoint = self.dialog, self._endpoint
        dialog.local_cseq += 1
        uri, routes, hop = dialog.target()
        flow = endpoint.next_hop(hop, self._flow)
        headers = (("Event", self.event), ("Subscription-State", state))
        message = endpoint.make(
            "NOTIFY",
            uri,
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.local_cseq,
            flow,
            routes,
            headers,
            body,
            content_type,
        )
        self._sending = True
        endpoint.transactions.request(self, message, flow, now, message.branch)

    def _extend(self, now: float) -> None:
        cancel(self._timer)
        self._expires_at = now + self.seconds
        if self.seconds:
            self._timer = self._endpoint.timers.start(now, self.seconds, self._expired)

    def _expired(self, now: float) -> None:
        if self.state == "active" and not self._final:
            self.end("timeout", now=now)
            self._endpoint.events.append(SubscriptionEnded(self, "expired", None))

    def _broke(self, reason: str, message: Message | None) -> None:
        told = bool(self._final)
        self._forget()
        if not told:
            self._endpoint.events.append(SubscriptionEnded(self, reason, message))

    def _forget(self) -> None:
        self.state = "ended"
        cancel(self._timer)
        self._endpoint.subscriptions.forget(self)
