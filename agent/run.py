"""The way into an agent, for the command line and for providers that run machines as processes.

Only what is light is imported here: the launcher is forked before keys, sockets and the event loop come.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from agent.launcher import fork_launcher

TOKEN_VARIABLE = "HOTSWITCH_JOIN_TOKEN"
EXIT_USAGE = 2


def read_token(token: str | None, token_file: Path | None) -> str | None:
    """The printed join token: as given, from a file, or from ``HOTSWITCH_JOIN_TOKEN``; None: none of them.

    Raises:
        OSError: the file cannot be read.
    """
    if token:
        return token
    if token_file is not None:
        return token_file.read_text().strip()
    return os.environ.get(TOKEN_VARIABLE) or None


def run_agent(
    folder: Path,
    *,
    token: str | None = None,
    token_file: Path | None = None,
    name: str = "",
    host: str = "",
    ready: Callable[[str], None] = lambda machine: None,
) -> int:
    """Be the agent of a machine until SIGTERM or SIGINT; returns the process's exit code.

    ``folder`` holds all that it keeps (keys, trust, journal, sealed bundles, state of units). A token is needed the first time only.
    ``name`` and ``host`` are what the machine tells of itself when it joins. Sockets that services shall listen on may be inherited
    (``LISTEN_FDS``, from descriptor 3 on). ``ready(machine id)`` is called once it is enrolled and its stored state is applied.

    Call it in the main thread of a process of its own, without other threads, ZeroMQ contexts or event loops: it forks.
    """
    folder = folder.absolute()
    try:
        text = read_token(token, token_file)
    except OSError as error:
        print(f"hotswitch agent: join token: {error}", file=sys.stderr)
        return EXIT_USAGE
    os.environ.pop(TOKEN_VARIABLE, None)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What is here already may be shared with the process that forked this one: collections must not touch it.
    gc.freeze()
    control, launcher = fork_launcher()
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    try:
        from agent.main import main

        return main(folder, text, name, host, control, ready, lambda: bool(told))
    finally:
        control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(launcher, 0)
