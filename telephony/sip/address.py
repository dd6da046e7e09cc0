"""name-addr and addr-spec with their parameters: From, To, Contact, Route, Record-Route, Refer-To (RFC 3261 section 20.10).

Rules:
- Without angle brackets, what follows the first ``;`` belongs to the header, not to the URI, and a comma, a
  question mark or a semicolon inside the URI needs brackets.
- A display name is a quoted string or tokens; `display_name` is shown without its quotes.
"""

import re
from typing import NamedTuple

from telephony.sip.text import Parameters, parameters, quote, split, unquote
from telephony.sip.uri import Uri

_SEPARATOR = re.compile(r'[,;:@<>()\[\]\\"/?={}]')
"""What a display name without quotes must not hold: it is tokens. Text beyond ASCII is let through."""


class Address(NamedTuple):
    """One address with its header parameters."""

    uri: Uri
    display_name: str = ""
    parameters: Parameters = ()

    @staticmethod
    def parse(text: str) -> "Address":
        """Read one address.

        Raises:
            ValueError: neither name-addr nor addr-spec.
        """
        left = _open(text)
        if left < 0:
            spec, semicolon, tail = text.strip().partition(";")
            spec = spec.rstrip()
            if "," in spec or "?" in spec:
                raise ValueError(f"URI with ',' or '?' needs angle brackets: {text[:80]!r}")
            return Address(Uri.parse(spec), "", parameters(semicolon + tail))
        right = text.find(">", left)
        if right < 0:
            raise ValueError(f"angle bracket is left open in {text[:80]!r}")
        name = text[:left].strip()
        if name.startswith('"'):
            if len(name) < 2 or not name.endswith('"'):
                raise ValueError(f"quote is left open in {text[:80]!r}")
            name = unquote(name)
        elif _SEPARATOR.search(name):
            raise ValueError(f"display name needs quotes in {text[:80]!r}")
        return Address(Uri.parse(text[left + 1 : right]), name, parameters(text[right + 1 :]))

    @staticmethod
    def parse_list(text: str) -> "list[Address]":
        """Read a comma-separated list.

        Raises:
            ValueError: one of them cannot be read.
        """
        return [Address.parse(part) for part in split(text, ",")]

    def parameter(self, name: str) -> str | None:
        """Value of a header parameter, ``""`` if it has none, None if absent."""
        for key, value in self.parameters:
            if key == name:
                return value or ""
        return None

    @property
    def tag(self) -> str:
        """Tag of a From or To; empty if there is none."""
        return self.parameter("tag") or ""

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        tail = "".join(f";{key}" if value is None else f";{key}={value}" for key, value in self.parameters)
        return f"{name}<{self.uri}>{tail}"


def _open(text: str) -> int:
    """Where the angle bracket opens, outside of quotes; -1: nowhere."""
    if '"' not in text:
        return text.find("<")
    at = 0
    size = len(text)
    quoted = False
    while at < size:
        character = text[at]
        if quoted:
            if character == "\\":
                at += 1
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character == "<":
            return at
        at += 1
    if quoted:
        raise ValueError(f"quote is left open in {text[:80]!r}")
    return -1


def tag_of(text: str) -> str:
    """Tag of a From or To value, by the shortest way; empty if there is none."""
    if '"' in text:
        try:
            return Address.parse(text).tag
        except ValueError:
            return ""
    at = text.find(">")
    tail = text if at < 0 else text[at:]
    at = tail.find(";tag=")
    if at >= 0:
        at += 5
        end = tail.find(";", at)
        return (tail[at:] if end < 0 else tail[at:end]).strip()
    if ";" not in tail:
        return ""
    for part in tail.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "tag":
            return value.strip()
    return ""
