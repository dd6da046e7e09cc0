"""What was refused, broken or banned, said to the controller in few words: bad input is counted and logged once.

Rules:
- Nothing bad happened: nothing is said. Else one `Notify` after `GATHER_SECONDS`, and never two within `REPORT_SECONDS`.
- It says what was added since the one before; challenges are no refusals. Bans are named, the latest few
  (`telephony.proxy.defence.BANS_KEPT_MAX`), all are counted.
"""

from telephony.effects import Effect, Notify
from telephony.proxy.counters import Counters
from telephony.proxy.defence import Defence
from telephony.sip.timers import Timers

GATHER_SECONDS = 1.0
"""From the first bad thing to its report, so that what comes with it is in it."""
REPORT_SECONDS = 10.0


class Report:
    """Sums up one proxy's counters."""

    def __init__(self, counters: Counters, defence: Defence, timers: Timers, out: list[Effect]) -> None:
        self._counters = counters
        self._defence = defence
        self._timers = timers
        self._out = out
        self._due = False
        self._said_at = float("-inf")
        self._said: dict[str, int] = {}

    def want(self, now: float) -> None:
        """Something bad happened, and is counted already or will be in this turn."""
        if not self._due:
            self._due = True
            self._timers.start(now, max(GATHER_SECONDS, self._said_at + REPORT_SECONDS - now), self._say)

    def _say(self, now: float) -> None:
        counters = self._counters
        bans = self._defence.bans
        totals = {
            "refused": counters.refused - counters.challenged,
            "broken": counters.broken,
            "failed": counters.failed,
            "dropped": counters.banned,
            "bans": self._defence.bans_total,
        }
        body: dict[str, object] = {"event": "proxy-refusals"}
        body |= {name: total - before for name, total in totals.items() if total > (before := self._said.get(name, 0))}
        if bans:
            body["banned"] = [ban._asdict() for ban in bans]
            bans.clear()
        self._due = False
        self._said_at = now
        self._said = totals
        self._out.append(Notify(body))
