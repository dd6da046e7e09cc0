"""How legs take part in rooms, as jobs say it: mute, gain, who hears whom; and what rooms say of it: who speaks, who comes and goes.

Rules:
- A leg that whispers to nobody any more is muted: what was meant for one is never heard by all.
- Tones of coming and going wait for each other, at most `TONES_MAX` in a room; more are left out.
"""

from collections.abc import Callable

import numpy as np

from media.control import Done, Event, MediaError, Mix, Room, Speakers
from media.engine import Engine
from media.legs import PARTNERS_MAX
from media.notes import Notes
from media.record import LegRecord

Say = Callable[[str, str, Event], None]
GAIN_DB_MIN, GAIN_DB_MAX = -60.0, 30.0
TONES_MAX = 4


class Participation:
    """The rooms of one process, as seen from their legs.

    Args:
        records: legs by name.
        by_leg: the same by row.
        say: tells a client of an event.
    """

    def __init__(self, engine: Engine, records: dict[str, LegRecord], by_leg: dict[int, LegRecord], say: Say) -> None:
        self._engine, self._records, self._by_leg, self._say = engine, records, by_leg, say
        self._notes = Notes(engine.legs)
        self._watching: dict[str, int] = {}
        """Leg whose client wants to know who speaks, to its room."""

    def mix(self, job: Mix, client: str, now: float) -> Done:
        """Change how a leg takes part."""
        record = self._record(job.leg)
        partners = []
        for names in (job.whispers, job.ignores):
            if names is not None and len(names) > PARTNERS_MAX:
                raise MediaError("full", f"{len(names)} legs, {PARTNERS_MAX} at most")
            partners.append(None if names is None else [self._record(name).leg for name in names])
        legs, leg = self._engine.legs, record.leg
        for field, value in ((legs.muted, job.muted), (legs.deaf, job.deaf), (legs.leveled, job.leveled)):
            if value is not None:
                field[leg] = value
        for gains, decibels in ((legs.gain_in, job.gain_in_db), (legs.gain_out, job.gain_out_db)):
            if decibels is not None:
                gains[leg] = min(max(decibels, GAIN_DB_MIN), GAIN_DB_MAX)
        for rows, wanted in zip((legs.whispers, legs.ignores), partners, strict=True):
            if wanted is not None:
                rows[leg] = -1
                rows[leg, : len(wanted)] = wanted
        self._engine.changed()
        return Done()

    def _record(self, name: str) -> LegRecord:
        record = self._records.get(name)
        if record is None:
            raise MediaError("not-found", f"no leg {name!r}")
        return record

    def end(self, record: LegRecord) -> None:
        """A leg ends: nobody whispers to it or ignores it any more."""
        legs = self._engine.legs
        alone = (legs.whispers == record.leg).any(axis=1)
        for rows in (legs.whispers, legs.ignores):
            rows[rows == record.leg] = -1
        legs.muted[alone & (legs.whispers < 0).all(axis=1)] = True

    def enter(self, record: LegRecord) -> None:
        """A leg is in a room now, or in none: whom it tells of it, and who wants to know who speaks."""
        engine = self._engine
        number = int(engine.legs.room[record.leg])
        if record.sounded != number:
            if record.tones and record.sounded >= 0:
                self._sound(record.sounded, "leave")
            record.tones = isinstance(record.sink, Room) and record.sink.tones
            if record.tones and number >= 0:
                self._sound(number, "enter")
            record.sounded = number
            engine.legs.speaking[record.leg], engine.legs.talk[record.leg] = False, 0
            self._notes.write(record)
        watched = number if isinstance(record.sink, Room) and record.sink.speakers else -1
        if self._watching.get(record.name, -1) != watched:
            self._watching.pop(record.name, None)
            if watched >= 0:
                self._watching[record.name] = watched
            engine.speakers.watched = set(self._watching.values())

    def take_over(self) -> None:
        """Know who wants to know who speaks, of the legs that another process left."""
        for record in self._records.values():
            if isinstance(record.sink, Room) and record.sink.speakers:
                self._watching[record.name] = int(self._engine.legs.room[record.leg])
        self._engine.speakers.watched = set(self._watching.values())

    def _sound(self, room: int, name: str) -> None:
        engine = self._engine
        if not np.any(engine.legs.used & (engine.legs.room == room)):
            return
        tones = engine.room_tones.setdefault(room, [])
        source = engine.bank.find(name)
        if source is not None and len(tones) < TONES_MAX:
            tones.append(source)

    def tick(self) -> None:
        """Say who speaks, where that has changed."""
        speakers = self._engine.speakers
        if not speakers.changed:
            return
        for room in speakers.changed:
            rows = np.flatnonzero(self._engine.legs.used & (self._engine.legs.room == room)).tolist()
            sinks = [(each.client, each.sink) for row in rows if (each := self._by_leg.get(row)) is not None]
            clients = {client: sink.name for client, sink in sinks if isinstance(sink, Room) and sink.speakers}
            names = tuple(self._by_leg[leg].name for leg in speakers.of(room) if leg in self._by_leg)
            for client, name in clients.items():
                self._say(client, "speakers", Speakers(room=name, legs=names))
        speakers.changed.clear()
