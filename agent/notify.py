"""The socket of systemd's notification protocol (sd_notify), one for all units of a machine.

Rules: an abstract name that leaves no file; a word counts only for the process that the kernel names as its sender; descriptors that
come along are closed.
"""

import array
import os
import secrets
import socket
import struct
from typing import NamedTuple

MESSAGE_BYTES_MAX = 4096
_CREDENTIALS = struct.Struct("3i")


class Word(NamedTuple):
    """What one process said."""

    pid: int
    fields: list[bytes]
    """``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``, ``STATUS=...``"""


class NotifySocket:
    """Where units say that they are ready and alive."""

    def __init__(self) -> None:
        self.name = f"@hotswitch-{secrets.token_hex(16)}"
        """Value of ``NOTIFY_SOCKET``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + self.name[1:])
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Word | None:
        """The next word; None: nothing is there."""
        space = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(64)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(MESSAGE_BYTES_MAX, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        pid = 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid = _CREDENTIALS.unpack_from(content)[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for descriptor in array.array("i", content[: len(content) - len(content) % 4]):
                    os.close(descriptor)
        return Word(pid, data.split(b"\n"))
