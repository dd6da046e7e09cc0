"""Why an envelope is refused: one type a check, in the order in which the checks are made.

A refusal is the sender's fault, or that of somebody on the way; the agent and the controller count them
by ``code`` and go on.
"""

from typing import ClassVar


class Refusal(ValueError):  # noqa: N818 - a word of the protocol
    """An envelope that is not taken. The message says what was expected and what came."""

    code: ClassVar[str] = "refused"
    """For counters and reports, lower case with hyphens."""


class Oversized(Refusal):
    """A frame is longer than its bound, or their number is wrong."""

    code = "oversized"


class Malformed(Refusal):
    """The header is not a header."""

    code = "malformed"


class WrongVersion(Refusal):
    """A wire version that this side does not speak."""

    code = "wrong-version"


class WrongRecipient(Refusal):
    """Meant for somebody else, from somebody else, or for another cluster."""

    code = "wrong-recipient"


class BadSignature(Refusal):
    """The sender named in the header did not sign it."""

    code = "bad-signature"


class StaleTerm(Refusal):
    """From a controller that another one has replaced."""

    code = "stale-term"


class UnknownSession(Refusal):
    """Of a session that is over or was never opened; the remedy is a new one."""

    code = "unknown-session"


class Replayed(Refusal):
    """Sequence number not above the last one taken."""

    code = "replayed"


class Expired(Refusal):
    """Too old."""

    code = "expired"


class Undecipherable(Refusal):
    """No key of ours opens it, or its content is not what the header names."""

    code = "undecipherable"


class WrongSchema(Refusal):
    """Opened, but not a message that is known here."""

    code = "wrong-schema"
