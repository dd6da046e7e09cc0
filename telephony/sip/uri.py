"""SIP and SIPS URIs (RFC 3261 section 19.1), and any other scheme as opaque text.

Rules:
- A URI keeps the spelling it came in; `user`, `password` and parameters are shown as written (escapes kept),
  `username` with escapes undone.
- The host is in lower case, an IPv6 address without its brackets and in its one canonical form (RFC 5952).
- `Uri.parse` is cached: a URI is a value.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from telephony.sip.names import CACHED_CHARACTERS_MAX
from telephony.sip.text import Parameters, escape, parameters, unescape

URIS_CACHED_MAX = 4096

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9\-.]*[A-Za-z0-9])?\.?))(?::([0-9]{1,5}))?")
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])+")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*")
_PLAIN = re.compile(r"(sips?):([A-Za-z0-9\-_.!~*'()&=+$,]+)@([a-z0-9](?:[a-z0-9\-.]*[a-z0-9])?)(?::([0-9]{1,4}))?")
"""Most URIs: a user without escapes, a host in lower case, a port that cannot be out of range, nothing else."""
_BAD = re.compile(r"[\x00-\x20<>\"\x7f]|%(?![0-9A-Fa-f]{2})")
_USER_KEEP = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$,;?/")


class Uri(NamedTuple):
    """One URI. Build with `Uri.parse` or `Uri.of`; `str` gives the wire form."""

    scheme: str
    """``sip``, ``sips``, or another scheme in lower case."""
    user: str
    """User part as written, without the password; empty if there is none."""
    password: str
    host: str
    """Lower case, IPv6 without brackets. For a scheme other than sip and sips: the opaque rest."""
    port: int | None
    """None where the URI names none."""
    parameters: Parameters
    headers: str
    """What follows ``?``, as written."""

    @staticmethod
    def parse(text: str) -> "Uri":
        """Read a URI.

        Raises:
            ValueError: not a URI, or not one that RFC 3261 allows.
        """
        return _parse(text) if len(text) <= CACHED_CHARACTERS_MAX else _read(text)

    @staticmethod
    def of(user: str, host: str, port: int | None = None, parameters: Parameters = (), scheme: str = "sip") -> "Uri":
        """Build a URI of an unescaped user part."""
        return Uri(scheme, escape(user, _USER_KEEP), "", host, port, parameters, "")

    @property
    def username(self) -> str:
        """User part with its escapes undone."""
        return unescape(self.user)

    @property
    def is_sip(self) -> bool:
        """A sip or sips URI."""
        return self.scheme in ("sip", "sips")

    @property
    def transport(self) -> str:
        """Value of the transport parameter in lower case; empty if there is none."""
        return (self.parameter("transport") or "").lower()

    def parameter(self, name: str) -> str | None:
        """Value of a parameter, ``""`` if it has none, None if absent. ``name`` is in lower case."""
        for key, value in self.parameters:
            if key == name:
                return value or ""
        return None

    def __str__(self) -> str:
        if not self.is_sip:
            return f"{self.scheme}:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}:{self.password}@" if self.password else f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        tail = "".join(f";{key}" if value is None else f";{key}={value}" for key, value in self.parameters)
        return f"{self.scheme}:{user}{host}{port}{tail}{'?' + self.headers if self.headers else ''}"

    def equivalent(self, other: "Uri") -> bool:
        """The same resource by the comparison rules of RFC 3261 section 19.1.4."""
        if self.scheme != other.scheme or unescape(self.user) != unescape(other.user) or self.password != other.password:
            return False
        if self.host != other.host or self.port != other.port or self.headers.lower() != other.headers.lower():
            return False
        mine, theirs = dict(self.parameters), dict(other.parameters)
        for name in ("user", "ttl", "method", "maddr", "transport"):
            if (name in mine) != (name in theirs):
                return False
        return all(unescape(value or "").lower() == unescape(theirs[name] or "").lower() for name, value in mine.items() if name in theirs)


def _read(text: str) -> Uri:
    match = _PLAIN.fullmatch(text)
    if match is not None:
        scheme, user, host, digits = match.groups()
        if digits is None or digits.strip("0"):
            return Uri(scheme, user, "", host, None if digits is None else int(digits), (), "")
    scheme, colon, rest = text.partition(":")
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise ValueError(f"expected a URI, got {text[:80]!r}")
    if _BAD.search(rest):
        raise ValueError(f"character that no URI may hold in {text[:80]!r}")
    scheme = scheme.lower()
    if scheme not in ("sip", "sips"):
        if not rest:
            raise ValueError(f"empty URI {text!r}")
        return Uri(scheme, "", "", rest, None, (), "")
    user = password = ""
    before, at, after = rest.rpartition("@")
    if at:
        user, _, password = before.partition(":")
        if _USER.fullmatch(user) is None or _PASSWORD.fullmatch(password) is None:
            raise ValueError(f"bad user part in {text[:80]!r}")
        rest = after
    rest, _, headers = rest.partition("?")
    hostport, semicolon, tail = rest.partition(";")
    match = _HOST.fullmatch(hostport)
    if match is None:
        raise ValueError(f"bad host in {text[:80]!r}")
    port = int(match[3]) if match[3] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"port out of range in {text[:80]!r}")
    return Uri(scheme, user, password, _host(match), port, parameters(semicolon + tail), headers)


_parse = lru_cache(URIS_CACHED_MAX)(_read)


def host_port(text: str, port: int = 5060) -> tuple[str, int]:
    """Host and port of ``host:port``, ``host`` or ``[v6]:port``.

    Raises:
        ValueError: neither of them.
    """
    match = _HOST.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected host or host:port, got {text[:80]!r}")
    return _host(match), int(match[3]) if match[3] else port


def _host(match: re.Match[str]) -> str:
    """
    Raises:
        ValueError: what stands in brackets is no IPv6 address.
    """
    literal: str | None = match[1]
    # the first grammar wanted a colon too many before an IPv4 address, and some wrote it (RFC 5118 section 4.10)
    return match[2].lower() if literal is None else str(IPv6Address(literal.replace(":::", "::")))
