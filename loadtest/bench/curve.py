"""The cost curve of our media processor: rooms of 10, PCMU, all talking, a port a leg, from 10 legs to the most that one process carries.

Each point is loaded twice: plainly for the cost, and with a profiler for what each part takes of it. A profiler makes calls of
Python dearer than those of the kernel: the parts are a shape, the cost is the measure.
"""

import json
import sys
from pathlib import Path
from typing import Any

from loadtest.bench.drawing import Area, Chart
from loadtest.bench.engine import STEPS
from loadtest.bench.figure import Figure, Round
from loadtest.bench.media import members
from loadtest.bench.options import Options
from loadtest.bench.our_engine import OurEngine
from loadtest.bench.process import NotRunnableError
from loadtest.bench.rtp import PACKETS_PER_SECOND, Load
from loadtest.bench.turns import say, say_round

LEGS = (10, 30, 100, 300, 1000, 1500, 2000, 2500, 3000)
ROOM_SIZE = 10
SECONDS, PROFILED_SECONDS = 4.0, 2.0
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


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw the curve of what ``--json`` writes, as SVG.

    Raises:
        NotRunnableError: there is no curve of two points in it.
    """
    figures = [figure for figure in found["figures"] if figure["median"] and "legs" in figure["rounds"][0]["details"]]
    if len(figures) < 2:
        raise NotRunnableError("it holds no curve: two valid points at least")
    points = [figure["rounds"][len(figure["rounds"]) // 2]["details"] for figure in figures]
    costs = [figure["median"] for figure in figures]
    loads = [point["legs"] * PACKETS_PER_SECOND / 1e4 for point in points]
    """Of a cost in microseconds, percent of a core."""
    areas = [Area(name, [point.get(PREFIX + name, 0.0) * load for point, load in zip(points, loads, strict=True)]) for name in STEPS]
    known = [sum(area.values[place] for area in areas) for place in range(len(points))]
    rest = [cost * load - part for cost, load, part in zip(costs, loads, known, strict=True)]
    chart = Chart(
        [point["legs"] for point in points],
        [*areas, Area("all else", rest)],
        f"legs, in rooms of {ROOM_SIZE}, PCMU, all talking, a port a leg",
        "CPU, percent of a core (user and system)",
        [
            _caption(found["machine"], len(figures[0]["rounds"])),
            "The whole is the kernel's accounting, parts are shares of a profile. Drawn are the points at which nothing was lost or late.",
        ],
        [f"{cost:.3g}" for cost in costs],
        "us a packet in and out",
    )
    target.write_text(chart.svg())


def _caption(machine: str, rounds: int) -> str:
    """Interpreter and processor, of `loadtest.bench.__main__.machine`; not the load of that hour."""
    what = machine.partition(", load")[0]
    return f"{what}; median of {rounds}." if rounds > 1 else f"{what}."


def main(arguments: list[str]) -> int:
    """``python -m loadtest.bench.curve FROM.json TO.svg``: draw what ``python -m loadtest.bench curve --json FROM.json`` has measured."""
    try:
        source, target = map(Path, arguments)
        plot(json.loads(source.read_text()), target)
    except NotRunnableError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
