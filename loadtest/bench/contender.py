"""What takes part in a benchmark of signalling."""

from typing import Protocol


class Contender(Protocol):
    """A running server under test."""

    name: str
    role: str
    """``ours``, ``peer`` or ``floor``."""
    target: str
    """``host:port`` that the load talks to."""

    def roots(self) -> list[int]:
        """Processes whose trees are the contender."""

    def stop(self) -> None: ...
