"""What is played and recorded: sources to legs and rooms, legs and rooms to files.

Rules:
- A source that is still being read is waited for; who waits hears nothing meanwhile.
- Playbacks and recordings end with the leg or room that they belong to.
- At most `QUEUE_MAX` playbacks wait for one, whose sources' names have `QUEUE_BYTES_MAX` bytes in all: they are in its note, so that who
  takes over goes on with them.
"""

import os
from collections.abc import Callable

import msgspec

from media.bank import Bank, BankError, Source
from media.control import (
    Done,
    Event,
    MediaError,
    Nothing,
    Pause,
    Play,
    Played,
    PlayEnded,
    Playing,
    PlayStarted,
    PlayTo,
    Record,
    RecordFailed,
    RecordStarted,
    Skip,
    Stop,
)
from media.engine import Engine, RoomPlay
from media.legs import FRAME_SECONDS
from media.notes import read_room, write_room
from media.record import LegRecord, Playback, RoomRecord
from media.switchboard import Switchboard
from media.tape import RecordingNote

Say = Callable[[str, str, Event], None]
QUEUE_MAX = 16
QUEUE_BYTES_MAX = 1024


def frames(seconds: float) -> int:
    """An offset in frames of 20 ms."""
    return round(min(max(seconds, 0.0), 1e6) / FRAME_SECONDS)


def _failed(note: RecordingNote) -> RecordFailed:
    """What is told of a recording that fails, but why."""
    return RecordFailed(id=note.id, leg=note.leg, room=note.room, call=note.call, error="")


