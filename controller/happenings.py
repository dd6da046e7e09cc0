"""What services notify the controller of: calls, and what else passes by. Kept in memory, bounded."""

from collections import deque
from typing import Any, NamedTuple

import msgspec

from controller.calls import Calls

KEPT_MAX = 1000


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

    def take(self, unit: str, body: bytes, now: float) -> bool:
        """Take what a service said; false: it is no notification."""
        try:
            event = msgspec.msgpack.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        call = self.calls.take(unit, event, now)
        self.count += 1
        content = {"unit": unit, **event} if call is None else msgspec.to_builtins(call)
        self.latest.append(Happening(self.count, now, "notification" if call is None else "call", content))
        return True
