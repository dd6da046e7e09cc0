"""What services notify the controller of: calls, and what else passes by. Kept in memory, bounded."""

from collections import deque
from typing import Any, NamedTuple

import msgspec

from controller.calls import Calls

KEPT_MAX = 1000
FIGURES_MAX = 64
"""Figures of one service."""
FIGURES_UNITS_MAX = 4096


class Happening(NamedTuple):
    """Something that happened and is not kept for long."""

    number: int
    """Grows by one."""
    at: float
    kind: str
    """``call`` or ``notification``."""
    body: dict[str, Any]


class Happenings:
    """The latest notifications, and the calls that they tell of."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.latest: deque[Happening] = deque(maxlen=KEPT_MAX)
        self.count = 0
        """Notifications since the start."""
        self.figures: dict[str, dict[str, float]] = {}
        """Unit to what it said of itself last, by name: for metrics."""

    def take(self, unit: str, body: bytes, now: float) -> bool:
        """Take what a service said; false: it is no notification."""
        try:
            event = msgspec.msgpack.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        if event.get("event") == "figures":
            return self._take_figures(unit, event.get("figures"))
        call = self.calls.take(unit, event, now)
        self.count += 1
        content = {"unit": unit, **event} if call is None else msgspec.to_builtins(call)
        self.latest.append(Happening(self.count, now, "notification" if call is None else "call", content))
        return True

    def _take_figures(self, unit: str, figures: object) -> bool:
        """Figures are no news: they are only the last of their unit."""
        try:
            said = msgspec.convert(figures, dict[str, float])
        except msgspec.ValidationError:
            return False
        if len(said) > FIGURES_MAX or not all(name.isidentifier() and len(name) <= 64 for name in said):
            return False
        self.figures[unit] = said
        while len(self.figures) > FIGURES_UNITS_MAX:
            del self.figures[next(iter(self.figures))]
        return True
