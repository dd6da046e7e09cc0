"""Rendezvous hashing: even, stable, and the same everywhere."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from telephony.load_balancer.affinity import choose


def test_keys_spread_evenly() -> None:
    counts = Counter(choose(f"call-{number}", ["a", "b", "c", "d"]) for number in range(4000))
    assert all(850 < count < 1150 for count in counts.values())


@given(st.lists(st.text(min_size=1), min_size=2, unique=True), st.text())
def test_a_worker_that_leaves_moves_only_its_own_keys(workers: list[str], key: str) -> None:
    chosen = choose(key, workers)
    gone = next(worker for worker in workers if worker != chosen)
    assert choose(key, [worker for worker in workers if worker != gone]) == chosen
    assert choose(key, list(reversed(workers))) == chosen
