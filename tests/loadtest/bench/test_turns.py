"""Contenders take turns."""

from loadtest.bench.figure import Round
from loadtest.bench.turns import take


def test_turns_are_interleaved() -> None:
    order: list[str] = []

    def load(name: str) -> Round:
        order.append(name)
        return Round(float(len(order)))

    played = take(["a", "b"], load, rounds=3, pause=0.0)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [[round_.cost for round_ in rounds] for rounds in played] == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
