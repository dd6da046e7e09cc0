"""Who is there: from beats to alive, suspect and dead, within 10 s.

Rules:
- A machine that was silent for `SUSPECT_SECONDS` is suspect, after `DEAD_SECONDS` dead; whatever it says makes it alive.
- A machine that said farewell is suspect at once and dead after `FAREWELL_SECONDS`.
- Where the judge itself was late (its last look is more than `LATE_SECONDS` ago), the lost time is nobody's fault.
- Where a third of the machines (two at least) fell silent within `TOGETHER_SECONDS`, the fault is more likely on this side:
  nobody is judged dead for `HOLD_SECONDS`.

Pure: seconds come in as ``now``.
"""

from controller.state import Presence

SUSPECT_SECONDS = 3.5
DEAD_SECONDS = 8.0
FAREWELL_SECONDS = 2.0
START_SECONDS = 10.0
"""More time for machines that were there before this judge began: they have to find out that it did."""
LATE_SECONDS = 2.5
TOGETHER_SECONDS = 5.0
HOLD_SECONDS = 60.0


class Watchman:
    """Judges the presence of all machines."""

    def __init__(self, now: float) -> None:
        self._heard: dict[str, float] = {}
        self._farewell: set[str] = set()
        self._looked = now
        self._held_since: float | None = None

    def expect(self, machine: str, now: float) -> None:
        """A machine that ought to be there; it has its full time from `START_SECONDS` on."""
        self._heard.setdefault(machine, now + START_SECONDS)

    def heard(self, machine: str, now: float) -> None:
        """A machine said something."""
        self._heard[machine] = now
        self._farewell.discard(machine)

    def farewell(self, machine: str, now: float) -> None:
        """A machine says that it ends."""
        self._heard[machine] = now
        self._farewell.add(machine)

    def forget(self, machine: str) -> None:
        """A machine that was removed."""
        self._heard.pop(machine, None)
        self._farewell.discard(machine)

    def judge(self, now: float) -> dict[str, Presence]:
        """Each machine's presence now. Machines that are held back are at most suspect."""
        lost = now - self._looked
        if lost > LATE_SECONDS:
            for machine in self._heard:
                self._heard[machine] += lost
        self._looked = now
        silent = {machine: now - at for machine, at in self._heard.items() if machine not in self._farewell and now - at >= SUSPECT_SECONDS}
        fresh = [machine for machine, seconds in silent.items() if seconds < DEAD_SECONDS + TOGETHER_SECONDS]
        total = len(self._heard) - len(silent) + len(fresh)
        if len(fresh) >= 2 and 3 * len(fresh) >= total:
            if self._held_since is None:
                self._held_since = now
        elif not any(seconds >= DEAD_SECONDS for seconds in silent.values()):
            self._held_since = None
        held = self._held_since is not None and now < self._held_since + HOLD_SECONDS
        verdicts: dict[str, Presence] = {}
        for machine, at in self._heard.items():
            seconds = now - at
            if machine in self._farewell:
                verdicts[machine] = "dead" if seconds >= FAREWELL_SECONDS else "suspect"
            elif seconds >= DEAD_SECONDS and not held:
                verdicts[machine] = "dead"
            else:
                verdicts[machine] = "suspect" if seconds >= SUSPECT_SECONDS else "alive"
        return verdicts
