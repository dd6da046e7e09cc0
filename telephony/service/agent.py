"""What the agent and the service that it runs say to each other, on the service's side.

| direction | message | meaning |
| --- | --- | --- |
| agent -> service | ``C`` + generation (u64), one descriptor | configuration: a sealed memfd |
| | ``D`` + seconds (f64) | drain; ``U``: take new work again; ``S``: stop now |
| | ``P``, one descriptor | a standby is warm: the socket to it |
| | ``T`` | to a standby: take over |
| service -> agent | ``A`` + generation | applied |
| | ``F`` + generation + ``code: message`` | could not be applied, the one before stays |
| | ``R`` + remaining work (u32) | on change, at most `REPORTS_PER_SECOND` |
| | ``N`` + bytes | notification, opaque to the agent |

Numbers are big endian. It is an AF_UNIX SOCK_SEQPACKET socket, `HOTSWITCH_SERVICE_FD`; its end means that the agent
is gone. Sockets come as ``LISTEN_FDS`` and ``LISTEN_FDNAMES``, readiness and watchdog go to ``NOTIFY_SOCKET`` (systemd's
sd_listen_fds and sd_notify). Memory files that the agent keeps for the service come among the sockets. A process started with
``HOTSWITCH_STANDBY=1`` gets the same ones and ``peer``, the socket to the process that runs; it touches none of them before ``T``.
"""

import contextlib
import os
import socket
import struct
from typing import NamedTuple

CONFIGURATION_BYTES_MAX = 64 * 1024 * 1024
MESSAGE_BYTES_MAX = 64 * 1024
NOTIFICATION_BYTES_MAX = 32 * 1024
NOTIFICATIONS_MAX = 2000
"""Notifications that wait for the agent; more are dropped, oldest first."""
REPORTS_PER_SECOND = 10
FIRST_DESCRIPTOR = 3


class Configured(NamedTuple):
    """A configuration came."""

    generation: int
    data: bytes


class DrainWanted(NamedTuple):
    seconds: float


class UndrainWanted(NamedTuple):
    pass


class StopWanted(NamedTuple):
    """Stop now; also when the agent itself is gone."""

    agent_gone: bool


class StandbyReady(NamedTuple):
    """A standby is warm; the receiver owns the descriptor."""

    peer: int


class TakeOverWanted(NamedTuple):
    """The process that ran is gone: go on where it was."""


Word = Configured | DrainWanted | UndrainWanted | StopWanted | StandbyReady | TakeOverWanted


class Environment(NamedTuple):
    """What the process was started with."""

    sockets: dict[str, int]
    """Listening and datagram sockets by name."""
    service_fd: int
    notify_socket: str
    watchdog_seconds: float
    """0: nobody watches."""
    state_directory: str
    """Empty: none."""
    standby: bool = False
    """This process waits until it is told to take over."""


def read_environment(environment: dict[str, str], pid: int) -> Environment:
    """Read the agent's environment.

    Raises:
        ValueError: something is missing or malformed.
    """
    sockets: dict[str, int] = {}
    if environment.get("LISTEN_PID", str(pid)) == str(pid):
        names = [name for name in environment.get("LISTEN_FDNAMES", "").split(":") if name]
        count = int(environment.get("LISTEN_FDS", "0"))
        if count != len(names):
            raise ValueError(f"LISTEN_FDS says {count}, LISTEN_FDNAMES names {len(names)}")
        sockets = {name: FIRST_DESCRIPTOR + number for number, name in enumerate(names)}
    if "HOTSWITCH_SERVICE_FD" not in environment:
        raise ValueError("HOTSWITCH_SERVICE_FD is not set: a service is started by an agent")
    return Environment(
        sockets=sockets,
        service_fd=int(environment["HOTSWITCH_SERVICE_FD"]),
        notify_socket=environment.get("NOTIFY_SOCKET", ""),
        watchdog_seconds=int(environment.get("WATCHDOG_USEC", "0")) / 1_000_000,
        state_directory=environment.get("STATE_DIRECTORY", ""),
        standby=environment.get("HOTSWITCH_STANDBY", "") == "1",
    )


