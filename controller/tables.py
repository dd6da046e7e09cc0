"""Tables of records in memory, changes to them, and their way to and from the store.

Rules:
- `Tables` is only changed by `apply`, with the writes of a `Draft` that the store has taken.
- A `Draft` sees its own writes and copies a table before its first write to it, so a calculation on a draft leaves
  its input untouched.
- Putting what is already there writes nothing: an unchanged calculation is no change.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from controller.state import RECORDS, VOLATILE, Cluster, Counter, Record, Status, Unit
from controller.store import Operation, Store

R = TypeVar("R", bound=Record)

_TYPES: dict[str, type[Record]] = {record.table: record for record in RECORDS}
_DECODERS = {name: msgspec.msgpack.Decoder(record) for name, record in _TYPES.items()}
_encode = msgspec.msgpack.Encoder().encode
MEMORY_ONLY = VOLATILE
NOT_LOADED = frozenset({"audit", "answered"})
"""Tables that are read from the store when they are asked for."""


class Write(NamedTuple):
    """One record that changed; ``new`` None: deleted."""

    table: str
    id: str
    old: Record | None
    new: Record | None


class Tables:
    """All records, by table and id."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._tables: dict[str, dict[str, Record]] = {name: {} for name in _TYPES}
        self._units: dict[str, dict[str, Unit]] = {}
        """Units by kind and by machine: ``kind`` or ``@machine`` to units by id."""
        self.apply(Write(record.table, record.id, None, record) for record in records)

    def all(self, kind: type[R]) -> Mapping[str, R]:
        """One table, in no particular order."""
        return self._tables[kind.table]  # type: ignore[return-value]

    def get(self, kind: type[R], id: str) -> R | None:
        return self._tables[kind.table].get(id)  # type: ignore[return-value]

    def apply(self, writes: Iterable[Write]) -> None:
        for write in writes:
            if write.table in NOT_LOADED:
                continue
            old = self._tables[write.table].pop(write.id, None)
            if write.new is not None:
                self._tables[write.table][write.id] = write.new
            if isinstance(old, Unit):
                for name in (old.kind, f"@{old.machine}"):
                    self._units[name].pop(old.id, None)
            if isinstance(write.new, Unit):
                for name in (write.new.kind, f"@{write.new.machine}"):
                    self._units.setdefault(name, {})[write.id] = write.new

    def units(self, name: str) -> Iterable[Unit]:
        """Units of a kind, or on a machine (``@`` and its id)."""
        return self._units.get(name, {}).values()

    @classmethod
    def load(cls, store: Store) -> "Tables":
        """Read all records but those that are only read on demand.

        Raises:
            StoreError: a record does not open with this master key.
        """
        tables = cls()
        for name, kind in _TYPES.items():
            if name in MEMORY_ONLY or name in NOT_LOADED:
                continue
            decoder = _DECODERS[name]
            for entry in store.range(f"{name}/"):
                record = decoder.decode(entry.value)
                assert isinstance(record, kind)
                tables.apply((Write(name, record.id, None, record),))
        return tables


class Draft:
    """Changes to tables that are not made yet."""

    def __init__(self, tables: Tables) -> None:
        self._base = tables
        self._copies: dict[str, dict[str, Record]] = {}
        self._writes: dict[tuple[str, str], Write] = {}

    def all(self, kind: type[R]) -> Mapping[str, R]:
        copy = self._copies.get(kind.table)
        return self._base.all(kind) if copy is None else copy  # type: ignore[return-value]

    def get(self, kind: type[R], id: str) -> R | None:
        return self.all(kind).get(id)

    def must(self, kind: type[R], id: str) -> R:
        """A record that is known to be there.

        Raises:
            KeyError: it is not.
        """
        return self.all(kind)[id]

    def units_of(self, kind: str) -> list[Unit]:
        """Units of a kind, oldest first."""
        return self._units(kind, lambda unit: unit.kind == kind)

    def units_on(self, machine: str) -> list[Unit]:
        """Units of a machine, oldest first."""
        return self._units(f"@{machine}", lambda unit: unit.machine == machine)

    def put(self, record: Record) -> None:
        old = self.get(type(record), record.id)
        if old == record:
            return
        self._writable(record.table)[record.id] = record
        self._note(record.table, record.id, old, record)

    def delete(self, kind: type[R], id: str) -> None:
        old = self.get(kind, id)
        if old is None:
            return
        del self._writable(kind.table)[id]
        self._note(kind.table, id, old, None)

    def count(self, name: str) -> int:
        """The next value of a counter, from 1."""
        counter = self.get(Counter, name) or Counter(id=name)
        value = counter.value + 1
        self.put(Counter(id=name, value=value))
        return value

    @property
    def cluster(self) -> Cluster:
        """The cluster's own record.

        Raises:
            KeyError: the cluster was not founded.
        """
        return self.all(Cluster)["cluster"]

    def writes(self) -> list[Write]:
        """What changed against the tables, in the order of the first write of each record."""
        return [write for write in self._writes.values() if write.old != write.new]

    def operations(self) -> list[Operation]:
        """The same for the store."""
        return [
            Operation(f"{write.table}/{write.id}", None if write.new is None else _encode(write.new))
            for write in self.writes()
            if write.table not in MEMORY_ONLY and not _passing(write)
        ]

    def _units(self, name: str, fits: Callable[[Unit], bool]) -> list[Unit]:
        found = self._base.units(name) if Unit.table not in self._copies else filter(fits, self.all(Unit).values())
        return sorted(found, key=lambda unit: (int(unit.id.rpartition("-")[2]), unit.id))

    def _writable(self, table: str) -> dict[str, Record]:
        copy = self._copies.get(table)
        if copy is None:
            copy = self._copies[table] = dict(self._base.all(_TYPES[table]))
        return copy

    def _note(self, table: str, id: str, old: Record | None, new: Record | None) -> None:
        first = self._writes.get((table, id))
        self._writes[(table, id)] = Write(table, id, old if first is None else first.old, new)


def _passing(write: Write) -> bool:
    """Only how much work a unit carries changed: worth knowing, not worth keeping."""
    old, new = write.old, write.new
    return isinstance(old, Status) and isinstance(new, Status) and msgspec.structs.replace(old, remaining=new.remaining) == new


def decode(key: str, value: bytes) -> Record:
    """A record from its entry in the store.

    Raises:
        KeyError: no such table.
        msgspec.ValidationError: not a record of it.
    """
    return _DECODERS[key.partition("/")[0]].decode(value)
