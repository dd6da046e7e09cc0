"""Names for the array types of the engine, and the memory that its state lives in.

Rules:
- All state of legs lies in one buffer, in fields of fixed place: another process that maps the buffer sees the same state.
- The layout is versioned: `Arena.digest` covers every field's name, type, shape and place; a buffer of another layout is refused.
- Fields start on cache lines. A sparse memory file costs only the pages that were written to.
"""

import hashlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Index = NDArray[np.intp]

LINE_BYTES = 64
HEADER_BYTES = 4096
CAPACITY_PLACE = 48
"""In the header, after the mark of the layout: rows, uint32."""
IDENTITY_BYTES = 2048
"""At the end of the header: the certificate of DTLS (`media.webrtc.certificate`)."""
MAGIC = b"hotswitch-media\0"


class LayoutError(ValueError):
    """The memory holds arrays of another layout: other version, other fields or other capacity."""


class Arena:
    """Hands out arrays over one buffer, one after the other.

    Args:
        memory: the buffer, or None to only measure (arrays are then real, private and thrown away).
    """

    def __init__(self, memory: mmap.mmap | None) -> None:
        self._memory = memory
        self._hash = hashlib.sha256()
        self.size = HEADER_BYTES
        """Bytes used so far, header included."""

    def array(self, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The next field. What was in the buffer stays: a new memory file is all zero."""
        count = int(np.prod(shape))
        place = self.size
        self.size += -(-count * kind.itemsize // LINE_BYTES) * LINE_BYTES
        self._hash.update(f"{name} {kind.str} {shape} {place}\n".encode())
        if self._memory is None:
            return np.zeros((0, *shape[1:]), kind)
        return np.frombuffer(self._memory, kind, count, place).reshape(shape)

    def digest(self) -> bytes:
        """32 bytes that name this layout."""
        return self._hash.digest()

    def seal(self) -> None:
        """Write the header of a new buffer, or check that of one that was taken over.

        Raises:
            LayoutError: it was written by another layout.
        """
        if self._memory is None:
            return
        mark = MAGIC + self.digest()
        found = bytes(self._memory[: len(mark)])
        if found == bytes(len(mark)):
            self._memory[: len(mark)] = mark
        elif found != mark:
            raise LayoutError(f"expected layout {mark[16:].hex()[:16]}, the memory holds {found[16:].hex()[:16]}")
