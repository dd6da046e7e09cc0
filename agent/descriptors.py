"""File descriptors that pass between processes: sealed memory files, and messages that carry descriptors."""

import array
import fcntl
import os
import socket

MESSAGE_BYTES_MAX = 128 * 1024
DESCRIPTORS_MAX = 48
"""In one message."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_memory(name: str, content: bytes | memoryview) -> int:
    """A memory file that nobody can change any more, positioned at its start; the caller closes it. It never touches a disk."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def send_message(through: socket.socket, data: bytes, descriptors: list[int] | None = None) -> None:
    """One message of a SOCK_SEQPACKET socket.

    Raises:
        OSError: the other side is gone, or (BlockingIOError) takes nothing now.
    """
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    through.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def receive_message(source: socket.socket) -> tuple[bytes, list[int]]:
    """One message and its descriptors (close-on-exec); empty bytes: the other side is gone.

    Raises:
        BlockingIOError: nothing is there.
    """
    data, ancillary, _, _ = source.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_SPACE(DESCRIPTORS_MAX * 4), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)
