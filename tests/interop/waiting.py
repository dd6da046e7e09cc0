"""Waiting on a thing instead of a time, and ports that are free."""

import contextlib
import random
import select
import socket
import time
from collections.abc import Callable
from typing import TypeVar

WAIT_SECONDS_MAX = 15.0
ASK_SECONDS = 0.02
"""Pause between two questions."""

PORTS = (10_000, 19_000)
TRIES_MAX = 100

Found = TypeVar("Found")


def wait_for(what: Callable[[], Found], *, seconds: float = WAIT_SECONDS_MAX, name: str = "") -> Found:
    """Ask until the answer is true; the answer.

    Raises:
        TimeoutError: it was not within ``seconds``; the message names the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name or what}: not within {seconds} s; last: {found!r}")
        select.select([], [], [], ASK_SECONDS)


def free_port(host: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody uses now, outside of the range from which the kernel takes ports by itself.

    Raises:
        OSError: none was found.
    """
    for _ in range(TRIES_MAX):
        port = random.randrange(*PORTS)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"no free port on {host} in {PORTS}")
