"""A request on its way through the proxy: its response context (RFC 3261 sections 16.5 to 16.10).

Rules:
- Targets with a q (a user's bindings) are forked to: those of one q together, the next q when all of these have failed. Other
  targets (routers) are tried in turn: the next one after 503, a broken transport, a refusal, or silence.
- Who has said nothing at all is given up: after `FAILOVER_SECONDS` where another one is left, after `SILENCE_SECONDS` where it
  is a user, whose phone may have died without saying so. An INVITE that was given up is cancelled when it shows life; an answer
  that comes all the same is ended here (`telephony.proxy.late`) unless the request still waits for one.
- Provisional responses other than 100 and every 2xx to INVITE go back at once. The first 2xx ends the other branches, with its
  cause (RFC 3326); a 6xx too, but it goes back when they have ended. Else the best failure goes back when nobody is left
  (section 16.7 step 6), with the challenges of all; 503 of a user becomes 500.
- A request that is too large for a datagram goes over TCP where the place can be reached so; over UDP when it can't
  (`Target.datagram`).
- A branch that fails after it rang is reported with 199 to who supports it (RFC 6228).
- Timer C runs from the first provisional response, and starts again with each one but 100 (section 16.8).
- CANCEL is answered by us and passed on hop by hop, with its Reason; a branch that has not answered at all yet gets it with its
  first provisional response (section 9.1); 32 s after it the request is over.
- A fork takes its share of Max-Breadth; what does not fit in goes later (RFC 5393 section 5.3).
- A request other than INVITE gets 100 when nobody has answered for 3.5 s, and no other provisional one; if nobody ever does it is
  forgotten, not answered 408 (RFC 4320 section 4).
"""

from typing import TYPE_CHECKING

from telephony.proxy import late
from telephony.proxy.way import Target
from telephony.sip.build import make_cancel, make_trying
from telephony.sip.client_transaction import NOBODY, ClientTransaction
from telephony.sip.message import Message, make_response
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.states import TRYING
from telephony.sip.status import better, reason_phrase
from telephony.sip.timers import T2, T64, TIMER_C, Timer, cancel
from telephony.sip.transaction import DATAGRAM_BYTES_MAX, VIA_BYTES

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

FAILOVER_SECONDS = 2.0
"""One of several who has not answered anything by then is passed over."""
SILENCE_SECONDS = T2
"""Four transmissions over UDP; whoever is there answers 100 within 200 ms (RFC 3261 section 17.2.1)."""
SETTLE_SECONDS = T2
"""A 6xx waits so long for the branches that were cancelled for it."""
BREADTH = 60
"""Of a request without Max-Breadth (RFC 5393 section 5.3.3)."""
GROWTH_BYTES = 300
"""A request does not grow by more before it is sent on (P-Asserted-Identity): only one that is nearly too large is measured."""
_CHALLENGES = {401: "www-authenticate", 407: "proxy-authenticate"}
_NONE: dict[ClientTransaction, Target] = {}
"""Of a request that is over: it is kept for half a minute, and an empty table of its own would be too."""
_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


