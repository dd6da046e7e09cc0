"""Figures of a load: percentiles of what was measured, and what became of every call."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of values in any order.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds: ``p50``, ``p90``, ``p99``, ``p99.9``, ``max``; empty without values."""
    if not seconds:
        return {}
    figures = {f"p{percent:g}": round(1000 * percentile(seconds, percent), 2) for percent in PERCENTILES}
    return figures | {"max": round(1000 * max(seconds), 2)}


@dataclass
class LoadReport:
    """What a load did. Counts are of calls unless the name says otherwise."""

    target: str
    rate_wanted: float
    """Calls a second."""
    rate_reached: float = 0.0
    """Calls a second that really began, over the time from the first to the last."""
    calls: int = 0
    answered: int = 0
    completed: int = 0
    """Answered, talked, and ended by our BYE that was answered."""
    with_audio: int = 0
    """Sound that is not silence came back."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Final status of each call, ``408`` without any answer."""
    endings: Counter[str] = field(default_factory=Counter)
    """``here``, or why the peer ended it."""
    set_up_seconds: list[float] = field(default_factory=list)
    """Of each answered call, from the moment at which it *should* have begun: a load that falls behind shows it."""
    set_up_own_seconds: list[float] = field(default_factory=list)
    """The same from the moment at which it did begin."""
    packets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    gap_seconds_max: float = 0.0
    """Longest time between two packets of one call, as they arrived."""
    concurrent_max: int = 0
    behind_seconds_max: float = 0.0
    """How late the load itself was at worst: above a few milliseconds, the generator was the limit."""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    """CPU time of the generator."""

    @property
    def failed(self) -> int:
        """Calls that were not completed, or brought no audio back."""
        return self.calls - min(self.completed, self.with_audio)

    def figures(self) -> dict[str, object]:
        """For JSON."""
        return {
            "target": self.target,
            "rate_wanted": self.rate_wanted,
            "rate_reached": round(self.rate_reached, 2),
            "calls": self.calls,
            "answered": self.answered,
            "completed": self.completed,
            "with_audio": self.with_audio,
            "failed": self.failed,
            "statuses": dict(self.statuses),
            "endings": dict(self.endings),
            "set_up_ms": summary(self.set_up_seconds),
            "set_up_own_ms": summary(self.set_up_own_seconds),
            "packets_sent": self.packets_sent,
            "packets_received": self.packets_received,
            "packets_lost": self.packets_lost,
            "gap_max_ms": round(1000 * self.gap_seconds_max, 1),
            "concurrent_max": self.concurrent_max,
            "behind_ms_max": round(1000 * self.behind_seconds_max, 2),
            "seconds": round(self.seconds, 2),
            "processor_seconds": round(self.processor_seconds, 2),
        }
