"""Contenders take turns under the same load; each turn becomes a round."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from loadtest.bench.figure import Round

_Contender = TypeVar("_Contender")
PAUSE_SECONDS = 1.0
"""Between turns: what the last one left in queues drains."""


def take(
    contenders: Sequence[_Contender], load: Callable[[_Contender], Round], rounds: int, pause: float = PAUSE_SECONDS
) -> list[tuple[Round, ...]]:
    """Play ``rounds`` times each, A B A B; the rounds of each contender in order."""
    played: list[list[Round]] = [[] for _ in contenders]
    for _ in range(rounds):
        for place, contender in enumerate(contenders):
            played[place].append(load(contender))
            time.sleep(pause)
    return [tuple(rounds_) for rounds_ in played]


def say(text: str) -> None:
    """A line for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def say_round(name: str, case: str, round_: Round, unit: str) -> None:
    fault = f"  INVALID: {'; '.join(round_.faults)}" if round_.faults else ""
    say(f"  {case}: {name}: {round_.cost:.2f} {unit}, waited {round_.waited:.0%}, others {round_.others:.2f} cores{fault}")
