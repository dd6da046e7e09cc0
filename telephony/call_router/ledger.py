"""Calls that outlive their router's process: one record each in a memory file, which the agent holds and gives to the next process.

    8 bytes magic and version, rest of the page empty | slot | slot | ...      a slot: u32 length, u32 CRC-32 of the record, record

Rules:
- A slot is one page, written at once: a process that is killed leaves the record before or the one after, or one whose CRC is
  wrong, which counts as none.
- What is free is used again first, so the file is as large as the most calls there were at a time.
- Of another version, or beyond a bound: nothing is kept, and nothing is lost by that but the promise for a restart.

Bounds: `CALLS_MAX` records of `RECORD_BYTES_MAX` each.
"""

import os
import struct
from zlib import crc32

CALLS_MAX = 20_000
SLOT_BYTES = 4096
_HEAD = struct.Struct("<II")
RECORD_BYTES_MAX = SLOT_BYTES - _HEAD.size
MAGIC = b"HSCALL\x00\x01"
_EMPTY = b"\x00" * _HEAD.size


class Ledger:
    """Records of one router's calls.

    Args:
        memory: descriptor of the memory file; it stays the caller's.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._slots: dict[str, int] = {}
        """Call to its slot."""
        self._free: list[int] = []
        self._count = 0
        self.refused = 0
        """Records that were too large, or came when it was full."""

    def read(self) -> list[tuple[int, bytes]]:
        """Slots and records that the process before has left. Called once, first; then `adopt` what goes on, and `settle`."""
        size = os.fstat(self._memory).st_size
        if size < SLOT_BYTES or os.pread(self._memory, len(MAGIC), 0) != MAGIC:
            os.ftruncate(self._memory, 0)
            os.ftruncate(self._memory, SLOT_BYTES)
            os.pwrite(self._memory, MAGIC, 0)
            return []
        found: list[tuple[int, bytes]] = []
        self._count = min(size // SLOT_BYTES - 1, CALLS_MAX)
        for slot in range(self._count):
            data = os.pread(self._memory, SLOT_BYTES, (slot + 1) * SLOT_BYTES)
            length, checksum = _HEAD.unpack_from(data)
            record = data[_HEAD.size : _HEAD.size + length]
            if length and len(record) == length and crc32(record) == checksum:
                found.append((slot, record))
        return found

    def adopt(self, call: str, slot: int) -> None:
        """The call of this slot goes on."""
        self._slots[call] = slot

    def settle(self) -> None:
        """What was read and not adopted is gone."""
        taken = set(self._slots.values())
        self._free = [slot for slot in range(self._count - 1, -1, -1) if slot not in taken]
        for slot in self._free:
            os.pwrite(self._memory, _EMPTY, (slot + 1) * SLOT_BYTES)

    def keep(self, call: str, record: bytes) -> None:
        """A call as it is now."""
        slot = self._slots.get(call)
        if len(record) > RECORD_BYTES_MAX:
            self.refused += 1
            self.forget(call)
            return
        if slot is None:
            if self._free:
                slot = self._free.pop()
            elif self._count < CALLS_MAX:
                slot = self._count
                self._count += 1
            else:
                self.refused += 1
                return
            self._slots[call] = slot
        os.pwrite(self._memory, (_HEAD.pack(len(record), crc32(record)) + record).ljust(SLOT_BYTES, b"\x00"), (slot + 1) * SLOT_BYTES)

    def forget(self, call: str) -> None:
        """The call is over; nothing happens if it was not kept."""
        slot = self._slots.pop(call, None)
        if slot is not None:
            os.pwrite(self._memory, _EMPTY, (slot + 1) * SLOT_BYTES)
            self._free.append(slot)
