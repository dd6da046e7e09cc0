"""Who gets the job: the load balancer without a socket.

Rules:
- A worker is a dependent that the configuration lists; it is usable while it is connected and heard of.
- A job that names a worker goes to it or to nobody. Another goes to a usable worker of its kind that takes
  new work: by its key (`affinity`), else to the least busy (`least_outstanding`).
- While a kind has no usable worker, its jobs are held: as long as one is listed until their time limit, else for
  `HOLD_SECONDS`, since a restarted one is back soon. A named worker that is not listed is ``unavailable`` at once.
- A worker that dies (its connection ends, or it is silent) leaves its jobs: what is repeatable and named
  nobody goes to another, the rest is answered ``unavailable``.
- A worker's ``retry`` sends an unnamed job to another one, `TRIES_MAX` times in all; so does ``full`` of a kind that new calls need.
- The router is told by how much to ask for less (`pressure`), again every `STEP_SECONDS` as long as that is something.
- A service that is connected but not (any more) named by the configuration gets ``retry`` for what it submits.
- What was not answered at its time limit is forgotten; the client's half knows by itself.

Bounds: `JOBS_PER_CLIENT_MAX`, `HELD_MAX`; more is answered ``retry``.
"""

import msgspec

from telephony.config import Dependent, LoadBalancerConfiguration
from telephony.effects import Notify
from telephony.jobs.protocol import (
    BEAT,
    BEAT_SECONDS,
    FULL,
    RETRY,
    SILENCE_SECONDS,
    TIMEOUT_SECONDS_MAX,
    UNAVAILABLE,
    Answer,
    Done,
    Reduce,
    Submit,
    Tell,
    Told,
    Welcome,
    Work,
    decode_to_balancer,
    encode,
)
from telephony.load_balancer import affinity, least_outstanding
from telephony.load_balancer.pressure import DECISIVE, STEP_SECONDS, Pressure

JOBS_PER_CLIENT_MAX = 4096
HELD_MAX = 4096
"""Jobs that wait for a worker."""
HOLD_SECONDS = 1.0
"""How long a job waits for a kind that nobody is listed for."""
TRIES_MAX = 3
SWEEP_SECONDS = STEP_SECONDS
"""Time limits are looked at this often."""


class _Worker:
    __slots__ = ("dependent", "id", "jobs", "last", "usable")

    def __init__(self, dependent: Dependent) -> None:
        self.id = dependent.id
        self.dependent = dependent
        self.jobs: dict[int, _Job] = {}
        """Not answered yet, by number."""
        self.last = 0
        """Number of the last job it was given."""
        self.usable = False


class _Connection:
    __slots__ = ("heard_at", "id", "jobs", "service", "silent")

    def __init__(self, id: bytes, service: str, now: float) -> None:
        self.id = id
        self.service = service
        self.heard_at = now
        self.jobs = 0
        """Jobs that came by it and are not answered."""
        self.silent = False


class _Job:
    __slots__ = ("connection", "deadline", "given_at", "held_until", "submit", "tries")

    def __init__(self, connection: _Connection, submit: Submit, now: float) -> None:
        self.connection = connection
        self.submit = submit
        self.given_at = now
        """When a worker got it first."""
        self.deadline = now + min(submit.timeout_ms / 1000, TIMEOUT_SECONDS_MAX)
        self.held_until = min(self.deadline, now + HOLD_SECONDS)
        self.tries = 0


