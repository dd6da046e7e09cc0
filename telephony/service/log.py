"""What a service says to the people who run it: lines on standard error, which the agent collects.

Bound: `LINES_PER_SECOND` lines; what is beyond is counted and said in the next second.
"""

import sys
import time
import traceback

LINES_PER_SECOND = 20
LINE_CHARACTERS_MAX = 2000

_second = 0
_lines = 0
_dropped = 0


def say(text: str) -> None:
    """One line."""
    global _second, _lines, _dropped
    second = int(time.monotonic())
    if second != _second:
        _second, _lines = second, 0
        if _dropped:
            print(f"{_dropped} lines dropped", file=sys.stderr, flush=True)
            _dropped = 0
    if _lines >= LINES_PER_SECOND:
        _dropped += 1
        return
    _lines += 1
    print(text[:LINE_CHARACTERS_MAX], file=sys.stderr, flush=True)


def failure(what: str, error: BaseException) -> None:
    """A fault of our own: where it happened, on one line."""
    where = " < ".join(
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(traceback.extract_tb(error.__traceback__)[-6:])
    )
    say(f"fault in {what}: {type(error).__name__}: {error} at {where}")
