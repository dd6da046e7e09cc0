"""Batches of datagrams: recvmmsg and sendmmsg on preallocated arrays, no object per packet.

Rules:
- A batch is `BATCH` rows; the kernel fills and reads the rows in place.
- Nothing blocks: what can't be sent now is dropped and counted, as a full line would.
- The kernel stamps datagrams when they come, so that a batch may wait for its tick without their times being lost.
- The first eight bytes of a ``sockaddr_in`` (family, port, host) are the key of a source. Rows are wide enough for IPv6; the kernel makes
  them as narrow as what came last, so that who receives IPv6 makes them wide again (`Inbox.widen`).
"""

import ctypes
import socket
import time

import numpy as np

from media.addresses import ADDRESS_BYTES
from media.arrays import F64, I32, U8, U32, U64, Index
from media.ring import RECVMSG, SENDMSG, Ring

BATCH = 256
"""Datagrams of one system call."""
DATAGRAM_BYTES_MAX = 2048
"""Longer ones are cut, and refused for it."""
RING_SOCKETS_MIN = 12
"""Fewer sockets are called one by one: a ring costs about 20 us a call of its own."""
NAME_BYTES = 28
"""Of ``sockaddr_in6``; of a ``sockaddr_in`` the kernel takes its first 16."""
MSG_DONTWAIT = 0x40
wall = time.time
"""What the kernel stamps datagrams with, Unix time in seconds."""
SO_TIMESTAMPNS = 35
_STAMP_BYTES = 32
"""struct cmsghdr and a struct timespec."""
_SECONDS = np.array([1.0, 1e-9])

