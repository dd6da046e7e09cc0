"""The process's clock: Unix time in seconds at its start; from there on it only grows."""

import time

_OFFSET_SECONDS = time.time() - time.monotonic()
_monotonic = time.monotonic


def now() -> float:
    """Seconds; comparable with Unix time as long as nobody has set the system's clock since the start."""
    return _OFFSET_SECONDS + _monotonic()
