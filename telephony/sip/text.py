"""What the grammars of several headers share: parameters, comma-separated lists, escapes.

Rules (RFC 3261 section 25.1):
- A comma separates values only outside of quotes and angle brackets.
- Parameter names are compared without case; a value may be a token, a host or a quoted string.
- Nothing here changes the text that it does not have to read.
"""

import re

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
"""``token`` of RFC 3261 section 25.1."""
_FORBIDDEN = re.compile(r"[\r\n]|(?<!\\)\0")
"""NUL is only allowed as a quoted pair (RFC 3261 section 25.1, RFC 4475 section 3.1.1.2)."""
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"<>]*', re.DOTALL)
"""What a parameter may hold: a whole quoted string, or no quote, space or angle bracket at all."""
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")

Parameters = tuple[tuple[str, str | None], ...]
"""Names in lower case with their values as written; None: a parameter without a value."""


def safe(value: str) -> str:
    """The value itself.

    Raises:
        ValueError: it holds CR, LF or NUL, and would end the header that it is put in.
    """
    if ("\r" in value or "\n" in value or "\0" in value) and _FORBIDDEN.search(value):
        raise ValueError(f"header value with CR, LF or NUL: {value!r}")
    return value


def parameter(text: str, name: str) -> str | None:
    """Value of one parameter in ``;a=b;c`` text, without building the others; ``""`` if it has none, None if absent.

    ``name`` is in lower case. The text may start with what the parameters belong to. In text with an open quote or angle
    bracket there are none.
    """
    at = text.find(f";{name}=")
    if at >= 0 and '"' not in text:
        at += len(name) + 2
        end = text.find(";", at)
        return (text[at:] if end < 0 else text[at:end]).strip()
    if ";" not in text:
        return None
    try:
        parts = split(text, ";")
    except ValueError:
        return None
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip()
    return None


def parameters(text: str) -> Parameters:
    """Every parameter of ``;a=b;c`` text.

    Raises:
        ValueError: a name is not a token, or a value has an open quote.
    """
    if not text or text.isspace():
        return ()
    parts = split(text, ";")
    if parts[0].strip():
        raise ValueError(f"expected ';' before a parameter, got {text!r}")
    found: list[tuple[str, str | None]] = []
    for part in parts[1:]:
        key, equals, value = part.partition("=")
        key = key.strip()
        value = value.strip()
        if TOKEN.fullmatch(key) is None or (equals and not value) or _VALUE.fullmatch(value) is None:
            raise ValueError(f"bad parameter {part.strip()!r}")
        found.append((key.lower(), value if equals else None))
    return tuple(found)


def split(text: str, separator: str) -> list[str]:
    """Split outside of quotes and angle brackets; parts keep their spaces.

    Raises:
        ValueError: a quote or an angle bracket is left open.
    """
    if '"' not in text and "<" not in text:
        return text.split(separator)
    parts = []
    start = at = 0
    size = len(text)
    quoted = False
    angled = False
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
            angled = True
        elif character == ">":
            angled = False
        elif character == separator and not angled:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    if quoted or angled:
        raise ValueError(f"open quote or angle bracket in {text!r}")
    parts.append(text[start:])
    return parts


def unquote(text: str) -> str:
    """Content of a quoted string, its escapes undone; any other text as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
        if "\\" in text:
            return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
    return text


def quote(text: str) -> str:
    """A quoted string of any text without CR, LF and NUL."""
    return '"' + safe(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unescape(text: str) -> str:
    """Undo %HH escapes of a URI part; bytes that are no UTF-8 become surrogates."""
    if "%" not in text:
        return text
    out = bytearray()
    at = 0
    for match in _ESCAPE.finditer(text):
        out += text[at : match.start()].encode("utf-8", "surrogateescape")
        out.append(int(match[1], 16))
        at = match.end()
    out += text[at:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def escape(text: str, keep: frozenset[int]) -> str:
    """%HH-escape every byte of the text that is not in ``keep``."""
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))