_HEADER = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["u8", "u8", "u8", "u8", "u8", "u8", "u8", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""struct mmsghdr of 64-bit Linux."""
_HEADER_BYTES = 64
_IOV_BYTES = 16

_libc = ctypes.CDLL(None)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


def pointers(rows: U8) -> U64:
    """uint64[rows]: the address in memory of each row of a C-contiguous array."""
    return (rows.ctypes.data + np.arange(len(rows), dtype=np.uint64) * np.uint64(rows.strides[0])).astype(np.uint64)


def stamped(side: socket.socket) -> None:
    """Let the kernel stamp what comes to a socket, for `Inbox.arrivals`."""
    side.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


class Inbox:
    """Rows that datagrams are received into.

    Args:
        ring: for many sockets at once; None: each is asked by itself.
    """

    def __init__(self, ring: Ring | None = None) -> None:
        self._ring = ring
        # A cache line between the rows: begun at multiples of 2048 their headers would all want the same few places of a cache.
        self.data: U8 = np.zeros((BATCH, DATAGRAM_BYTES_MAX + 64), np.uint8)[:, :DATAGRAM_BYTES_MAX]
        """uint8[row, byte]."""
        address = np.zeros((BATCH, ADDRESS_BYTES), np.uint8)
        self.address: U8 = address
        """uint8[row, 32]: address of the source."""
        self.key: U64 = address.view(np.uint64)[:, 0]
        """uint64[row]: its first eight bytes."""
        self.words: U64 = address.view(np.uint64)
        """uint64[row, 4]; of IPv6 the middle two are the host."""
        self._iov = np.zeros((BATCH, 2), np.uint64)
        self._iov[:, 0] = pointers(self.data)
        self._iov[:, 1] = DATAGRAM_BYTES_MAX
        self.iov: U64 = pointers(self._iov.view(np.uint8))
        """uint64[row]: pointer to the row's ``iovec``."""
        self.size: U64 = self._iov[:, 1]
        """uint64[row]: length of the ``iovec``; set it to send a row on, then call `rewind`."""
        self._header = np.zeros(BATCH, _HEADER)
        self._header["name"] = pointers(address)
        self._namelen = self._header["namelen"]
        self._namelen.fill(NAME_BYTES)
        self._header["iov"] = self.iov
        self._header["iovlen"] = 1
        stamp = np.zeros((BATCH, _STAMP_BYTES), np.uint8)
        self._header["control"] = pointers(stamp)
        self._stamp_bytes: U64 = self._header["controllen"]
        self._stamp_bytes[:] = _STAMP_BYTES
        self._stamp = stamp.view(np.int64)[:, 2:]
        self.length: U32 = self._header["length"]
        """uint32[row]: bytes received."""
        self._place = self._header.ctypes.data
        self._message = pointers(self._header.view(np.uint8).reshape(BATCH, _HEADER_BYTES))

    def arrivals(self, count: int, now: float, most: float) -> F64:
        """float64[count]: when the first rows came, seconds, ``now - most`` to ``now``; to be asked once for every batch."""
        came: F64 = self._stamp[:count] @ _SECONDS
        self._stamp_bytes[:count] = _STAMP_BYTES
        came += now - wall()
        np.maximum(came, now - most, out=came)
        np.minimum(came, now, out=came)
        return came

    def receive(self, fd: int, first: int) -> int:
        """Take what waits at a socket into the rows from ``first`` on; how many came (0: nothing, or the socket failed)."""
        count: int = _recvmmsg(fd, self._place + first * _HEADER_BYTES, BATCH - first, MSG_DONTWAIT, None)
        return max(count, 0)

    def receive_each(self, fds: I32, first: int) -> I32:
        """Take one datagram of each socket (int32[n]) into the rows from ``first`` on, as far as there is one; the sockets that had one,
        in order."""
        ring = self._ring
        if ring is None or not ring.works or len(fds) < RING_SOCKETS_MIN:
            served: list[int] = []
            for fd in fds.tolist():
                if _recvmmsg(fd, self._place + (first + len(served)) * _HEADER_BYTES, 1, MSG_DONTWAIT, None) == 1:
                    served.append(fd)
            return fds if len(served) == len(fds) else np.array(served, np.int32)
        rows = slice(first, first + len(fds))
        done = ring.call(RECVMSG, fds, self._message[rows])
        self.length[rows] = done.view(np.uint32)
        if np.count_nonzero(done < 0) == 0:
            return fds
        had = np.flatnonzero(done >= 0)
        to, source = slice(first, first + len(had)), first + had
        for array in (self.data, self.address, self.length, self._stamp):
            array[to] = array[source]
        self._stamp_bytes[rows] = _STAMP_BYTES
        self._namelen[rows] = NAME_BYTES
        return fds[had]

    def widen(self) -> None:
        """Make the rows' addresses as long as they can be again."""
        self._namelen.fill(NAME_BYTES)

    def rewind(self) -> None:
        """Make the rows as long as they can be again."""
        self.size.fill(DATAGRAM_BYTES_MAX)


class Outbox:
    """Headers of datagrams that are sent from rows elsewhere.

    Args:
        ring: for many sockets at once; None: each is called by itself.
    """

    def __init__(self, ring: Ring | None = None) -> None:
        self._ring = ring
        self._header = np.zeros(BATCH, _HEADER)
        self._header["namelen"] = NAME_BYTES
        self._place = self._header.ctypes.data
        self._message = pointers(self._header.view(np.uint8).reshape(BATCH, _HEADER_BYTES))
        self._name: U64 = self._header["name"]
        self._iov: U64 = self._header["iov"]
        self._iovlen: U64 = self._header["iovlen"]
        self.unsent = 0
        """Datagrams that the kernel did not take."""

    def point(self, iovs: U64) -> None:
        """Let every datagram always be of the same ``iovec``, uint64[BATCH]: only who it goes to is told then, by `address`."""
        self._iov[:] = iovs
        self._iovlen.fill(1)

    def address(self, names: U64) -> int:
        """Address the first datagrams, after `point`; returns how many."""
        count = len(names)
        self._name[:count] = names
        return count

    def load(self, names: U64, iovs: U64, pieces: int) -> int:
        """Address the next datagrams: pointers to ``sockaddr_in`` and to ``pieces`` ``iovec`` each; returns how many."""
        count = len(names)
        self._name[:count] = names
        self._iov[:count] = iovs
        self._iovlen[:count] = pieces
        return count

    def send(self, fd: int, first: int, count: int) -> None:
        """Send loaded datagrams ``first .. first + count``. One that the kernel refuses is skipped."""
        end = first + count
        while first < end:
            sent: int = _sendmmsg(fd, self._place + first * _HEADER_BYTES, end - first, MSG_DONTWAIT)
            if sent <= 0:
                self.unsent += 1
                sent = 1
            first += sent

    def send_each(self, fds: I32) -> None:
        """Send the first loaded datagrams, each by a socket of its own: int32[n]."""
        ring = self._ring
        if ring is not None and ring.works and len(fds) >= RING_SOCKETS_MIN:
            self.unsent += int(np.count_nonzero(ring.call(SENDMSG, fds, self._message[: len(fds)]) < 0))
            return
        for row, fd in enumerate(fds.tolist()):
            if _sendmmsg(fd, self._place + row * _HEADER_BYTES, 1, MSG_DONTWAIT) != 1:
                self.unsent += 1


class Pages:
    """Rows of a header and a payload, sent as one datagram each.

    Args:
        header_bytes: of each row; payload rows are lent by whoever encodes.
    """

    def __init__(self, header_bytes: int) -> None:
        self.header: U8 = np.zeros((BATCH, header_bytes), np.uint8)
        self._iov = np.zeros((BATCH, 4), np.uint64)
        self._iov[:, 0] = pointers(self.header)
        self._iov[:, 1] = header_bytes
        self.iov: U64 = pointers(self._iov.view(np.uint8))
        self._steps = np.arange(BATCH, dtype=np.uint64)

    def lend(self, payload: U8, size: int | U32 | Index) -> None:
        """Let rows ``0 .. len(payload)`` carry these payloads (uint8[row, byte], C-contiguous), ``size`` bytes of each."""
        count = len(payload)
        self._iov[:count, 2] = self._steps[:count] * np.uint64(payload.strides[0]) + np.uint64(payload.ctypes.data)
        self._iov[:count, 3] = size

    def share(self, payload: U8, row: Index, size: int | U32 | Index) -> None:
        """The same, row *i* of ours carrying payload ``row[i]``."""
        count = len(row)
        self._iov[:count, 2] = row * payload.strides[0] + payload.ctypes.data
        self._iov[:count, 3] = size
