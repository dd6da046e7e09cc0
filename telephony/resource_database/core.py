"""The resource database without a socket.

Rules:
- A job is done at once on the store; its answer leaves after the store has committed (`take`): all jobs of one turn
  share one commit.
- Expired records do not exist for anybody; a sweep removes them, `SWEEP_RECORDS` of each table at a time.
- As a successor it answers ``retry`` until it has taken over; once it has handed over, ``moved``.
"""

from collections.abc import Callable, Sequence

import msgspec

from telephony.config import Configuration, ResourceDatabaseConfiguration
from telephony.core import Job
from telephony.effects import Effect, Notify, Reply, Tell
from telephony.jobs.protocol import BAD_REQUEST, MOVED, OK, RETRY
from telephony.jobs.resource import (
    Bind,
    BindEach,
    Bound,
    Busy,
    Changes,
    Claim,
    Done,
    Holder,
    Lookup,
    MemberChanged,
    Members,
    MemberStates,
    Page,
    Unbind,
    Unclaim,
)
from telephony.resource_database import bindings, busy, claims, watches
from telephony.resource_database.store import SYNC_SECONDS, FullError, Store
from telephony.resource_database.succession import Predecessor, Successor
from telephony.sip.flow import Flow

SWEEP_SECONDS = 1.0
SWEEP_RECORDS = 500
MEMBERS_MAX = 1000
"""Users asked for in one job."""

_encode = msgspec.msgpack.Encoder().encode
_REQUESTS: dict[str, type[msgspec.Struct]] = {
    "bind": Bind,
    "bind-each": BindEach,
    "unbind": Unbind,
    "lookup": Lookup,
    "claim": Claim,
    "release": Unclaim,
    "busy": Busy,
    "members": Members,
    "page": Page,
    "changes": Changes,
    "takeover": Changes,
}
_decoders = {operation: msgspec.msgpack.Decoder(structure).decode for operation, structure in _REQUESTS.items()}
_SUCCESSION = frozenset({"page", "changes", "takeover"})
_EXPIRE: dict[str, Callable[[Store, bytes, bytes, float], bool]] = {
    bindings.TABLE: bindings.expire,
    claims.TABLE: claims.expire,
    busy.TABLE: busy.expire,
}


