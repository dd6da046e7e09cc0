"""Two kinds of mistakes, kept apart: the peer's and ours.

- `MessageError`: what a peer sent breaks the rules. It carries the status to answer with.
- `StateError`: our own code asked for something that the state of a session or transaction does not allow.
- A value that must not go on the wire (CR, LF or NUL in a header) is a plain `ValueError` where it is given.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telephony.sip.message import Message


class MessageError(Exception):
    """A message of a peer that cannot be taken as it is."""

    def __init__(self, reason: str, status: int = 400, message: "Message | None" = None) -> None:
        super().__init__(reason)
        self.reason = reason
        """What was expected and what came; fit for a reason phrase."""
        self.status = status
        """Status to answer a request with (RFC 3261 section 21)."""
        self.message = message
        """What could be read of it, where that is enough to answer; else None."""


class StateError(Exception):
    """The action is not possible in the present state (BYE of an ended session, a second final response, ...)."""
