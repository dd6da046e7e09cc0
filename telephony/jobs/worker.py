"""The working half of a service: jobs that it was given, and where their answers go.

Rules:
- A job is answered once, over the connection that it came by; where that is gone, the answer is dropped.
- Events go to the balancer by which the client was last heard of.

Bounds: `JOBS_MAX` jobs at a time, more are answered ``retry``; `CLIENTS_MAX` clients remembered.
"""

from telephony.core import Job
from telephony.jobs.protocol import RETRY, TIMEOUT_SECONDS_MAX, Done, Tell, Work, encode

JOBS_MAX = 4096
CLIENTS_MAX = 4096


class Worker:
    """Jobs that this service was given and has not answered."""

    def __init__(self) -> None:
        self._number = 0
        self._jobs: dict[int, tuple[str, int, float]] = {}
        """Own number to (balancer, its number, when it came), oldest first."""
        self._clients: dict[str, str] = {}
        """Client to the balancer by which it asked."""
        self._outgoing: list[tuple[str, bytes]] = []

    def work(self, balancer: str, work: Work, now: float) -> Job | None:
        """A job came; None: it was answered ``retry`` because there are too many."""
        jobs = self._jobs
        if len(jobs) >= JOBS_MAX:
            self._forget(now)
            if len(jobs) >= JOBS_MAX:
                self._outgoing.append((balancer, encode(Done(work.number, RETRY, b"too many jobs"))))
                return None
        if self._clients.get(work.client) != balancer:
            if len(self._clients) >= CLIENTS_MAX:
                del self._clients[next(iter(self._clients))]
            self._clients[work.client] = balancer
        self._number = number = self._number + 1
        jobs[number] = (balancer, work.number, now)
        return Job(number, work.client, work.operation, work.body)

    def reply(self, number: int, status: str, body: bytes) -> None:
        """Answer a job; nothing happens where it is unknown (any more)."""
        job = self._jobs.pop(number, None)
        if job is not None:
            self._outgoing.append((job[0], encode(Done(job[1], status, body))))

    def tell(self, client: str, operation: str, body: bytes, balancers: list[str]) -> None:
        """Send an event; a client that never asked is looked for at all of the balancers."""
        known = self._clients.get(client)
        message = encode(Tell(client, operation, body))
        for balancer in [known] if known in balancers and known is not None else balancers:
            self._outgoing.append((balancer, message))

    def welcome(self, balancer: str) -> None:
        """A connection to this balancer is new: it knows nothing of the jobs before."""
        for number in [number for number, job in self._jobs.items() if job[0] == balancer]:
            del self._jobs[number]

    def take(self) -> list[tuple[str, bytes]]:
        """Messages to send (balancer, bytes) since the last call."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def outstanding(self) -> int:
        """Jobs without an answer."""
        return len(self._jobs)

    def _forget(self, now: float) -> None:
        while self._jobs:
            number, job = next(iter(self._jobs.items()))
            if now - job[2] < TIMEOUT_SECONDS_MAX:
                return
            del self._jobs[number]
