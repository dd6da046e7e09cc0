"""A cluster without machines: tables, a calculation, and machines that do at once (or not at all) what they are told."""

import msgspec

from agent.wire.messages import MachineDocument
from controller.calculation.decision import Mint
from controller.calculation.derivation import derive
from controller.calculation.step import calculate
from controller.state import (
    Bundle,
    Cluster,
    Delivery,
    Machine,
    Operation,
    Outbox,
    Pool,
    Queue,
    Record,
    Route,
    Status,
    Subject,
    Unit,
    UnitState,
    User,
    Vitals,
)
from controller.tables import Draft, Tables, Write
from telephony import config

ROUNDS_MAX = 15
PLATFORMS = ("voice", "messaging")


class CountingMint:
    """Key pairs that can be told apart."""

    def __init__(self) -> None:
        self.count = 0

    def curve(self) -> tuple[str, str]:
        self.count += 1
        return f"public-{self.count}", f"secret-{self.count}"


def machine(index: int, platform: str = "voice", **fields: object) -> Machine:
    """A machine that is alive."""
    values: dict[str, object] = {
        "id": f"m{index}",
        "name": f"machine-{index}",
        "pool": "default",
        "address": f"127.0.1.{index}",
        "identity_key": b"i",
        "security_key": b"s",
        "transport_key": "t",
        "platform": platform,
        "public": True,
        "presence": "alive",
    }
    return Machine(**{**values, **fields})  # type: ignore[arg-type]


class World:
    """Tables and time."""

    def __init__(self, machines: int = 4, platform: str = "voice", shards: int = 1) -> None:
        self.now = 1000.0
        self.mint: Mint = CountingMint()
        self.sick: set[str] = set()
        """Units that do not become healthy."""
        self.stuck: set[str] = set()
        """Units that do not stop when they drain."""
        self.deaf: set[str] = set()
        """Machines that acknowledge nothing."""
        records = [
            Cluster(id="cluster", guest_targets=["9196"], nonce_secret=b"n", public_shards=shards),
            Pool(id="default", platform=platform),
            User(id="1001", ha1={"MD5": "a"}),
            Route(id="00010", pattern="30XX", action="conference"),
            Queue(id="4000", members=["1001"]),
            *(
                Bundle(id=f"bundle-{each}", platform=each, version="1", size_bytes=1, chunks=1, content_key=b"", created_at=0.0)
                for each in PLATFORMS
            ),
            *(machine(index, platform) for index in range(1, machines + 1)),
        ]
        self.tables = Tables(records)
        self.draft = Draft(self.tables)
        """What came in since the latest calculation."""

    def edit(self, *records: Record) -> None:
        """Let records come in."""
        for record in records:
            self.draft.put(record)

    def calculate(self, everything: bool = False) -> list[Write]:
        """Until nothing moves."""
        written: list[Write] = []
        for _ in range(ROUNDS_MAX):
            draft, self.draft = self.draft, Draft(self.tables)
            calculate(draft, self.now, self.mint, lambda machine, bundle: b"key", everything=everything)
            writes = draft.writes()
            self.tables.apply(writes)
            self.draft = Draft(self.tables)
            written += writes
            if not writes:
                return written
        raise AssertionError(f"does not come to rest: {writes[:5]}")

    def report(self) -> None:
        """Machines do what their documents say, and say so."""
        draft = self.draft
        for subject in self.tables.all(Subject).values():
            if subject.machine not in self.deaf:
                draft.put(Delivery(id=subject.id, accepted=subject.generation, applied=subject.generation))
        for each in self.tables.all(Machine).values():
            if each.presence != "dead":
                draft.put(Vitals(id=each.id, revision=1))
        for unit in self.tables.all(Unit).values():
            owner = self.tables.get(Machine, unit.machine)
            if owner is None or owner.presence == "dead":
                continue
            state: UnitState = "starting" if unit.id in self.sick else "healthy"
            if unit.intent == "drain":
                state = "draining" if unit.id in self.stuck else "stopped"
            old = draft.get(Status, unit.id)
            if old is None or old.state != state:
                draft.put(Status(id=unit.id, state=state, since=self.now))

    def run(self, seconds: float = 10.0, step: float = 0.5) -> None:
        """Let time pass, with machines that report."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.calculate()
            self.report()
        self.calculate()

    def check_incremental(self) -> None:
        """What was derived step by step is what follows from the state as a whole."""
        draft = Draft(self.tables)
        assert derive(draft, [], everything=True) == []
        live = set(self.tables.all(Unit)) | set(self.tables.all(Machine))
        assert set(self.tables.all(Subject)) == live
        assert set(self.tables.all(Outbox)) <= live

    def units(self, kind: str, platform: str = "") -> list[Unit]:
        return [unit for unit in self.tables.all(Unit).values() if unit.kind == kind and platform in ("", unit.platform)]

    def unit(self, id: str) -> Unit:
        return self.tables.all(Unit)[id]

    def machine(self, id: str) -> Machine:
        return self.tables.all(Machine)[id]

    def operation(self, id: str) -> Operation:
        return self.tables.all(Operation)[id]

    def on(self, id: str) -> list[Unit]:
        return list(self.tables.units(f"@{id}"))

    def document(self, id: str) -> MachineDocument:
        return msgspec.msgpack.decode(self.tables.all(Subject)[id].body, type=MachineDocument)

    def configuration(self, id: str) -> config.Configuration:
        from agent.wire.messages import UnitConfiguration

        return config.decode(msgspec.msgpack.decode(self.tables.all(Subject)[id].body, type=UnitConfiguration).body)
