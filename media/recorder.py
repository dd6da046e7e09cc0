"""Recordings: WAV files, written by a thread of their own so that no disk can hold up a tick.

Rules:
- The tick puts frames into a block of a second at most; full blocks wait in the memory of the legs (`media.tape`), at most `BLOCKS_MAX`;
  what finds none free is left out, and said.
- A process that takes over goes on with the same files where the other one was, and loses nothing.
- A file that can't be written any more (the disk is full, another process has taken its name) ends there, at a whole sample, and that is
  said; the others go on.
- A file has the rate of what is heard first; where that changes, the rest is converted.
- The header is made right when the recording ends; a file whose process died still holds the samples.
- What is said of a recording waits in `Recorder.notes` for the tick: at most one error, and the end.
"""

import errno
import os
import queue
import threading
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from media import wav
from media.arrays import I16
from media.rates import FRAMES_PER_SECOND, RATES
from media.resample import resampler
from media.tape import RecordingNote, Tape

BLOCK_FRAMES = FRAMES_PER_SECOND
_END, _OPEN = -1, -2
"""In place of the number of a block: the file is over, or to be made."""
DATA_BYTES_MAX = (1 << 32) - (1 << 16)
"""Of a WAV file, whose sizes have 32 bits: 37 hours of two channels."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RecordingNote).decode


class Note(NamedTuple):
    """What became of a recording."""

    id: str
    error: str
    """Empty: the file is closed."""


class Recording:
    """One file that is being written, seen from the tick."""

    def __init__(self, recorder: "Recorder", row: int, note: RecordingNote, block: int = -1) -> None:
        self._recorder, self.row, self.channels = recorder, row, note.channels
        self.file = -1
        """Descriptor, once it is open; the thread's."""
        self.state = recorder.tape.recordings[row]
        """Its `media.tape.RECORDING`."""
        self.note = note
        self._block = block
        """That is being filled; -1: none."""
        self._samples: I16 = np.zeros(0, np.int16)
        self._at = self._frames = 0
        if block >= 0:
            self._begin(block)
        self._converting: dict[tuple[int, int], NDArray[Any]] = {}
        """Channel and its rate to the state of its resampler."""
        self.dropped = 0
        """Frames that the disk was too slow for."""
        self.failed = False
        """Nothing more can be written; the thread's."""

    @property
    def rate(self) -> int:
        """Hz; what is put first says it."""
        return int(self.state["rate"]) or RATES[0]

    @property
    def paused(self) -> bool:
        """What is put is left out."""
        return self.note.paused

    def keep(self, **changes: Any) -> None:
        """Change what is noted of it."""
        self.note = replace(self.note, **changes)
        self._recorder.tape.slips.put(self.row, _encode(self.note))

    def put(self, *channels: I16) -> None:
        """Add a frame: int16[20 ms] for each channel."""
        if self.note.paused:
            return
        rate = len(channels[0]) * FRAMES_PER_SECOND
        if not self.state["rate"]:
            self.state["rate"] = rate
        count = self.rate // FRAMES_PER_SECOND * self.channels
        if self._block < 0 or self._at + count > len(self._samples) or self._frames >= BLOCK_FRAMES:
            self._flush()
            block = self._recorder.block(self)
            if block < 0:
                self.dropped += 1
                return
            self._begin(block)
        frame = self._samples[self._at : self._at + count].reshape(-1, self.channels)
        for number, samples in enumerate(channels):
            frame[:, number] = samples if rate == self.rate else self._convert(number, samples, rate)
        self._at += count
        self._frames += 1
        self._recorder.tape.blocks["size"][self._block] = 2 * self._at

    def _begin(self, block: int) -> None:
        tape = self._recorder.tape
        self._block, self._samples = block, tape.sound[block].view(np.int16)
        self._at = int(tape.blocks["size"][block]) // 2
        self._frames = self._at // max(self.rate // FRAMES_PER_SECOND * self.channels, 1)

    def _convert(self, channel: int, samples: I16, rate: int) -> I16:
        convert = resampler(rate, self.rate)
        state = self._converting.setdefault((channel, rate), np.zeros(1, convert.state))
        converted: I16 = convert(state, samples[None])
        return np.asarray(converted[0])

    def _flush(self) -> None:
        if self._block >= 0:
            self._recorder.tape.blocks["full"][self._block] = True
            self.state["bytes"] += 2 * self._at
            self._recorder.write(self, self._block)
        self._block = -1

    def close(self) -> None:
        """Finish the file, later."""
        self._flush()
        self.state["over"] = True
        self._recorder.finish(self)


