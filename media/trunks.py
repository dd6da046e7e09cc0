"""Trunks: legs that join rooms of one name on several media processors into one conference.

    members of A - room at A - down === up - room at B - members of B
                            \\ down === up - room at C - members of C

Rules:
- A trunk carries the mix of its side, and by mix-minus never what came over it. Who is asked to propose (`Propose.trunk`) is the hub: its
  ends are *down*. Who is offered one (`Offer.trunk`) is a branch: its end is *up*.
- A room has one end up at most, a hub has none: a new one takes the place of the one before, and an end that goes down ends the one that
  goes up. So the trunks of a room are a tree, whatever comes in which order: everybody is heard once, and no side hears itself again.
- A trunk that is there is not proposed again (``exists``): of several who want to make it, one does.
- An end that has heard nothing for `SILENT_SECONDS` ends, and that is told (event `TrunkLost`); so does an end up whose room has had no
  other leg for `IDLE_SECONDS`: the far side hears its BYE.
- Trunks are made beyond `legs_max`, at most `TRUNKS_MAX`: a processor that is full can still be a hub.
- Lossless where the room's rate has such a codec: L16; at 48 kHz Opus.
"""

from collections.abc import Callable

import numpy as np

from media.codecs import L16, L16_WIDE, OPUS
from media.control import Event, MediaError, Room, TrunkLost
from media.engine import Engine
from media.record import LegRecord

TRUNKS_MAX = 64
"""Of one processor."""
SILENT_SECONDS = 2.5
IDLE_SECONDS = 5.0
UP, DOWN = "up", "down"


def codecs(rate_max: int) -> tuple[int, ...]:
    """What a trunk offers before all else, by number, where rooms have at most this rate, Hz."""
    return (OPUS, L16_WIDE) if rate_max > 16000 else (L16_WIDE,) if rate_max > 8000 else (L16,)


class Trunks:
    """Trunks of one process.

    Args:
        records: legs by name.
        release: ends a leg: its record, seconds.
        say: tells a client of an event.
    """

    def __init__(
        self,
        engine: Engine,
        records: dict[str, LegRecord],
        release: Callable[[LegRecord, float], object],
        say: Callable[[str, str, Event], None],
    ) -> None:
        self._engine, self._records, self._release, self._say = engine, records, release, say
        self._idle: dict[str, float] = {}
        """End up whose room has no other leg, to since when."""

    def check(self, leg: str, down: bool) -> None:
        """A trunk is wanted.

        Raises:
            MediaError: ``exists``, ``full``.
        """
        known = self._records.get(leg)
        if known is not None and (down or not known.trunk):
            raise MediaError("exists", f"leg {leg!r}")
        if known is None and sum(1 for record in self._records.values() if record.trunk) >= TRUNKS_MAX:
            raise MediaError("full", f"{TRUNKS_MAX} trunks")

    def made(self, record: LegRecord, room: str, down: bool, now: float) -> None:
        """This leg is one now; others of the room that would close a circle end."""
        record.trunk = DOWN if down else UP
        record.trunk_room = room
        for other in [each for each in self._records.values() if each.trunk == UP and each.trunk_room == room and each is not record]:
            self._release(other, now)

    def tick(self, now: float) -> None:
        """End what leads nowhere; to be called twice a second or so."""
        legs = self._engine.legs
        trunks = [record for record in self._records.values() if record.trunk]
        self._idle = {name: since for name, since in self._idle.items() if name in self._records}
        for record in trunks:
            leg = record.leg
            if legs.left[leg] or now - max(float(legs.heard[leg]), float(legs.since[leg])) > SILENT_SECONDS:
                self._release(record, now)
                self._say(record.client, "trunk-lost", TrunkLost(leg=record.name, room=record.trunk_room))
            elif record.trunk == UP and isinstance(record.sink, Room):
                others = int(np.count_nonzero(legs.used & (legs.room == legs.room[leg]))) - 1
                if others:
                    self._idle.pop(record.name, None)
                elif now - self._idle.setdefault(record.name, now) > IDLE_SECONDS:
                    self._release(record, now)
