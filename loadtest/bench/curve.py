"""The cost curve of our media processor: rooms of 10, PCMU, all talking, a port a leg, from 10 legs to the most that one process carries.

Each point is loaded twice: plainly for the cost, and with a profiler for what each part takes of it. A profiler makes calls of
Python dearer than those of the kernel: the parts are a shape, the cost is the measure.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.bench.figure import Figure, Round
from loadtest.bench.media import members
from loadtest.bench.options import Options
from loadtest.bench.our_engine import OurEngine
from loadtest.bench.process import NotRunnableError
from loadtest.bench.rtp import Load
from loadtest.bench.turns import say, say_round

LEGS = (10, 20, 50, 100, 200, 500, 1000, 1500, 2000, 2500, 3000)
ROOM_SIZE = 10
SECONDS, PROFILED_SECONDS = 4.0, 2.0
PARTS_SHOWN = 8
PREFIX = "part: "


def curve(options: Options) -> list[Figure]:
    """A figure a point, until two in a row are invalid."""
    load = Load()
    figures: list[Figure] = []
    missed = 0
    try:
        for legs in LEGS:
            case = f"rooms of {ROOM_SIZE}, {legs} legs"
            try:
                rounds = tuple(_point(load, options, legs) for _ in range(options.rounds))
            except NotRunnableError as error:
                say(f"  {case}: {error}")
                break
            figures.append(Figure(case, "hotswitch", "us/packet", rounds, role="ours"))
            say_round("hotswitch", case, rounds[-1], "us/packet")
            missed = 0 if figures[-1].valid() else missed + 1
            if missed == 2:
                break
    finally:
        load.close()
    return figures


def _point(load: Load, options: Options, legs: int) -> Round:
    engine = OurEngine(options.checkouts[0])
    try:
        streams = engine.rooms(members(legs // ROOM_SIZE, ROOM_SIZE, ROOM_SIZE, one=False))
        engine.watch()
        round_ = load.run(streams, engine.roots(), legs, options.seconds(SECONDS))
        ticks = engine.watch(profile=True)
        load.run(streams, engine.roots(), legs, PROFILED_SECONDS, warm=0.5)
        parts = engine.watch().parts
        whole = sum(parts.values()) or 1.0
        round_.details.update({f"{PREFIX}{name}": round_.cost * seconds / whole for name, seconds in parts.items()})
        round_.details.update({"legs": float(legs), "worst ms": ticks.worst_ms, "skipped": float(ticks.skipped)})
        return round_
    finally:
        engine.stop()


def largest(points: Sequence[dict[str, float]]) -> list[str]:
    """Names of the parts that take most over all points; the others become one."""
    sums: dict[str, float] = {}
    for point in points:
        for name, cost in point.items():
            if name.startswith(PREFIX):
                sums[name] = sums.get(name, 0.0) + cost
    return sorted(sums, key=lambda name: -sums[name])[:PARTS_SHOWN]


def plot(source: Path, target: Path) -> None:
    """Draw the curve of a ``--json`` file.

    Raises:
        NotRunnableError: matplotlib is not installed, or the file holds no curve.
    """
    try:
        drawing: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise NotRunnableError("drawing needs matplotlib: python -m pip install matplotlib") from None
    figures = [
        figure for figure in json.loads(source.read_text())["figures"] if figure["median"] and "legs" in figure["rounds"][0]["details"]
    ]
    if not figures:
        raise NotRunnableError(f"{source} holds no curve")
    points = [figure["rounds"][len(figure["rounds"]) // 2]["details"] | {"cost": figure["median"]} for figure in figures]
    names = largest(points)
    legs = [point["legs"] for point in points]
    parts = [[point.get(name, 0.0) for point in points] for name in names]
    rest = [point["cost"] - sum(point.get(name, 0.0) for name in names) for point in points]
    canvas, axes = drawing.subplots(figsize=(9, 5.5))
    axes.stackplot(legs, *parts, rest, labels=[*(name.removeprefix(PREFIX) for name in names), "all else"], alpha=0.85)
    axes.plot(legs, [point["cost"] for point in points], "k.-", label="measured")
    axes.set(xscale="log", xlabel=f"legs, in rooms of {ROOM_SIZE}, PCMU, all talking", ylabel="CPU per packet in and out, us", ylim=0)
    axes.legend(fontsize="small")
    canvas.tight_layout()
    canvas.savefig(target)


def main(arguments: list[str]) -> int:
    """``python -m loadtest.bench.curve FROM.json TO.svg``"""
    try:
        plot(*map(Path, arguments))
    except NotRunnableError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
