"""Sockets of single legs, handed to the standby while they are open: when the process dies, no port was ever closed.

Over a socket of type SOCK_SEQPACKET between the two, numbers big endian:

| running process -> standby | descriptors | |
| --- | --- | --- |
| ``O`` u16 | RTP, RTCP | this port's pair was opened |
| ``S`` u16 | - | it was shut |

Rules:
- A standby that does not read is not waited for: what it does not take now is said again at the next tick, in order.
"""

import array
import os
import socket
import struct
from collections import deque

ROUND_MESSAGES_MAX = 64
"""Said or heard at once; a tick is not held up by more."""
_MESSAGE = struct.Struct(">cH")
_DESCRIPTORS = 2


class Giver:
    """The running process's end. ``peer`` is its own from now on."""

    def __init__(self, peer: int) -> None:
        self._peer = socket.socket(fileno=peer)
        self._peer.setblocking(False)
        self._waiting: deque[tuple[bytes, int]] = deque()
        """What is to be said: ``O`` or ``S``, and the port. The pair of a port that was shut meanwhile is not there any more."""
        self._over = False

    def opened(self, port: int) -> None:
        self._waiting.append((b"O", port))

    def shut(self, port: int) -> None:
        self._waiting.append((b"S", port))

    def say(self, pairs: dict[int, tuple[int, int]]) -> None:
        """Say what waits, as far as the other side takes it; ``pairs``: descriptors of the ports that are open."""
        for _ in range(min(len(self._waiting), ROUND_MESSAGES_MAX)):
            kind, port = self._waiting[0]
            descriptors = pairs.get(port) if kind == b"O" else ()
            if descriptors is not None and not self._over:
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
                try:
                    self._peer.sendmsg([_MESSAGE.pack(kind, port)], ancillary, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    return
                except OSError:
                    self._over = True
            self._waiting.popleft()

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def close(self) -> None:
        self._peer.close()


class Taker:
    """The standby's end."""

    def __init__(self, peer: int) -> None:
        self._peer = socket.socket(fileno=os.dup(peer))
        self._peer.setblocking(False)
        self.pairs: dict[int, tuple[socket.socket, socket.socket]] = {}
        """RTP and RTCP by port; whoever takes one out owns it."""

    def hear(self) -> bool:
        """Take what is there; false: the other side is gone."""
        while True:
            try:
                data, ancillary, _, _ = self._peer.recvmsg(16, socket.CMSG_SPACE(_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return True
            except OSError:
                return False
            descriptors = array.array("i")
            for _, _, content in ancillary:
                descriptors.frombytes(content)
            if len(data) != _MESSAGE.size:
                return False
            kind, port = _MESSAGE.unpack(data)
            for side in self.pairs.pop(port, ()):
                side.close()
            if kind == b"O" and len(descriptors) == _DESCRIPTORS:
                self.pairs[port] = socket.socket(fileno=descriptors[0]), socket.socket(fileno=descriptors[1])

    def close(self) -> None:
        """Close what nobody took."""
        self._peer.close()
        for pair in self.pairs.values():
            for side in pair:
                side.close()
        self.pairs.clear()
