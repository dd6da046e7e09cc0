"""By how much a router is to ask for less, as its load balancer sees it: jobs that nobody takes, workers whose queues only grow.

Rules:
- What counts are jobs of the router that every new call needs (`DECISIVE`), given to a worker. Jobs that wait for a worker to
  come back are no overload: they are held.
- A kind is late where even its quickest answer of a step took longer than `DELAY_SECONDS_MAX`, or where none came and the oldest
  job has waited longer (after CoDel, RFC 8289: a queue that comes and goes is none).
- Who is late for `PATIENCE_SECONDS` without a break (at once where less is asked for already), and is not getting better, is spared
  `CUT` of what comes, step by step, more the later it is. What was refused for want of room counts at once, by its share. With each
  step without either less is asked for (`EASE`).
- Never more than `PERCENT_MAX`: what still comes tells when it is over.
- Nothing is done for a job but two comparisons, and nothing at all while there are none.
"""

DECISIVE = frozenset(("routing", "media_processor"))
DELAY_SECONDS_MAX = 0.25
PATIENCE_SECONDS = 1.0
STEP_SECONDS = 0.25
CUT = 0.2
"""Of what comes, where the delay is `DELAY_SECONDS_MAX`; twice of it at twice the delay, and so on up to `CUT_MAX`."""
CUT_MAX = 0.5
EASE = 0.9
PERCENT_MAX = 95


class _Kind:
    __slots__ = ("before", "quickest")

    def __init__(self) -> None:
        self.quickest = float("inf")
        """Of the answers in this step, seconds."""
        self.before = 0.0
        """The same of the step before."""


class Pressure:
    """One load balancer's."""

    __slots__ = ("_answered", "_kinds", "_late_since", "_loss", "_refused", "_step_at")

    def __init__(self) -> None:
        self._kinds = {kind: _Kind() for kind in DECISIVE}
        self._loss = 0.0
        self._answered = self._refused = 0
        """In this step."""
        self._late_since: float | None = None
        self._step_at = 0.0

    def answered(self, kind: str, seconds: float) -> None:
        """A worker has answered a job, so long after it was given."""
        known = self._kinds.get(kind)
        if known is not None:
            self._answered += 1
            if seconds < known.quickest:
                known.quickest = seconds

    def refused(self, kind: str) -> None:
        """A job was refused for want of room."""
        if kind in DECISIVE:
            self._refused += 1

    @property
    def uneasy(self) -> bool:
        """It has to be looked at again, whatever comes."""
        return bool(self._loss) or self._late_since is not None

    def percent(self, oldest: dict[str, float], now: float) -> int:
        """By how much the router is to ask for less; worked out once in `STEP_SECONDS`.

        Args:
            oldest: kind to the age of its oldest job without an answer, seconds; kinds without one are left out.
        """
        if now >= self._step_at:
            self._step_at = now + STEP_SECONDS
            self._step(oldest, now)
        return min(PERCENT_MAX, round(self._loss * 100))

    def _step(self, oldest: dict[str, float], now: float) -> None:
        late = worst = 0.0
        for name, kind in self._kinds.items():
            delay = oldest.get(name, 0.0) if kind.quickest == float("inf") else kind.quickest
            if delay > DELAY_SECONDS_MAX:
                late = max(late, delay)
                if delay >= kind.before:
                    worst = max(worst, delay)
            kind.before = delay
            kind.quickest = float("inf")
        if not late:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        share = 0.0
        if self._refused:
            share = self._refused / (self._refused + self._answered)
        elif worst and self._late_since is not None and (self._loss or now - self._late_since >= PATIENCE_SECONDS):
            share = min(CUT_MAX, CUT * worst / DELAY_SECONDS_MAX)
        if share:
            self._loss = min(PERCENT_MAX / 100, 1.0 - (1.0 - self._loss) * (1.0 - share))
        elif not late:
            self._loss *= EASE
            if self._loss < 0.02:
                self._loss = 0.0
        self._answered = self._refused = 0
