"""A batch of RTP packets between the steps of receiving."""

from typing import NamedTuple

import numpy as np

from media.arrays import F64, I64, U8, U16, U32, Bool, Index


class Rows(NamedTuple):
    """Rows of the inbox that are RTP, at most one a leg; fields as in `Packets`."""

    row: Index
    where: Index | slice
    leg: Index
    size: I64
    kind: U8


class Packets(NamedTuple):
    """RTP packets, at most one a leg, in host byte order."""

    row: Index
    """intp[n]: where they are in the inbox."""
    where: Index | slice
    """The same; a slice where they lie together."""
    leg: Index
    """intp[n]."""
    size: I64
    """int64[n]: bytes of payload; extension, CSRCs and padding are off."""
    sequence: U16
    timestamp: U32
    kind: U8
    """`media.codecs`."""
    came: F64
    """float64[n]: when they came, seconds."""

    def pick(self, which: Bool) -> "Packets":
        """Those of them for which ``which`` holds; itself if all do."""
        if np.count_nonzero(which) == len(which):
            return self
        row, _, leg, size, sequence, timestamp, kind, came = self
        row = row[which]
        return Packets(row, row, leg[which], size[which], sequence[which], timestamp[which], kind[which], came[which])
