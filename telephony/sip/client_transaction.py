"""Client transactions: INVITE and the others (RFC 3261 section 17.1, RFC 6026 section 8.4).

| machine | repeats | gives up | lingers |
| --- | --- | --- | --- |
| INVITE | A: T1, doubled, until any response | B: 64 T1, until any response | D: 64 T1 (0 if reliable); M: 64 T1 after 2xx |
| others | E: T1, doubled up to T2; T2 once proceeding | F: 64 T1 | K: T4 (0 if reliable) |

Rules:
- One timer a transaction stands for both of its timers: it runs at the earlier one.
- A and E only run over unreliable transports.
- Bytes are kept only as long as they may have to be sent again.
- An INVITE that was cancelled and gets no final response is over 64 T1 after its CANCEL (RFC 3261 section 9.1).
- 2xx to INVITE are passed up each time they come: their ACK is made above, end to end.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from telephony.sip.build import make_ack
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.states import (
    ACCEPTED,
    BROKEN,
    CALLING,
    COMPLETED,
    FAILURE,
    GIVE_UP,
    PROCEEDING,
    PROVISIONAL,
    REPEAT,
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


class ClientUser(Protocol):
    """Who is told about a client transaction."""

    def response(self, transaction: "ClientTransaction", message: Message, now: float) -> None:
        """A response; a final one comes once, 2xx to INVITE each time."""

    def failed(self, transaction: "ClientTransaction", status: int, now: float) -> None:
        """No final response will come: 408 (timer B or F) or 503 (transport)."""

    # One who has somebody waiting for it may also have ``slow(transaction, now)``: a request other than INVITE is repeated
    # every T2 from now on, and its own sender is due a 100 (RFC 4320 section 4.1).


class ClientTransaction:
    """Client side of one request to one flow. ``state`` is one of the numbers above."""

    __slots__ = ("_ack", "_interval", "_layer", "_timer", "data", "expires", "flow", "key", "message", "state", "user")

    FIRST_STATE: ClassVar[int] = CALLING

    def __init__(self, layer: "Transactions", user: ClientUser, message: Message, data: bytes, flow: Flow, key: str) -> None:
        self._layer = layer
        self.user = user
        self.message: Message | None = message
        """The request as sent, as long as an ACK or CANCEL may have to be made from it."""
        self.data = data
        self.flow = flow
        self.key = key
        self.state = self.FIRST_STATE
        self._ack = b""
        self._interval = T1
        self.expires = 0.0
        self._timer: Timer | None = None

    @property
    def proceeding(self) -> bool:
        """A provisional response came, and no final one."""
        return self.state == PROCEEDING

    def start(self, now: float, reliable: bool) -> None:
        self.expires = now + T64
        self._timer = self._layer.timers.start(now, T64 if reliable else T1, self._tick)

    def cancelled(self, now: float) -> None:
        """Nobody wants an INVITE any more: without a final response within 64 T1 it is over (RFC 3261 section 9.1)."""
        if self.state == PROCEEDING and self._timer is None:
            self.expires = now + T64
            self._timer = self._layer.timers.start(now, T64, self._tick)

    def _tick(self, now: float) -> None:
        if now >= self.expires - _EARLY_SECONDS:
            self.on(GIVE_UP, None, now)
        else:
            self.on(REPEAT, None, now)

    def on(self, event: int, message: Message | None, now: float) -> None:
        """Feed the machine."""
        raise AssertionError("one of the two machines")

    def _linger(self, now: float, seconds: float) -> None:
        self._layer.settled(self)
        cancel(self._timer)
        self._timer = None
        if seconds:
            self._layer.timers.linger(now, seconds, self)
        else:
            self._end(None, now)

    def forget(self) -> None:
        """It has lingered long enough."""
        self.on(GIVE_UP, None, self.expires)

    # Actions

    def _pass_up(self, message: Message | None, now: float) -> None:
        assert message is not None
        self.user.response(self, message, now)

    def _gave_up(self, message: Message | None, now: float) -> None:
        user = self.user
        self._end(None, now)
        user.failed(self, 408, now)

    def _broke(self, message: Message | None, now: float) -> None:
        user = self.user
        self._end(None, now)
        user.failed(self, 503, now)

    def _end(self, message: Message | None, now: float) -> None:
        self.state = TERMINATED
        cancel(self._timer)
        self._timer = None
        self.data = b""
        self.message = None
        self.user = NOBODY
        self._layer.settled(self)
        self._layer.clients.pop(self.key, None)


class _Nobody:
    """User of a transaction that is over: user and transaction do not hold each other any more."""

    def response(self, transaction: ClientTransaction, message: Message, now: float) -> None:
        """Nothing is due."""

    def failed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """Nothing is due."""


NOBODY = _Nobody()
"""Also the user of transactions whose outcome nobody waits for."""


class InviteClient(ClientTransaction):
    """INVITE client transaction (RFC 3261 section 17.1.1, RFC 6026 section 8.4)."""

    __slots__ = ()

    def on(self, event: int, message: Message | None, now: float) -> None:
        """Feed the machine."""
        step = _INVITE_CLIENT[self.state][event]
        if step is not None:
            self.state, action = step
            action(self, message, now)

    def _repeat(self, message: Message | None, now: float) -> None:
        self._layer.out.append(Send(self.data, self.flow))
        self._interval = interval = self._interval * 2
        left = self.expires - now
        self._timer = self._layer.timers.start(now, interval if interval < left else left, self._tick)

    def _provisional(self, message: Message | None, now: float) -> None:
        cancel(self._timer)
        self._timer = None
        self.data = b""
        self._pass_up(message, now)

    def _success(self, message: Message | None, now: float) -> None:
        self.data = b""
        self.message = None
        self._linger(now, T64)
        self._pass_up(message, now)

    def _failure(self, message: Message | None, now: float) -> None:
        assert message is not None
        self._ack = make_ack(self.message, message) if self.message is not None else b""
        self._layer.out.append(Send(self._ack, self.flow))
        self.data = b""
        user = self.user
        self._linger(now, 0.0 if self.flow.transport != "udp" else T64)
        user.response(self, message, now)
        self.message = None

    def _failure_again(self, message: Message | None, now: float) -> None:
        self._layer.out.append(Send(self._ack, self.flow))


class RequestClient(ClientTransaction):
    """Non-INVITE client transaction (RFC 3261 section 17.1.2)."""

    __slots__ = ()
    FIRST_STATE: ClassVar[int] = TRYING

    def on(self, event: int, message: Message | None, now: float) -> None:
        """Feed the machine."""
        step = _REQUEST_CLIENT[self.state][event]
        if step is not None:
            self.state, action = step
            action(self, message, now)

    def _repeat(self, message: Message | None, now: float) -> None:
        self._layer.out.append(Send(self.data, self.flow))
        interval = self._interval * 2
        self._interval = interval = T2 if interval > T2 or self.state == PROCEEDING else interval
        if interval == T2:
            slow: Any = getattr(self.user, "slow", None)
            if slow is not None:
                slow(self, now)
        left = self.expires - now
        self._timer = self._layer.timers.start(now, interval if interval < left else left, self._tick)

    def _final(self, message: Message | None, now: float) -> None:
        self.data = b""
        user = self.user
        self._linger(now, 0.0 if self.flow.transport != "udp" else T4)
        assert message is not None
        user.response(self, message, now)
        self.message = None


_INVITE_CLIENT = table(
    {
        CALLING: {
            PROVISIONAL: (PROCEEDING, InviteClient._provisional),
            SUCCESS: (ACCEPTED, InviteClient._success),
            FAILURE: (COMPLETED, InviteClient._failure),
            REPEAT: (CALLING, InviteClient._repeat),
            GIVE_UP: (TERMINATED, InviteClient._gave_up),
            BROKEN: (TERMINATED, InviteClient._broke),
        },
        PROCEEDING: {
            PROVISIONAL: (PROCEEDING, InviteClient._pass_up),
            SUCCESS: (ACCEPTED, InviteClient._success),
            FAILURE: (COMPLETED, InviteClient._failure),
            GIVE_UP: (TERMINATED, InviteClient._gave_up),
        },
        COMPLETED: {
            FAILURE: (COMPLETED, InviteClient._failure_again),
            GIVE_UP: (TERMINATED, InviteClient._end),
            BROKEN: (TERMINATED, InviteClient._end),
        },
        ACCEPTED: {
            SUCCESS: (ACCEPTED, InviteClient._pass_up),
            GIVE_UP: (TERMINATED, InviteClient._end),
        },
    }
)

_REQUEST_CLIENT = table(
    {
        TRYING: {
            PROVISIONAL: (PROCEEDING, RequestClient._pass_up),
            SUCCESS: (COMPLETED, RequestClient._final),
            FAILURE: (COMPLETED, RequestClient._final),
            REPEAT: (TRYING, RequestClient._repeat),
            GIVE_UP: (TERMINATED, RequestClient._gave_up),
            BROKEN: (TERMINATED, RequestClient._broke),
        },
        PROCEEDING: {
            PROVISIONAL: (PROCEEDING, RequestClient._pass_up),
            SUCCESS: (COMPLETED, RequestClient._final),
            FAILURE: (COMPLETED, RequestClient._final),
            REPEAT: (PROCEEDING, RequestClient._repeat),
            GIVE_UP: (TERMINATED, RequestClient._gave_up),
            BROKEN: (TERMINATED, RequestClient._broke),
        },
        COMPLETED: {
            GIVE_UP: (TERMINATED, RequestClient._end),
        },
    }
)
