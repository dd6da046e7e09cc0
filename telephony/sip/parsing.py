"""Bytes to message: what `Message.parse` does (RFC 3261 section 7).

Rules:
- The common case costs a few dictionary look-ups: lines of a known shape, a start line and a CSeq as met before.
- What came last with as many lines and such a start is likely to have the shape of this one: that is tried first
  (`GUESS_START`), and costs one comparison of each line's beginning.
- Whatever is uncommon (folded lines, tags in odd places, several Via values on a line) goes by the exact way.
- What cannot be taken raises `MessageError`, with the message as far as it could be read if an answer is possible.
"""

import re
from typing import TYPE_CHECKING

from telephony.sip import shape as shapes
from telephony.sip.errors import MessageError
from telephony.sip.names import CACHED_CHARACTERS_MAX
from telephony.sip.shape import Shape
from telephony.sip.text import TOKEN, parameter, split
from telephony.sip.via import Via

if TYPE_CHECKING:
    from telephony.sip.message import Message

MESSAGE_BYTES_MAX = 65535
CSEQ_MAX = 0x7FFFFFFF
"""RFC 3261 section 8.1.1.5."""
STARTS_CACHED_MAX = 4096
"""Status lines and CSeq values that are remembered."""

GUESS_START = 9
"""Characters of the start line by which a shape is guessed: method, or class of status."""
GUESSES_MAX = 4096

_find_shape = shapes.find
_starts = str.startswith
_guesses: dict[tuple[int, str], Shape] = {}
_names = re.compile(r"\r\n([^:]*:)").findall
"""Header names with their colons; a line without a colon spoils the name after it, or is missing at the end."""
_status_lines: dict[str, tuple[int, str]] = {}
_cseqs: dict[str, tuple[int, str]] = {}


def read(message: "Message", data: bytes) -> None:
    """Fill a message.

    Raises:
        MessageError: it cannot be taken.
    """
    if data[:1] < b"!":
        data = data.lstrip(b"\r\n")
    if len(data) > MESSAGE_BYTES_MAX:
        raise MessageError(f"more than {MESSAGE_BYTES_MAX} bytes", 513)
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        if not data.endswith(b"\r\n"):
            raise MessageError("headers do not end")
        head = data[:-2]
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    start = lines[0]
    guess = _guesses.get((len(lines), start[:GUESS_START]))
    if guess is not None and all(map(_starts, lines, guess.starts)):
        shape = guess
    else:
        names = tuple(_names(text))
        found = _find_shape(names)
        if found is None or len(names) != len(lines) - 1:
            if "\r\n " in text or "\r\n\t" in text:
                lines = _unfold(text).split("\r\n")
                start = lines[0]
            names = tuple([line[: line.find(":") + 1] for line in lines[1:]])
            found = _find_shape(names) or shapes.make(names)
        shape = found
        if not shape.broken and _find_shape(names) is shape:
            if len(_guesses) >= GUESSES_MAX:
                _guesses.clear()
            _guesses[len(lines), start[:GUESS_START]] = shape
    message._lines = lines
    message._shape = shape
    message._first = shape.first
    message._more = shape.more
    message._top = []
    message.body = body
    known = _status_lines.get(start)
    if known is not None:
        message.method = None
        message.uri = ""
        message.status, message.reason = known
    else:
        method, _, rest = start.partition(" ")
        if method.isalpha() and method.isascii() and rest[-8:] == " SIP/2.0" and " " not in rest[:-8]:
            message.method = method
            message.uri = rest[:-8]
            message.status = 0
            message.reason = ""
        else:
            _start_line(message, start, shape)
    broken = shape.broken or _identify(message, shape, body)
    if not broken:
        joined = "".join(lines)
        if "\n" in joined or "\r" in joined:
            broken = "CR or LF within a header"
        elif "\0" in joined and head.count(b"\0") != head.count(b"\\\0"):
            broken = "NUL within a header"
        elif message.method is None or start.endswith(" SIP/2.0"):
            return
    _complete(message, shape)
    if message.method is not None and not start.endswith(" SIP/2.0"):
        raise MessageError("Version Not Supported", 505, answerable(message))
    raise MessageError(broken, 400, answerable(message))


