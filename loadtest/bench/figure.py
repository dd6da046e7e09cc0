"""Rounds, their validity, and the figure that comes of them.

Rules:
- A round says what it cost and what went wrong; what went wrong beyond its limits makes it invalid.
- A figure is the median of the valid rounds, with their spread; without a valid round there is none.
- A ratio is taken between medians of the same case.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

OTHERS_CORES_MAX = 0.25
"""Above it a figure is marked noisy: somebody else used the machine. (Waiting alone is no sign: a receiver is often woken on its sender's
CPU and waits for it, whatever else runs.)"""


@dataclass(frozen=True)
class Round:
    """One contender under one load, once."""

    cost: float
    """What the figure is about, in the case's unit."""
    faults: tuple[str, ...] = ()
    """Why it is invalid; empty: it is valid."""
    waited: float = 0.0
    """Share of the time that its tasks wanted a CPU and had none, 0 to 1."""
    others: float = 0.0
    """Cores that others kept busy."""
    details: dict[str, float] = field(default_factory=dict)
    """Whatever else was measured, by name (unit last)."""

    def valid(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class Figure:
    """What a contender needs in a case."""

    case: str
    contender: str
    unit: str
    rounds: tuple[Round, ...]
    higher_is_better: bool = False
    role: str = "peer"
    """``ours``, ``peer``, or ``floor``: what is physically possible in the same language."""

    def valid(self) -> list[Round]:
        return [round_ for round_ in self.rounds if round_.valid()]

    def cost(self) -> float | None:
        """Median of the valid rounds."""
        costs = [round_.cost for round_ in self.valid()]
        return median(costs) if costs else None

    def spread(self) -> tuple[float, float] | None:
        """Least and greatest valid round."""
        costs = [round_.cost for round_ in self.valid()]
        return (min(costs), max(costs)) if costs else None

    def detail(self, name: str) -> float | None:
        """Median of a detail over the valid rounds; over all of them where none is valid."""
        values = [round_.details[name] for round_ in (self.valid() or self.rounds) if name in round_.details]
        return median(values) if values else None

    def noise(self) -> tuple[float, float]:
        """Median share waited and median cores that others used."""
        rounds = self.valid() or list(self.rounds)
        return (median(r.waited for r in rounds), median(r.others for r in rounds)) if rounds else (0.0, 0.0)

    def faults(self) -> list[str]:
        """What made rounds invalid, each once."""
        return list(dict.fromkeys(fault for round_ in self.rounds for fault in round_.faults))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "case": self.case, "contender": self.contender, "role": self.role, "unit": self.unit,
            "median": self.cost(), "spread": self.spread(), "rounds": [asdict(round_) for round_ in self.rounds],
        }  # fmt: skip


def ratio(figure: Figure, figures: Iterable[Figure]) -> tuple[str, float] | None:
    """A figure beside the first peer's of the same case, or the floor's where there is no peer: (name, times).

    None for the peer itself, or without both medians.
    """
    others = [other for other in figures if other.case == figure.case and other.role != "ours" and other.cost()]
    peer = min(others, key=lambda other: other.role != "peer", default=None)
    cost = figure.cost()
    if peer is None or peer is figure or cost is None:
        return None
    return peer.contender, cost / (peer.cost() or cost)


def table(figures: Sequence[Figure], columns: Sequence[str] = ()) -> str:
    """Figures as lines of text; ``columns`` are names of details to show."""
    rows = [["case", "contender", "median", "unit", "least..most", "valid", "beside", "waited", "others", *columns, ""]]
    for figure in figures:
        cost, spread, beside = figure.cost(), figure.spread(), ratio(figure, figures)
        waited, others = figure.noise()
        notes = figure.faults()
        if others > OTHERS_CORES_MAX:
            notes.append("noisy")
        rows.append([
            figure.case, figure.contender,
            "INVALID" if cost is None else _number(cost), figure.unit,
            f"{_number(spread[0])}..{_number(spread[1])}" if spread else "-",
            f"{len(figure.valid())}/{len(figure.rounds)}",
            f"{beside[1]:.2f} x {beside[0]}" if beside else "-",
            f"{waited:.0%}", f"{others:.2f}",
            *(_number(value) if (value := figure.detail(name)) is not None else "-" for name in columns),
            "; ".join(notes),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
