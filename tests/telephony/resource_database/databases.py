"""Resource databases in memory of a test, asked as services ask them."""

from pathlib import Path

import msgspec

from telephony.config import Jobs, ResourceDatabaseConfiguration
from telephony.core import Job
from telephony.effects import Ask, Effect, Notify, Reply, Tell
from telephony.jobs.resource import (
    Bound,
    BoundEach,
    Busy,
    ChangesRead,
    Claim,
    Done,
    Holder,
    Lookup,
    Members,
    MemberStates,
    PageRead,
    Unclaim,
)
from telephony.resource_database.core import ResourceDatabase

RESPONSES: dict[str, type[msgspec.Struct]] = {
    "bind": Bound,
    "bind-each": BoundEach,
    "lookup": Bound,
    "unbind": Bound,
    "claim": Holder,
    "release": Done,
    "busy": Done,
    "members": MemberStates,
    "page": PageRead,
    "changes": ChangesRead,
    "takeover": ChangesRead,
}
OPERATIONS: dict[type[msgspec.Struct], str] = {Lookup: "lookup", Claim: "claim", Unclaim: "release", Busy: "busy", Members: "members"}


class Database:
    """One database with the time of the test."""

    def __init__(
        self, folder: Path, id: str = "database-1", successor_of: str = "", size_bytes: int = 1 << 22, now: float = 1000.0
    ) -> None:
        self.now = now
        self.id = id
        self.folder = folder / id
        self.folder.mkdir(exist_ok=True)
        self.core = ResourceDatabase(str(self.folder))
        self.told: list[Tell] = []
        self.asked: list[Ask] = []
        self.notified: list[Notify] = []
        self._size_bytes = size_bytes
        self.configure(successor_of)

    def configure(self, successor_of: str = "") -> None:
        self.core.configure(
            ResourceDatabaseConfiguration(
                id=self.id,
                platform="voice",
                jobs=Jobs(curve_public="", curve_secret=""),
                successor_of=successor_of,
                size_bytes_max=self._size_bytes,
            ),
            self.now,
        )
        self.effects()

    def effects(self) -> list[Effect]:
        """Take what it wants; what is not an answer is kept for the test."""
        taken = list(self.core.take())
        self.told += [one for one in taken if isinstance(one, Tell)]
        self.asked += [one for one in taken if isinstance(one, Ask)]
        self.notified += [one for one in taken if isinstance(one, Notify)]
        return taken

    def raw(self, operation: str, body: bytes, client: str = "proxy-1") -> tuple[str, bytes]:
        """Status and body of the answer to a job."""
        self.core.job(Job(1, client, operation, body), self.now)
        (reply,) = [one for one in self.effects() if isinstance(one, Reply)]
        return reply.status, reply.body

    def ask(self, operation: str, request: msgspec.Struct, client: str = "proxy-1") -> tuple[str, msgspec.Struct | None]:
        """Status and response of a job."""
        status, body = self.raw(operation, msgspec.msgpack.encode(request), client)
        return status, msgspec.msgpack.decode(body, type=RESPONSES[operation]) if status == "ok" else None

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (deadline := self.core.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.core.timeout(self.now)
            self.effects()
        self.now = end

    def kill(self) -> None:
        """The process dies: what is not committed is lost."""
        store = self.core._store
        assert store is not None
        if store._transaction is not None:
            store._transaction.abort()
            store._transaction = None
        store._environment.close()