class Program:
    """Playbacks and recordings of one process.

    Args:
        say: tells a client of an event.
    """

    def __init__(self, engine: Engine, board: Switchboard, records: dict[str, LegRecord], say: Say) -> None:
        self._engine, self._board, self._records, self._say = engine, board, records, say
        self._legs: dict[str, str] = {}
        """Playback or recording by id to its leg."""
        self._rooms: dict[str, tuple[str, str]] = {}
        """Playback or recording by id to client and room."""
        self._files: dict[str, tuple[str, RecordFailed]] = {}
        """Recording by id to client and what it is told when the disk fails; until the file is closed."""
        self._waiting: set[str] = set()
        """Legs whose source is still being read."""
        self._hearing: dict[int, RoomRecord] = {}
        """Room to what it hears, while it does."""
        self._waiting_rooms: dict[str, tuple[int, RoomRecord]] = {}
        """Playback by id to its room: the source is still being read."""

    @property
    def _bank(self) -> Bank:
        return self._engine.bank

    def _name(self, kind: str) -> str:
        named = self._engine.legs.process["named"]
        named += 1
        return f"{kind}-{int(named[0])}"

    def check(self, source: str) -> Source | None:
        """It is there, or is being read (None).

        Raises:
            MediaError: ``no-source``.
        """
        try:
            return self._bank.find(source)
        except BankError as error:
            raise MediaError("no-source", str(error)) from None

    def hear(self, record: LegRecord) -> None:
        """Let a leg hear its playback, or the source that it is connected to, or nothing of the bank; and route it."""
        legs, leg = self._engine.legs, record.leg
        playback = record.playback
        if playback is None and isinstance(record.sink, Play):
            playback = Playback("", record.sink.source, record.sink.loop, record.resume_frames)
        self._waiting.discard(record.name)
        legs.play_end[leg] = 0
        if playback is not None:
            try:
                source = self._bank.find(playback.source)
            except BankError:
                self._over(record)
                return
            if source is None:
                self._waiting.add(record.name)
            else:
                at = source.first + playback.offset_frames
                legs.play_first[leg], legs.play_end[leg], legs.play_loop[leg] = source.first, source.end, playback.loop
                legs.play_at[leg] = min(at, source.end - 1)
        self._board.route(record)

    def _played(self, record: LegRecord) -> int:
        """Frames of its source that a leg has heard."""
        legs = self._engine.legs
        return max(int(legs.play_at[record.leg] - legs.play_first[record.leg]), 0)

    def take_over(self) -> None:
        """Go on with the playbacks of legs that another process left; recordings are not, their files are the other's."""
        plays = [record for record in self._records.values() if record.playback is not None or isinstance(record.sink, Play)]
        for record in plays:
            if self._engine.legs.play_end[record.leg] > 0:
                if record.playback is not None:
                    record.playback.offset_frames = self._played(record)
                else:
                    record.resume_frames = self._played(record)
            for playback in (record.playback, *record.queue):
                if playback is not None:
                    self._legs[playback.id] = record.name
        for record in plays:
            self.hear(record)
        self._take_over_recordings()
        legs = self._engine.legs
        for name, room in self._board.rooms.items():
            found = read_room(legs.room_slips.get(room))
            if found is not None and name == f"room {found.name}":
                found.playback.offset_frames = int(legs.room_played[room])
                self._hear_room(room, found)

    def _take_over_recordings(self) -> None:
        engine = self._engine
        found = engine.recorder.take_over()
        ids = {recording.note.id for recording in found}
        for record in self._records.values():
            if record.recording and record.recording not in ids:
                record.recording = ""
                self._board.route(record)
        for recording in found:
            note = recording.note
            leg, room = self._records.get(note.leg), self._board.rooms.get(f"room {note.room}")
            self._files[note.id] = note.client, _failed(note)
            if leg is not None and leg.recording == note.id:
                self._legs[note.id] = note.leg
                engine.leg_recordings[leg.leg] = recording
            elif note.room and room is not None:
                engine.room_recordings[room] = recording
                self._rooms[note.id] = note.client, note.room
            else:
                recording.close()

    def _over(self, record: LegRecord) -> None:
        """What a leg hears of the bank came to its end: go on with what it is connected to."""
        playback = record.playback
        self._say(record.client, "play-ended", PlayEnded(id=playback.id if playback else "", leg=record.name, call=record.call))
        if playback is not None:
            self._next(record)
        else:
            record.sink = Nothing()
            self.hear(record)

    def _next(self, record: LegRecord) -> None:
        """Go on with what is queued for a leg, or with what it is connected to."""
        if record.playback is not None:
            self._legs.pop(record.playback.id, None)
        record.playback = record.queue.pop(0) if record.queue else None
        self.hear(record)

    def _check_queue(self, queue: list[Playback], source: str) -> None:
        names = sum(len(playback.source.encode()) for playback in queue) + len(source.encode())
        if len(queue) >= QUEUE_MAX or names > QUEUE_BYTES_MAX:
            raise MediaError("full", f"{len(queue)} playbacks wait")

    def play(self, job: PlayTo, client: str, now: float) -> PlayStarted:
        """To a leg or a room."""
        if bool(job.leg) == bool(job.room):
            raise MediaError("bad-request", "exactly one of leg and room is played to")
        self._check_queue([], job.source)
        offset = frames(job.offset_seconds)
        if job.room:
            return self._play_room(job, client, offset)
        record = self._records.get(job.leg)
        if record is None:
            raise MediaError("not-found", f"no leg {job.leg!r}")
        self.check(job.source)
        if job.queue and record.playback is not None:
            self._check_queue(record.queue, job.source)
            record.queue.append(Playback(self._name("play"), job.source, job.loop, offset))
            self._legs[record.queue[-1].id] = job.leg
            self._board.notes.write(record)
            return PlayStarted(id=record.queue[-1].id)
        if record.playback is None and isinstance(record.sink, Play):
            record.resume_frames = self._played(record)
        self._forget_plays(record)
        record.playback = Playback(self._name("play"), job.source, job.loop, offset)
        self._legs[record.playback.id] = job.leg
        self.hear(record)
        return PlayStarted(id=record.playback.id)

    def _forget_plays(self, record: LegRecord) -> None:
        for playback in (record.playback, *record.queue):
            if playback is not None:
                self._legs.pop(playback.id, None)
        record.playback, record.queue = None, []

    def skip(self, job: Skip, client: str, now: float) -> Done:
        """To what is queued next."""
        record, room = self._whom(job.leg, job.room)
        if record is not None:
            for playback in record.queue if job.all else ():
                self._legs.pop(playback.id, None)
            record.queue = [] if job.all else record.queue
            if record.playback is not None:
                self._next(record)
            return Done()
        hears = self._hears(room)
        if hears is not None:
            for playback in hears.queue if job.all else ():
                self._rooms.pop(playback.id, None)
            hears.queue = [] if job.all else hears.queue
            self._next_room(room, hears)
        return Done()

    def playing(self, job: Playing, client: str, now: float) -> list[Played]:
        """What is heard and what waits."""
        record, room = self._whom(job.leg, job.room)
        if record is not None:
            plays = self._engine.legs.play_end[record.leg] > 0
            found = [playback for playback in (record.playback, *record.queue) if playback is not None]
            heard = self._played(record) if plays and record.name not in self._waiting else -1
            said = [self._said(playback, heard if playback is record.playback else -1) for playback in found]
            if isinstance(record.sink, Play):
                own = Playback("", record.sink.source, record.sink.loop, record.resume_frames)
                said.append(self._said(own, -1 if record.playback is not None else heard))
            return said
        hears = self._hears(room)
        if hears is None:
            return []
        heard = int(self._engine.legs.room_played[room]) if room in self._engine.room_plays else -1
        return [self._said(hears.playback, heard), *(self._said(playback, -1) for playback in hears.queue)]

    @staticmethod
    def _said(playback: Playback, heard: int) -> Played:
        """``heard``: frames; negative: it has not begun."""
        offset = (heard if heard >= 0 else playback.offset_frames) * FRAME_SECONDS
        return Played(id=playback.id, source=playback.source, loop=playback.loop, offset_seconds=offset)

    def _whom(self, leg: str, room: str) -> tuple[LegRecord | None, int]:
        """A leg, or the number of a room."""
        if bool(leg) == bool(room):
            raise MediaError("bad-request", "exactly one of leg and room is named")
        if room:
            return None, self._room(room)
        record = self._records.get(leg)
        if record is None:
            raise MediaError("not-found", f"no leg {leg!r}")
        return record, -1

    def _room(self, name: str) -> int:
        room = self._board.rooms.get(f"room {name}")
        if room is None:
            raise MediaError("not-found", f"no room {name!r}")
        return room

    def _play_room(self, job: PlayTo, client: str, offset: int) -> PlayStarted:
        room = self._room(job.room)
        self.check(job.source)
        hears = self._hears(room)
        if job.queue and hears is not None:
            self._check_queue(hears.queue, job.source)
        playback = Playback(self._name("play"), job.source, job.loop, offset)
        if job.queue and hears is not None:
            hears.queue.append(playback)
            self._rooms[playback.id] = (client, job.room)
            self._engine.legs.room_slips.put(room, write_room(hears))
            return PlayStarted(id=playback.id)
        for old in () if hears is None else (hears.playback, *hears.queue):
            self._rooms.pop(old.id, None)
            self._waiting_rooms.pop(old.id, None)
        self._engine.room_plays.pop(room, None)
        self._hear_room(room, RoomRecord(job.room, client, playback))
        return PlayStarted(id=playback.id)

    def _hears(self, room: int) -> RoomRecord | None:
        """What a room hears; those that were closed meanwhile are forgotten."""
        for number, record in list(self._hearing.items()):
            if self._board.rooms.get(f"room {record.name}") != number or not self._engine.legs.room_slips.mark["size"][number]:
                del self._hearing[number]
                for playback in (record.playback, *record.queue):
                    self._rooms.pop(playback.id, None)
        return self._hearing.get(room)

    def _hear_room(self, room: int, record: RoomRecord) -> None:
        """Let a room hear a playback, once its source was read."""
        playback = record.playback
        self._hearing[room] = record
        for each in (playback, *record.queue):
            self._rooms.setdefault(each.id, (record.client, record.name))
        self._engine.legs.room_played[room] = playback.offset_frames
        self._engine.legs.room_slips.put(room, write_room(record))
        try:
            source = self._bank.find(playback.source)
        except BankError:
            self._over_room(room, playback.id)
            return
        if source is None:
            self._waiting_rooms[playback.id] = (room, record)
            return
        self._waiting_rooms.pop(playback.id, None)
        at = min(source.first + playback.offset_frames, source.end - 1)
        self._engine.room_plays[room] = RoomPlay(playback.id, at, source.first, source.end, playback.loop)
        self._engine.legs.room_played[room] = at - source.first

    def _over_room(self, room: int, name: str) -> None:
        """What a room hears of the bank came to its end."""
        client, room_name = self._rooms.get(name, ("", ""))
        self._say(client, "play-ended", PlayEnded(id=name, room=room_name or str(room)))
        hears = self._hears(room)
        if hears is not None and hears.playback.id == name:
            self._next_room(room, hears)

    def _next_room(self, room: int, record: RoomRecord) -> None:
        """Go on with what is queued for a room, or be silent."""
        self._rooms.pop(record.playback.id, None)
        self._waiting_rooms.pop(record.playback.id, None)
        self._engine.room_plays.pop(room, None)
        if record.queue:
            record.playback = record.queue.pop(0)
            self._hear_room(room, record)
        else:
            self._hearing.pop(room, None)
            self._engine.legs.room_slips.take(room)

    def record(self, job: Record, client: str, now: float) -> RecordStarted:
        """A leg or a room."""
        if bool(job.leg) == bool(job.room):
            raise MediaError("bad-request", "exactly one of leg and room is recorded")
        record = None
        room = -1
        if job.leg:
            record = self._records.get(job.leg)
            if record is None:
                raise MediaError("not-found", f"no leg {job.leg!r}")
        else:
            room = self._room(job.room)
        if (record is not None and record.recording) or room in self._engine.room_recordings:
            raise MediaError("full", "it is being recorded")
        name, call = self._name("record"), record.call if record else ""
        # A unit of another name may have another working directory.
        note = RecordingNote(name, client, os.path.abspath(job.path), leg=job.leg, room=job.room, call=call)
        try:
            recording = self._engine.recorder.open(note, 2 if record and not job.mono else 1)
        except OSError as error:
            raise MediaError("full", str(error)) from None
        self._files[name] = client, _failed(note)
        if record is not None:
            record.recording = name
            self._legs[name] = job.leg
            self._engine.leg_recordings[record.leg] = recording
            self._board.route(record)
        else:
            self._engine.room_recordings[room] = recording
            self._rooms[name] = (client, job.room)
        return RecordStarted(id=name)

    def pause(self, job: Pause, client: str, now: float) -> Done:
        """Pause a recording, or go on with it."""
        engine = self._engine
        for recording in (*engine.leg_recordings.values(), *engine.room_recordings.values()):
            if recording.note.id == job.id:
                recording.keep(paused=job.paused)
                return Done()
        raise MediaError("not-found", f"no recording {job.id!r}")

    def stop(self, job: Stop, client: str, now: float) -> Done:
        """End a playback or a recording."""
        record = self._records.get(self._legs.pop(job.id, ""))
        if record is not None:
            if record.recording == job.id:
                self._end_recording(record)
            elif record.playback is not None and record.playback.id == job.id:
                self._next(record)
            else:
                record.queue = [playback for playback in record.queue if playback.id != job.id]
                self._board.notes.write(record)
            return Done()
        if job.id not in self._rooms:
            raise MediaError("not-found", f"no playback or recording {job.id!r}")
        _, name = self._rooms.pop(job.id)
        room = self._board.rooms.get(f"room {name}", -1)
        if job.id.startswith("record"):
            recording = self._engine.room_recordings.pop(room, None)
            if recording is not None:
                recording.close()
            return Done()
        hears = self._hears(room)
        if hears is not None and hears.playback.id == job.id:
            self._next_room(room, hears)
        elif hears is not None:
            hears.queue = [playback for playback in hears.queue if playback.id != job.id]
            self._engine.legs.room_slips.put(room, write_room(hears))
        return Done()

    def _end_recording(self, record: LegRecord) -> None:
        record.recording = ""
        recording = self._engine.leg_recordings.pop(record.leg, None)
        if recording is not None:
            recording.close()
        self._board.route(record)

    def forget(self, record: LegRecord) -> None:
        """The leg ends."""
        self._waiting.discard(record.name)
        self._forget_plays(record)
        if record.recording:
            self._legs.pop(record.recording, None)
            self._end_recording(record)

    def tick(self) -> None:
        """Playbacks that ended, and sources that were read."""
        engine = self._engine
        for note in engine.recorder.notes():
            client, event = self._files[note.id]
            if note.error:
                self._say(client, "record-failed", msgspec.structs.replace(event, error=note.error))
            else:
                del self._files[note.id]
        for room, name in engine.ended_rooms:
            self._over_room(room, name)
        engine.ended_rooms.clear()
        if engine.ended_legs:
            ended = set(engine.ended_legs)
            engine.ended_legs.clear()
            for record in [record for record in self._records.values() if record.leg in ended]:
                self._over(record)
        for leg in list(self._waiting):
            self.hear(self._records[leg])
        for name, (room, waiting) in list(self._waiting_rooms.items()):
            if self._board.rooms.get(f"room {waiting.name}") == room:
                self._hear_room(room, waiting)
            else:  # it was closed meanwhile
                del self._waiting_rooms[name]
                self._rooms.pop(name, None)
                self._say(waiting.client, "play-ended", PlayEnded(id=name, room=waiting.name))
