"""Where recordings are until the disk has them: blocks of sound in the memory of the legs, which outlives the process.

Rules:
- A recording has a row, a block the place of its sound in the file. Writing a block again changes nothing: who takes over need not know how
  far the other one came.
- What a process that died had put is in the file in the end, to the last frame.
- Blocks are given out from the lowest on: the others never become real memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import U8, Arena
from media.slips import Slips

BLOCK_BYTES = 32 << 10
"""A second of two channels at 8 kHz."""
BLOCKS_MAX = 2000
"""Blocks that may wait for the disk, over all recordings: 64 MB."""
RECORDING = np.dtype([("rate", "u4"), ("bytes", "i8"), ("written", "i8"), ("device", "u8"), ("inode", "u8"), ("over", "?")])
"""Hz, 0: nothing was put yet; bytes of sound in blocks that are full, and in the file; which file it is, 0: it was not made yet (another
one under its name is left alone); nothing more comes."""
BLOCK = np.dtype([("owner", "i4"), ("size", "i4"), ("at", "i8"), ("full", "?")])
"""Row of its recording + 1, 0: free; bytes of sound; their place in the file's sound; it is the disk's turn."""


@dataclass
class RecordingNote:
    """What another process has to know to go on with a recording."""

    id: str
    client: str
    path: str
    channels: int = 1
    leg: str = ""
    """Exactly one of ``leg`` and ``room`` is named."""
    room: str = ""
    call: str = ""
    paused: bool = False


class Tape:
    """Rows and blocks of one process's memory.

    Args:
        rows: most recordings at once.
    """

    def __init__(self, arena: Arena, rows: int) -> None:
        self.recordings: NDArray[Any] = arena.array("recordings", RECORDING, (rows,))
        """`RECORDING`."""
        self.slips = Slips(arena, "recordings", rows)
        """`RecordingNote`."""
        self.blocks: NDArray[Any] = arena.array("blocks", BLOCK, (BLOCKS_MAX,))
        """`BLOCK`."""
        self.sound: U8 = arena.array("sound", np.dtype(np.uint8), (BLOCKS_MAX, BLOCK_BYTES))
        """uint8[block, byte]: int16 samples, channels interleaved."""
