"""``python -m loadtest.bench [PART ...] [--quick] [--rounds N] [--json FILE]``: all parts when none is named."""

import argparse
import importlib
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

from loadtest.bench import address, packages
from loadtest.bench.curve import plot
from loadtest.bench.figure import Figure, table
from loadtest.bench.options import ROUNDS, Checkout, Options
from loadtest.bench.process import NotRunnableError, go_first
from loadtest.bench.turns import say

PARTS = {
    "parse": "parse.parse",
    "signalling": "signalling.proxy",
    "sharding": "sharding.sharding",
    "capacity": "sharding.capacity",
    "registrar": "signalling.registrar",
    "overload": "overload.overload",
    "relay": "media.relay",
    "transcode": "media.transcode",
    "srtp": "media.srtp",
    "opus": "media.opus",
    "rooms": "media.rooms",
    "rates": "rates.rates",
    "curve": "curve.curve",
    "gap": "gap.gap",
    "opinion": "opinion.opinion",
    "whole": "whole.whole",
    "memory": "memory.memory",
}
"""Name to ``module.function`` of this package; a module is loaded when it is asked for."""


def measure(part: str, options: Options) -> list[Figure]:
    """Run one part."""
    module, _, function = PARTS[part].partition(".")
    found: list[Figure] = getattr(importlib.import_module(f"loadtest.bench.{module}"), function)(options)
    return found


def machine() -> str:
    """What it was measured on."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, {platform.python_implementation()} {platform.python_version()}"
        f" ({platform.python_compiler()}), load {os.getloadavg()[0]:.1f}"
    )


def _compiled() -> bool:
    """There is a compiled core of these sources (``make compiled``)."""
    looked = subprocess.run([sys.executable, "-c", "from telephony import compiled; raise SystemExit(not compiled.enable())"], check=False)
    return looked.returncode == 0


def main(arguments: list[str]) -> int:
    """0: every part gave valid figures of ours; 1: something was invalid or could not run; 2: wrong use."""
    parser = argparse.ArgumentParser("python -m loadtest.bench", description="Figures of ours beside those of peers, from the same run.")
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}; default all")
    parser.add_argument("--quick", action="store_true", help="short rounds, one of each: to see that it works")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each contender (default %(default)s)")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another working copy of ours that takes part, to compare with")
    parser.add_argument(
        "--first", action="store_true", help="contenders and load run before everything else on a busy machine (nice -15, root)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw what the part curve measures there (docs/media-cost.svg)")
    chosen = parser.parse_args(arguments)
    if chosen.first:
        try:
            go_first(os.getpid(), os.nice(-15))
        except PermissionError:
            say("--first needs root")
            return 2
    checkouts = [Checkout()]
    if chosen.beside is not None:
        checkouts.append(Checkout("beside", address.BESIDE, chosen.beside.resolve()))
    if _compiled():
        checkouts.append(Checkout("compiled", address.COMPILED, compiled=True))
    options = Options(1 if chosen.quick else max(1, chosen.rounds), chosen.quick, tuple(checkouts))
    say(machine())
    alone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        alone.bind("\0hotswitch-bench")
    except OSError:
        say("another benchmark is running on this machine")
        return 1
    figures: list[Figure] = []
    complete = True
    for name in chosen.part or list(PARTS):
        say(f"{name} ...")
        try:
            figures += measure(name, options)
        except NotRunnableError as error:
            say(f"  cannot run: {error}")
            complete = False
    print(machine())
    for program, flag in (("kamailio", "-v"), ("sipp", "-v"), ("rtpengine", "--version"), ("janus", "--version")):
        if any(figure.contender.startswith(program) for figure in figures):
            print(packages.version(program, flag))
    columns = list(dict.fromkeys(column for figure in figures for column in COLUMNS if figure.detail(column) is not None))
    print(table(figures, columns))
    found = {"machine": machine(), "figures": [figure.as_dict() for figure in figures]}
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.svg is not None:
        try:
            plot(found, chosen.svg)
        except NotRunnableError as error:
            say(f"no picture: {error}")
            complete = False
    return 0 if complete and all(figure.valid() for figure in figures) else 1


COLUMNS = (
    "calls/s",
    "cores",
    "of peak %",
    "refused per s",
    "proxy us",
    "balancer us",
    "database us",
    "after us",
    "adds %",
    "user %",
    "answer ms",
    "set-up ms",
    "p99 ms",
    "sipp us",
    "out/s",
    "legs/core",
    "dev p99 us",
    "worst ms",
    "gap p50 ms",
    "wake ms",
    "take over ms",
    "first tick ms",
    "load us",
    "MiB",
    "file MiB",
    "again MiB",
    "at rest MiB",
)
"""Details that the table shows, where they were measured."""

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
