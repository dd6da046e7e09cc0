"""Many sockets by one system call: datagrams of sockets of their own go through an io_uring (Linux 5.19), where the host allows it.

Rules:
- A ring belongs to one thread. What is submitted is over when the call returns: nothing waits in the kernel (``MSG_DONTWAIT``).
- Where there is no ring (an older kernel, or a host that forbids it) `Ring.open` says None, and each socket is called by itself.
"""

import contextlib
import ctypes
import mmap
import os

import numpy as np

from media.arrays import I32, I64, U8, U32, U64

SENDMSG, RECVMSG = 9, 10
"""IORING_OP_SENDMSG, IORING_OP_RECVMSG."""
MSG_DONTWAIT = 0x40
_SETUP, _ENTER = 425, 426
_SINGLE_MAP = 1
_SQES_PLACE = 0x10000000
_SETUP_FLAGS = 1 << 7 | 1 << 8
"""IORING_SETUP_SUBMIT_ALL: one that fails ends nothing; IORING_SETUP_COOP_TASKRUN: nobody is interrupted."""
_WAITS = 1
"""IORING_ENTER_GETEVENTS."""
_PARAMETERS_BYTES = 120
_SQ, _CQ = 40, 80
"""Places of ``sq_off`` and ``cq_off`` in struct io_uring_params."""

_ENTRY = np.dtype(
    {
        "names": ["operation", "fd", "address", "length", "flags", "user"],
        "formats": ["u1", "i4", "u8", "u4", "u4", "u8"],
        "offsets": [0, 4, 16, 24, 28, 32],
        "itemsize": 64,
    }
)
"""struct io_uring_sqe."""
_RESULT = np.dtype([("user", "i8"), ("result", "i4"), ("flags", "u4")])
"""struct io_uring_cqe."""

_syscall = ctypes.CDLL(None).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long]


class Ring:
    """Messages of many sockets, at most ``entries`` (a power of 2) at once.

    Raises:
        OSError: there are no rings here.
    """

    def __init__(self, entries: int) -> None:
        parameters = np.zeros(_PARAMETERS_BYTES // 4, np.uint32)
        parameters[2] = _SETUP_FLAGS
        self._fd = int(_syscall(_SETUP, entries, parameters.ctypes.data, 0, 0, None, 0))
        if self._fd < 0:
            raise OSError("io_uring is not to be had")
        if not parameters[5] & _SINGLE_MAP:
            os.close(self._fd)
            raise OSError("io_uring is too old")
        sq, cq = parameters[_SQ // 4 : _SQ // 4 + 8].tolist(), parameters[_CQ // 4 : _CQ // 4 + 8].tolist()
        count, results = int(parameters[0]), int(parameters[1])
        self._map = mmap.mmap(self._fd, max(sq[6] + count * 4, cq[5] + results * _RESULT.itemsize), mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._entries_map = mmap.mmap(self._fd, count * _ENTRY.itemsize, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=_SQES_PLACE)
        self._entries, self._results = count, results
        self._words = memoryview(self._map).cast("I")
        self._tail, self._head, self._end = sq[1] // 4, cq[0] // 4, cq[1] // 4
        self._order: U32 = np.frombuffer(self._map, np.uint32, count, sq[6])
        done = np.frombuffer(self._map, _RESULT, results, cq[5])
        self._user: I64 = done["user"]
        self._result: I32 = done["result"]
        entry = np.frombuffer(self._entries_map, _ENTRY, count)
        entry["length"], entry["flags"], entry["user"] = 1, MSG_DONTWAIT, np.arange(count)
        self._operation: U8 = entry["operation"]
        self._socket: I32 = entry["fd"]
        self._message: U64 = entry["address"]
        self._steps = np.arange(count, dtype=np.uint32)
        self._done: I32 = np.zeros(count, np.int32)
        self.works = True
        """All that was submitted came to its end; if not, the ring must not be used again."""

    @staticmethod
    def open(entries: int) -> "Ring | None":
        """A ring where there are any."""
        with contextlib.suppress(OSError, ValueError):
            return Ring(entries)
        return None

    def call(self, operation: int, fds: I32, messages: U64) -> I32:
        """Send or receive a message by each of some sockets, in order.

        Args:
            operation: `SENDMSG` or `RECVMSG`.
            fds: int32[n]: descriptors.
            messages: uint64[n]: pointers to ``msghdr``.

        Returns:
            int32[n], lent until the next call: bytes, or a negative number: it failed.
        """
        count, words = len(fds), self._words
        self._operation[:count] = operation
        self._socket[:count] = fds
        self._message[:count] = messages
        tail = words[self._tail]
        place = tail % self._entries
        before = min(count, self._entries - place)
        self._order[place : place + before] = self._steps[:before]
        if before < count:
            self._order[: count - before] = self._steps[before:count]
        words[self._tail] = (tail + count) & 0xFFFFFFFF
        submitted = int(_syscall(_ENTER, self._fd, count, count, _WAITS, None, 0))
        done = self._done[:count]
        done.fill(-1)
        head = words[self._head]
        came = (words[self._end] - head) & 0xFFFFFFFF
        place = head % self._results
        before = min(came, self._results - place)
        done[self._user[place : place + before]] = self._result[place : place + before]
        if before < came:
            done[self._user[: came - before]] = self._result[: came - before]
        words[self._head] = (head + came) & 0xFFFFFFFF
        self.works = submitted == count == came
        return done

    def close(self) -> None:
        """Give it back; it does not work any more."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.works = -1, False
