"""Strategy for jobs without a key: the worker with the fewest jobs that it has not answered."""

from collections.abc import Iterable


def choose(workers: Iterable[tuple[str, int, int]]) -> str:
    """The worker with the fewest outstanding jobs; among equals the one given a job longest ago.

    Args:
        workers: id, outstanding jobs, number of the last job it was given.

    Raises:
        ValueError: there are no workers.
    """
    return min(workers, key=lambda worker: (worker[1], worker[2]))[0]
