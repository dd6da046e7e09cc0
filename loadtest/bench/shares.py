"""Where a profile's time went, by the files of ours: what library functions take is counted for those of ours who call them."""

from collections import defaultdict
from collections.abc import Callable, Mapping

Function = tuple[str, int, str]
"""File, line, name, as `pstats` has them."""
Row = tuple[int, int, float, float, Mapping[Function, tuple[int, int, float, float]]]
"""Primitive calls, calls, own seconds, total seconds, and the same by caller."""
DEPTH_MAX = 12


def shares(rows: Mapping[Function, Row], part: Callable[[Function], str]) -> dict[str, float]:
    """Own seconds of each part.

    Args:
        part: name of the part that a function is; empty: none, its time belongs to its callers.
    """
    found: dict[str, float] = defaultdict(float)
    for function, row in rows.items():
        for name, weight in _parts(function, rows, part, 0).items():
            found[name] += row[2] * weight
    return dict(found)


def _parts(function: Function, rows: Mapping[Function, Row], part: Callable[[Function], str], depth: int) -> dict[str, float]:
    """Parts that a function's time belongs to, with weights that sum up to 1."""
    name = part(function)
    callers = rows[function][4] if function in rows else {}
    whole = sum(row[3] for row in callers.values())
    if name or not callers or whole <= 0 or depth == DEPTH_MAX:
        return {name or "rest": 1.0}
    found: dict[str, float] = defaultdict(float)
    for caller, row in callers.items():
        for above, weight in _parts(caller, rows, part, depth + 1).items():
            found[above] += weight * row[3] / whole
    return dict(found)
