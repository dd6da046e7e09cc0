"""Keys in SDP: ``a=crypto`` (RFC 4568).

Rules:
- The offerer's order decides; a line that we can't honour in full (unknown suite, MKI, several keys, a session parameter that must be
  understood) is passed over, as section 5.1.2 wants.
- The answer takes one line, with its tag, and a key of the answerer's own: each side's key is for what that side sends.
- Keys are never shown: neither by ``repr`` nor in errors.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field

from media.srtp.suites import BY_NAME, OFFERED, Suite

LINES_MAX = 16
"""Lines looked at in one section."""
_OPTIONAL = ("WSH=",)
"""Session parameters that may be passed over (section 6.3.7)."""


@dataclass(frozen=True)
class Crypto:
    """One ``a=crypto`` line."""

    tag: int
    suite: str
    key: bytes = field(repr=False)
    """Master key and master salt of who says it."""

    def __str__(self) -> str:
        """What stands behind ``a=crypto:``. It holds the key."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


def read(line: str) -> Crypto | None:
    """A line that we can honour in full; None: any other. Never raises."""
    words = line.split()
    if len(words) < 3 or not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 9):
        return None
    tag, name, parameters, *session = words
    suite = BY_NAME.get(name)
    method, _, value = parameters.partition(":")
    encoded, *limits = value.split("|")
    # What follows may be the key's lifetime; a master key identifier has a colon.
    if suite is None or method != "inline" or ";" in value or len(limits) > 1 or any(":" in limit for limit in limits):
        return None
    if any(not each.startswith(("-", *_OPTIONAL)) for each in session):
        return None
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Crypto(int(tag), name, key) if len(key) == suite.key_bytes else None


def choose(lines: list[str], among: frozenset[tuple[int, str]] | None = None) -> Crypto | None:
    """The first line that we can honour; ``among``: tag and suite of what we offered, where this is the answer."""
    for line in lines[:LINES_MAX]:
        crypto = read(line)
        if crypto is not None and (among is None or (crypto.tag, crypto.suite) in among):
            return crypto
    return None


def offer(draw: Callable[[int], bytes]) -> list[Crypto]:
    """Our lines, the best suite first; ``draw`` gives so many bytes by chance."""
    return [Crypto(tag, suite.name, draw(suite.key_bytes)) for tag, suite in enumerate(OFFERED, start=1)]


def suite_of(crypto: Crypto) -> Suite:
    """The suite of a line that was read."""
    return BY_NAME[crypto.suite]
