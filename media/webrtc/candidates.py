"""Candidates in SDP (RFC 8839): what is read of a peer's, and our own one.

Rules:
- Only UDP, component 1 (RTP and RTCP are multiplexed), IP literals: a name (mDNS) is not looked up; its owner is learned from its checks.
- At most `CANDIDATES_MAX` are kept.
"""

import ipaddress
from dataclasses import dataclass

CANDIDATES_MAX = 24
TYPES = ("host", "srflx", "prflx", "relay")
HOST_PREFERENCE, PEER_REFLEXIVE_PREFERENCE = 126, 110
_LOCAL_PREFERENCE = 65535
FUNCTIONS = ("sha-1", "sha-224", "sha-256", "sha-384", "sha-512")
"""Hash functions of ``a=fingerprint`` (RFC 8122 section 5) that we can check, the weakest first."""
CREDENTIAL_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@dataclass(frozen=True)
class Credentials:
    """Short-term credentials of one side."""

    ufrag: str = ""
    password: str = ""

    def valid(self) -> bool:
        """They are of the form of RFC 8839 section 5.4."""
        both = self.ufrag + self.password
        return 4 <= len(self.ufrag) <= 256 and 22 <= len(self.password) <= 256 and CREDENTIAL_CHARACTERS.issuperset(both)

    def __repr__(self) -> str:
        return f"Credentials({self.ufrag!r})"


@dataclass(frozen=True)
class Candidate:
    """Where a peer may be reached."""

    host: str
    port: int
    priority: int


def priority(preference: int) -> int:
    """Of our only candidate, or one that was learned from it (RFC 8445 section 5.1.2.1)."""
    return preference << 24 | _LOCAL_PREFERENCE << 8 | 255


def read(value: str) -> Candidate | None:
    """What stands behind ``a=candidate:``; None: nothing for us. Never raises."""
    words = value.split()
    if len(words) < 8 or words[1] != "1" or words[2].lower() != "udp" or words[6] != "typ" or words[7] not in TYPES:
        return None
    numbers = words[3], words[5]
    if any(not (number.isascii() and number.isdigit() and len(number) <= 10) for number in numbers):
        return None
    try:
        host = ipaddress.ip_address(words[4])
    except ValueError:
        return None
    rank, port = int(words[3]), int(words[5])
    if not 0 < port < 65536 or not 0 < rank < 1 << 32 or host.is_multicast or host.is_unspecified:
        return None
    return Candidate(str(host), port, rank)


def write(host: str, port: int) -> str:
    """Our own one, behind ``a=candidate:``."""
    return f"1 1 udp {priority(HOST_PREFERENCE)} {host} {port} typ host"
