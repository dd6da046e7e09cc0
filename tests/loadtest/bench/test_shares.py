"""Time of library functions goes to the parts that call them."""

import pytest

from loadtest.bench.shares import Function, Row, shares

RECEIVE: Function = ("media/receive.py", 1, "drain")
MIX: Function = ("media/mixer.py", 1, "mix")
TAKE: Function = ("~", 0, "take")
WRAPPED: Function = ("numpy/core.py", 9, "wrap")
LOOP: Function = ("engine.py", 1, "run")


def part(function: Function) -> str:
    return function[0].removeprefix("media/") if function[0].startswith("media/") else ""


def test_own_time_and_that_of_what_it_calls() -> None:
    rows: dict[Function, Row] = {
        LOOP: (1, 1, 0.5, 10.0, {}),
        RECEIVE: (1, 1, 1.0, 4.0, {LOOP: (1, 1, 1.0, 4.0)}),
        MIX: (1, 1, 2.0, 5.5, {LOOP: (1, 1, 2.0, 5.5)}),
        WRAPPED: (1, 1, 0.5, 1.5, {MIX: (1, 1, 0.5, 1.5)}),
        TAKE: (3, 3, 4.0, 4.0, {RECEIVE: (1, 1, 3.0, 3.0), WRAPPED: (2, 2, 1.0, 1.0)}),
    }
    found = shares(rows, part)
    assert found == pytest.approx({"receive.py": 4.0, "mixer.py": 3.5, "rest": 0.5})
    assert sum(found.values()) == pytest.approx(sum(row[2] for row in rows.values()))


def test_recursion_ends() -> None:
    rows: dict[Function, Row] = {WRAPPED: (1, 2, 1.0, 1.0, {WRAPPED: (1, 1, 1.0, 1.0)})}
    assert shares(rows, part) == pytest.approx({"rest": 1.0})
