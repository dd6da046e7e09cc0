"""What a run of benchmarks was asked to do."""

from dataclasses import dataclass
from pathlib import Path

from loadtest.bench import address

ROUNDS = 3


@dataclass(frozen=True)
class Checkout:
    """A working copy of ours that takes part."""

    name: str = "hotswitch"
    host: str = address.OURS
    """Where it listens."""
    root: Path | None = None
    """Folder of the working copy; None: this one."""
    compiled: bool = False
    """Its services take the compiled core (`telephony.compiled`); otherwise the sources are run."""


@dataclass(frozen=True)
class Options:
    rounds: int = ROUNDS
    quick: bool = False
    """Short rounds: to see that it works."""
    checkouts: tuple[Checkout, ...] = (Checkout(),)

    def seconds(self, usual: float) -> float:
        """Length of a round that usually is so long."""
        return usual / 2 if self.quick else usual
