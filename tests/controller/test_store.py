"""The store: transactions, history, leases, sealing, and one writer."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.store import CompactedError, Compare, ConflictError, Operation, StoreError, lmdb_store
from controller.store.lmdb_store import LmdbStore
from controller.store.sealing import MasterKey

MASTER = b"m" * 32


@pytest.fixture
def store(tmp_path: Path) -> LmdbStore:
    return LmdbStore(tmp_path / "state", MasterKey(MASTER))


def test_what_is_written_is_read_at_once_and_after_a_restart(store: LmdbStore, tmp_path: Path) -> None:
    revision = store.transaction([Operation("unit/a", b"1"), Operation("unit/b", b"2"), Operation("user/c", b"3")])
    entry = store.get("unit/a")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"1", revision)
    store.close()
    again = LmdbStore(tmp_path / "state", MasterKey(MASTER))
    assert [(each.key, each.value) for each in again.range("unit/")] == [("unit/a", b"1"), ("unit/b", b"2")]
    assert again.revision() == revision
    again.close()


def test_a_transaction_is_all_or_nothing(store: LmdbStore) -> None:
    store.transaction([Operation("a", b"1")])
    with pytest.raises(ConflictError, match="a is at revision 1, not 0"):
        store.transaction([Operation("b", b"2"), Operation("a", b"2")], [Compare("a", 0)])
    assert store.get("b") is None
    store.transaction([Operation("b", b"2"), Operation("a", None)], [Compare("a", 1), Compare("b", 0)])
    assert store.get("a") is None
    store.close()


def test_what_was_not_flushed_is_lost_together(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, MasterKey(MASTER))
    store.transaction([Operation("a", b"1")])
    store.flush()
    store.transaction([Operation("a", b"2")])
    store.transaction([Operation("b", b"2")])
    store._writer.abort()  # type: ignore[union-attr]
    store._writer = None
    store.close()
    again = LmdbStore(tmp_path, MasterKey(MASTER))
    assert again.revision() == 1
    assert again.get("b") is None
    assert [each.value for each in again.range("a")] == [b"1"]
    again.close()


def test_history_is_followed_from_any_revision(store: LmdbStore) -> None:
    watch = store.watch("unit/", 0)
    store.transaction([Operation("unit/a", b"1"), Operation("user/x", b"-")])
    store.transaction([Operation("unit/a", b"2")])
    store.transaction([Operation("unit/a", None), Operation("unit/b", b"3")])
    events = watch.events()
    assert [(each.revision, each.key) for each in events] == [(1, "unit/a"), (2, "unit/a"), (3, "unit/a"), (3, "unit/b")]
    assert events[-1].value == b"3"
    assert watch.events() == []
    store.transaction([Operation("unit/c", b"4")])
    assert [each.key for each in watch.events()] == ["unit/c"]
    assert [each.revision for each in store.watch("", 2).events(limit=1)] == [3, 3]
    store.close()


def test_old_history_is_cut_and_said(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "HISTORY_REVISIONS_MAX", 10)
    watch = store.watch("", 0)
    for number in range(50):
        store.transaction([Operation("a", b"%d" % number)])
        store.flush()
    with pytest.raises(CompactedError):
        watch.events()
    assert store.watch("", 45).events()[-1].revision == 50
    assert len(store.watch("", store._compacted).events()) <= 20
    store.close()


def test_a_lease_is_one_holders(store: LmdbStore) -> None:
    assert store.lease("leader", "a", 10.0, 100.0)
    assert not store.lease("leader", "b", 10.0, 105.0)
    assert store.lease("leader", "a", 10.0, 109.0)
    assert not store.lease("leader", "b", 10.0, 115.0)
    assert store.lease("leader", "b", 10.0, 119.5)
    store.close()


def test_a_second_writer_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in use by another controller"):
        LmdbStore(tmp_path / "state", MasterKey(MASTER))
    store.close()


def test_nothing_readable_is_on_the_disk(store: LmdbStore, tmp_path: Path) -> None:
    store.transaction([Operation("user/1001", b"very secret password hash")])
    store.close()
    assert b"very secret" not in (tmp_path / "state" / "data.mdb").read_bytes()


def test_another_master_key_does_not_open_it(store: LmdbStore, tmp_path: Path) -> None:
    store.close()
    with pytest.raises(StoreError, match="does not open with this master key"):
        LmdbStore(tmp_path / "state", MasterKey(b"x" * 32))
    LmdbStore(tmp_path / "state", MasterKey(MASTER)).close()


def test_bounds(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="a key has 1 to 511 bytes"):
        store.transaction([Operation("k" * 512, b"")])
    monkeypatch.setattr(lmdb_store, "VALUE_BYTES_MAX", 10)
    with pytest.raises(StoreError, match="at most 10"):
        store.transaction([Operation("k", b"x" * 11)])
    store.close()


class TestSealing:
    def test_round_trip(self) -> None:
        key = MasterKey(MASTER)
        assert MasterKey(MASTER).open("name", key.seal("name", b"value")) == b"value"
        assert key.seal("name", b"value") != key.seal("name", b"value")

    @pytest.mark.parametrize("place", [0, 1, 20, 30, -1])
    def test_any_changed_byte_is_found(self, place: int) -> None:
        sealed = bytearray(MasterKey(MASTER).seal("name", b"value"))
        sealed[place] ^= 1
        with pytest.raises(StoreError):
            MasterKey(MASTER).open("name", bytes(sealed))

    def test_a_value_belongs_to_its_name(self) -> None:
        sealed = MasterKey(MASTER).seal("user/1001", b"value")
        with pytest.raises(StoreError):
            MasterKey(MASTER).open("user/1002", sealed)

    def test_the_file_is_private_and_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "master.key"
        sealed = MasterKey.load(path).seal("a", b"b")
        assert path.stat().st_mode & 0o777 == 0o600
        assert MasterKey.load(path).open("a", sealed) == b"b"

    def test_a_short_key_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(b"short")
        with pytest.raises(StoreError, match="32 bytes, this one has 5"):
            MasterKey.load(tmp_path / "key")


class StoreModel(RuleBasedStateMachine):
    """The store beside a dictionary that also remembers what was flushed."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = LmdbStore(Path(self.folder.name), MasterKey(MASTER))
        self.model: dict[str, tuple[bytes, int]] = {}
        self.flushed: dict[str, tuple[bytes, int]] = {}
        self.revision = self.flushed_revision = 0

    @rule(
        operations=st.lists(st.tuples(st.sampled_from(["a", "b", "b/c", "é"]), st.none() | st.binary(max_size=20)), max_size=4),
        compare=st.none() | st.sampled_from(["a", "b"]),
        right=st.booleans(),
    )
    def write(self, operations: list[tuple[str, bytes | None]], compare: str | None, right: bool) -> None:
        compares = []
        if compare is not None:
            at = self.model.get(compare, (b"", 0))[1]
            compares = [Compare(compare, at if right else at + 1)]
        try:
            revision = self.store.transaction([Operation(*each) for each in operations], compares)
        except ConflictError:
            assert compares
            assert not right
            return
        assert right or not compares
        self.revision += 1
        assert revision == self.revision
        for key, value in operations:
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = (value, revision)

    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.flushed, self.flushed_revision = dict(self.model), self.revision

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if not clean and self.store._writer is not None:
            self.store._writer.abort()
            self.store._writer = None
            self.model, self.revision = dict(self.flushed), self.flushed_revision
        self.store.close()
        self.store = LmdbStore(Path(self.folder.name), MasterKey(MASTER))
        self.flushed, self.flushed_revision = dict(self.model), self.revision

    @invariant()
    def same(self) -> None:
        found = {entry.key: (entry.value, entry.revision) for entry in self.store.range("")}
        assert found == self.model
        assert self.store.revision() == self.revision
        latest = {event.key: event.value for event in self.store.watch("", 0).events()}
        assert {key: value for key, value in latest.items() if value is not None} == {key: value for key, (value, _) in self.model.items()}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
