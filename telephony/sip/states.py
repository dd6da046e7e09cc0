"""States and events of the transaction machines, and the form of their tables (RFC 3261 section 17, RFC 6026)."""

from typing import Any

# States
CALLING, TRYING, PROCEEDING, COMPLETED, CONFIRMED, ACCEPTED, TERMINATED = range(7)
STATES = ("calling", "trying", "proceeding", "completed", "confirmed", "accepted", "terminated")

# Events
PROVISIONAL, SUCCESS, FAILURE, REPEAT, GIVE_UP, BROKEN, REQUEST, ACK = range(8)
EVENTS = ("1xx", "2xx", "3xx-6xx", "repeat (A, E, G)", "give up (B, F, H) or end of lingering", "transport broken", "request", "ACK")

Step = tuple[int, Any]
"""Next state, and the method that acts on the way."""
Table = tuple[tuple[Step | None, ...], ...]
"""``table[state][event]``; None: the event is ignored there."""


def table(rows: dict[int, dict[int, Step]]) -> Table:
    """Make a table of its rows; what is not named is ignored."""
    return tuple(tuple(rows.get(state, {}).get(event) for event in range(len(EVENTS))) for state in range(len(STATES)))
