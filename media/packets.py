"""A batch of RTP packets between the steps of receiving."""

from typing import NamedTuple

import numpy as np

from media.arrays import F64, I64, U8, U16, U32, Bool, Index


class Packets(NamedTuple):
    """RTP packets, at most one a leg, in host byte order."""

    row: Index
    """intp[n]: where they are in the inbox."""
    where: Index | slice
    """The same; a slice where they lie together."""
    leg: Index
    """intp[n]."""
    size: I64
    """int64[n]: bytes, header of 12 included; extension, CSRCs and padding are off."""
    sequence: U16
    timestamp: U32
    kind: U8
    """`media.codecs`."""
    age: F64
    """float64[n]: how long ago they came, seconds."""

    def pick(self, which: Bool) -> "Packets":
        """Those of them for which ``which`` holds; itself if all do."""
        if np.count_nonzero(which) == len(which):
            return self
        row, _, leg, size, sequence, timestamp, kind, age = self
        row = row[which]
        return Packets(row, row, leg[which], size[which], sequence[which], timestamp[which], kind[which], age[which])
