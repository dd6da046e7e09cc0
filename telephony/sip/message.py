"""A SIP message kept as the lines it came in: read lazily, edited in place, never rebuilt (RFC 3261 section 7).

Rules:
- `Message.parse` reads the start line, finds each header's line, and reads the six headers that every element
  needs (Via, From, To, Call-ID, CSeq, Content-Length). All else is read when asked for.
- What is not edited leaves exactly as it came, byte for byte, folded lines unfolded.
- Bytes that are no UTF-8 survive unchanged (``surrogateescape``).
- A value with CR, LF or NUL is refused when it is set: no caller can inject a header.
- Several values on one line are several values: `get_all`, `pop` and `replace_first` see values where a list is allowed.

Limits: `MESSAGE_BYTES_MAX`, `HEADERS_MAX`.
"""

from collections.abc import Iterable

from telephony.sip.address import tag_of
from telephony.sip.errors import MessageError
from telephony.sip.names import CACHED_CHARACTERS_MAX, spelling
from telephony.sip.parsing import CSEQ_MAX as CSEQ_MAX
from telephony.sip.parsing import MESSAGE_BYTES_MAX as MESSAGE_BYTES_MAX
from telephony.sip.parsing import read
from telephony.sip.shape import HEADERS_MAX as HEADERS_MAX
from telephony.sip.shape import Shape
from telephony.sip.status import reason_phrase
from telephony.sip.text import TOKEN, safe, split

Headers = Iterable[tuple[str, str]]
"""Names and values of headers to add, in order."""

LISTS = frozenset(
    [
        "via",
        "route",
        "record-route",
        "path",
        "service-route",
        "contact",
        "accept",
        "accept-encoding",
        "accept-language",
        "alert-info",
        "allow",
        "call-info",
        "content-encoding",
        "content-language",
        "error-info",
        "in-reply-to",
        "proxy-require",
        "require",
        "supported",
        "unsupported",
        "warning",
        "allow-events",
        "history-info",
        "p-asserted-identity",
        "security-client",
        "security-server",
        "security-verify",
        "reason",
        "diversion",
    ]
)
"""Headers whose values may stand on one line, separated by commas."""


HOPS_CACHED_MAX = 1024
"""Lines of Max-Forwards that are remembered."""
_hops: dict[str, tuple[int, str]] = {}
"""A line to its number, and to the line with one hop less."""


