"""Recordings: WAV files, written by a thread of their own so that no disk can hold up a tick.

Rules:
- The tick puts frames into a block of one second; full blocks wait in a queue of `BLOCKS_MAX`; what finds it full is left out, and said.
- A file that can't be written any more (the disk is full) ends there, at a whole sample, and that is said; the others go on.
- A file has the rate of what is heard first; where the room changes its own, the rest is converted.
- The header is made right when the recording ends; a file whose process died still holds the samples.
- What is said of a recording waits in `Recorder.notes` for the tick: at most one error, and the end.
"""

import errno
import os
import queue
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media import wav
from media.arrays import I16
from media.rates import FRAMES_PER_SECOND, RATES
from media.resample import resampler

BLOCK_FRAMES = 50
BLOCKS_MAX = 2000
"""Seconds of recording that may wait for the disk, over all files."""
DATA_BYTES_MAX = (1 << 32) - (1 << 16)
"""Of a WAV file, whose sizes have 32 bits: 37 hours of two channels."""


class Note(NamedTuple):
    """What became of a recording."""

    id: str
    error: str
    """Empty: the file is closed."""


class Recording:
    """One file that is being written, seen from the tick."""

    def __init__(self, recorder: "Recorder", file: int, channels: int) -> None:
        self._recorder, self.file, self.channels = recorder, file, channels
        self.rate = RATES[0]
        """Hz; what is put first says it."""
        self._block: I16 = np.zeros((0, 0, channels), np.int16)
        self._frames = 0
        self._converting: dict[tuple[int, int], NDArray[Any]] = {}
        """Channel and its rate to the state of its resampler."""
        self.id = ""
        """Of the recording, in its notes."""
        self.paused = False
        """What is put is left out."""
        self.dropped = 0
        """Blocks that the disk was too slow for."""
        self.written = 0
        """Bytes of samples in the file; the thread's."""
        self.failed = False
        """Nothing more can be written; the thread's."""

    def _fresh(self) -> I16:
        return np.zeros((BLOCK_FRAMES, self.rate // FRAMES_PER_SECOND, self.channels), np.int16)

    def put(self, *channels: I16) -> None:
        """Add a frame: int16[20 ms] for each channel."""
        if self.paused:
            return
        rate = len(channels[0]) * FRAMES_PER_SECOND
        if not len(self._block):
            self.rate = rate
            self._block = self._fresh()
        for number, samples in enumerate(channels):
            self._block[self._frames, :, number] = samples if rate == self.rate else self._convert(number, samples, rate)
        self._frames += 1
        if self._frames == BLOCK_FRAMES:
            self._flush()

    def _convert(self, channel: int, samples: I16, rate: int) -> I16:
        convert = resampler(rate, self.rate)
        state = self._converting.setdefault((channel, rate), np.zeros(1, convert.state))
        converted: I16 = convert(state, samples[None])
        return np.asarray(converted[0])

    def _flush(self) -> None:
        if not self._recorder.write(self, self._block[: self._frames]):
            self.dropped += 1
        self._block, self._frames = self._fresh(), 0

    def close(self) -> None:
        """Finish the file, later."""
        self._flush()
        self._recorder.finish(self)


class Recorder:
    """The thread that writes."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Recording | None, I16 | None]] = queue.Queue()
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self, path: str, channels: int) -> Recording:
        """Begin a file of 16 bits.

        Raises:
            OSError: it can't be written.
        """
        # Non-blocking: a pipe that nobody reads is refused, not waited for.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        try:
            os.write(file, wav.header(RATES[0], channels, 0))
        except OSError:
            os.close(file)
            raise
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return Recording(self, file, channels)

    def write(self, recording: Recording, block: I16) -> bool:
        """Queue samples; False: too many wait."""
        if self._queue.qsize() >= BLOCKS_MAX:
            if not recording.dropped:
                self._notes.put(Note(recording.id, "the disk is too slow: seconds are missing"))
            return False
        self._queue.put((recording, block))
        return True

    def finish(self, recording: Recording) -> None:
        """Queue the end of a file."""
        self._queue.put((recording, None))

    def notes(self) -> list[Note]:
        """What became of recordings since the last call."""
        return [] if self._notes.empty() else [self._notes.get() for _ in range(self._notes.qsize())]

    def _run(self) -> None:
        while True:
            recording, block = self._queue.get()
            if recording is None:
                return
            try:
                if block is None:
                    self._end(recording)
                elif not recording.failed:
                    self._write(recording, block)
            except OSError as error:
                if not recording.failed and not recording.dropped:
                    self._notes.put(Note(recording.id, os.strerror(error.errno or 0)))
                recording.failed = True
            if block is None:
                os.close(recording.file)
                self._notes.put(Note(recording.id, ""))

    @staticmethod
    def _write(recording: Recording, block: I16) -> None:
        if recording.written + block.nbytes > DATA_BYTES_MAX:
            raise OSError(errno.EFBIG, "")
        rest = memoryview(block.tobytes())
        while rest:
            count = os.write(recording.file, rest)
            recording.written += count
            rest = rest[count:]

    @staticmethod
    def _end(recording: Recording) -> None:
        width = 2 * recording.channels
        size = recording.written // width * width
        os.ftruncate(recording.file, wav.HEADER_BYTES + size)
        os.pwrite(recording.file, wav.header(recording.rate, recording.channels, size), 0)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        if self._thread is not None:
            self._queue.put((None, None))
            self._thread.join()
            self._thread = None