class Recorder:
    """The thread that writes."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._blocks: list[int] | None = None
        """That are free, the lowest last; None: nobody has asked yet."""
        self._queue: queue.Queue[tuple[Recording | None, int]] = queue.Queue()
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self, note: RecordingNote, channels: int) -> Recording:
        """Begin a file of 16 bits, soon: nothing of it is waited for; that it can't be made is told in a note.

        Raises:
            OSError: there are too many recordings, or its name is too long.
        """
        free = np.flatnonzero(self.tape.slips.mark["size"] == 0)
        if not len(free):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        row = int(free[0])
        state = self.tape.recordings[row]
        for field in ("rate", "bytes", "written", "device", "inode", "over"):
            state[field] = 0
        note = replace(note, channels=channels)
        if not self.tape.slips.put(row, _encode(note)):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        self._start()
        recording = Recording(self, row, note)
        self._queue.put((recording, _OPEN))
        return recording

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _free(self) -> list[int]:
        if self._blocks is None:
            self._blocks = np.flatnonzero(self.tape.blocks["owner"] == 0)[::-1].tolist()
        return self._blocks

    def take_over(self) -> list[Recording]:
        """Recordings that another process left; those that were about to end do so."""
        found = []
        slips, blocks = self.tape.slips, self.tape.blocks
        for row in np.flatnonzero(slips.mark["size"]).tolist():
            try:
                note = _decode(slips.get(row))
            except msgspec.DecodeError:
                slips.take(row)
                continue
            mine = np.flatnonzero(blocks["owner"] == row + 1)
            full = mine[blocks["full"][mine]]
            filling = mine[~blocks["full"][mine]]
            state = self.tape.recordings[row]
            state["bytes"] = max([int(state["bytes"]), *(blocks["at"][full] + blocks["size"][full]).tolist()])
            self._start()
            recording = Recording(self, row, note, int(filling[0]) if len(filling) else -1)
            for block in full[blocks["at"][full].argsort()].tolist():
                self.write(recording, block)
            if state["over"]:
                recording.close()
            else:
                found.append(recording)
        gone = blocks["owner"] > 0
        gone[gone] = slips.mark["size"][blocks["owner"][gone] - 1] == 0
        blocks["owner"][gone] = 0
        return found

    def block(self, recording: Recording) -> int:
        """A free block for what comes next of a recording; -1: the disk has not written the others yet."""
        free = self._free()
        if not free:
            if not recording.dropped:
                self._notes.put(Note(recording.note.id, "the disk is too slow: seconds are missing"))
            return -1
        block = free.pop()
        state = self.tape.blocks[block]
        state["size"], state["full"], state["at"] = 0, False, recording.state["bytes"]
        state["owner"] = recording.row + 1
        return block

    def write(self, recording: Recording, block: int) -> None:
        """Queue a full block."""
        self._queue.put((recording, block))

    def finish(self, recording: Recording) -> None:
        """Queue the end of a file."""
        self._queue.put((recording, _END))

    def notes(self) -> list[Note]:
        """What became of recordings since the last call."""
        return [] if self._notes.empty() else [self._notes.get() for _ in range(self._notes.qsize())]

    def _run(self) -> None:
        while True:
            recording, block = self._queue.get()
            if recording is None:
                return
            try:
                if recording.file < 0 and not recording.failed:
                    self._open(recording)
                if block == _END and recording.file >= 0:
                    self._end(recording)
                elif block >= 0 and not recording.failed:
                    self._write(recording, block)
            except (OSError, ValueError) as error:
                if not recording.failed and not recording.dropped:
                    self._notes.put(Note(recording.note.id, os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)))
                recording.failed = True
            if block >= 0:
                self.tape.blocks["owner"][block] = 0
                self._free().append(block)
            if block != _END:
                continue
            if recording.file >= 0:
                os.close(recording.file)
            self.tape.slips.take(recording.row)
            self._notes.put(Note(recording.note.id, ""))

    @staticmethod
    def _open(recording: Recording) -> None:
        """Make the file, or find the one that another process wrote; another one that has its name now is none of ours."""
        state, fresh = recording.state, not recording.state["inode"]
        # Non-blocking: a pipe that nobody reads is refused, not waited for.
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT | os.O_TRUNC if fresh else 0)
        recording.file = os.open(recording.note.path, flags, 0o640)
        found = os.fstat(recording.file)
        if fresh:
            os.write(recording.file, wav.header(RATES[0], recording.channels, 0))
            state["device"], state["inode"] = found.st_dev, found.st_ino
        elif (found.st_dev, found.st_ino) != (int(state["device"]), int(state["inode"])):
            os.close(recording.file)
            recording.file = -1
            raise OSError(errno.ESTALE, "")

    def _write(self, recording: Recording, block: int) -> None:
        at, size = int(self.tape.blocks["at"][block]), int(self.tape.blocks["size"][block])
        if at + size > DATA_BYTES_MAX:
            raise OSError(errno.EFBIG, "")
        rest = memoryview(self.tape.sound[block, :size].data)
        while rest:
            count = os.pwrite(recording.file, rest, wav.HEADER_BYTES + at)
            at, rest = at + count, rest[count:]
            recording.state["written"] = max(int(recording.state["written"]), at)

    @staticmethod
    def _end(recording: Recording) -> None:
        width = 2 * recording.channels
        size = int(recording.state["written"]) // width * width
        os.ftruncate(recording.file, wav.HEADER_BYTES + size)
        os.pwrite(recording.file, wav.header(recording.rate, recording.channels, size), 0)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        if self._thread is not None:
            self._queue.put((None, _END))
            self._thread.join()
            self._thread = None
