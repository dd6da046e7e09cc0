"""What a standby makes ready while another process serves the legs, so that taking over is a matter of milliseconds.

Rules:
- It reads the memory of the legs, and writes nothing there.
- The notes of legs are read when they change; what was read counts when it takes over, if the note is still the same. A note that the other
  process was writing when it died is the one from before.
- Sessions of secured legs are made with the keys that are there; a key that has changed since makes another one.
- Files that legs and rooms hear are read.
- Pages of the memory are asked for ahead: the kernel's work for 1000 legs with Opus is tens of milliseconds.
"""

import contextlib
import os

import numpy as np

from media.arrays import U32
from media.bank import BankError
from media.engine import Engine
from media.notes import Notes, read_room
from media.record import LegRecord, sources

LOOK_LEGS_MAX = 200
"""Legs whose notes are read in one look."""
PAGES_LOOKS = 10
"""Pages are asked for in one of so many looks."""
AROUND_BYTES = 16 << 10
"""One access maps this much at least (the kernel's fault-around is 64 KiB where pages are there)."""


class Mirror:
    """Of the legs of one process."""

    def __init__(self, engine: Engine, notes: Notes) -> None:
        self._legs, self._guard, self._notes = engine.legs, engine.guard, notes
        self._records: dict[int, tuple[float, LegRecord]] = {}
        """By row, with `Legs.since` of the leg."""
        self._checks: U32 = np.zeros(self._legs.capacity, np.uint32)
        """Checksums of the notes that were read."""
        self._bank = engine.bank
        self._room_checks: U32 = np.zeros(self._legs.capacity, np.uint32)
        self._sources: set[str] = set()
        """That are not in the bank yet."""
        self._looks = 0
        self._changed = False
        """Since pages were asked for last."""

    def look(self) -> None:
        """Read what has changed since the last look."""
        legs = self._legs
        changed = np.flatnonzero(legs.used & (legs.note_check != self._checks) & (legs.note_size > 0))[:LOOK_LEGS_MAX]
        for leg in changed.tolist():
            check = legs.note_check[leg]
            record = self._notes.read(leg)
            if record is not None and record.leg == leg:
                self._records[leg], self._checks[leg] = (float(legs.since[leg]), record), check
                self._sources.update(sources(record))
        self._look_at_rooms()
        if self._sources:
            self._read()
        self._guard.prepare()
        self._changed |= len(changed) > 0
        self._looks += 1
        if self._changed and self._looks % PAGES_LOOKS == 0:
            self._changed = False
            self._ask_for_pages()

    def _look_at_rooms(self) -> None:
        slips = self._legs.room_slips
        changed = np.flatnonzero((slips.mark["size"] > 0) & (slips.mark["check"] != self._room_checks))[:LOOK_LEGS_MAX]
        for room in changed.tolist():
            self._room_checks[room] = slips.mark["check"][room]
            record = read_room(slips.get(room))
            if record is not None:
                self._sources.update(playback.source for playback in (record.playback, *record.queue))

    def _read(self) -> None:
        """Have files read; what can't be read is found out when it is played."""
        for name in list(self._sources):
            try:
                there = self._bank.find(name) is not None
            except BankError:
                there = True
            if there:
                self._sources.discard(name)

    def record(self, leg: int) -> LegRecord | None:
        """What the other process knew of a leg; None: there is no whole note of it."""
        legs = self._legs
        since, known = self._records.pop(leg, (0.0, None))
        if known is not None and legs.note_check[leg] == self._checks[leg]:
            return known
        record = self._notes.read(leg)
        if record is not None and record.leg == leg:
            return record
        return known if since == legs.since[leg] else None

    def _ask_for_pages(self) -> None:
        """Touch all of the memory that the other process has written to; holes stay holes."""
        memory, end = self._legs.memory, 0
        with contextlib.suppress(OSError):  # no data behind the last
            while True:
                first = os.lseek(memory, end, os.SEEK_DATA)
                end = os.lseek(memory, first, os.SEEK_HOLE)
                self._legs.whole[first:end:AROUND_BYTES].max()