class Balancer:
    """One load balancer."""

    def __init__(self, number: int = 0) -> None:
        """
        Args:
            number: numbers of jobs start above it; one that grows with every start keeps a late answer to the
                process before from being taken for an answer to this one.
        """
        self.id = ""
        self._router = ""
        self._named: set[str] = set()
        """Everybody who may ask: dependents and the router."""
        self._number = number
        self._workers: dict[str, _Worker] = {}
        self._kinds: dict[str, list[_Worker]] = {}
        """Usable workers that take new work, by kind."""
        self._listed: set[str] = set()
        """Kinds that somebody is listed for."""
        self._connections: dict[bytes, _Connection] = {}
        self._services: dict[str, _Connection] = {}
        """A service's newest connection."""
        self._jobs: dict[int, tuple[_Job, _Worker]] = {}
        self._held: list[_Job] = []
        self._outgoing: list[tuple[bytes, bytes]] = []
        self._notifications: list[Notify] = []
        self._said: list[str] = []
        self._beat_at = 0.0
        self._sweep_at: float | None = None
        self._pressure = Pressure()
        self._reduction = 0
        """What the router was told last, percent."""

    def configure(self, configuration: LoadBalancerConfiguration, now: float) -> None:
        """Take a new list of dependents; jobs of those that are gone are treated as if these had died."""
        self.id = configuration.id
        self._router = configuration.router.id
        before = self._workers
        self._workers = {}
        for dependent in configuration.dependents:
            worker = before.pop(dependent.id, None) or _Worker(dependent)
            worker.dependent = dependent
            self._workers[dependent.id] = worker
        self._named = {self._router, *self._workers}
        self._listed = {dependent.kind for dependent in configuration.dependents}
        self._index()
        for worker in before.values():
            self._died(worker, now)
        self._dispatch_held(now)
        self._beat_at = self._beat_at or now + BEAT_SECONDS

    def connected(self, id: bytes, service: str, now: float) -> None:
        """A service has a new connection; one that it had before is over."""
        before = self._services.get(service)
        if before is not None and before.id != id:
            self.disconnected(before.id, now)
        self._connections[id] = self._services[service] = _Connection(id, service, now)
        self._outgoing.append((id, encode(Welcome(self.id))))
        if service in self._workers:
            self._index()
            self._dispatch_held(now)

    def disconnected(self, id: bytes, now: float) -> None:
        """A connection ended; nothing happens where it is unknown."""
        connection = self._connections.pop(id, None)
        if connection is None:
            return
        if self._services.get(connection.service) is connection:
            del self._services[connection.service]
        self._held = [job for job in self._held if job.connection is not connection]
        worker = self._workers.get(connection.service)
        if worker is not None:
            self._index()
            self._died(worker, now)

    def received(self, id: bytes, data: bytes, now: float) -> None:
        """One message. What cannot be read ends nothing and is ignored."""
        connection = self._connections.get(id)
        if connection is None:
            return
        connection.heard_at = now
        if connection.silent:
            connection.silent = False
            self._index()
            self._dispatch_held(now)
        try:
            message = decode_to_balancer(data)
        except msgspec.DecodeError:
            return
        if isinstance(message, Submit):
            if connection.jobs >= JOBS_PER_CLIENT_MAX:
                self._pressed(connection, message.kind)
                self._outgoing.append((id, encode(Answer(message.number, RETRY, b"too many jobs", ""))))
                return
            if connection.service not in self._named:
                self._outgoing.append((id, encode(Answer(message.number, RETRY, b"you are not listed", ""))))
                return
            connection.jobs += 1
            self._dispatch(_Job(connection, message, now), now)
        elif isinstance(message, Done):
            self._done(connection, message, now)
        elif isinstance(message, Tell):
            client = self._services.get(message.client)
            if client is not None:
                self._outgoing.append((client.id, encode(Told(connection.service, message.operation, message.body))))

    def unsent(self, id: bytes, now: float) -> None:
        """A message to this connection could not be sent, its queue is full or it is gone: it is taken as dead."""
        self.disconnected(id, now)

    def timeout(self, now: float) -> None:
        """Beats and time limits that are due."""
        if now >= self._beat_at > 0:
            self._beat_at = now + BEAT_SECONDS
            for connection in list(self._connections.values()):
                self._outgoing.append((connection.id, BEAT))
                if now - connection.heard_at > SILENCE_SECONDS and not connection.silent:
                    connection.silent = True
                    if (worker := self._workers.get(connection.service)) is not None:
                        self._index()
                        self._died(worker, now)
        if self._sweep_at is not None and now >= self._sweep_at:
            for number, (job, worker) in [item for item in self._jobs.items() if item[1][0].deadline <= now]:
                del self._jobs[number], worker.jobs[number]
                job.connection.jobs -= 1
            self._dispatch_held(now)
            self._ask_for_less(now)
            self._sweep_at = now + SWEEP_SECONDS if self._jobs or self._held or self._pressure.uneasy else None

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        if not self._beat_at:
            return self._sweep_at
        return self._beat_at if self._sweep_at is None else min(self._beat_at, self._sweep_at)

    def take(self) -> list[tuple[bytes, bytes]]:
        """Messages to send (connection, bytes), in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def notifications(self) -> list[Notify]:
        """What the controller is told."""
        notifications, self._notifications = self._notifications, []
        return notifications

    def remaining(self) -> int:
        """Jobs in work or held; at least 1 while the router that it is dedicated to is connected."""
        return max(len(self._jobs) + len(self._held), int(self._router in self._services))

    def _pressed(self, connection: _Connection, kind: str) -> None:
        """A job was refused for want of room."""
        if connection.service == self._router:
            self._pressure.refused(kind)

    def _ask_for_less(self, now: float) -> None:
        """Tell the router by how much to reduce, as long as that is something, and once that it is over."""
        oldest: dict[str, float] = {}
        for job, _ in self._jobs.values():
            kind = job.submit.kind
            if kind in DECISIVE and kind not in oldest and job.connection.service == self._router:
                oldest[kind] = now - job.given_at  # the table is in the order of giving
                if len(oldest) == len(DECISIVE):
                    break
        percent = self._pressure.percent(oldest, now)
        router = self._services.get(self._router)
        if (percent or self._reduction) and router is not None:
            self._outgoing.append((router.id, encode(Reduce(percent))))
        self._reduction = percent

    def _dispatch(self, job: _Job, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_SECONDS
        submit = job.submit
        if submit.worker:
            named = self._workers.get(submit.worker)
            if named is None or named.dependent.kind != submit.kind:
                self._answer(job, UNAVAILABLE, f"{submit.worker} is not listed".encode())
            elif named.usable:
                self._give(job, named, now)
            else:
                self._hold(job)
            return
        workers = self._kinds.get(submit.kind)
        if not workers:
            self._hold(job)
        elif len(workers) == 1:
            self._give(job, workers[0], now)
        elif submit.key:
            self._give(job, self._workers[affinity.choose(submit.key, [worker.id for worker in workers])], now)
        else:
            busy = [(worker.id, len(worker.jobs), worker.last) for worker in workers]
            self._give(job, self._workers[least_outstanding.choose(busy)], now)

    def _give(self, job: _Job, worker: _Worker, now: float) -> None:
        self._number = number = self._number + 1
        if not job.tries:
            job.given_at = now
        job.tries += 1
        worker.last = number
        worker.jobs[number] = job
        self._jobs[number] = (job, worker)
        submit = job.submit
        self._outgoing.append((self._services[worker.id].id, encode(Work(number, job.connection.service, submit.operation, submit.body))))

    def _hold(self, job: _Job) -> None:
        if len(self._held) >= HELD_MAX:
            self._pressed(job.connection, job.submit.kind)
            self._answer(job, RETRY, b"too many jobs wait")
        else:
            self._held.append(job)

    def _dispatch_held(self, now: float) -> None:
        held, self._held = self._held, []
        for job in held:
            if job.deadline <= now:
                job.connection.jobs -= 1
            elif not job.submit.worker and now >= job.held_until and job.submit.kind not in self._listed:
                self._answer(job, UNAVAILABLE, f"nobody does {job.submit.kind}".encode())
            else:
                self._dispatch(job, now)

    def _done(self, connection: _Connection, done: Done, now: float) -> None:
        found = self._jobs.get(done.number)
        if found is None or found[1].id != connection.service:
            return
        job, worker = found
        del self._jobs[done.number], worker.jobs[done.number]
        submit = job.submit
        if done.status == RETRY or (done.status == FULL and submit.kind in DECISIVE):
            others = [other.id for other in self._kinds.get(submit.kind, ()) if other is not worker]
            if others and not submit.worker and job.tries < TRIES_MAX:
                key = submit.key or str(done.number)
                self._give(job, self._workers[affinity.choose(key, others)], now)
                return
            if not submit.worker or done.status == RETRY:
                self._pressed(job.connection, submit.kind)
        elif job.connection.service == self._router:
            self._pressure.answered(submit.kind, now - job.given_at)
        self._answer(job, done.status, done.body, worker.id)

    def _answer(self, job: _Job, status: str, body: bytes, worker: str = "") -> None:
        connection = job.connection
        connection.jobs -= 1
        if self._connections.get(connection.id) is connection:
            self._outgoing.append((connection.id, encode(Answer(job.submit.number, status, body, worker))))

    def _died(self, worker: _Worker, now: float) -> None:
        jobs, worker.jobs = worker.jobs, {}
        for number, job in jobs.items():
            del self._jobs[number]
            if job.submit.repeatable and not job.submit.worker and job.tries < TRIES_MAX:
                self._dispatch(job, now)
            else:
                self._answer(job, UNAVAILABLE, f"{worker.id} died".encode(), worker.id)

    def _index(self) -> None:
        """Compute who is usable; say so where it changed."""
        self._kinds = {}
        for worker in self._workers.values():
            connection = self._services.get(worker.id)
            worker.usable = connection is not None and not connection.silent
            if worker.usable and worker.dependent.takes_new:
                self._kinds.setdefault(worker.dependent.kind, []).append(worker)
        usable = sorted(worker.id for worker in self._workers.values() if worker.usable)
        if usable != self._said:
            self._said = usable
            self._notifications.append(Notify({"event": "dependents", "usable": usable}))
