"""Server transactions: INVITE and the others (RFC 3261 section 17.2, RFC 6026 section 8.5).

| machine | repeats | gives up | lingers |
| --- | --- | --- | --- |
| INVITE | G: T1, doubled up to T2 (failure responses) | H: 64 T1, until ACK | I: T4 (0 if reliable); L: 64 T1 after 2xx |
| others | - | - | J: 64 T1 (0 if reliable) |

Rules:
- A repeated request gets the last response again; after 2xx to INVITE it is absorbed.
- G only runs over unreliable transports.
"""

from typing import TYPE_CHECKING, Protocol

from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.states import (
    ACCEPTED,
    ACK,
    COMPLETED,
    CONFIRMED,
    FAILURE,
    GIVE_UP,
    PROCEEDING,
    PROVISIONAL,
    REPEAT,
    REQUEST,
    SUCCESS,
    TERMINATED,
    TRYING,
    table,
)
from telephony.sip.timers import T1, T2, T4, T64, Timer, cancel

if TYPE_CHECKING:
    from telephony.sip.transaction import Transactions

_EARLY_SECONDS = 1e-6
"""What adding floats may lose: a timer that is so near to the end is at the end."""


class ServerUser(Protocol):
    """Who is told about requests: the core above the layer."""

    def request_received(self, transaction: "ServerTransaction", message: Message, now: float) -> None:
        """A new request, other than ACK; to be answered by `ServerTransaction.respond`."""

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        """An ACK that belongs to no failed INVITE: one to a 2xx, or a stray."""

    def stray(self, message: Message, flow: Flow, now: float) -> None:
        """A response without a transaction."""

    def unacknowledged(self, transaction: "ServerTransaction", now: float) -> None:
        """Timer H: no ACK came for our failure response."""


class ServerTransaction:
    """Server side of one request."""

    __slots__ = ("_interval", "_last", "_layer", "_steps", "_timer", "expires", "flow", "key", "method", "source", "state", "user")

    def __init__(self, layer: "Transactions", source: Flow, flow: Flow, key: str, method: str) -> None:
        self._layer = layer
        self.source = source
        """Where the request came from."""
        self.flow = flow
        """Where responses go to; the same but for old peers (`telephony.sip.build.stamp_via`)."""
        self.key = key
        self.method = method
        self.user: object = None
        """For the core above: what the request became (a session, a forwarding)."""
        if method == "INVITE":
            self.state, self._steps = PROCEEDING, _INVITE_SERVER
        else:
            self.state, self._steps = TRYING, _REQUEST_SERVER
        self._last = b""
        self._interval = T1
        self.expires = 0.0
        self._timer: Timer | None = None

    @property
    def accepted(self) -> bool:
        """INVITE: a 2xx was sent."""
        return self.state == ACCEPTED

    @property
    def answered(self) -> bool:
        """A final response was sent."""
        return self.state > PROCEEDING

    def respond(self, status: int, data: bytes, now: float) -> bool:
        """Send a response. False: the machine does not allow it any more (a second final one, or one too late)."""
        step = self._steps[self.state][PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE]
        if step is None:
            return False
        self._last = data
        self.state, action = step
        action(self, now)
        return True

    def abandon(self) -> None:
        """Forget it without an answer: what a proxy does whose request got none (RFC 4320 section 4.2)."""
        self._end(0.0)

    def on(self, event: int, now: float) -> None:
        """Feed the machine."""
        step = self._steps[self.state][event]
        if step is not None:
            self.state, action = step
            action(self, now)

    def _tick(self, now: float) -> None:
        self.on(GIVE_UP if now >= self.expires - _EARLY_SECONDS else REPEAT, now)

    def _linger(self, now: float, seconds: float) -> None:
        cancel(self._timer)
        self._timer = None
        if seconds:
            self._layer.timers.linger(now, seconds, self)
        else:
            self._end(now)

    def forget(self) -> None:
        """It has lingered long enough."""
        self.on(GIVE_UP, self.expires)

    # Actions

    def _send(self, now: float) -> None:
        if self._last:
            self._layer.out.append(Send(self._last, self.flow))

    def _absorb(self, now: float) -> None:
        """Nothing is due."""

    def _accept(self, now: float) -> None:
        """2xx: from here on its repetitions come from the user agent (RFC 6026 section 8.5)."""
        self._layer.out.append(Send(self._last, self.flow))
        self._last = b""
        self._linger(now, T64)

    def _accept_again(self, now: float) -> None:
        self._layer.out.append(Send(self._last, self.flow))
        self._last = b""

    def _refuse(self, now: float) -> None:
        self._layer.out.append(Send(self._last, self.flow))
        self.expires = now + T64
        cancel(self._timer)
        self._timer = self._layer.timers.start(now, T1 if self.flow.transport == "udp" else T64, self._tick)

    def _repeat(self, now: float) -> None:
        self._layer.out.append(Send(self._last, self.flow))
        self._interval = interval = min(self._interval * 2, T2)
        left = self.expires - now
        self._timer = self._layer.timers.start(now, interval if interval < left else left, self._tick)

    def _confirm(self, now: float) -> None:
        self._last = b""
        self._linger(now, 0.0 if self.flow.transport != "udp" else T4)

    def _unconfirmed(self, now: float) -> None:
        self._end(now)
        self._layer.user.unacknowledged(self, now)

    def _finish(self, now: float) -> None:
        self._layer.out.append(Send(self._last, self.flow))
        self._linger(now, 0.0 if self.flow.transport != "udp" else T64)

    def _end(self, now: float) -> None:
        self.state = TERMINATED
        cancel(self._timer)
        self._timer = None
        self._last = b""
        self.user = None
        self._layer.servers.pop(self.key, None)


_INVITE_SERVER = table(
    {
        PROCEEDING: {
            REQUEST: (PROCEEDING, ServerTransaction._send),
            PROVISIONAL: (PROCEEDING, ServerTransaction._send),
            SUCCESS: (ACCEPTED, ServerTransaction._accept),
            FAILURE: (COMPLETED, ServerTransaction._refuse),
        },
        COMPLETED: {
            REQUEST: (COMPLETED, ServerTransaction._send),
            REPEAT: (COMPLETED, ServerTransaction._repeat),
            GIVE_UP: (TERMINATED, ServerTransaction._unconfirmed),
            ACK: (CONFIRMED, ServerTransaction._confirm),
        },
        CONFIRMED: {
            ACK: (CONFIRMED, ServerTransaction._absorb),
            GIVE_UP: (TERMINATED, ServerTransaction._end),
        },
        ACCEPTED: {
            SUCCESS: (ACCEPTED, ServerTransaction._accept_again),
            GIVE_UP: (TERMINATED, ServerTransaction._end),
        },
    }
)

_REQUEST_SERVER = table(
    {
        TRYING: {
            PROVISIONAL: (PROCEEDING, ServerTransaction._send),
            SUCCESS: (COMPLETED, ServerTransaction._finish),
            FAILURE: (COMPLETED, ServerTransaction._finish),
        },
        PROCEEDING: {
            REQUEST: (PROCEEDING, ServerTransaction._send),
            PROVISIONAL: (PROCEEDING, ServerTransaction._send),
            SUCCESS: (COMPLETED, ServerTransaction._finish),
            FAILURE: (COMPLETED, ServerTransaction._finish),
        },
        COMPLETED: {
            REQUEST: (COMPLETED, ServerTransaction._send),
            GIVE_UP: (TERMINATED, ServerTransaction._end),
        },
    }
)
