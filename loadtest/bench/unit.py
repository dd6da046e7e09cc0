"""A service of ours without an agent: this side speaks the unit contract (`telephony.service.agent`) to it."""

import array
import fcntl
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from loadtest.bench.process import NotRunnableError, Process
from telephony import config
from telephony.compiled import PURE
from telephony.shard import steer

FIRST_DESCRIPTOR = 3
HIGH_DESCRIPTOR = 200
"""Descriptors are lifted above this before they are laid out from `FIRST_DESCRIPTOR` on."""
READY_SECONDS_MAX = 15.0
RECEIVE_BUFFER_BYTES = 4 << 20
MESSAGE_BYTES_MAX = 64 * 1024

_LAYOUT = 'export LISTEN_PID=$$; exec "$@"'
"""sd_listen_fds(3) wants the id of the process that the descriptors are for."""


class Unit:
    """One running service.

    Args:
        kind: of `telephony.service`.
        configuration: what it is told first.
        sockets: bound sockets by name; the service gets copies.
        root: the working copy whose software it runs; None: this one.
        compiled: it may take the compiled core.

    Raises:
        NotRunnableError: it did not become ready; with what it printed.
    """

    def __init__(
        self, kind: str, identifier: str, configuration: config.Configuration, sockets: Mapping[str, socket.socket],
        root: Path | None = None, compiled: bool = False,
    ) -> None:  # fmt: skip
        self._folder = Path(tempfile.mkdtemp(prefix="hotswitch-unit-"))
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self._folder / "notify"))
        self._notify.setblocking(False)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (self._folder / "state").mkdir()
        names = list(sockets)
        lifted = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR) for s in [*sockets.values(), theirs]]
        environment = {
            **os.environ,
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
            "HOTSWITCH_SERVICE_FD": str(FIRST_DESCRIPTOR + len(names)),
            "NOTIFY_SOCKET": str(self._folder / "notify"),
            "WATCHDOG_USEC": "10000000",
            "STATE_DIRECTORY": str(self._folder / "state"),
            PURE: "" if compiled else "1",
        }
        redirections = " ".join(f"{FIRST_DESCRIPTOR + place}<&{fd}" for place, fd in enumerate(lifted))
        closings = " ".join(f"{fd}<&-" for fd in lifted)
        command = [sys.executable, "-m", "telephony.service", kind, identifier]
        # bash alone takes descriptors of more than one digit.
        self.process = Process(
            ["bash", "-c", f"exec {redirections} {closings}; {_LAYOUT}", "bash", *command], env=environment, pass_fds=lifted, folder=root
        )
        for fd in lifted:
            os.close(fd)
        theirs.close()
        self.pid = self.process.pid
        self._generation = 0
        try:
            self.configure(configuration)
            self._wait_ready()
        except NotRunnableError:
            self.stop()
            raise

    def configure(self, configuration: config.Configuration) -> None:
        """Hand over a configuration: a sealed memory file."""
        self._generation += 1
        memory = os.memfd_create("configuration", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(memory, config.encode(configuration))
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        descriptors = array.array("i", [memory])
        try:
            self._channel.sendmsg([b"C" + struct.pack(">Q", self._generation)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        except OSError as error:
            raise NotRunnableError(f"the service is gone: {error}\n{self.process.said()}") from error
        finally:
            os.close(memory)

    def _wait_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS_MAX
        poll = select.poll()
        poll.register(self._notify, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        while time.monotonic() < end and self.process.alive():
            for descriptor, _ in poll.poll(100):
                if descriptor == self._channel.fileno():
                    said = self._channel.recv(MESSAGE_BYTES_MAX)
                    if said[:1] == b"F":
                        raise NotRunnableError(f"the service refused its configuration: {said[9:].decode(errors='replace')}")
                    if not said:
                        poll.unregister(self._channel)
                elif b"READY=1" in self._notify.recv(MESSAGE_BYTES_MAX).split(b"\n"):
                    return
        raise NotRunnableError(f"{' '.join(self.process.command[-2:])} did not become ready:\n{self.process.said()}")

    def drain_channel(self) -> None:
        """Read away what the service reported, so that it never finds its agent deaf."""
        for source in (self._channel, self._notify):
            while select.select([source], [], [], 0)[0]:
                if not source.recv(MESSAGE_BYTES_MAX):
                    break

    def stop(self) -> None:
        try:
            self._channel.send(b"S")
            self.process.wait(2.0)
        except OSError:
            pass
        self.process.stop()
        self._channel.close()
        self._notify.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def udp_group(host: str, port: int, count: int) -> list[socket.socket]:
    """UDP sockets of one address, each of which hears its share of the peers (`telephony.shard`).

    Raises:
        NotRunnableError: the address is taken.
    """
    group = [udp(host, port, shared=True) for _ in range(count)]
    steer(group[0], count, v6=False)
    return group


def udp(host: str, port: int, shared: bool = False) -> socket.socket:
    """A bound UDP socket with the buffers that an agent would give it; ``shared``: others of this address may follow.

    Raises:
        NotRunnableError: the address is taken.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if shared:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER_BYTES)
    return _bind(opened, host, port)


def tcp(host: str, port: int) -> socket.socket:
    """A TCP listener; port 0: any.

    Raises:
        NotRunnableError: the address is taken.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(opened, host, port).listen(128)
    return opened


def _bind(opened: socket.socket, host: str, port: int) -> socket.socket:
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise NotRunnableError(f"{host}:{port}: {error.strerror}") from error
    return opened