class Forwarding:
    """One request and the branches that it was sent on."""

    __slots__ = (
        "_best", "_cancelled", "_challenges", "_early", "_final", "_pending", "_proxy", "_reason", "_silence", "_silent_clients", "_timer",
        "invite", "message", "records", "server", "targets",
    )  # fmt: skip

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
        self._pending: dict[ClientTransaction, Target] = {}
        """Branches that are waited for."""
        self._silent_clients: list[ClientTransaction] | None = None
        """Branches that were given up and may show life."""
        self._early: dict[ClientTransaction, str] | None = None
        """To tags of early dialogs, where several branches are under way."""
        self._best: Message | None = None
        self._challenges: list[tuple[str, str]] | None = None
        self._reason = ""
        """Why branches are cancelled."""
        self._timer: Timer | None = None
        """Timer C, or how long a cancelled request lasts."""
        self._silence: Timer | None = None
        self._final = 0
        """Status that was sent back; 0: none yet."""
        self._cancelled = False
        proxy.waiting += 1

    def start(self, now: float) -> None:
        """Send it to the first target, or to the first ones of one q."""
        targets = self.targets
        target = targets.pop(0)
        message = self.message
        assert message is not None
        if target.q is not None and targets and targets[0].q == target.q:
            self._fork(target, message, now)
        else:
            target = self._send(target, message, now)
        hurried = (targets and target.q is None) or target.datagram is not None
        patience = FAILOVER_SECONDS if hurried else SILENCE_SECONDS if target.user else 0.0
        if patience:
            self._silence = self._proxy.timers.start(now, patience, self._silent)

    def located(self, targets: list[Target], now: float) -> None:
        """The targets, of a request that waited for them."""
        if self._final:
            return
        self.targets = targets
        if targets:
            self.start(now)
        else:
            self._answer(480, now)

    def response(self, client: ClientTransaction, message: Message, now: float) -> None:
        """From the transaction layer."""
        status = message.status
        if ";oc=" in message.via:
            self._proxy.restrictions.heed(message.via, client.flow[2:4], now)
        if status == 100:
            self._alive(client, now)
            return
        message.pop("via")
        if not message.has("via"):
            return
        if status < 200:
            if self.invite and client in self._pending and not (self._final or self._cancelled):
                cancel(self._timer)
                self._timer = None
            self._alive(client, now)
            if self.invite and client in self._pending and not self._final:
                if self._early is not None:
                    self._early[client] = message.to_tag
                self.server.respond(status, message.serialize(), now)
        elif status < 300:
            self._pending.pop(client, None)
            if self.invite and self._final >= 300:
                late.end(self._proxy, client, message, now)
                return
            self._finish(status, message.serialize(), now)
            if self._pending or self._silent_clients:
                self._cancel_branches(now, _ELSEWHERE)
        elif client in self._pending and not self._final:
            self._failure(client, status, message, now)
        elif self._silent_clients is not None and client in self._silent_clients:
            self._silent_clients.remove(client)

    def failed(self, client: ClientTransaction, status: int, now: float) -> None:
        """From the transaction layer."""
        if status == 503 and client.flow.connection and self.message is not None:
            self._proxy.flow_failed(self.message, client.flow)
            status = 430
        if client in self._pending and not self._final:
            self._failure(client, status, None, now)

    def cancel(self, now: float, reason: str = "") -> None:
        """CANCEL came."""
        if self._final or self._cancelled:
            return
        self._cancelled = True
        self.targets = []
        cancel(self._timer)
        if not self._pending and not self._silent_clients:
            self._answer(487, now)
            return
        self._timer = self._proxy.timers.start(now, T64, self._uncancelled)
        self._cancel_branches(now, reason)

    def end(self, status: int, now: float) -> None:
        """Answer it ourselves: nothing has been sent on."""
        if not self._final:
            self._answer(status, now)

    @property
    def waiting(self) -> bool:
        """It has no final response yet."""
        return not self._final

    # Branches

    def _fork(self, first: Target, message: Message, now: float) -> None:
        """Send copies to all of one q, as far as Max-Breadth allows."""
        targets = self.targets
        given = message.number("max-breadth")
        breadth = BREADTH if given is None else given
        together = [first]
        while len(together) < breadth and targets and targets[0].q == first.q:
            together.append(targets.pop(0))
        share, rest = divmod(breadth, len(together))
        self._early = {}
        for number, target in enumerate(together):
            copy = message.copy()
            copy.set("max-breadth", str(share + (number < rest)))
            self._send(target, copy, now)

    def _send(self, target: Target, message: Message, now: float) -> Target:
        """Send it, in a branch of its own; the target that it went to."""
        if message.received_bytes > DATAGRAM_BYTES_MAX - GROWTH_BYTES and message.size() > DATAGRAM_BYTES_MAX - VIA_BYTES:
            target = self._proxy.stream(message, target, now)
        self._pending[self._proxy.send(self, message, target, now)] = target
        return target

    def _alive(self, client: ClientTransaction, now: float) -> None:
        """A branch that has said something for the first time may be cancelled now; one that is waited for is not given up."""
        if self._cancelled or self._final or client not in self._pending:
            self._cancel_branch(client, now)
        elif self.invite:
            if self._silence is not None and len(self._pending) == 1:
                cancel(self._silence)
                self._silence = None
            if self._timer is None:
                self._timer = self._proxy.timers.start(now, TIMER_C, self._timer_c)

    def _failure(self, client: ClientTransaction, status: int, message: Message | None, now: float) -> None:
        target = self._pending.pop(client)
        busy = message is not None and ";oc=" in message.via  # it is alive, and says itself what it can take
        if target.choice is not None and target.router is not None and status in (408, 503) and not (busy or self._cancelled):
            target.choice.suspect(target.router, now)
        if target.datagram is not None and message is None:
            self._proxy.streamless(target, now)
        elif target.outside and status in (408, 503) and not self._cancelled:
            self._proxy.outside.suspect(target, now)
        if (
            target.next_flow is not None
            and status in (408, 430, 503)
            and not self._cancelled
            and (message is None or target.datagram is None)
        ):
            self._send_again(target.next_flow, now)
            return
        if message is not None:
            self._remember(status, message, target)
        if not self._pending:
            self._exhausted(status, target.q is not None, now)
        elif status >= 600:
            self.targets = []
            self._cancelled = True
            self._cancel_branches(now, f'SIP;cause={status};text="{reason_phrase(status)}"')
            cancel(self._timer)
            self._timer = self._proxy.timers.start(now, SETTLE_SECONDS, self._settle)
        elif self._early:
            self._say_ended(self._early.pop(client, ""), status, now)

    def _exhausted(self, status: int, forked: bool, now: float) -> None:
        """No branch is left: try the next targets, or give the best failure back."""
        cancel(self._silence)
        self._silence = None
        best = self._best
        if self.targets and (forked or status in (408, 430, 503)) and not self._cancelled:
            self._again()
            self.start(now)
        elif best is not None:
            self._settle(now)
        elif status == 408 and not self.invite:
            self._forget()
        else:
            self._answer(487 if self._cancelled else 480 if status == 430 and forked else status, now)

    def _again(self) -> None:
        """Make the message ready to be sent once more: the branch before still needs it as it was sent."""
        assert self.message is not None
        self.message = self.message.copy()
        self.message.unprepend()

    def _send_again(self, target: Target, now: float) -> None:
        """Try another flow to the same phone."""
        self._again()
        assert self.message is not None
        self._send(target, self.message, now)
        cancel(self._silence)
        self._silence = self._proxy.timers.start(now, SILENCE_SECONDS, self._silent)

    def _remember(self, status: int, message: Message, target: Target) -> None:
        """Keep the best failure, and the challenges of all (section 16.7 steps 6 and 7)."""
        if status == 503 and target.user:
            assert self.message is not None
            message = self._own(500)
        header = _CHALLENGES.get(status)
        if header is not None and (self._pending or self.targets or self._challenges is not None):
            if self._challenges is None:
                self._challenges = []
            self._challenges += [(header, value) for value in message.get_lines(header)]
        if self._best is None or better(self._best.status, message.status) != self._best.status:
            self._best = message

    def _silent(self, now: float) -> None:
        """Who has not answered anything is given up."""
        self._silence = None
        if self._final:
            return
        if not self.invite and not self._goes_on():
            self._trying(now)
            if self._best is None:
                return
        mute = [client for client in self._pending if client.state == client.FIRST_STATE]
        target = None
        for client in mute:
            target = self._pending.pop(client)
            if target.choice is not None and target.router is not None:
                target.choice.suspect(target.router, now)
            if target.datagram is not None:
                self._proxy.streamless(target, now)
            elif target.outside:
                self._proxy.outside.suspect(target, now)
            if self._silent_clients is None:
                self._silent_clients = []
            self._silent_clients.append(client)
            if target.next_flow is not None and not self._cancelled:
                self._send_again(target.next_flow, now)
        if target is not None and not self._pending:
            self._exhausted(408, target.q is not None, now)

    def slow(self, client: ClientTransaction, now: float) -> None:
        """From the transaction layer: no answer for 3.5 s."""
        self._trying(now)

    def _trying(self, now: float) -> None:
        """100, once, to a request other than INVITE (RFC 4320 section 4.1)."""
        if self.message is not None and self.server.state == TRYING:
            self.server.respond(100, make_trying(self.message), now)

    def _goes_on(self) -> bool:
        """There is somebody else to try."""
        return bool(self.targets) or any(target.next_flow is not None for target in self._pending.values())

    # Ends

    def _timer_c(self, now: float) -> None:
        """No final response for three minutes: cancel, and count it as 408 (section 16.8)."""
        self._timer = None
        if not self._final:
            self._cancelled = True
            self._cancel_branches(now, 'SIP;cause=408;text="Request Timeout"')
            self._answer(408, now)

    def _uncancelled(self, now: float) -> None:
        self._timer = None
        if not self._final:
            self._answer(487, now)

    def _settle(self, now: float) -> None:
        """Give the best failure back."""
        best = self._best
        if self._final or best is None:
            return
        if self._challenges and best.status in _CHALLENGES:
            for header in _CHALLENGES.values():
                best.remove(header)
            for header, value in self._challenges:
                best.add(header, value)
        self._finish(best.status, best.serialize(), now)

    def _cancel_branches(self, now: float, reason: str) -> None:
        self._reason = self._reason or reason
        for client in (*self._pending, *(self._silent_clients or ())):
            self._cancel_branch(client, now)

    def _cancel_branch(self, client: ClientTransaction, now: float) -> None:
        if not self.invite or not client.proceeding or client.message is None:
            return
        key = client.key + "CANCEL"
        transactions = self._proxy.transactions
        if key not in transactions.clients and client.message.call_id:
            headers = (("Reason", self._reason),) if self._reason else ()
            transactions.request(NOBODY, make_cancel(client.message, headers), client.flow, now, client.key)

    def _say_ended(self, to_tag: str, status: int, now: float) -> None:
        """199: an early dialog of this fork is over (RFC 6228 section 6)."""
        message = self.message
        if not to_tag or message is None or message.to_tag or "199" not in message.get_all("supported"):
            return
        if "100rel" not in message.get_all("require"):
            self.server.respond(199, self._own(199, to_tag, (("Reason", f"SIP;cause={status}"),)).serialize(), now)

    def _answer(self, status: int, now: float) -> None:
        if self.message is not None:
            self._finish(status, self._own(status, headers=(("Retry-After", "2"),) if status == 503 else ()).serialize(), now)

    def _own(self, status: int, to_tag: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Message:
        """A response of ours."""
        assert self.message is not None
        request = self.message.copy()
        request.unprepend()
        return make_response(request, status, to_tag=to_tag or self._proxy.tokens.take(), headers=headers)

    def _finish(self, status: int, data: bytes, now: float) -> None:
        self.server.respond(status, data, now)
        if not self._final:
            self._close(status)

    def _forget(self) -> None:
        self._close(408)
        self.server.abandon()

    def _close(self, status: int) -> None:
        self._final = status
        self._proxy.waiting -= 1
        if not self._pending:
            self._pending = _NONE
        cancel(self._timer)
        cancel(self._silence)
        self._timer = self._silence = None
        self.message = self._best = self._challenges = None
        self.targets = []
