"""Requests other than INVITE, from both sides: sent by us, and received."""

from typing import Any

from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message


class ClientRequest:
    """A request that we sent; its outcome is `ResponseReceived`."""

    id: str
    method: str
    message: Message
    """As sent last (a challenge was answered by a second one)."""
    flow: Flow
    context: Any
    """For the owner."""


class ServerRequest:
    """A request that we were sent."""

    id: str
    message: Message
    flow: Flow
    """Where it came from, and the response goes to."""
    answered: bool
    context: Any
    """For the owner."""

    def respond(
        self, status: int, reason: str | None = None, *, now: float, headers: Headers = (), body: bytes = b"", content_type: str = ""
    ) -> None:
        """Send a response; one final response at most.

        Raises:
            StateError: it has its final response already.
        """
