"""The shape of a message: its header names in their order, each as it came and with its colon.

Messages of one kind from one maker share their shape, so what follows from it is worked out once and kept: where each
header stands, and whether the six that every element needs are there. At most `SHAPES_MAX` are kept.
"""

from telephony.sip.names import canonical, spelling

SHAPES_MAX = 4096
HEADERS_MAX = 256
"""Header lines of one message."""
NAMES_BYTES_MAX = 2048
"""Shapes with longer names in all are not kept."""
POPS_KEPT_MAX = 2
"""How many headers may have been taken off a shape that is kept; of those with `POPPED_NAMES_MAX` names at the most."""
POPPED_NAMES_MAX = 32

_ONCE = frozenset(("from", "to", "call-id", "cseq", "max-forwards", "content-length"))


class Shape:
    """Where the headers of a message stand. Line 0 is the start line."""

    __slots__ = ("_popped", "_pops", "broken", "call_id", "cseq", "first", "length", "more", "starts", "via")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.first: dict[str, int] = {}
        """Name to the number of its first line."""
        self.more: dict[str, list[int]] | None = None
        """Name to the numbers of its further lines."""
        self.broken = ""
        """What is wrong with it; empty: nothing."""
        self.starts = ("", *names)
        """How each line starts."""
        for number, name in enumerate(names, 1):
            key = canonical(name[:-1]) if name else ""
            if not key:
                self.broken = self.broken or f"bad header line {number}"
            elif key in self.first:
                if self.more is None:
                    self.more = {}
                self.more.setdefault(key, []).append(number)
                if key in _ONCE:
                    self.broken = self.broken or f"several {spelling(key)}"
            else:
                self.first[key] = number
        if len(names) > HEADERS_MAX:
            self.broken = f"more than {HEADERS_MAX} headers"
        for name in ("via", "from", "to", "call-id", "cseq"):
            if name not in self.first:
                self.broken = self.broken or f"missing {spelling(name)}"
        self.via = self._place("via", names)
        self.call_id = self._place("call-id", names)
        self.cseq = self._place("cseq", names)
        self.length = self._place("content-length", names)
        self._pops = 0
        self._popped: dict[str, Shape] = {}

    def pop(self, name: str) -> "Shape":
        """The shape of what is left when the first line of this header, which is there, is taken out."""
        shape = self._popped.get(name)
        if shape is None:
            names = list(self.starts[1:])
            del names[self.first[name] - 1]
            shape = Shape(tuple(names))
            shape._pops = self._pops + 1
            if shape._pops <= POPS_KEPT_MAX and len(self.first) <= POPPED_NAMES_MAX:
                self._popped[name] = shape
        return shape

    def _place(self, name: str, names: tuple[str, ...]) -> tuple[int, int]:
        """Number of the line, and where the value starts in it; (0, 0): it is not there."""
        number = self.first.get(name, 0)
        return (number, len(names[number - 1])) if number else (0, 0)


_shapes: dict[tuple[str, ...], Shape] = {}
find = _shapes.get


def make(names: tuple[str, ...]) -> Shape:
    """The shape of these names, which `find` does not know."""
    shape = Shape(names)
    if sum(map(len, names)) <= NAMES_BYTES_MAX:
        if len(_shapes) >= SHAPES_MAX:
            _shapes.clear()
        _shapes[names] = shape
    return shape