class ResourceDatabase:
    """One resource database.

    Args:
        directory: where its file lives.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._store: Store | None = None
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._watches = watches.Watches()
        self._number = 0
        self._draining = False
        self._sweep_at: float | None = None
        self._sync_at = 0.0
        self._swept: dict[str, bytes] = dict.fromkeys(_EXPIRE, b"")
        """Where the sweep of each table goes on."""
        self._effects: list[Effect] = []

    def configure(self, configuration: Configuration, now: float) -> None:
        if not isinstance(configuration, ResourceDatabaseConfiguration):
            raise ValueError(f"a resource database's configuration is wanted, not a {type(configuration).__name__}")
        if self._store is None:
            if not self._directory:
                raise ValueError("a resource database needs a folder of its own (STATE_DIRECTORY)")
            self._store = Store(self._directory, configuration.size_bytes_max, revision=int(now * 1000))
            self._predecessor = Predecessor(self._store)
            self._sweep_at = now + SWEEP_SECONDS
        of = configuration.successor_of
        if not of:
            self._successor = None
        elif self._successor is None or self._successor.predecessor != of:
            self._successor = Successor(self._store, of)
            if not self._successor.done:
                self._ask_on()

    def job(self, job: Job, now: float) -> None:
        store, predecessor = self._store, self._predecessor
        assert store is not None and predecessor is not None
        if not self.ready():
            self._effects.append(Reply(job.number, RETRY, b"taking over"))
            return
        if predecessor.moved_to and not (job.operation in _SUCCESSION and job.client == predecessor.moved_to):
            self._effects.append(Reply(job.number, MOVED, predecessor.moved_to.encode()))
            return
        decode = _decoders.get(job.operation)
        if decode is None:
            self._effects.append(Reply(job.number, BAD_REQUEST, f"no such operation: {job.operation}".encode()))
            return
        try:
            status, answer = self._do(job, decode(job.body), store, predecessor, now)
        except (msgspec.DecodeError, ValueError) as error:
            status, answer = BAD_REQUEST, str(error)
        except bindings.BindError as error:
            status, answer = error.code, str(error)
        except FullError as error:
            status, answer = "full", str(error)
        self._effects.append(Reply(job.number, status, answer.encode() if isinstance(answer, str) else _encode(answer)))

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        successor = self._successor
        if successor is None or ask != self._number:
            return
        if successor.answer(ask, status, body, now):
            self._ask_on()
        elif successor.done:
            assert self._store is not None
            self._effects.append(Notify({"event": "database-taken-over", "from": successor.predecessor}))

    def timeout(self, now: float) -> None:
        store, predecessor = self._store, self._predecessor
        assert store is not None and predecessor is not None
        if self._successor is not None and self._successor.again_at is not None and now >= self._successor.again_at:
            self._ask_on()
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            if self.ready() and not predecessor.moved_to:
                self._sweep(store, now)
            predecessor.timeout(now)
        if now >= self._sync_at:
            self._sync_at = now + SYNC_SECONDS
            store.commit()
            store.sync()

    def deadline(self) -> float | None:
        again_at = None if self._successor is None else self._successor.again_at
        if again_at is None or self._sweep_at is None:
            return self._sweep_at
        return min(again_at, self._sweep_at)

    def take(self) -> Sequence[Effect]:
        if self._store is not None:
            self._store.commit()  # before any answer leaves
        effects, self._effects = self._effects, []
        return effects

    def drain(self, deadline: float, now: float) -> None:
        self._draining = True

    def undrain(self, now: float) -> None:
        self._draining = False
        if self._predecessor is not None:
            self._predecessor.serve_again()

    def ready(self) -> bool:
        return self._store is not None and (self._successor is None or self._successor.done)

    def remaining(self) -> int:
        """1 while it has content that nobody has taken over."""
        if self._store is None or self._predecessor is None or self._predecessor.moved_to or not self.ready():
            return 0
        return int(any(self._store.count(table) for table in _EXPIRE))

    def close(self) -> None:
        """Write everything to the disk."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        pass

    def closed(self, flow: Flow, now: float) -> None:
        pass

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        pass

    def _do(self, job: Job, request: object, store: Store, predecessor: Predecessor, now: float) -> tuple[str, msgspec.Struct | str]:
        if isinstance(request, BindEach):
            each, users = bindings.change_each(store, request, now)
            self._tell(users, store, now)
            return OK, each
        if isinstance(request, Lookup):
            return OK, Bound(bindings=bindings.read(store, request.aor, now))
        if isinstance(request, Unbind):
            left = bindings.forget(store, request, now)
            self._tell([request.aor], store, now)
            return OK, Bound(bindings=left)
        if isinstance(request, Bind):
            bound = bindings.change(store, request, now)
            self._tell([request.aor], store, now)
            return OK, Bound(bindings=bound)
        if isinstance(request, Busy):
            self._tell(busy.mark(store, request, now), store, now)
            return OK, Done()
        if isinstance(request, Claim):
            return OK, Holder(value=claims.claim(store, request, now))
        if isinstance(request, Unclaim):
            claims.release(store, request)
            return OK, Done()
        if isinstance(request, Members):
            if len(request.users) > MEMBERS_MAX:
                return "full", f"more than {MEMBERS_MAX} users in one job"
            states = [watches.state(store, user, now) for user in request.users]
            if request.watch and not self._watches.watch(job.client, states, now):
                return "full", "too many users are watched"
            return OK, MemberStates(members=states)
        if isinstance(request, Page):
            return OK, predecessor.page(request, now)
        assert isinstance(request, Changes)
        read = predecessor.changes(request.since, now)
        if read is None:
            return "lost", "these changes are not kept"
        if job.operation == "takeover":
            if read.revision != read.last:
                return "behind", f"changes up to {read.last} have to be read first"
            predecessor.hand_over(job.client)
            self._effects.append(Notify({"event": "database-handed-over", "to": job.client}))
        return OK, read

    def _tell(self, users: list[str], store: Store, now: float) -> None:
        for client, member in self._watches.changed(store, users, now):
            self._effects.append(Tell(client, "member-changed", _encode(MemberChanged(member=member))))

    def _ask_on(self) -> None:
        assert self._successor is not None
        self._number += 1
        self._effects.append(self._successor.ask(self._number))

    def _sweep(self, store: Store, now: float) -> None:
        for table, expire in _EXPIRE.items():
            records = store.scan(table, self._swept[table], SWEEP_RECORDS)
            for key, value in records:
                expire(store, key, value, now)
            self._swept[table] = records[-1][0] if len(records) == SWEEP_RECORDS else b""
        self._tell(self._watches.users(), store, now)