class Agent:
    """The service's end of both sockets."""

    def __init__(self, environment: Environment) -> None:
        self._socket = socket.socket(fileno=environment.service_fd)
        self._socket.setblocking(False)
        self._notify: socket.socket | None = None
        if environment.notify_socket:
            address = environment.notify_socket
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._notify.setblocking(False)
            self._notify.connect("\0" + address[1:] if address.startswith("@") else address)
        self._waiting: list[bytes] = []
        self.dropped = 0
        """Notifications thrown away because the agent did not read."""
        self.held = False
        """Nothing is said: the agent would not take it as the unit's."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Word]:
        """What the agent has said since the last call."""
        words: list[Word] = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_SPACE(4 * 4))
            except BlockingIOError:
                return words
            except OSError:
                data, ancillary = b"", []
            descriptors = [
                number
                for level, kind, content in ancillary
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
                for number in struct.unpack(f"{len(content) // 4}i", content)
            ]
            try:
                if not data:
                    words.append(StopWanted(agent_gone=True))
                    return words
                word = _read_word(data, descriptors)
                if isinstance(word, StandbyReady):
                    descriptors = []
                if word is not None:
                    words.append(word)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def applied(self, generation: int) -> None:
        self._send(b"A" + struct.pack(">Q", generation))

    def failed(self, generation: int, code: str, message: str) -> None:
        self._send(b"F" + struct.pack(">Q", generation) + f"{code}: {message}".encode()[:4096])

    def remaining(self, work: int) -> None:
        self._send(b"R" + struct.pack(">I", min(work, 0xFFFFFFFF)))

    def notification(self, body: bytes) -> None:
        """Pass something on to the controller; longer than `NOTIFICATION_BYTES_MAX` is dropped."""
        if len(body) > NOTIFICATION_BYTES_MAX:
            self.dropped += 1
            return
        self._send(b"N" + body)

    def state(self, text: str) -> None:
        """systemd's notification: ``READY=1``, ``WATCHDOG=1``, ..."""
        if self._notify is not None:
            with contextlib.suppress(OSError):  # the agent does not read: its watchdog will tell
                self._notify.send(text.encode())

    def hold(self) -> None:
        """Keep what is to be said until `release`."""
        self.held = True

    def release(self) -> None:
        self.held = False
        self.flush()

    def flush(self) -> bool:
        """Send what could not be sent before; True while something still waits."""
        while self._waiting and not self.held:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return True
            except OSError:
                self._waiting.clear()
                return False
            del self._waiting[0]
        return False

    def close(self) -> None:
        self._socket.close()
        if self._notify is not None:
            self._notify.close()

    def _send(self, message: bytes) -> None:
        if len(self._waiting) >= NOTIFICATIONS_MAX:
            self._waiting = [one for one in self._waiting if one[:1] != b"N"]
            self.dropped += NOTIFICATIONS_MAX - len(self._waiting)
        self._waiting.append(message)
        self.flush()


def _read_word(data: bytes, descriptors: list[int]) -> Word | None:
    kind, rest = data[:1], data[1:]
    if kind == b"C" and len(rest) == 8 and len(descriptors) == 1:
        size = os.fstat(descriptors[0]).st_size
        if size > CONFIGURATION_BYTES_MAX:
            return None
        content = b""
        while len(content) < size:
            part = os.pread(descriptors[0], size - len(content), len(content))
            if not part:
                break
            content += part
        return Configured(int.from_bytes(rest, "big"), content)
    if kind == b"D" and len(rest) == 8:
        seconds: float = struct.unpack(">d", rest)[0]
        return DrainWanted(seconds if seconds == seconds and seconds > 0 else 0.0)
    if kind == b"U" and not rest:
        return UndrainWanted()
    if kind == b"S" and not rest:
        return StopWanted(agent_gone=False)
    if kind == b"P" and not rest and len(descriptors) == 1:
        return StandbyReady(descriptors[0])
    if kind == b"T" and not rest:
        return TakeOverWanted()
    return None
