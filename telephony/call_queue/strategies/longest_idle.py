"""Strategy ``longest-idle``: who has been without a call for longest; unknown counts as longest."""

from collections.abc import Sequence

from telephony.call_queue.strategies.candidate import Candidate


def longest_idle(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda candidate: (candidate.idle_since, candidate.offered_at, candidate.position))
