"""The launcher: a small process that has what every service needs imported already and forks one process a unit.

It is forked from the agent before the agent has a key, a socket or a thread. It never holds a secret but what it passes on.

| agent -> launcher | descriptors |
| --- | --- |
| `Launch` | bundle, output (stdout and stderr), service socket, then the listening sockets in the order of ``listen`` |
| `Kill` | - |

launcher -> agent: `Launched` or `LaunchFailed`, then `Exited`.

Rules:
- A unit runs in a session of its own, with its descriptors from 3 on in systemd's order and nothing else of ours.
- It dies with the launcher (PR_SET_PDEATHSIG); the launcher ends when the agent is gone, and kills what is left then.
- Signals reach a unit through the launcher alone, which knows whether the process still is the one that is meant.
"""

import contextlib
import ctypes
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

import msgspec

from agent.descriptors import receive_message, send_message

END_SECONDS = 4.0
"""Units that do not end by themselves when the agent is gone are killed after this."""
_FIRST_LISTEN = 3
_PR_SET_PDEATHSIG = 1
_EXIT_CRASHED = 70
_HIGH = 200
"""Descriptors are moved above this before they get their final numbers."""


class Launch(msgspec.Struct, frozen=True, tag="launch"):
    """Start a unit."""

    number: int
    """Names the process in what the launcher says of it."""
    name: str
    """Process name, for people."""
    entry: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    """Working directory."""
    packages: list[str]
    """Top-level packages of the bundle: modules of that name that are loaded already are not the unit's."""
    listen: list[str]
    """Names of the listening sockets."""


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """Send a signal to a unit's process group."""

    number: int
    signal: int


class Launched(msgspec.Struct, frozen=True, tag="launched"):
    number: int
    pid: int


class LaunchFailed(msgspec.Struct, frozen=True, tag="failed"):
    number: int
    message: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A unit's process is gone, and with it its group."""

    number: int
    status: int
    """Exit code; negative: the signal that ended it."""


Order = Launch | Kill
Word = Launched | LaunchFailed | Exited

_orders = msgspec.msgpack.Decoder(Order)
_encoder = msgspec.msgpack.Encoder()


class Launcher:
    """The launcher's own side."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._units: dict[int, int] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wake, word = socket.socketpair()
        self._wake.setblocking(False)
        word.setblocking(False)
        self._word = word

    def run(self) -> None:
        """Serve until the agent is gone; then end every unit."""
        signal.set_wakeup_fd(self._word.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        gc.collect()
        gc.freeze()
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        open_ = True
        while open_:
            for descriptor, _ in poller.poll():
                if descriptor == self._wake.fileno():
                    open_ = signal.SIGTERM not in self._wake.recv(4096)
                else:
                    open_ = self._obey()
                if not open_:
                    break
            self._reap(tell=True)
        self._end(poller)

    def _obey(self) -> bool:
        """One order; false: the agent is gone."""
        try:
            data, descriptors = receive_message(self._control)
        except OSError:
            return False
        if not data:
            return False
        try:
            order = _orders.decode(data)
            if isinstance(order, Launch):
                self._launch(order, descriptors)
            elif (pid := self._units.get(order.number)) is not None:
                os.killpg(pid, order.signal)
        except ProcessLookupError:
            pass
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _launch(self, order: Launch, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._say(LaunchFailed(order.number, f"fork: {error}"))
            return
        if pid == 0:
            self._become(order, descriptors)
        self._units[order.number] = pid
        self._say(Launched(order.number, pid))

    def _say(self, word: Word) -> None:
        try:
            send_message(self._control, _encoder.encode(word))
        except OSError:
            # The agent is gone; the next read says so as well.
            return

    def _reap(self, tell: bool) -> None:
        for number, pid in list(self._units.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            # Not reaped yet, so the group is certainly this unit's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            del self._units[number]
            if tell:
                self._say(Exited(number, os.waitstatus_to_exitcode(status)))

    def _end(self, poller: select.poll) -> None:
        self._control.close()
        until = time.monotonic() + END_SECONDS
        while self._units and (left := until - time.monotonic()) > 0:
            select.select([self._wake], [], [], left)
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
            self._reap(tell=False)
        for pid in self._units.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for pid in self._units.values():
            os.waitpid(pid, 0)

    def _become(self, order: Launch, descriptors: list[int]) -> NoReturn:
        """In the child: be the unit."""
        code = _EXIT_CRASHED
        try:
            parent = os.getppid()
            os.setsid()
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(_EXIT_CRASHED)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            bundle = _arrange(descriptors)
            _identify(order, bundle)
            os.chdir(order.folder)
            main = importlib.import_module(order.entry).main
            code = int(main(order.arguments) or 0)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last line of a process: whatever it was, it is told and the process ends
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except (OSError, ValueError):
                code = code or 1
            os._exit(code & 0xFF)


def _arrange(descriptors: list[int]) -> int:
    """Give the descriptors their final numbers and close all others; returns the bundle's."""
    bundle, output, service, *listen = (fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _HIGH) for each in descriptors)
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for at, each in enumerate([*listen, service, bundle], _FIRST_LISTEN):
        os.dup2(each, at, inheritable=True)
    after = _FIRST_LISTEN + len(listen)
    os.closerange(after + 2, os.sysconf("SC_OPEN_MAX"))
    return after + 1


def _identify(order: Launch, bundle: int) -> None:
    """Environment, arguments, module path and name of the unit."""
    os.environ.clear()
    os.environ.update(order.environment)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(order.listen))
    os.environ["LISTEN_FDNAMES"] = ":".join(order.listen)
    os.environ["HOTSWITCH_SERVICE_FD"] = str(_FIRST_LISTEN + len(order.listen))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.argv = [order.entry, *order.arguments]
    for name in list(sys.modules):
        if name.split(".", 1)[0] in order.packages:
            del sys.modules[name]
    sys.path.insert(0, f"/proc/self/fd/{bundle}")
    importlib.invalidate_caches()
    with open("/proc/self/comm", "w") as comm:
        comm.write(order.name[:15])


def prepare() -> None:
    """Import what every service needs, to be shared by all of them."""
    for name in ("msgspec", "zmq", "zipimport", "selectors", "heapq", "hashlib", "hmac", "secrets", "bisect", "struct", "array", "enum"):
        importlib.import_module(name)


def serve(control: socket.socket) -> NoReturn:
    """Be the launcher; ends the process."""
    code = 0
    try:
        os.setsid()
        with open("/proc/self/comm", "w") as comm:
            comm.write("hs-launcher")
        prepare()
        Launcher(control).run()
    except BaseException:  # noqa: BLE001 - the last line of a process
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def fork_launcher() -> tuple[socket.socket, int]:
    """Fork the launcher; returns the agent's end of its socket, and its pid.

    To be called before the process has threads, ZeroMQ contexts, event loops or keys.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        keep = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.closerange(3, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        serve(socket.socket(fileno=keep))
    theirs.close()
    ours.setblocking(False)
    return ours, pid


def spawn_launcher() -> tuple[socket.socket, int]:
    """Another launcher for an agent that runs already (the first one died): a fresh process, slower to start."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment: dict[str, str] = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "agent.launcher", "3"]
    actions: list[Any] = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
    pid = os.posix_spawn(sys.executable, command, environment, file_actions=actions)
    theirs.close()
    ours.setblocking(False)
    return ours, pid


if __name__ == "__main__":
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    serve(socket.socket(fileno=int(sys.argv[1])))
