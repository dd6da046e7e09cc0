"""From a token to a running agent: lock the folder, load or make the keys, enrol, serve. Imported after the launcher was forked."""

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import zmq

from agent.enrol import EnrolmentError, enrol
from agent.log import Log
from agent.service import Agent
from agent.sockets import inherited_sockets
from agent.trust import Trust, TrustError
from agent.wire.keys import KeyFormatError, MachineKeys
from agent.wire.token import JoinToken, TokenError


def main(
    folder: Path,
    text: str | None,
    name: str,
    host: str,
    launcher: socket.socket,
    ready: Callable[[str], None],
    stopped: Callable[[], bool],
) -> int:
    """Serve; returns the exit code: 0 ended by a signal, 1 refused or failed, 2 wrong use. ``stopped`` tells of a signal that came
    before the event loop takes signals itself."""
    inherited = inherited_sockets(os.environ)
    for variable in ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"):
        os.environ.pop(variable, None)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        keys = load_keys(folder / "keys")
        log = Log(name or keys.identity.id)
        trust = join(folder, text, keys, name, host, log, stopped)
        if trust is not None:
            asyncio.run(serve(folder, keys, trust, launcher, inherited, log, ready, stopped))
    except BlockingIOError:
        print(f"hotswitch agent: {folder}: another agent runs there", file=sys.stderr)
        return 1
    except TokenError as error:
        print(f"hotswitch agent: join token: {error}", file=sys.stderr)
        return 2
    except (EnrolmentError, TrustError, KeyFormatError, OSError) as error:
        print(f"hotswitch agent: {error}", file=sys.stderr)
        return 1
    finally:
        os.close(lock)
    return 0


def load_keys(path: Path) -> MachineKeys:
    """The machine's keys; made at the first start.

    Raises:
        KeyFormatError: the file is none of ours, or others may read it.
    """
    try:
        return MachineKeys.load(path)
    except FileNotFoundError:
        keys = MachineKeys.generate()
        keys.store(path)
        return keys


def join(folder: Path, text: str | None, keys: MachineKeys, name: str, host: str, log: Log, stopped: Callable[[], bool]) -> Trust | None:
    """What to trust: as stored, or by enrolling with the token; None: told to stop before it was let in.

    Raises:
        TokenError: there is none where one is needed, or it is none. TrustError: it is of another cluster.
        EnrolmentError: the controller refuses.
    """
    path = folder / "trust"
    trust = Trust.load(path)
    if trust is not None:
        if text:
            trust.check(JoinToken.parse(text), keys.identity.id)
        return trust
    if not text:
        raise TokenError("a machine that has not joined yet needs one")
    token = JoinToken.parse(text)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        trust = enrol(context, token, keys, name, host, log, stopped)
    finally:
        context.destroy(0)
    if trust is not None:
        trust.store(path)
    return trust


async def serve(
    folder: Path,
    keys: MachineKeys,
    trust: Trust,
    launcher: socket.socket,
    inherited: list[socket.socket],
    log: Log,
    ready: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Run the agent until it is told to end."""
    agent = Agent(folder=folder, keys=keys, trust=trust, launcher=launcher, inherited=inherited, log=log)
    await agent.run(lambda: ready(keys.identity.id), stopped)
