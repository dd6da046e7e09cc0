"""Which of several free members is offered a caller; each strategy is a function in a file of its own.

A strategy gets at least one `Candidate` and returns the one to ask.
"""

from collections.abc import Callable, Sequence

from telephony.call_queue.strategies.candidate import Candidate
from telephony.call_queue.strategies.in_order import in_order
from telephony.call_queue.strategies.longest_idle import longest_idle
from telephony.call_queue.strategies.round_robin import round_robin

Strategy = Callable[[Sequence[Candidate]], Candidate]

STRATEGIES: dict[str, Strategy] = {"longest-idle": longest_idle, "round-robin": round_robin, "in-order": in_order}
"""Strategies by the name that the configuration uses."""