class Message:
    """A request or a response. Never build it by hand: `parse`, `make_request`, `make_response`."""

    __slots__ = (
        "_first",
        "_lines",
        "_more",
        "_shape",
        "_top",
        "body",
        "branch",
        "call_id",
        "cseq",
        "cseq_method",
        "method",
        "reason",
        "received_bytes",
        "status",
        "uri",
        "via",
    )

    _lines: list[str]
    _first: dict[str, int]
    _more: dict[str, list[int]] | None
    _top: list[str]
    _shape: Shape | None
    method: str | None
    """Method of a request; None in a response."""
    uri: str
    """Request-URI; empty in a response. Change it with `retarget`."""
    status: int
    """Status code of a response; 0 in a request."""
    reason: str
    body: bytes
    received_bytes: int
    """Size of what it was read from; 0: it was made here."""
    via: str
    """Topmost Via value as it came."""
    branch: str
    """Branch of the topmost Via; empty if it has none."""
    call_id: str
    cseq: int
    cseq_method: str
    """Method that the CSeq names: of a request, its own."""

    @staticmethod
    def parse(data: bytes) -> "Message":
        """Read a datagram, or one framed message of a stream.

        Raises:
            MessageError: it cannot be taken. Where a request could be read so far that an answer is possible,
                the error carries it (`MessageError.message`).
        """
        message = Message.__new__(Message)
        message.received_bytes = len(data)
        read(message, data)
        return message

    # Reading

    @property
    def shape(self) -> Shape | None:
        """The order of its headers, shared by all messages of that order; None: it was edited."""
        return self._shape

    @property
    def from_tag(self) -> str:
        """Tag of the From; empty if it has none."""
        return self._tag("from")

    @property
    def to_tag(self) -> str:
        """Tag of the To; empty outside of a dialog."""
        return self._tag("to")

    def get(self, name: str) -> str | None:
        """First line's value of a header, without surrounding space; None if absent. ``name`` is in lower case."""
        if self._top:
            for line in reversed(self._top):
                if line[: line.find(":")].lower() == name:
                    return line[line.find(":") + 1 :].strip()
        number = self._first.get(name)
        if number is None:
            return None
        line = self._lines[number]
        return line[line.find(":") + 1 :].strip()

    def line(self, name: str) -> str:
        """The first line of a header that is there, its name included, as it came."""
        return self._lines[self._first[name]]

    def has(self, name: str) -> bool:
        """Whether the header is present. ``name`` is in lower case."""
        return name in self._first or (bool(self._top) and self.get(name) is not None)

    def get_lines(self, name: str) -> list[str]:
        """Value of each line of a header, lists not split."""
        if not self._top and (self._more is None or name not in self._more):
            number = self._first.get(name)
            if number is None:
                return []
            line = self._lines[number]
            return [line[line.find(":") + 1 :].strip()]
        found = [line[line.find(":") + 1 :].strip() for line in reversed(self._top) if line[: line.find(":")].lower() == name]
        found += [line[line.find(":") + 1 :].strip() for line in map(self._lines.__getitem__, self._numbers(name))]
        return found

    def get_all(self, name: str) -> list[str]:
        """Every value of a header; values of one line are split where the header is a list.

        Raises:
            MessageError: a quote or an angle bracket is left open.
        """
        found = self.get_lines(name)
        if not found or name not in LISTS or ("," not in found[0] if len(found) == 1 else not any("," in value for value in found)):
            return found
        try:
            return [part.strip() for value in found for part in split(value, ",") if part.strip()]
        except ValueError as error:
            raise MessageError(f"{spelling(name)}: {error}", 400, self) from None

    def number(self, name: str, largest: int = 0xFFFFFFFF) -> int | None:
        """Value of a header that is a number (Expires, Max-Forwards, ...); None if absent.

        Raises:
            MessageError: not a number, or above ``largest``.
        """
        value = self.get(name)
        if value is None:
            return None
        digits = value.partition(";")[0].strip()
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) > largest:
            raise MessageError(f"bad {spelling(name)}", 400, self)
        return int(digits)

    def names(self) -> list[str]:
        """Names of the headers that are there, lower case, each once."""
        found = dict.fromkeys(line[: line.find(":")].lower() for line in reversed(self._top))
        found.update(dict.fromkeys(self._first))
        return list(found)

    @property
    def passed_on(self) -> bool:
        """More than one hop has put its Via on it."""
        return (self._more is not None and "via" in self._more) or "," in self._lines[self._first["via"]]

    # Editing

    def retarget(self, uri: str) -> None:
        """Change the Request-URI."""
        self.uri = safe(uri)
        self._lines[0] = f"{self.method} {uri} SIP/2.0"

    def prepend(self, name: str, value: str) -> None:
        """Put a header line above every other of its name."""
        self._top.append(f"{spelling(name)}: {safe(value)}")

    def prepend_line(self, line: str) -> None:
        """`prepend` of a whole header line that is known to be clean."""
        self._top.append(line)

    def add(self, name: str, value: str) -> None:
        """Put a header line below every other of its name."""
        self._own()
        key = name.lower()
        self._lines.append(f"{spelling(name)}: {safe(value)}")
        number = len(self._lines) - 1
        if key in self._first:
            if self._more is None:
                self._more = {}
            self._more.setdefault(key, []).append(number)
        else:
            self._first[key] = number

    def set(self, name: str, value: str) -> None:
        """Replace every line of a header by one, in the place of the first."""
        key = name.lower()
        numbers = self._numbers(key)
        if self._top or len(numbers) != 1:
            self.remove(key)
            self.add(name, value)
        else:
            self._lines[numbers[0]] = f"{spelling(name)}: {safe(value)}"

    def remove(self, name: str) -> bool:
        """Remove every line of a header; True if there was one."""
        self._own()
        key = name.lower()
        numbers = self._numbers(key)
        for number in numbers:
            self._lines[number] = ""
        if numbers:
            del self._first[key]
            if self._more is not None:
                self._more.pop(key, None)
        before = len(self._top)
        if before:
            self._top = [line for line in self._top if line[: line.find(":")].lower() != key]
        return bool(numbers) or len(self._top) != before

    def pop(self, name: str) -> str | None:
        """Remove and return the first value of a list header (topmost Via, topmost Route); None if absent."""
        number = self._first.get(name)
        if number is None or self._top:
            values = self.get_all(name)
            if not values:
                return None
            self.remove(name)
            for value in values[1:]:
                self.add(name, value)
            return values[0]
        line = self._lines[number]
        colon = line.find(":")
        if "," in line:
            first, *rest = split(line[colon + 1 :], ",")
            if rest:
                self._lines[number] = line[: colon + 1] + " " + ",".join(rest).strip()
                return first.strip()
        shape = self._shape
        if shape is not None:
            del self._lines[number]
            self._shape = shape = shape.pop(name)
            self._first = shape.first
            self._more = shape.more
            return line[colon + 1 :].strip()
        self._lines[number] = ""
        more = self._more
        if more is not None and name in more:
            numbers = more[name]
            self._first[name] = numbers.pop(0)
            if not numbers:
                del more[name]
        else:
            del self._first[name]
        return line[colon + 1 :].strip()

    def replace_first(self, name: str, value: str) -> None:
        """Replace the first value of a list header and leave the others as they are; adds it if absent."""
        self.pop(name)
        self.prepend(name, value)

    def spend_hop(self) -> int:
        """Take one from Max-Forwards, in place; what was there before. A missing one becomes 70 (RFC 3261 section 16.6).

        Raises:
            MessageError: not a number of 0 to 255.
        """
        number = self._first.get("max-forwards")
        if number is None:
            self.add("max-forwards", "70")
            return 71
        line = self._lines[number]
        known = _hops.get(line)
        if known is None:
            digits = line[line.find(":") + 1 :].strip()
            if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or (hops := int(digits)) > 255:
                raise MessageError("bad Max-Forwards", 400, self)
            known = hops, f"Max-Forwards: {hops - 1}" if hops else line
            if len(line) <= CACHED_CHARACTERS_MAX:
                if len(_hops) >= HOPS_CACHED_MAX:
                    _hops.clear()
                _hops[line] = known
        self._lines[number] = known[1]
        return known[0]

    def restamp(self, via: str) -> None:
        """Replace the topmost Via value that came (not one that was prepended) by the same one with more parameters."""
        number = self._first["via"]
        line = self._lines[number]
        colon = line.find(":")
        rest = line[colon + 1 :].strip()[len(self.via) :]
        self._lines[number] = f"Via: {via}{rest}"
        self.via = via

    def unprepend(self) -> None:
        """Take back every `prepend`: what a proxy put on top before it sent the request on."""
        self._top.clear()

    def set_body(self, body: bytes, content_type: str = "application/sdp") -> None:
        """Replace the body; an empty one removes Content-Type."""
        self.body = body
        if body:
            self.set("content-type", content_type)
        else:
            self.remove("content-type")
        self.set("content-length", str(len(body)))

    def identity(self, to_tag: str = "") -> str:
        """The lines that a response repeats: Via, From, To, Call-ID, CSeq, each with its line end (RFC 3261 section 8.2.6.2).

        ``to_tag`` is for a request whose To has none.
        """
        lines = self._lines
        first = self._first
        via = lines[first["via"]]
        if self._more is not None and "via" in self._more:
            via = "\r\n".join([via, *(lines[number] for number in self._more["via"])])
        tag = to_tag and f";tag={to_tag}"
        return f"{via}\r\n{lines[first['from']]}\r\n{lines[first['to']]}{tag}\r\n{lines[first['call-id']]}\r\n{lines[first['cseq']]}\r\n"

    def serialize(self) -> bytes:
        """The message as it goes on the wire; a missing Content-Length is added."""
        lines = self._lines
        if "content-length" not in self._first:
            self.add("content-length", str(len(self.body)))
        if self._top:
            lines = lines[:]
            lines[1:1] = self._top[::-1]
        if self._shape is None:
            lines = [line for line in lines if line]  # those that were taken off
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body

    def size(self) -> int:
        """Bytes on the wire, nearly: characters outside of ASCII count as one, an empty line left by an edit as two."""
        lines, top = self._lines, self._top
        return sum(map(len, lines)) + sum(map(len, top)) + 2 * (len(lines) + len(top)) + 2 + len(self.body)

    def copy(self) -> "Message":
        """An independent copy, for a request that goes to several targets."""
        other = Message.__new__(Message)
        other._first = self._first
        other._more = self._more
        other._shape = self._shape
        other.body = self.body
        other.branch = self.branch
        other.call_id = self.call_id
        other.cseq = self.cseq
        other.cseq_method = self.cseq_method
        other.method = self.method
        other.reason = self.reason
        other.received_bytes = self.received_bytes
        other.status = self.status
        other.uri = self.uri
        other.via = self.via
        other._lines = self._lines[:]
        other._top = self._top[:]
        if self._shape is None:
            other._first = self._first.copy()
            other._more = None if self._more is None else {name: numbers[:] for name, numbers in self._more.items()}
        return other

    def __repr__(self) -> str:
        return f"<Message {self._lines[0]!r} {self.call_id!r} {self.cseq} {self.cseq_method}>"

    def _tag(self, name: str) -> str:
        line = self._lines[self._first[name]]
        at = line.rfind(";tag=")
        if at >= 0:
            tag = line[at + 5 :]
            if tag.isalnum():
                return tag
        return tag_of(line[line.find(":") + 1 :])

    def _own(self) -> None:
        """Before its index changes: stop sharing it with every message of this shape."""
        if self._shape is not None:
            self._shape = None
            self._first = self._first.copy()
            if self._more is not None:
                self._more = {name: numbers[:] for name, numbers in self._more.items()}

    def _numbers(self, name: str) -> list[int]:
        number = self._first.get(name)
        if number is None:
            return []
        if self._more is None or name not in self._more:
            return [number]
        return [number, *self._more[name]]


