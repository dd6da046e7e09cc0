"""What grows has a bound."""

from pathlib import Path

import msgspec
import pytest

from controller import tidying
from controller.enrolment import audit
from controller.state import Answered, Bundle, Operation, SealedKey, Unit
from controller.store.lmdb_store import LmdbStore
from controller.store.sealing import MasterKey
from controller.tables import Draft, Tables
from controller.tidying import tidy_store, tidy_tables
from tests.controller.world import World


def test_old_answers_and_audit_lines_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "AUDIT_LINES_MAX", 10)
    store = LmdbStore(tmp_path, MasterKey(b"m" * 32))
    draft = Draft(Tables())
    for number in range(25):
        audit(draft, float(number), "test", "done", str(number))
    for id, at in (("old", 0.0), ("new", 90000.0)):
        draft.put(Answered(id=id, request_hash="", status=200, body=b"", at=at))
    store.transaction(draft.operations())
    assert tidy_store(store, draft, 100000.0) == 16
    assert [entry.key for entry in store.range("answered/")] == ["answered/new"]
    assert [int(entry.key[6:]) for entry in store.range("audit/")] == list(range(16, 26))
    assert tidy_store(store, draft, 100000.0) == 0
    store.close()


def test_software_that_nobody_runs_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "OPERATIONS_MAX", 2)
    world = World()
    world.run(2.0)
    current = world.tables.all(Bundle)["bundle-voice"]
    world.edit(
        msgspec.structs.replace(current, current=False),
        msgspec.structs.replace(current, id="newer"),
        msgspec.structs.replace(current, id="unused", current=False),
        SealedKey(id="m1/unused", sealed=b"k"),
        *(Operation(id=f"operation-{number}", machine="m1", source="a", target="b", bundle="unused", phase="done") for number in range(5)),
    )
    tidy_tables(world.draft)
    world.calculate()
    assert set(world.tables.all(Bundle)) == {"bundle-voice", "newer", "bundle-messaging"}
    assert "m1/unused" not in world.tables.all(SealedKey)
    assert set(world.tables.all(Operation)) == {"operation-3", "operation-4"}
    assert {unit.bundle for unit in world.tables.all(Unit).values()} == {"bundle-voice"}
