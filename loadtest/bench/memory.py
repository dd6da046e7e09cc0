"""Memory: of a binding, of an open dialog, of a call that the proxy sees; and whether it is given back.

- Bindings and dialogs are held by their cores, each in a process of its own (`loadtest.bench.held`): the resource database keeps
  bindings in a file, so that is counted too.
- ``soak``: calls through the real proxy process. After the first half everything that can be cached is; the figure is what each
  call of the second half leaves behind.
"""

import json
import sys
import time

from loadtest.bench import accounting
from loadtest.bench.figure import Figure, Round
from loadtest.bench.held import TURNS
from loadtest.bench.options import Options
from loadtest.bench.process import NotRunnableError, Process
from loadtest.bench.proxies import SERVICE, OurProxy
from loadtest.bench.sipp import Callee, Caller, Folder
from loadtest.bench.turns import say

BINDINGS = 100_000
DIALOGS = 10_000
SOAK_CALLS = 200_000
SOAK_RATE = 500
"""Calls a second."""
PARTS = 8
"""Memory is looked at so often during the soak."""
LINGER_SECONDS = 34.0
"""After its last message a transaction stays for 32 s (timers L and J)."""
HELD_SECONDS_MAX = 600.0
GROWTH_MAX = 0.05
"""Share of what is held that may be more when it is held again: the noise of allocators."""
GROWTH_BYTES_MAX = 2 << 20
QUICK = 20
"""A quick run holds so many times less."""


def memory(options: Options) -> list[Figure]:
    """All of it."""
    less = QUICK if options.quick else 1
    return [
        _held("bindings", BINDINGS // less, "bytes/binding"),
        _held("dialogs", DIALOGS // less, "bytes/dialog"),
        _soak(options, SOAK_CALLS // less),
    ]


def _held(kind: str, count: int, unit: str) -> Figure:
    folder = Folder()
    process = Process([sys.executable, "-m", "loadtest.bench.held", kind, str(count), str(folder.path)])
    try:
        code = process.wait(HELD_SECONDS_MAX)
        if code != 0:
            raise NotRunnableError(f"held {kind}: {code}\n{process.said()}")
        seen: dict[str, int] = json.loads(process.said().splitlines()[-1])
    finally:
        process.stop()
        folder.close()
    before, last = ({name: seen[f"{name} {turn}"] for name in ("full", "file")} for turn in (TURNS - 1, TURNS))
    full = last["full"] - seen["empty"] + last["file"]
    again = last["full"] - before["full"] + last["file"] - before["file"]
    details = {"MiB": last["full"] / 2**20, "file MiB": last["file"] / 2**20, "again MiB": again / 2**20}
    faults = (f"{again} bytes more when filled again",) if again > full * GROWTH_MAX + GROWTH_BYTES_MAX else ()
    return Figure(f"{count} {kind}", "hotswitch", unit, (Round(full / count, faults, details=details),), role="ours")


def _soak(options: Options, calls: int) -> Figure:
    contender = OurProxy(options.checkouts[0])
    folder = Folder()
    callee = Callee(folder)
    seen: list[int] = []
    succeeded = 0
    try:
        for part in range(PARTS):
            caller = Caller(folder, contender.target, SOAK_RATE, calls / PARTS / SOAK_RATE, service=SERVICE, name=f"soak{part}")
            try:
                succeeded += caller.finish().succeeded
            finally:
                caller.stop()
            seen.append(accounting.memory_bytes(contender.roots()))
            say(f"  soak: {succeeded} calls, {seen[-1] / 2**20:.1f} MiB")
        time.sleep(LINGER_SECONDS)
        rest = accounting.memory_bytes(contender.roots())
    finally:
        callee.stop()
        folder.close()
        contender.stop()
    grown = seen[-1] - seen[PARTS // 2 - 1]
    faults = () if succeeded >= calls * 0.99 else (f"{calls - succeeded} of {calls} failed",)
    details = {"MiB": seen[-1] / 2**20, "again MiB": grown / 2**20, "at rest MiB": rest / 2**20}
    return Figure(
        f"soak, {calls} calls", "hotswitch", "bytes/call left", (Round(grown / (calls / 2), faults, details=details),), role="ours"
    )