def make_request(method: str, uri: str, headers: Headers, body: bytes = b"") -> Message:
    """A request with these headers, in this order.

    Raises:
        ValueError: a value would break the message.
        MessageError: a header that every request needs is missing or malformed.
    """
    if TOKEN.fullmatch(method) is None or " " in uri:
        raise ValueError(f"bad method or URI: {method!r} {uri!r}")
    lines = [f"{method} {safe(uri)} SIP/2.0"]
    return _make(lines, headers, body)


def make_response(
    request: Message, status: int, reason: str | None = None, *, to_tag: str = "", headers: Headers = (), body: bytes = b""
) -> Message:
    """The response to a request: its Via, From, To, Call-ID and CSeq (RFC 3261 section 8.2.6).

    ``to_tag`` is added where the request has none; a 100 never gets one. Content-Type is among ``headers``.

    Raises:
        ValueError: a value would break the message.
    """
    message = Message.__new__(Message)
    message.method = None
    message.uri = ""
    message.status = status
    message.reason = reason_phrase(status) if reason is None else safe(reason)
    message.via = request.via
    message.branch = request.branch
    message.call_id = request.call_id
    message.cseq = request.cseq
    message.cseq_method = request.cseq_method
    message.body = body
    message.received_bytes = 0
    message._top = []
    more: dict[str, list[int]] | None = None
    lines = [f"SIP/2.0 {status} {message.reason}"]
    source = request._lines
    index = request._first
    first: dict[str, int] = {}
    for name in ("via", "from", "to", "call-id", "cseq"):
        number = index.get(name)
        if number is None:
            continue
        first[name] = len(lines)
        lines.append(source[number])
    if request._top or (request._more is not None and "via" in request._more):
        lines[first["via"]] = ""
        vias = request.get_lines("via")
        more = {"via": []}
        for value in vias:
            more["via"].append(len(lines))
            lines.append(f"Via: {value}")
        first["via"] = more["via"].pop(0)
    if to_tag and not request.to_tag and status != 100 and "to" in first:
        lines[first["to"]] += f";tag={to_tag}"
    if status != 100 and status < 300 and "record-route" in index:
        for value in request.get_lines("record-route"):
            if "record-route" in first:
                more = more or {}
                more.setdefault("record-route", []).append(len(lines))
            else:
                first["record-route"] = len(lines)
            lines.append(f"Record-Route: {value}")
    message._lines = lines
    message._first = first
    message._more = more
    message._shape = None
    for name, value in headers:
        message.add(name, value)
    message.add("content-length", str(len(body)))
    return message


def _make(lines: list[str], headers: Headers, body: bytes) -> Message:
    for name, value in headers:
        lines.append(f"{spelling(name)}: {safe(value)}")
    lines.append(f"Content-Length: {len(body)}")
    return Message.parse("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)
