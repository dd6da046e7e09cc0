"""What an event does in a state of a call: ``step(call, now, *details)`` returns the next state."""

from collections.abc import Callable

Step = Callable[..., str]
