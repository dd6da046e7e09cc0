"""Who hears whom: from what legs are connected to, to the arrays that the ticks and the relay follow.

| connected to | without decoding | by ticks, where it is recorded, listened to or the codecs differ |
| --- | --- | --- |
| echo | packets go back as they come | a room of its own that hears itself |
| bridge | packets go to the other leg | a hidden room of two |
| room | - | mix-minus |
| play | - | frames of the bank |

Rules:
- A playback to a leg takes the place of what it hears; what others hear of the leg stays.
- Rooms of ours have names that no job can give.
- The rate of a room is what its legs have (`media.rates`). One of two legs takes it at once, a larger one between two frames that fade.
"""

import numpy as np

from media.codecs import PCMA
from media.control import Bridge, Echo, Room
from media.engine import Engine
from media.notes import Notes
from media.plan import FEED_MIX, FEED_NOTHING, FEED_PLAY, best
from media.rates import RATES, wanted
from media.record import LegRecord

FADES_FROM = 3
"""Legs of a room that fades when its rate changes."""


class Switchboard:
    """Connections of all legs.

    Args:
        engine: whose arrays are set.
        records: legs by name, kept by the desk.
        by_leg: the same by row.
        rate_max: of rooms, Hz.
    """

    def __init__(self, engine: Engine, records: dict[str, LegRecord], by_leg: dict[int, LegRecord], rate_max: int) -> None:
        self._engine, self._by_leg = engine, by_leg
        self._rate_max = rate_max
        self.notes = Notes(engine.legs)
        self._records = records
        self.rooms: dict[str, int] = {}
        """Room by name to its number."""
        self._phase: dict[int, int] = {}
        self._rate: dict[int, int] = {}
        """Hz."""
        self._members: dict[int, int] = {}
        self._free = list(range(engine.legs.capacity - 1, -1, -1))

    def connected(self, record: LegRecord) -> str:
        """What a leg is connected to, in a word."""
        return type(record.sink).__name__.lower()

    def peer(self, record: LegRecord) -> LegRecord | None:
        """The other leg of its bridge."""
        return self._records.get(record.sink.leg) if isinstance(record.sink, Bridge) else None

    def route(self, record: LegRecord) -> None:
        """Set the arrays of a leg, and of the other one of its bridge, to what they are connected to."""
        other = self.peer(record)
        if other is None:
            self._route(record, None, bool(record.recording) or record.listens)
        else:
            decode = bool(record.recording or other.recording or record.listens or other.listens) or not self._relayable(record, other)
            self._route(record, other, decode)
            self._route(other, record, decode)
            self.notes.write(other)
        self.notes.write(record)

    @staticmethod
    def _relayable(one: LegRecord, other: LegRecord) -> bool:
        if one.agreement is None or other.agreement is None:
            return True
        codecs = one.agreement.codec.number, other.agreement.codec.number
        return codecs[0] == codecs[1] or max(codecs) <= PCMA

    def _route(self, record: LegRecord, other: LegRecord | None, decode: bool) -> None:
        legs, leg, sink = self._engine.legs, record.leg, record.sink
        target, room = -1, ""
        hears = FEED_NOTHING
        if isinstance(sink, Room):
            room, hears = f"room {sink.name}", FEED_MIX
        elif decode:
            room = f"of {min(record.name, other.name) if other else record.name}"
            hears = FEED_MIX if isinstance(sink, Echo | Bridge) else FEED_NOTHING
        elif isinstance(sink, Echo):
            target = leg
        elif other is not None:
            target = other.leg
        playing = legs.play_end[leg] > 0
        if playing:
            hears = FEED_PLAY
        listener = record if isinstance(sink, Echo) else other
        if target >= 0 and listener is not None and legs.play_end[listener.leg] > 0:
            target = -1  # it hears a source now
        self._enter(leg, room)
        record.room = room
        legs.echo[leg] = isinstance(sink, Echo) and bool(room)
        legs.feed[leg] = hears
        if target >= 0 and legs.target[leg] != target:
            legs.relay_source[target] = -1
        legs.target[leg] = target
        if room and not legs.ring_wanted[leg]:
            self._engine.playout.restart(np.array([leg]))
        legs.ring_wanted[leg] = bool(room)
        if room:
            self._tune(self.rooms[room])
        self._engine.changed()

    def _tune(self, number: int) -> None:
        """See that a room has the rate that its legs make it have."""
        engine, legs = self._engine, self._engine.legs
        rows = np.flatnonzero(legs.used & (legs.room == number))
        rate = wanted(legs.best_rate[rows], bool(legs.echo[rows].any()), self._rate_max)
        if rate == self._rate[number]:
            if not engine.fading.get(number, True):
                del engine.fading[number]
                engine.faded.discard(number)
        elif len(rows) < FADES_FROM:
            self._retune(number, rate)
        elif engine.fading.get(number, True):
            engine.fading[number] = False

    def limit(self, rate_max: int) -> None:
        """No room has a higher rate from now on, Hz."""
        if rate_max != self._rate_max:
            self._rate_max = rate_max
            for number in list(self._rate):
                self._tune(number)

    def tick(self) -> None:
        """Rooms that have faded out take their new rate."""
        engine = self._engine
        if not engine.faded:
            return
        for number in list(engine.faded):
            legs = engine.legs
            rows = np.flatnonzero(legs.used & (legs.room == number))
            self._retune(number, wanted(legs.best_rate[rows], False, self._rate_max))
            engine.fading[number] = True
        engine.faded.clear()
        engine.changed()

    def _retune(self, number: int, rate: int) -> None:
        self._rate[number] = rate
        self._engine.fading.pop(number, None)
        self._engine.faded.discard(number)
        for leg in np.flatnonzero(self._engine.legs.used & (self._engine.legs.room == number)).tolist():
            self._take_rate(leg, rate)

    def _take_rate(self, leg: int, rate: int) -> None:
        record = self._by_leg.get(leg)
        agreement = record.agreement if record is not None else None
        if self._engine.legs.room_rate[leg] != rate:
            self._engine.transcoder.retune(leg, rate, agreement.parameters if agreement is not None else "")

    def _enter(self, leg: int, room: str) -> None:
        """Be in a room, by name; empty: in none."""
        legs = self._engine.legs
        number = self.rooms.get(room, -1) if room else -1
        if room and number < 0:
            number = self._free.pop()
            self.rooms[room] = number
            self._phase[number] = best(self._engine.legs)
            self._rate[number] = RATES[0]
            self._members[number] = 0
        before = int(legs.room[leg])
        if before == number:
            return
        if number >= 0:
            legs.phase[leg] = self._phase[number]
            self._members[number] += 1
        legs.room[leg] = number
        self._take_rate(leg, self._rate.get(number, RATES[0]))
        if before >= 0:
            self._members[before] -= 1
            if self._members[before]:
                self._tune(before)
            else:
                self._close(before)

    def _close(self, number: int) -> None:
        del self._phase[number], self._members[number], self._rate[number]
        name = next(name for name, room in self.rooms.items() if room == number)
        del self.rooms[name]
        self._free.append(number)
        self._engine.fading.pop(number, None)
        self._engine.faded.discard(number)
        self._engine.room_plays.pop(number, None)
        self._engine.legs.room_slips.take(number)
        self._engine.room_tones.pop(number, None)
        recording = self._engine.room_recordings.pop(number, None)
        if recording is not None:
            recording.close()

    def take_over(self) -> None:
        """Know the rooms that another process made for the legs that are there."""
        legs = self._engine.legs
        for record in self._records.values():
            number = int(legs.room[record.leg])
            if number < 0 or not record.room:
                legs.room[record.leg] = -1
                continue
            self.rooms[record.room] = number
            self._phase[number] = int(legs.phase[record.leg])
            self._rate[number] = int(legs.room_rate[record.leg])
            self._members[number] = self._members.get(number, 0) + 1
        self._free = [number for number in self._free if number not in self._members]
        for number in np.unique(legs.room[legs.used & (legs.best_rate > RATES[0]) & (legs.room >= 0)]).tolist():
            self._tune(number)  # a change may have been under way

    def leave(self, record: LegRecord) -> None:
        """The leg ends: who was bridged with it hears nothing from now on."""
        legs = self._engine.legs
        self._enter(record.leg, "")
        legs.target[legs.target == record.leg] = -1
        self._engine.changed()
