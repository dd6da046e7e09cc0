"""Delivery of MESSAGE to users who are online (RFC 3428).

Rules:
- The routing service says where the recipient is; the message goes to all contacts at once, each through the proxy that
  holds the flow to it.
- The first 2xx is the sender's answer: delivered. When all have failed the sender gets the best of their failures; a user
  without bindings is 480, an unknown one 404. All within `ANSWER_SECONDS`, before the sender's transaction gives up.
- Body and its type are passed on as they came, and the headers of `PASSED_ON`.
- Other requests: OPTIONS gets 200, INVITE 488 (there are no calls here), the rest 405.
"""

from itertools import count

import msgspec
from msgspec.structs import replace

from telephony.call_router import failure
from telephony.call_router.desk import HOPS_HEADER, Desk, Result, caller_of, hops_of
from telephony.jobs.routing import Decision, Route, Target
from telephony.sip.address import Address
from telephony.sip.events import Event, InviteReceived, RequestReceived, ResponseReceived, SessionRequestReceived
from telephony.sip.message import Message
from telephony.sip.request import ServerRequest
from telephony.sip.timers import Timer, cancel
from telephony.sip.uri import Uri

DELIVERIES_MAX = 20_000
"""Messages under way; more are answered 503."""
CONTACTS_MAX = 8
"""Contacts of one user that a message is sent to."""
ANSWER_SECONDS = 20.0
ALLOW = "MESSAGE, OPTIONS"
PASSED_ON = ("subject", "date", "reply-to", "call-info", "priority", "in-reply-to", "expires")

_decode_decision = msgspec.msgpack.Decoder(Decision).decode


class _Delivery:
    """One message on its way."""

    __slots__ = ("caller", "message", "number", "open", "request", "started_at", "status", "timer", "user")

    def __init__(self, number: int, request: ServerRequest, message: Message, now: float) -> None:
        self.number = number
        self.request = request
        self.message = message
        self.caller = caller_of(message)
        self.user = Uri.parse(message.uri).username
        self.started_at = now
        self.open = 0
        """Contacts that have not answered."""
        self.status = 0
        """Best failure so far."""
        self.timer: Timer | None = None


class Deliveries:
    """All messages under way in one router."""

    def __init__(self, desk: Desk) -> None:
        desk.endpoint.allow = ALLOW
        self._desk = desk
        self._numbers = count(1)
        self._deliveries: dict[int, _Delivery] = {}

    def sip(self, event: Event, now: float) -> None:
        if isinstance(event, ResponseReceived):
            self._response(event, now)
        elif isinstance(event, InviteReceived):
            event.session.reject(488, now=now, headers=(("Allow", ALLOW),))
        elif isinstance(event, RequestReceived | SessionRequestReceived):
            if event.message.method == "MESSAGE":
                self._message(event.request, event.message, now)
            elif event.message.method == "OPTIONS":
                event.request.respond(200, now=now, headers=(("Allow", ALLOW),))
            else:
                event.request.respond(405, now=now, headers=(("Allow", ALLOW),))

    def told(self, sender: str, operation: str, body: bytes, now: float) -> None:
        """Nobody has anything to tell."""

    def resume(self, now: float) -> None:
        """A message does not outlive the process: its sender sends it again."""

    def end_all(self, now: float) -> None:
        for delivery in list(self._deliveries.values()):
            self._end(delivery, 503, "drained", now)

    def remaining(self) -> int:
        return len(self._deliveries)

    def _message(self, request: ServerRequest, message: Message, now: float) -> None:
        if len(self._deliveries) >= DELIVERIES_MAX:
            request.respond(503, now=now, headers=(("Retry-After", "2"),))
            return
        delivery = _Delivery(next(self._numbers), request, message, now)
        self._deliveries[delivery.number] = delivery
        delivery.timer = self._desk.after(ANSWER_SECONDS, now, lambda now: self._end(delivery, 408, "timeout", now))
        route = Route(method="MESSAGE", user=delivery.user, host=Uri.parse(message.uri).host, caller=delivery.caller, hops=hops_of(message))
        self._desk.ask("routing", "route", route, lambda result, now: self._routed(delivery, result, now))

    def _routed(self, delivery: _Delivery, result: Result, now: float) -> None:
        if delivery.number not in self._deliveries:
            return
        if not result.ok:
            self._end(delivery, failure.of_job("routing", result.status), result.status, now)
            return
        decision = _decode_decision(result.body)
        outside = decision.action == "outside"
        targets = decision.targets[:CONTACTS_MAX]
        message = delivery.message
        headers = [(name, value) for name in PASSED_ON for value in message.get_lines(name)]
        headers.append((HOPS_HEADER, str(hops_of(message) + 1)))
        realm = self._desk.configuration.realm
        if delivery.caller and not outside:
            headers.append(("P-Asserted-Identity", f"<{Uri.of(delivery.caller, realm)}>"))
        from_ = str(Address.parse(message.get("from") or "")._replace(parameters=()))
        delivery.open = len(targets)

        def send(target: Target, now: float) -> None:
            path = target.path.strip()
            try:
                sent = self._desk.endpoint.request(
                    "MESSAGE",
                    target.contact,
                    from_,
                    f"<{decision.target if outside else Uri.of(delivery.user, realm)}>",
                    self._desk.flow_to(path),
                    now=now,
                    route=[path if path.startswith("<") else f"<{path}>"] if path else [],
                    headers=headers,
                    body=message.body,
                    content_type=message.get("content-type") or "",
                )
            except (LookupError, ValueError):
                self._failed(delivery, 503, now)
            else:
                sent.context = (delivery, target, send)

        for target in targets:
            send(target, now)
        if not targets:
            self._end(delivery, 480, "not-registered", now)

    def _response(self, event: ResponseReceived, now: float) -> None:
        if event.request.context is None or event.status < 200:
            return
        delivery, target, send = event.request.context
        if delivery.number not in self._deliveries:
            return
        if event.status < 300:
            self._end(delivery, 200, "delivered", now)
        elif event.status in failure.FLOW_FAILED and target.others:
            first, *others = target.others
            send(replace(first, others=others), now)
        else:
            self._failed(delivery, failure.of_peer(event.status), now)

    def _failed(self, delivery: _Delivery, status: int, now: float) -> None:
        delivery.open -= 1
        delivery.status = failure.better(delivery.status, status) if delivery.status else status
        if delivery.open == 0:
            self._end(delivery, delivery.status, "failed", now)

    def _end(self, delivery: _Delivery, status: int, cause: str, now: float) -> None:
        if self._deliveries.pop(delivery.number, None) is None:
            return
        cancel(delivery.timer)
        headers = (("Retry-After", "5"),) if status == 503 else ()
        delivery.request.respond(status, now=now, headers=headers)
        self._desk.notify(
            {
                "event": "message-ended",
                "router": self._desk.configuration.id,
                "from": delivery.caller,
                "to": delivery.user,
                "status": status,
                "cause": cause,
                "started_at": delivery.started_at,
                "ended_at": now,
            }
        )
