"""A subscription, seen from the subscriber (RFC 6665 section 4.1).

| state | on | to |
| --- | --- | --- |
| pending | the first NOTIFY, or 2xx | active |
| pending, active | a failure response; ``terminated`` in a NOTIFY; no NOTIFY within 64 T1 of a SUBSCRIBE that wants one (timer N) | ended |

Rules:
- NOTIFY may come before the 2xx (section 4.4.1); the first one decides whose dialog it is, those of other branches get 481.
- It is refreshed before its time is over, until `unsubscribe`.
- 423 is answered by the interval that it names, 401 and 407 where there are credentials.
"""

from typing import TYPE_CHECKING, Any

from telephony.sip.client_transaction import ClientTransaction
from telephony.sip.dialog import Dialog
from telephony.sip.errors import MessageError
from telephony.sip.events import Notified, SubscriptionEnded
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.request import ServerRequest
from telephony.sip.text import parameter
from telephony.sip.timers import T64, Timer, cancel

if TYPE_CHECKING:
    from telephony.sip.digest import Credentials
    from telephony.sip.endpoint import Endpoint

ATTEMPTS_MAX = 2
MARGIN_SECONDS_MAX = 32.0
"""A refresh goes out so long before the end, or a third of the time if that is less."""


class Subscriber:
    """One subscription of ours; made by `Endpoint.subscribe`."""

    __slots__ = (
        "_attempts",
        "_credentials",
        "_endpoint",
        "_flow",
        "_headers",
        "_message",
        "_refresh",
        "_waiting",
        "context",
        "dialog",
        "event",
        "seconds",
        "state",
    )

    def __init__(
        self,
        endpoint: "Endpoint",
        dialog: Dialog,
        flow: Flow,
        event: str,
        seconds: int,
        headers: Headers,
        credentials: "Credentials | None",
    ) -> None:
        self._endpoint = endpoint
        self._flow = flow
        self._headers = tuple(headers)
        self._credentials = credentials
        self._attempts = 0
        self._message: Message | None = None
        """Our last SUBSCRIBE."""
        self._refresh: Timer | None = None
        self._waiting: Timer | None = None
        self.dialog = dialog
        self.event = event
        self.seconds = seconds
        """Asked for; 0: the state once, or no longer."""
        self.state = "pending"
        """``pending``, ``active``, ``ended``."""
        self.context: Any = None
        """For the owner."""

    @property
    def key(self) -> str:
        """What finds it."""
        return f"{self.dialog.call_id} {self.dialog.local_tag} {self.event}"

    def subscribe(self, now: float, message: Message | None = None) -> None:
        """Send SUBSCRIBE, the first one or a refresh."""
        endpoint, dialog = self._endpoint, self.dialog
        if message is None:
            dialog.local_cseq += 1
            uri, routes, hop = dialog.target()
            flow = self._flow if not dialog.remote_tag else endpoint.next_hop(hop, self._flow)
            headers = [("Event", self.event), ("Expires", str(self.seconds)), *self._headers]
            message = endpoint.make(
                "SUBSCRIBE", uri, dialog.local, dialog.remote, dialog.call_id, dialog.local_cseq, flow, routes, headers, b"", ""
            )
            self._flow = flow
        self._message = message
        cancel(self._waiting)
        self._waiting = endpoint.timers.start(now, T64, self._unheard)
        endpoint.transactions.request(self, message, self._flow, now, message.branch)

    def unsubscribe(self, now: float) -> None:
        """End it; the last NOTIFY follows, then `SubscriptionEnded`."""
        if self.state != "ended":
            self.seconds = 0
            self.subscribe(now)

    # From the endpoint

    def notified(self, request: ServerRequest, now: float) -> None:
        """NOTIFY came."""
        message = request.message
        dialog = self.dialog
        if dialog.remote_tag and dialog.remote_tag != message.from_tag:
            request.respond(481, now=now)
            return
        if message.cseq <= dialog.remote_cseq:
            request.respond(500, now=now)
            return
        state = (message.get("subscription-state") or "").strip().lower()
        if not state:
            request.respond(400, "Subscription-State is missing", now=now)
            return
        if not dialog.remote_tag:
            dialog.remote = message.get("from") or dialog.remote
            dialog.remote_tag = message.from_tag
            dialog.route_set = message.get_all("record-route")
        dialog.remote_cseq = message.cseq
        dialog.refresh(message)
        cancel(self._waiting)
        request.respond(200, now=now)
        self._endpoint.events.append(Notified(self, message))
        if state.startswith("terminated"):
            self._over(parameter(state, "reason") or "terminated", message)
        else:
            self.state = "active"
            self._again_in(parameter(state, "expires") or "", now)

    # From the transaction layer

    def response(self, transaction: ClientTransaction, message: Message, now: float) -> None:
        """To our SUBSCRIBE."""
        status = message.status
        if status < 200 or self.state == "ended":
            return
        if status < 300:
            self._attempts = 0
            if not self.dialog.remote_tag:
                self.dialog.learn(message)
            else:
                self.dialog.refresh(message)
            self.state = "active"
            self._again_in(message.get("expires") or "", now)
            return
        again: Message | None = None
        if self._attempts < ATTEMPTS_MAX and self._message is not None:
            if status == 423:
                again = self._longer(message)
            elif status in (401, 407) and self._credentials is not None:
                again = self._endpoint.with_credentials(self._message, message, self._credentials, self._attempts)
        if again is None:
            self._over("refused", message)
            return
        self._attempts += 1
        self.dialog.local_cseq = again.cseq
        self.subscribe(now, again)

    def failed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """Nobody answers our SUBSCRIBE."""
        if self.state != "ended":
            self._over("unreachable", None)

    def _longer(self, response: Message) -> Message | None:
        try:
            seconds = response.number("min-expires")
        except MessageError:
            return None
        if not seconds or not self.seconds or self._message is None:
            return None
        self.seconds = seconds
        again = self._endpoint.again(self._message)
        again.set("expires", str(seconds))
        return again

    def _again_in(self, expires: str, now: float) -> None:
        if expires.isascii() and expires.isdigit() and len(expires) < 9 and self.seconds:
            cancel(self._refresh)
            seconds = int(expires)
            self._refresh = self._endpoint.timers.start(now, seconds - min(MARGIN_SECONDS_MAX, seconds / 3), self.subscribe)

    def _unheard(self, now: float) -> None:
        if self.state != "ended":
            self._over("no-notify", None)

    def _over(self, reason: str, message: Message | None) -> None:
        self.state = "ended"
        cancel(self._refresh)
        cancel(self._waiting)
        self._endpoint.subscriptions.forget(self)
        self._endpoint.events.append(SubscriptionEnded(self, reason, message))
