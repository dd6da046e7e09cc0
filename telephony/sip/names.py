"""Names of headers: compact forms, and the spelling that goes on the wire (RFC 3261 section 7.3.3, IANA SIP parameters)."""

from telephony.sip.text import TOKEN

SPELLINGS_CACHED_MAX = 1024
CACHED_CHARACTERS_MAX = 512
"""What is longer is not remembered, in any cache of what peers send: caches are bounded in bytes as well."""

COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_SPELLING = {
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "mime-version": "MIME-Version",
    "www-authenticate": "WWW-Authenticate",
    "rseq": "RSeq",
    "rack": "RAck",
    "min-se": "Min-SE",
    "sip-etag": "SIP-ETag",
    "sip-if-match": "SIP-If-Match",
}


def canonical(name: str) -> str:
    """Name of a header in lower case, its compact form resolved; empty if it is no token. Spaces before the colon are allowed."""
    key = name.rstrip(" \t").lower()
    key = COMPACT.get(key, key)
    return key if TOKEN.fullmatch(key) is not None else ""


def spelling(name: str) -> str:
    """The usual spelling of a header's name.

    Raises:
        ValueError: not a token.
    """
    found = _SPELLING.get(name)
    if found is None:
        if name.islower():
            found = "-".join(part.capitalize() for part in name.split("-"))
        else:
            found = name
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"bad header name {name!r}")
        if len(_SPELLING) < SPELLINGS_CACHED_MAX and len(name) <= CACHED_CHARACTERS_MAX:
            _SPELLING[name] = found
    return found
