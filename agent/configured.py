"""The configurations that the agent holds for a unit: opaque bytes with their generations.

Rules: the newest is sent at once and at every start; where the unit did not apply it, a start gets the last one that it did.
"""

from typing import NamedTuple

import msgspec

from agent.wire.messages import Failure


class Configuration(NamedTuple):
    """What a unit is sent."""

    generation: int
    body: bytes


class Configured(msgspec.Struct):
    """The configurations of one unit."""

    current: Configuration | None = None
    good: Configuration | None = None
    """The last one that was applied."""
    failure: Failure | None = None
    """Why the current one was not."""

    def take(self, generation: int, body: bytes) -> None:
        """A newer one."""
        self.current = Configuration(generation, body)
        self.failure = None

    def applied(self, generation: int) -> bool:
        """A process applied this one; true where it is the current one, which is good then."""
        if self.current is None or self.current.generation != generation:
            return False
        self.good, self.failure = self.current, None
        return True

    def refused(self, generation: int, failure: Failure) -> None:
        """A process could not apply this one."""
        if self.current is not None and self.current.generation == generation:
            self.failure = failure

    def for_start(self) -> Configuration | None:
        """What a fresh process is sent; None: nothing is there yet."""
        return self.good if self.failure is not None and self.good is not None else self.current
