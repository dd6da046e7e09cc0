"""A request on its way through the proxy: its response context (RFC 3261 sections 16.5 to 16.10).

Rules:
- Targets are tried in turn: the next one after 503, a broken transport, a refusal, or `FAILOVER_SECONDS` without any
  response. An INVITE that was passed over is cancelled when it shows life, unless it is answered: the first 2xx wins.
- Provisional responses other than 100 and every 2xx to INVITE go back at once; the best of the failures when none is left.
- Timer C runs from the first provisional response and starts again with each one (section 16.8).
- CANCEL is answered by us and passed on hop by hop; a branch that has not answered at all yet gets it with its first
  provisional response (section 9.1); 32 s after it the request is over.
- A request other than INVITE that nobody answers is forgotten, not answered 408 (RFC 4320 section 4.2).
"""

from typing import TYPE_CHECKING

from telephony.proxy.way import Target
from telephony.sip.build import make_cancel
from telephony.sip.client_transaction import NOBODY, ClientTransaction
from telephony.sip.message import Message, make_response
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.timers import T64, TIMER_C, Timer, cancel

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

FAILOVER_SECONDS = 2.0
"""A router that has not answered anything by then is passed over."""


class Forwarding:
    """One request and the branches that it was sent on."""

    __slots__ = (
        "_best",
        "_cancelled",
        "_client",
        "_done",
        "_passed_over",
        "_proxy",
        "_target",
        "_timer",
        "invite",
        "message",
        "records",
        "server",
        "targets",
    )

    def __init__(self, proxy: "Proxy", server: ServerTransaction, message: Message, targets: list[Target], records: bool) -> None:
        self._proxy = proxy
        self.server = server
        self.message: Message | None = message
        """The request as it came, but for what is put on top of it before it leaves; None once it is answered."""
        self.invite = message.method == "INVITE"
        self.targets = targets
        """Those not tried yet."""
        self.records = records
        """It makes a dialog, in which the proxy stays."""
        self._target: Target | None = None
        self._client: ClientTransaction | None = None
        """Branch that is under way; it has no final response yet."""
        self._passed_over: list[ClientTransaction] | None = None
        self._best: Message | None = None
        self._timer: Timer | None = None
        self._done = False
        self._cancelled = False
        proxy.waiting += 1

    def start(self, now: float) -> None:
        """Send it to the first target."""
        message = self.message
        assert message is not None
        target = self._target = self.targets.pop(0)
        self._client = self._proxy.send(self, message, target, now)
        if self.targets:
            self._timer = self._proxy.timers.start(now, FAILOVER_SECONDS, self._silent)

    def response(self, client: ClientTransaction, message: Message, now: float) -> None:
        """From the transaction layer."""
        status = message.status
        if status == 100:
            self._alive(client, now)
            return
        message.pop("via")
        if not message.has("via"):
            return
        if status < 200:
            self._alive(client, now)
            if client is self._client and not self._done:
                if self.invite:
                    cancel(self._timer)
                    self._timer = self._proxy.timers.start(now, TIMER_C, self._timer_c)
                self.server.respond(status, message.serialize(), now)
        elif status < 300:
            self._finish(status, message.serialize(), now)
            self._cancel_branches(client, now)
        elif client is self._client:
            self._failure(status, message, now)
        elif self._passed_over is not None and client in self._passed_over:
            self._passed_over.remove(client)

    def failed(self, client: ClientTransaction, status: int, now: float) -> None:
        """From the transaction layer."""
        if client is self._client:
            self._failure(status, None, now)

    def cancel(self, now: float) -> None:
        """CANCEL came."""
        if self._done or self._cancelled:
            return
        self._cancelled = True
        self.targets.clear()
        cancel(self._timer)
        self._timer = self._proxy.timers.start(now, T64, self._uncancelled)
        self._cancel_branches(None, now)

    def end(self, status: int, now: float, reason: str | None = None) -> None:
        """Answer it ourselves, whatever becomes of its branches."""
        if not self._done:
            self._cancelled = True
            self._cancel_branches(None, now)
            self._answer(status, now, reason)

    @property
    def waiting(self) -> bool:
        """It has no final response yet."""
        return not self._done

    def _alive(self, client: ClientTransaction, now: float) -> None:
        """A branch that has said something for the first time may be cancelled now; one that is waited for is not passed over."""
        if self._cancelled or self._done or client is not self._client:
            self._cancel_branch(client, now)
        elif self._timer is not None and self.targets:
            cancel(self._timer)
            self._timer = None

    def _failure(self, status: int, message: Message | None, now: float) -> None:
        target = self._target
        self._client = None
        if target is not None and target.choice is not None and target.router is not None and status in (408, 503) and not self._cancelled:
            target.choice.suspect(target.router, now)
        if message is not None:
            self._best = message
        if status == 503 and self.targets and not self._cancelled:
            cancel(self._timer)
            self._timer = None
            self._next(now)
        elif message is not None:
            self._finish(status, message.serialize(), now)
        elif status == 408 and not self.invite:
            self._forget()
        elif self._best is not None:
            self._finish(self._best.status, self._best.serialize(), now)
        else:
            self._answer(487 if self._cancelled else status, now, None)

    def _next(self, now: float) -> None:
        """Try the next target, on a copy: the branch before still needs the message as it was sent."""
        assert self.message is not None
        self.message = self.message.copy()
        self.message.unprepend()
        self.start(now)

    def _silent(self, now: float) -> None:
        """The target has not answered anything in time."""
        self._timer = None
        client = self._client
        if client is None or not self.targets or self._done:
            return
        target = self._target
        if target is not None and target.choice is not None and target.router is not None:
            target.choice.suspect(target.router, now)
        if self._passed_over is None:
            self._passed_over = []
        self._passed_over.append(client)
        self._next(now)

    def _timer_c(self, now: float) -> None:
        """No final response for three minutes: cancel, and count it as 408 (section 16.8)."""
        self._timer = None
        self.end(408, now)

    def _uncancelled(self, now: float) -> None:
        self._timer = None
        if not self._done:
            self._answer(487, now, None)

    def _cancel_branches(self, but: ClientTransaction | None, now: float) -> None:
        for client in (self._client, *(self._passed_over or ())):
            if client is not None and client is not but:
                self._cancel_branch(client, now)

    def _cancel_branch(self, client: ClientTransaction, now: float) -> None:
        if not self.invite or not client.proceeding or client.message is None:
            return
        key = client.key + "CANCEL"
        transactions = self._proxy.transactions
        if key not in transactions.clients and client.message.call_id:
            transactions.request(NOBODY, make_cancel(client.message), client.flow, now, client.key)

    def _answer(self, status: int, now: float, reason: str | None) -> None:
        if self.message is None:
            return
        request = self.message.copy()
        request.unprepend()
        headers = (("Retry-After", "2"),) if status == 503 else ()
        response = make_response(request, status, reason, to_tag=self._proxy.tokens.take(), headers=headers)
        self._finish(status, response.serialize(), now)

    def _finish(self, status: int, data: bytes, now: float) -> None:
        self.server.respond(status, data, now)
        if not self._done:
            self._done = True
            self._proxy.waiting -= 1
            if status >= 300:
                self._client = None
            cancel(self._timer)
            self._timer = None
            self.message = self._best = None
            self.targets = []

    def _forget(self) -> None:
        self._done = True
        self._proxy.waiting -= 1
        cancel(self._timer)
        self._timer = None
        self.message = self._best = None
        self.server.abandon()
