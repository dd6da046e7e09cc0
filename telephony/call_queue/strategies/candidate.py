"""A free member as a strategy sees it."""

from typing import NamedTuple


class Candidate(NamedTuple):
    user: str
    position: int
    """Place in the queue's list of members, 0 is the first."""
    idle_since: float
    """Unix time in seconds at which the last call ended; 0: none is known."""
    offered_at: float
    """When it was last offered a caller, seconds; 0: never."""
