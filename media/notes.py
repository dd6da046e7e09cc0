"""What the desk knows of each leg and room, kept beside the arrays: who takes the memory over knows it too.

Rules:
- A note is the msgpack of a `LegRecord`, with its length and checksum; one that was cut in the middle of writing does not count.
- Notes are written when a leg changes, which is as rare as jobs are.
"""

import zlib

import msgspec
import numpy as np

from media.legs import NOTE_BYTES, Legs
from media.record import LegRecord, RoomRecord

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LegRecord).decode
_decode_room = msgspec.msgpack.Decoder(RoomRecord).decode


def write_room(record: RoomRecord) -> bytes:
    """What a room hears, for `Legs.room_slips`."""
    return _encode(record)


def read_room(data: bytes) -> RoomRecord | None:
    """What a room hears; None: nothing, or there is no whole note of it."""
    try:
        return _decode_room(data) if data else None
    except msgspec.DecodeError:
        return None


class Notes:
    """Notes of all legs."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def write(self, record: LegRecord) -> bool:
        """Note a leg; False: it is longer than `NOTE_BYTES`, and the leg ends with this process."""
        data = _encode(record)
        legs, leg = self._legs, record.leg
        legs.note_size[leg] = 0
        if len(data) > NOTE_BYTES:
            return False
        legs.note[leg, : len(data)] = np.frombuffer(data, np.uint8)
        legs.note_check[leg] = zlib.crc32(data)
        legs.note_size[leg] = len(data)
        return True

    def read(self, leg: int) -> LegRecord | None:
        """The note of a leg; None: there is no whole one."""
        legs = self._legs
        data = legs.note[leg, : int(legs.note_size[leg])].tobytes()
        if not data or zlib.crc32(data) != int(legs.note_check[leg]):
            return None
        try:
            return _decode(data)
        except msgspec.DecodeError:
            return None
