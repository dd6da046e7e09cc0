"""Strategy for jobs with a key: rendezvous hashing (Thaler and Ravishankar, 1998).

Every balancer that lists the same workers chooses the same one, and a worker that leaves moves only the
keys that it had.
"""

from collections.abc import Iterable
from hashlib import blake2b


def choose(key: str, workers: Iterable[str]) -> str:
    """The worker with the highest hash of (key, worker).

    Raises:
        ValueError: there are no workers.
    """
    return max(workers, key=lambda worker: (blake2b(f"{key}\0{worker}".encode(), digest_size=8).digest(), worker))
