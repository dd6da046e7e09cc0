"""The least that a proxy must read of a SIP message: lines kept as they came, an index of names, nothing checked."""

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type"}
_KEYS_MAX = 1024
_keys: dict[str, str] = {}
"""Spelling on the wire to name; filled on demand."""


def _key(name: str) -> str:
    low = name.strip().lower()
    low = _COMPACT.get(low, low)
    if len(_keys) < _KEYS_MAX:
        _keys[name] = low
    return low


def parameter(value: str, name: str) -> str:
    """Value of ``;name=`` in a header's value; empty if absent."""
    at = value.find(f";{name}=")
    if at < 0:
        return ""
    at += len(name) + 2
    end = value.find(";", at)
    return value[at : end if end >= 0 else len(value)]


class FloorMessage:
    """A message as its lines.

    Raises:
        ValueError: it has no start line, or a line without a colon.
    """

    __slots__ = ("body", "index", "lines", "method", "status", "uri")

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.lines = lines = head.decode("utf-8", "surrogateescape").split("\r\n")
        first, second, third = lines[0].split(" ", 2)
        if first == "SIP/2.0":
            self.method, self.uri, self.status = "", "", int(second)
        else:
            self.method, self.uri, self.status = first, second, 0
            if third != "SIP/2.0":
                raise ValueError("start line")
        self.index: dict[str, int] = {}
        index, keys = self.index, _keys
        for number, line in enumerate(lines[1:], 1):
            name = line[: line.index(":")]
            index.setdefault(keys.get(name) or _key(name), number)

    def get(self, name: str) -> str:
        """First line's value.

        Raises:
            KeyError: there is none.
        """
        line = self.lines[self.index[name]]
        return line[line.index(":") + 1 :].strip()

    def serialize(self) -> bytes:
        return "\r\n".join(self.lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body
