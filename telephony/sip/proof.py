"""Keyed marks by which the services of one cluster know each other's requests (docs/adr/0011-proofs.md).

The source of a datagram can be forged; a request that is believed for the sake of its source bears a mark in its topmost Via that
only who has the cluster's key can make.

Rules:
- The mark is over what decides who is believed to ask for what: branch, method, Request-URI, Call-ID, CSeq, From and the asserted
  identity. Who has seen one can repeat that very request, and nothing else.
- The first key makes marks, each of them proves one: while a key is replaced both are there.
- A mark costs about 2 us, and so does looking at one.
"""

from collections.abc import Sequence
from hashlib import blake2s
from hmac import compare_digest

from telephony.sip.message import Message

DIGITS = 16
"""Hexadecimal digits of a mark: 64 bits."""
KEY_BYTES_MIN = 16
KEY_BYTES_MAX = 32
KEYS_MAX = 4


class Proofs:
    """Makes marks and looks at them.

    Raises:
        ValueError: no key, too many, or one of another size.
    """

    __slots__ = ("_keyed",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not 0 < len(keys) <= KEYS_MAX or not all(KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX for key in keys):
            raise ValueError(f"1 to {KEYS_MAX} keys of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes prove requests")
        self._keyed = tuple(blake2s(key=key, digest_size=DIGITS // 2) for key in keys)

    def mark(self, message: Message, branch: str) -> str:
        """The mark of a request that is sent with this branch."""
        keyed = self._keyed[0].copy()
        keyed.update(_content(message, branch))
        return keyed.hexdigest()

    def holds(self, message: Message, parameter: str) -> bool:
        """The topmost Via of a request that came has a mark, in this parameter (``;name=``), that only one of ours can have made."""
        via = message.via
        at = via.rfind(parameter)
        if at < 0:
            return False
        at += len(parameter)
        mark = via[at : at + DIGITS]
        if not mark.isascii():
            return False
        content = _content(message, message.branch)
        for each in self._keyed:
            keyed = each.copy()
            keyed.update(content)
            if compare_digest(mark, keyed.hexdigest()):
                return True
        return False


def prove(message: Message, proofs: Proofs) -> None:
    """Put the mark into the topmost Via of a request of our own, instead of one that is there."""
    via = message.via.partition(PROOF)[0]
    message.restamp(f"{via}{PROOF}{proofs.mark(message, message.branch)}")


PROOF = ";proof="
"""Via parameter of requests between routers and proxies."""


def _content(message: Message, branch: str) -> bytes:
    identity = message.get("p-asserted-identity") or ""
    text = f"{branch}\0{message.method} {message.uri}\0{message.call_id}\0{message.cseq}\0{message.get('from')}\0{identity}"
    return text.encode("utf-8", "surrogateescape")
