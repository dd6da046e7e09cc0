"""Strategy ``round-robin``: who was asked longest ago."""

from collections.abc import Sequence

from telephony.call_queue.strategies.candidate import Candidate


def round_robin(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda candidate: (candidate.offered_at, candidate.position))
