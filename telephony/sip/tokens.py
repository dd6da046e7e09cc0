"""Unguessable tokens for branches, tags and Call-IDs, from an injected source of random bytes."""

import secrets
from collections.abc import Callable
from zlib import crc32

_POOL_BYTES = 4096
MARK_DIGITS = 8


class Tokens:
    """Hands out tokens of 16 hexadecimal digits (64 bits) from a pool, since asking the kernel for each is dear."""

    __slots__ = ("_at", "_pool", "_random")

    def __init__(self, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random = random
        self._pool = ""
        self._at = 0

    def take(self) -> str:
        """One token."""
        at = self._at
        if at >= len(self._pool):
            self._pool = self._random(_POOL_BYTES).hex()
            at = 0
        self._at = at + 16
        return self._pool[at : at + 16]


def mark(address: str) -> str:
    """End of every dialog tag of the endpoint at ``address`` (``host:port``): 8 hexadecimal digits.

    Who sees the tag alone can tell whose dialog it is. Phones that forget the route set address the proxy instead of the
    dialog's remote target; the mark brings them there all the same.
    """
    return f"{crc32(address.encode()):08x}"
