"""What a codec of DNS messages gives to the resolver."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from telephony.sip.resolution import Question, Record

ALIASES_MAX = 8
"""CNAMEs that lead to a name's records; more of them are taken for a loop."""
RECORDS_MAX = 64
"""Records of one answer that are looked at."""


class StrangeError(Exception):
    """It is no reply to our query: forged, late, or broken."""


class Reply(NamedTuple):
    """A name server's reply to our query."""

    records: Sequence[Record] = ()
    alias: str = ""
    """No records, but the name stands for this one."""
    seconds: int | None = None
    """Time to live; of a negative answer too. None: it does not say."""
    truncated: bool = False
    """To be asked again over TCP."""
    refused: bool = False
    """This server does not tell (SERVFAIL, REFUSED, ...)."""
    misunderstood: bool = False
    """It may tell when it is asked in the old form, without EDNS."""


class Codec(Protocol):
    """`telephony.dns.codec`."""

    def query(self, id: int, question: Question, extended: bool) -> bytes: ...
    def read(self, data: bytes, id: int, question: Question) -> Reply: ...
