"""Processes that share the memory of what their parent has imported: forked, never executed.

Rules:
- The parent has one thread and no ZeroMQ context when it forks.
- A child is in a process group of its own (Ctrl-C at the terminal reaches the parent alone, which ends all in order), gets
  SIGTERM when the parent dies, and keeps only the descriptors that it is given.
"""

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_KEPT = 3
"""Standard descriptors."""


class Child(NamedTuple):
    """A process that was forked."""

    name: str
    pid: int


def adopt_orphans() -> None:
    """Become the parent of what children leave behind, so that nothing escapes the end."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fork(name: str, run: Callable[[], int], *, log: Path, keep: Sequence[int] = (), listen: Sequence[tuple[str, int]] = ()) -> Child:
    """Run a function in a child of its own; its return value is the exit code.

    ``keep``: descriptors that stay open under their numbers. ``listen``: named sockets that the child finds from descriptor 3
    on (``LISTEN_FDS``, sd_listen_fds(3)).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _child(name, run, log, keep, listen, parent)
    return Child(name, pid)


def _child(name: str, run: Callable[[], int], log: Path, keep: Sequence[int], listen: Sequence[tuple[str, int]], parent: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setpgid(0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, f"hs-{name}".encode()[:15], 0, 0, 0)
        _title(f"hotswitch {name}")
        if os.getppid() != parent:
            os._exit(1)
        _descriptors(log, keep, listen)
        code = run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _title(text: str) -> None:
    """Show another command line in the list of processes: the one of the parent is overwritten where the kernel keeps it (proc(5))."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    if size > 1:
        raw = text.encode()[: size - 1]
        ctypes.memmove(start, raw + bytes(size - len(raw)), size)


def _descriptors(log: Path, keep: Sequence[int], listen: Sequence[tuple[str, int]]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    kept = set(keep)
    # Move the listening sockets out of the way first: their final numbers may be taken by each other.
    high = [(name, os.dup2(descriptor, 900 + index, inheritable=True)) for index, (name, descriptor) in enumerate(listen)]
    first = _KEPT
    if any(first <= number < first + len(high) for number in kept):
        raise ValueError("a kept descriptor is where the listening sockets go")
    for index, (_, descriptor) in enumerate(high):
        os.dup2(descriptor, first + index, inheritable=True)
    limit = first + len(high)
    for number in sorted(int(entry) for entry in os.listdir("/proc/self/fd")):
        if number >= limit and number not in kept:
            try:
                os.close(number)
            except OSError:
                continue
    for variable in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"):
        os.environ.pop(variable, None)
    if high:
        os.environ["LISTEN_FDS"] = str(len(high))
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in high)
