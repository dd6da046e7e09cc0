"""``python -m loadtest.bench [PART ...] [--quick] [--rounds N] [--json FILE]``: all parts when none is named."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from loadtest.bench import packages
from loadtest.bench.figure import Figure, table
from loadtest.bench.process import NotRunnableError
from loadtest.bench.turns import ROUNDS, say


def _proxy(rounds: int, quick: bool) -> list[Figure]:
    from loadtest.bench import signalling

    return signalling.proxy(rounds, quick)


def _registrar(rounds: int, quick: bool) -> list[Figure]:
    from loadtest.bench import signalling

    return signalling.registrar(rounds, quick)


def _parse(rounds: int, quick: bool) -> list[Figure]:
    from loadtest.bench import parse

    return parse.parse(rounds, quick)


def _media(name: str) -> Callable[[int, bool], list[Figure]]:
    def part(rounds: int, quick: bool) -> list[Figure]:
        from loadtest.bench import media

        parts = {"relay": media.relay, "transcode": media.transcode, "rooms": media.rooms}
        return parts[name](rounds, quick)

    return part


PARTS: dict[str, Callable[[int, bool], list[Figure]]] = {
    "parse": _parse,
    "signalling": _proxy,
    "registrar": _registrar,
    **{name: _media(name) for name in ("relay", "transcode", "rooms")},
}
"""Name to what measures it; each loads what it needs only when it is asked for."""


def machine() -> str:
    """What it was measured on."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, {platform.python_implementation()} {platform.python_version()}"
        f" ({platform.python_compiler()}), load {os.getloadavg()[0]:.1f}"
    )


def main(arguments: list[str]) -> int:
    """0: every part gave valid figures of ours; 1: something was invalid or could not run; 2: wrong use."""
    parser = argparse.ArgumentParser("python -m loadtest.bench", description="Figures of ours beside those of peers, from the same run.")
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help=f"any of {', '.join(PARTS)}; default all")
    parser.add_argument("--quick", action="store_true", help="short rounds, one of each: to see that it works")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each contender (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    chosen = parser.parse_args(arguments)
    rounds = 1 if chosen.quick else max(1, chosen.rounds)
    say(machine())
    figures: list[Figure] = []
    complete = True
    for name in chosen.part or list(PARTS):
        say(f"{name} ...")
        try:
            figures += PARTS[name](rounds, chosen.quick)
        except NotRunnableError as error:
            say(f"  cannot run: {error}")
            complete = False
    print(machine())
    for program, flag in (("kamailio", "-v"), ("sipp", "-v"), ("rtpengine", "--version"), ("janus", "--version")):
        if any(figure.contender.startswith(program) for figure in figures):
            print(packages.version(program, flag))
    columns = list(dict.fromkeys(column for figure in figures for column in COLUMNS if figure.detail(column) is not None))
    print(table(figures, columns))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"machine": machine(), "figures": [figure.as_dict() for figure in figures]}, indent=1) + "\n")
    return 0 if complete and all(figure.valid() for figure in figures) else 1


COLUMNS = ("proxy alone us", "after us", "user %", "answer ms", "sipp us", "out/s", "legs/core", "dev p99 us", "worst ms", "load us", "MiB")
"""Details that the table shows, where they were measured."""

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
