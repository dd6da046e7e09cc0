"""Mix-minus: what everybody in a room hears is the sum of all others.

Rules:
- Sums are exact in 32 bits, and saturated to 16 only where they are encoded: sample for sample what adding up one by one gives.
- Who said nothing adds nothing: where few talk, their samples alone are summed, and all others hear the same sum.
- A room of one hears nothing, or itself where it is an echo; a room of two is a swap.
"""

import numpy as np

from media.arrays import I16, I32, U8, Index
from media.codecs import PCMA
from media.g711 import DECODE_PAIRS, ENCODE
from media.legs import FRAME_SAMPLES

_LAW = 65536


class Mixer:
    """Room for the arithmetic of one block.

    Args:
        rows_max: most legs of a block.
    """

    def __init__(self, rows_max: int) -> None:
        self._pairs = np.zeros((rows_max, FRAME_SAMPLES // 2), np.uint32)
        self._coded: U8 = np.zeros((4 * rows_max, FRAME_SAMPLES), np.uint8)

    def decode(self, payload: U8, codec: U8) -> I16:
        """G.711 of both laws: uint8[n, 160] and the codec of each row to int16[n, 160], lent until the next call."""
        out = self._pairs[: len(payload)]
        codes = payload.view(np.uint16)
        if not len(codec):
            return out.view(np.int16)
        if (codec == codec[0]).all():
            table = DECODE_PAIRS[_LAW:] if codec[0] == PCMA else DECODE_PAIRS[:_LAW]
            table.take(codes, out=out, mode="clip")
        else:
            DECODE_PAIRS.take(codes + np.where(codec == PCMA, _LAW, 0)[:, None], out=out, mode="clip")
        return out.view(np.int16)

    @staticmethod
    def minus(samples: I16, size: int, extra: I32 | None = None) -> tuple[I32, I32]:
        """The sum of each room, and what each leg hears of it.

        Args:
            samples: int16[rooms * size, n].
            extra: int32[rooms, n]: heard by everybody.

        Returns:
            int32[rooms, n] and int32[rooms * size, n].
        """
        by_room = samples.reshape(-1, size, samples.shape[1])
        total: I32 = by_room.sum(axis=1, dtype=np.int32)
        if extra is not None:
            total += extra
        heard = total[:, None, :] - by_room
        return total, heard.reshape(samples.shape)

    @staticmethod
    def sums(samples: I16, room: Index, rooms: int, extra: I32 | None = None) -> I32:
        """The sum of each room where few talk: int32[rooms, n].

        Args:
            samples: int16[talkers, n].
            room: intp[talkers]: whose, ascending.
            extra: int32[rooms, n]: heard by everybody.
        """
        total: I32 = np.zeros((rooms, samples.shape[1]), np.int32)
        if len(room):
            first = np.flatnonzero(np.concatenate(([True], room[1:] != room[:-1])))
            total[room[first]] = np.add.reduceat(samples, first, axis=0, dtype=np.int32)
        if extra is not None:
            total += extra
        return total

    def encode(self, samples: I32, codec: U8) -> U8:
        """Sums to G.711 of both laws, saturated: int32[n, 160] (written over) to uint8[n, 160], lent until the next call."""
        out = self._coded[: len(samples)]
        if (codec == codec[0]).all():
            samples += 32768
            table = ENCODE[_LAW:] if codec[0] == PCMA else ENCODE[:_LAW]
            table.take(samples, out=out, mode="clip")
        else:
            np.clip(samples, -32768, 32767, out=samples)
            samples += np.where(codec == PCMA, _LAW + 32768, 32768).astype(np.int32)[:, None]
            ENCODE.take(samples, out=out, mode="clip")
        return out

    def encode_twice(self, samples: I32) -> U8:
        """Sums to both laws: int32[n, 160] (written over) to uint8[2 * n, 160], mu-law first; lent until the next call."""
        count = len(samples)
        samples += 32768
        ENCODE[:_LAW].take(samples, out=self._coded[:count], mode="clip")
        ENCODE[_LAW:].take(samples, out=self._coded[count : 2 * count], mode="clip")
        return self._coded[: 2 * count]
