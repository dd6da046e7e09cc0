"""What the agent and its units say, on standard error: one line each, bounded in length and in rate."""

import sys
import time

LINE_CHARACTERS_MAX = 1000


class Rate:
    """A token bucket for lines: so many at once, so many a second."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = 0.0
        self.dropped = 0
        """Since the last line that passed."""

    def passes(self, now: float) -> bool:
        """Whether one more line may be written; ``now`` in seconds."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            self.dropped += 1
            return False
        self._left -= 1
        return True


class Log:
    """Lines of one machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def say(self, source: str, text: str) -> None:
        """One line of ``source`` (``agent`` or a unit's id). Control characters are shown, not sent to a terminal."""
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
        shown = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[:LINE_CHARACTERS_MAX])
        try:
            sys.stderr.write(f"{stamp} {self.name} {source} {shown}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Nobody reads any more; a machine does not end because of that.
            return
