"""Strategy ``in-order``: the first on the list who is free."""

from collections.abc import Sequence

from telephony.call_queue.strategies.candidate import Candidate


def in_order(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda candidate: candidate.position)
