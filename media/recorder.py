"""Recordings: WAV files, written by a thread of their own so that no disk can hold up a tick.

Rules:
- The tick puts frames into a block of one second; full blocks wait in a queue of `BLOCKS_MAX`; what finds it full is left out and counted.
- The header is made right when the recording ends; a file whose process died still holds the samples.
"""

import os
import queue
import threading

import numpy as np

from media import wav
from media.arrays import I16
from media.legs import FRAME_SAMPLES
from media.sources import RATE

BLOCK_FRAMES = 50
BLOCKS_MAX = 2000
"""Seconds of recording that may wait for the disk, over all files."""


class Recording:
    """One file that is being written, seen from the tick."""

    def __init__(self, recorder: "Recorder", file: int, channels: int) -> None:
        self._recorder, self._file, self.channels = recorder, file, channels
        self._block = self._fresh()
        self._frames = 0
        self.dropped = 0
        """Blocks that the disk was too slow for."""

    def _fresh(self) -> I16:
        return np.zeros((BLOCK_FRAMES, FRAME_SAMPLES, self.channels), np.int16)

    def put(self, *channels: I16) -> None:
        """Add a frame: int16[160] for each channel."""
        for number, samples in enumerate(channels):
            self._block[self._frames, :, number] = samples
        self._frames += 1
        if self._frames == BLOCK_FRAMES:
            self._flush()

    def _flush(self) -> None:
        if not self._recorder.write(self._file, self._block[: self._frames]):
            self.dropped += 1
        self._block, self._frames = self._fresh(), 0

    def close(self) -> None:
        """Finish the file, later."""
        self._flush()
        self._recorder.finish(self._file, self.channels)


class Recorder:
    """The thread that writes."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[int, I16 | int]] = queue.Queue()
        self._thread: threading.Thread | None = None

    def open(self, path: str, channels: int) -> Recording:
        """Begin a file of 16 bits at 8 kHz.

        Raises:
            OSError: it can't be written.
        """
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        os.write(file, wav.header(RATE, channels, 0))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return Recording(self, file, channels)

    def write(self, file: int, block: I16) -> bool:
        """Queue samples; False: too many wait."""
        if self._queue.qsize() >= BLOCKS_MAX:
            return False
        self._queue.put((file, block))
        return True

    def finish(self, file: int, channels: int) -> None:
        """Queue the end of a file."""
        self._queue.put((file, channels))

    def _run(self) -> None:
        failed: set[int] = set()
        while True:
            file, what = self._queue.get()
            if file < 0:
                return
            try:
                if not isinstance(what, int):
                    if file not in failed:
                        os.write(file, what.tobytes())
                    continue
                size = os.lseek(file, 0, os.SEEK_END) - wav.HEADER_BYTES
                os.pwrite(file, wav.header(RATE, what, size), 0)
            except OSError:
                failed.add(file)
            if isinstance(what, int):
                failed.discard(file)
                os.close(file)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        if self._thread is not None:
            self._queue.put((-1, 0))
            self._thread.join()
            self._thread = None
