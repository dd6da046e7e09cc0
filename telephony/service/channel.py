"""What lies between the bytes of one connection and the SIP messages on it: nothing but framing, TLS, a WebSocket, or both.

Rules:
- A channel holds no socket and no clock: bytes go in, messages and bytes to send come out.
- What the peer breaks is a `MessageError`: what is left in `Channel.outgoing` is sent if the kernel takes it, then the connection ends.
- Channels are stacked: `secure.SecureChannel` carries any other one.
"""

from typing import Protocol

from telephony.sip.framing import StreamFramer

PONG = b"\r\n"
"""Answer to a keepalive ping (RFC 5626 section 4.4.1)."""


class Channel(Protocol):
    """One connection's way of carrying messages."""

    @property
    def opened(self) -> bool:
        """Its handshakes are over: messages can pass."""

    @property
    def ended(self) -> bool:
        """Nothing more will come: the connection is to be closed once `outgoing` is sent."""

    @property
    def waiting(self) -> bool:
        """A message is unfinished."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take what came; the messages that are whole now.

        Raises:
            MessageError: the peer breaks the rules, or a bound.
        """

    def wrap(self, message: bytes) -> bytes:
        """The bytes that carry a message.

        Raises:
            MessageError: it cannot be carried (any more).
        """

    def outgoing(self) -> bytes:
        """What is to be sent of the channel's own accord (handshakes, pongs, a refusal), taken once."""

    def ping(self) -> None:
        """Ask the peer for a sign of life, where the channel knows how to."""

    def leave(self) -> None:
        """Say that we close the connection, where the channel has words for it."""


class PlainChannel:
    """SIP right on TCP (RFC 3261 section 18.3)."""

    __slots__ = ("_framer",)

    opened = True
    ended = False

    def __init__(self) -> None:
        self._framer = StreamFramer()

    @property
    def waiting(self) -> bool:
        return bool(self._framer.waiting)

    def receive(self, data: bytes) -> list[bytes]:
        return self._framer.feed(data)

    def wrap(self, message: bytes) -> bytes:
        return message

    def outgoing(self) -> bytes:
        if not self._framer.pings:
            return b""
        self._framer.pings = 0
        return PONG

    def ping(self) -> None:
        """Only clients ping here (RFC 5626 section 4.4.1)."""

    def leave(self) -> None:
        """The end of the stream says it."""
