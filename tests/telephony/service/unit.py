"""One real service process, with the agent's side of the unit contract played by the test."""

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from telephony.config import Configuration, encode

WAIT_SECONDS = 10.0
"""Longest wait for anything; tests that pass never wait so long."""


class Unit:
    """A service under test; `stop` or `kill` ends it."""

    def __init__(
        self, kind: str, unit: str, sockets: dict[str, socket.socket] | None = None, state: Path | None = None, standby: bool = False
    ) -> None:
        self.kind = kind
        self.standby = standby
        self.id = unit
        self.sockets = sockets or {}
        self.state = state
        self.generation = 0
        self.configuration: Configuration | None = None
        self.start()

    def start(self) -> None:
        """Start the process; the sockets and the state of one before are used again."""
        self.ready = False
        self.applied = 0
        self.remaining = 0
        self.failures: list[str] = []
        self.notifications: list[dict[str, object]] = []
        self.watchdog = 0
        self._link, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = tempfile.mkdtemp(prefix="unit-")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(f"{self._folder}/notify")
        high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 200) for one in (*self.sockets.values(), other)]
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, descriptor, 3 + number) for number, descriptor in enumerate(high)]
        actions += [(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in high]
        environment = dict(os.environ) | {
            "LISTEN_FDS": str(len(self.sockets)),
            "LISTEN_FDNAMES": ":".join(self.sockets),
            "HOTSWITCH_SERVICE_FD": str(3 + len(self.sockets)),
            "NOTIFY_SOCKET": f"{self._folder}/notify",
            "WATCHDOG_USEC": "3000000",
            "PYTHONUNBUFFERED": "1",
        }
        if self.standby:
            environment["HOTSWITCH_STANDBY"] = "1"
        if self.state is not None:
            environment["STATE_DIRECTORY"] = str(self.state)
        self.pid = os.posix_spawn(
            sys.executable, [sys.executable, "-m", "telephony.service", self.kind, self.id], environment, file_actions=actions
        )
        for descriptor in high:
            os.close(descriptor)
        other.close()

    def configure(self, configuration: Configuration, wait: bool = True) -> None:
        """Hand a configuration over, and wait until it is applied and the service is ready."""
        self.configuration = configuration
        self.generation += 1
        memfd = os.memfd_create("configuration", os.MFD_ALLOW_SEALING)
        os.write(memfd, encode(configuration))
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._link.sendmsg([b"C" + struct.pack(">Q", self.generation)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memfd))])
        os.close(memfd)
        if wait:
            self.until(lambda: self.applied == self.generation or bool(self.failures))
            assert not self.failures, self.failures
            self.until(lambda: self.ready)

    def take_over(self) -> None:
        """To a standby: the process that ran is gone."""
        self._link.send(b"T")

    def drain(self, seconds: float) -> None:
        self._link.send(b"D" + struct.pack(">d", seconds))

    def undrain(self) -> None:
        self._link.send(b"U")

    def until(self, condition: object, seconds: float = WAIT_SECONDS) -> None:
        """Read what the service says until the condition holds."""
        end = time.monotonic() + seconds
        assert callable(condition)
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"{self.id}: waited {seconds} s in vain; failures {self.failures}"
            self.listen(left)

    def listen(self, seconds: float) -> None:
        """Read what there is; wait so long for something."""
        ready, _, _ = select.select([self._link, self._notify], [], [], seconds)
        if self._link in ready:
            data = self._link.recv(65536)
            kind, rest = data[:1], data[1:]
            if not data:
                raise AssertionError(f"{self.id} ended")
            if kind == b"A":
                self.applied = int.from_bytes(rest, "big")
            elif kind == b"F":
                self.failures.append(rest[8:].decode())
            elif kind == b"R":
                self.remaining = int.from_bytes(rest, "big")
            elif kind == b"N":
                self.notifications.append(msgspec.msgpack.decode(rest))
        if self._notify in ready:
            text = self._notify.recv(4096)
            self.ready = self.ready or b"READY=1" in text
            self.watchdog += b"WATCHDOG=1" in text

    def events(self, name: str) -> list[dict[str, object]]:
        """Notifications of this name so far."""
        while True:
            ready, _, _ = select.select([self._link], [], [], 0)
            if not ready:
                break
            self.listen(0)
        return [one for one in self.notifications if one["event"] == name]

    def kill(self) -> None:
        """kill -9, and wait for it."""
        os.kill(self.pid, signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """Tell it to stop; its exit code."""
        self._link.send(b"S")
        return self._end()

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self._end()

    def leave(self) -> int:
        """The agent is gone; the service's exit code."""
        self._link.close()
        return self._end()

    def _end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self._link.close()
        self._notify.close()
        os.unlink(f"{self._folder}/notify")
        os.rmdir(self._folder)
        return os.waitstatus_to_exitcode(status)


def udp(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound UDP socket."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((host, port))
    return one


def tcp(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening TCP socket."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((host, port))
    one.listen(128)
    return one
