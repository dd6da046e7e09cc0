"""MESSAGE within a call (RFC 3428): passed on to the other side, and answered as that side answers.

Rules:
- Body, what it is and its language go on as they are; the rest belongs to each side's own dialog.
- Who talks to a service, waits, or is still being rung has nobody to pass it on to: 480. Where the other side has said that it
  takes no MESSAGE: 405.
- A sender who has got no answer for 32 s has given up by itself; 504 ends what is left of it (RFC 4320 section 4.2: no 408).

Bounds: `UNDER_WAY_MAX` in one call, `BODY_BYTES_MAX` each.
"""

from typing import TYPE_CHECKING

from telephony.call_router import failure
from telephony.sip.errors import StateError
from telephony.sip.events import ResponseReceived
from telephony.sip.message import Message
from telephony.sip.request import ServerRequest
from telephony.sip.session import Session
from telephony.voice.ringing import Fork
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

UNDER_WAY_MAX = 8
BODY_BYTES_MAX = 16_384
METHOD = "MESSAGE"
_HEADERS = ("content-disposition", "content-language")


def caller_sent(call: "Call", now: float, request: ServerRequest, message: Message) -> str:
    """The caller's MESSAGE."""
    peer = call.peer
    _pass_on(call, None if peer is None else peer.session, request, message, now)
    return call.state


def callee_sent(call: "Call", now: float, fork: Fork, request: ServerRequest, message: Message) -> str:
    """The callee's MESSAGE."""
    _pass_on(call, call.caller if fork is call.peer else None, request, message, now)
    return call.state


def answered(event: ResponseReceived, now: float) -> None:
    """The other side has answered, or has not: always told, also when the call is over meanwhile."""
    passed_on = event.request.context
    if not isinstance(passed_on, _PassedOn) or event.status < 200:
        return
    passed_on.call.messages -= 1
    status = 504 if event.message is None else failure.of_peer(event.status)
    passed_on.request.respond(status, now=now)


class _PassedOn:
    """One MESSAGE under way."""

    __slots__ = ("call", "request")

    def __init__(self, call: "Call", request: ServerRequest) -> None:
        self.call = call
        self.request = request


def _pass_on(call: "Call", to: Session | None, request: ServerRequest, message: Message, now: float) -> None:
    if to is None:
        request.respond(480, now=now)
    elif len(message.body) > BODY_BYTES_MAX:
        request.respond(413, now=now)
    elif call.messages >= UNDER_WAY_MAX:
        request.respond(500, now=now, headers=(("Retry-After", "1"),))
    elif to.peer_allow and METHOD not in to.peer_allow.upper():
        request.respond(405, now=now, headers=(("Allow", to.peer_allow),))
    else:
        headers = [(name.title(), value) for name in _HEADERS for value in message.get_lines(name)]
        try:
            sent = to.request(METHOD, message.body, now=now, headers=headers, content_type=message.get("content-type") or "text/plain")
        except StateError:
            request.respond(480, now=now)  # that side is just ending
            return
        call.messages += 1
        sent.context = _PassedOn(call, request)


ANYWHERE: dict[str, Step] = {
    "caller-messaged": caller_sent,
    "callee-messaged": callee_sent,
}
