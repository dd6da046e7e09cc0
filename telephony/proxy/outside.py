"""Messages to names: they wait here for what name servers say (RFC 3263 sections 4 and 5).

Rules:
- Only what the cluster itself sends gets here (`Way.to_user`): no user makes us ask for names or send outside.
- A request goes to the places that were found, in turn (`Forwarding`); nothing found is 404, no answer of name servers 503.
- A place that was silent, refused or answered 503 is tried last for `SUSPECT_SECONDS`.
- An ACK and a response have no transaction: they go to the first place.

Bound: `MESSAGES_MAX` that wait; more requests are answered 503.
"""

from typing import TYPE_CHECKING

from telephony.effects import Locate, Send
from telephony.proxy.way import DIALOG_METHODS, RefusedError, Target
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.resolution import Located, Sought
from telephony.sip.server_transaction import ServerTransaction

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

MESSAGES_MAX = 2000
SUSPECT_SECONDS = 30.0
SUSPECTS_MAX = 1000
"""Places that are remembered; when there are more the memory starts afresh."""


class Sending:
    """A message that waits."""

    __slots__ = ("_id", "_outside", "message", "server")

    def __init__(self, outside: "Outside", id: int, message: Message, server: ServerTransaction | None) -> None:
        self._outside = outside
        self._id = id
        self.message = message
        self.server = server
        """Of a request with a transaction."""

    def cancel(self, now: float, reason: str = "") -> None:
        """CANCEL came: nothing has been sent yet."""
        self._outside.cancel(self._id, now)


class Outside:
    """All messages that wait for name servers."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._waiting: dict[int, Sending] = {}
        self._number = 0
        self._suspects: dict[Flow, float] = {}
        """Until when a place is tried last."""

    def __len__(self) -> int:
        return len(self._waiting)

    def request(self, server: ServerTransaction, message: Message, sought: Sought) -> Sending:
        """Send a request.

        Raises:
            RefusedError: 503, too many wait.
        """
        if len(self._waiting) >= MESSAGES_MAX:
            raise RefusedError(503, "Too many requests wait for name servers", (("Retry-After", "2"),))
        return self._wait(message, sought, server)

    def acknowledge(self, message: Message, sought: Sought) -> None:
        """Send an ACK of a 2xx."""
        self._wait_or_drop(message, sought)

    def respond(self, message: Message, sought: Sought) -> None:
        """Send a response whose next Via names a host (RFC 3263 section 5)."""
        self._wait_or_drop(message, sought)

    def located(self, id: int, located: Located, now: float) -> None:
        """Name servers have answered."""
        sending = self._waiting.pop(id, None)
        if sending is None:
            return
        proxy = self._proxy
        message, server = sending.message, sending.server
        try:
            targets = [proxy.way.outside(hop) for hop in located.hops]
        except RefusedError:
            targets = []
        if self._suspects:
            targets.sort(key=lambda target: self._suspects.get(target.flow, 0.0) > now)
        if server is not None:
            if targets:
                proxy.forward(server, message, targets, message.method in DIALOG_METHODS, now)
            elif located.failed:
                proxy.refuse(server, message, 503, now, "Name servers do not answer", (("Retry-After", "5"),))
            else:
                proxy.refuse(server, message, 404, now, "No such host, or no way to it")
        elif not targets:
            proxy.counters.dropped += 1
        elif message.method is None:
            proxy.out.append(Send(message.serialize(), targets[0].flow))
        else:
            proxy.send_only(message, targets[0])

    def suspect(self, target: Target, now: float) -> None:
        """Nothing was to be had there."""
        if len(self._suspects) >= SUSPECTS_MAX:
            self._suspects.clear()
        self._suspects[target.flow] = now + SUSPECT_SECONDS

    def cancel(self, id: int, now: float) -> None:
        """Send it no more."""
        sending = self._waiting.pop(id, None)
        if sending is not None and sending.server is not None:
            self._proxy.refuse(sending.server, sending.message, 487, now)

    def _wait_or_drop(self, message: Message, sought: Sought) -> None:
        if len(self._waiting) < MESSAGES_MAX:
            self._wait(message, sought, None)
        else:
            self._proxy.counters.dropped += 1

    def _wait(self, message: Message, sought: Sought, server: ServerTransaction | None) -> Sending:
        way = self._proxy.way
        self._number += 1
        sending = self._waiting[self._number] = Sending(self, self._number, message, server)
        self._proxy.out.append(Locate(self._number, sought, way.transports, way.families))
        return sending