def _identify(message: "Message", shape: Shape, body: bytes) -> str:
    """Read what every element needs; what is wrong with it, or an empty text."""
    lines = message._lines
    number, start = shape.via
    via = lines[number][start:].strip()
    if "," in via or ";;" in via or not via.startswith("SIP/2.0/"):
        try:
            via = _first_via(via)
        except ValueError:
            message.via = message.branch = via.partition(",")[0]
            return "bad Via"
    message.via = via
    at = via.find(";branch=")
    if at > 0:
        branch = via[at + 8 :]
        if ";" in branch:
            branch = branch[: branch.index(";")]
        message.branch = branch.rstrip()
    else:
        message.branch = parameter(via, "branch") or ""
    number, start = shape.call_id
    message.call_id = call_id = lines[number][start:].strip()
    number, start = shape.cseq
    value = lines[number][start:]
    known = _cseqs.get(value)
    if known is None:
        known = _read_cseq(value)
        if known is None:
            message.cseq, message.cseq_method = 0, ""
            return "bad CSeq"
    message.cseq, method = known
    message.cseq_method = method
    number, start = shape.length
    if number:
        digits = lines[number][start:].strip()
        if digits != str(len(body)):
            if not (digits.isascii() and digits.isdigit()) or len(digits) > 7:
                return "bad Content-Length"
            size = int(digits)
            if size > len(body):
                return "body shorter than Content-Length"
            message.body = body[:size]
    if method != message.method and message.method is not None:
        return "CSeq names another method"
    if not call_id:
        return "empty Call-ID"
    return ""


def _first_via(line: str) -> str:
    """The first of several values on a line, or one that is unusual.

    Raises:
        ValueError: one of them cannot be read.
    """
    comma = line.find(",")
    if comma >= 0 and comma == line.find(", SIP/2.0/") and line.count('"', 0, comma) in (0, 2) and ";;" not in line:
        return line[:comma].rstrip()
    values = split(line, ",")
    for value in values:
        Via.parse(value)
    return values[0].strip()


def _read_cseq(value: str) -> tuple[int, str] | None:
    number, _, method = value.strip().partition(" ")
    method = method.strip()
    if not (number.isascii() and number.isdigit()) or len(number) > 10 or int(number) > CSEQ_MAX or TOKEN.fullmatch(method) is None:
        return None
    found = int(number), method
    if len(value) <= CACHED_CHARACTERS_MAX:
        if len(_cseqs) >= STARTS_CACHED_MAX:
            _cseqs.clear()
        _cseqs[value] = found
    return found


def _start_line(message: "Message", line: str, shape: Shape) -> None:
    """RFC 3261 sections 7.1 and 7.2: single spaces, nothing around them."""
    parts = line.split(" ", 2)
    message.method = None
    message.uri = message.reason = ""
    message.status = 0
    if len(parts) < 3:
        raise MessageError("bad start line")
    first, second, third = parts
    if first[:4].upper() == "SIP/":
        if first.upper() != "SIP/2.0" or len(second) != 3 or not (second.isascii() and second.isdigit()) or not 100 <= int(second) <= 699:
            raise MessageError("bad status line")
        message.status = int(second)
        message.reason = third
        if len(line) <= CACHED_CHARACTERS_MAX:
            if len(_status_lines) >= STARTS_CACHED_MAX:
                _status_lines.clear()
            _status_lines[line] = (message.status, third)
        return
    message.method = first
    message.uri = second
    if third == "SIP/2.0" and (first.isalpha() or TOKEN.fullmatch(first)) and first.isascii():
        return
    if TOKEN.fullmatch(first) is None:
        raise MessageError("bad method")
    if third[:4].upper() != "SIP/" or " " in third:
        _complete(message, shape)
        raise MessageError("bad request line", 400, answerable(message))


def _complete(message: "Message", shape: Shape) -> None:
    """Of a message that is broken, read what an answer needs, as far as it goes."""
    message.via = message.branch = message.call_id = message.cseq_method = ""
    message.cseq = 0
    if all(name in message._first for name in ("via", "from", "to", "call-id", "cseq")):
        _identify(message, shape, message.body)


def answerable(message: "Message") -> "Message | None":
    """The message itself where enough of it is there to answer it: a request other than ACK with Via, From, To, Call-ID, CSeq."""
    if message.method in (None, "ACK"):
        return None
    if any(name not in message._first for name in ("via", "from", "to", "call-id", "cseq")):
        return None
    return message


def _unfold(text: str) -> str:
    """RFC 3261 section 7.3.1: a line that starts with space or tab goes on with the header before."""
    lines: list[str] = []
    for line in text.split("\r\n"):
        if lines and line[:1] in (" ", "\t"):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return "\r\n".join(lines)
