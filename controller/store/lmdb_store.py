"""The store on LMDB: one writer, group commit, short reads.

Rules:
- One process and one thread write: the folder is locked for the life of the store.
- Transactions go into one open LMDB transaction; `flush` commits it with one fsync. A crash before the
  flush loses them together, never a part of one.
- No LMDB reader stays open: what is read in between goes through the open writer, everything else through a
  reader that lives for one call (an open reader would keep the file growing without end).

Layout: database ``data``: key -> revision (8 bytes, big endian) | sealed value; database ``history``: revision (8) |
index (2) -> key; database ``meta``: ``revision``, ``compacted``.
"""

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from controller.store.interface import CompactedError, Compare, ConflictError, Entry, Event, Operation, StoreError
from controller.store.sealing import MasterKey

MAP_BYTES = 4 << 30
"""Size of the address range that LMDB maps; the file grows up to it."""
HISTORY_REVISIONS_MAX = 10_000
"""Transactions of which the history is kept at least; it is cut back when twice as many are there."""
KEY_BYTES_MAX = 511
"""LMDB's limit for a key."""
VALUE_BYTES_MAX = 16 << 20

_REVISION = struct.Struct(">Q")
_HISTORY = struct.Struct(">QH")


class LmdbStore:
    """`controller.store.Store` in a folder of its own.

    Raises:
        StoreError: another controller uses the folder, or it was sealed under another master key.
    """

    def __init__(self, folder: Path, master: MasterKey) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._master = master
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreError(f"{folder} is in use by another controller") from error
        self._environment = lmdb.open(str(folder), map_size=MAP_BYTES, max_dbs=3, max_readers=16, mode=0o600)
        self._data = self._environment.open_db(b"data")
        self._history = self._environment.open_db(b"history")
        self._meta = self._environment.open_db(b"meta")
        self._writer: lmdb.Transaction | None = None
        with self._reader() as reader:
            self._revision = _number(reader.get(b"revision", db=self._meta))
            self._compacted = _number(reader.get(b"compacted", db=self._meta))
            sealed = reader.get(b"check", db=self._meta)
        if sealed is None:
            with self._environment.begin(write=True) as writer:
                writer.put(b"check", master.seal("check", b"hotswitch"), db=self._meta)
        else:
            try:
                master.open("check", bytes(sealed))
            except StoreError:
                self.close()
                raise

    def revision(self) -> int:
        return self._revision

    def get(self, key: str) -> Entry | None:
        with self._reader() as reader:
            raw = reader.get(_key(key), db=self._data)
            return None if raw is None else self._entry(key, bytes(raw))

    def range(self, prefix: str) -> Iterator[Entry]:
        start = prefix.encode()
        found: list[tuple[str, bytes]] = []
        with self._reader() as reader, reader.cursor(db=self._data) as cursor:
            positioned = cursor.set_range(start) if start else cursor.first()
            while positioned and bytes(cursor.key()).startswith(start):
                found.append((bytes(cursor.key()).decode(), bytes(cursor.value())))
                positioned = cursor.next()
        for key, raw in found:
            yield self._entry(key, raw)

    def transaction(self, operations: Sequence[Operation], compares: Sequence[Compare] = ()) -> int:
        if len(operations) > 0xFFFF:
            raise StoreError(f"a transaction has at most {0xFFFF} operations, this one has {len(operations)}")
        sealed: list[tuple[bytes, bytes | None]] = []
        for key, value in operations:
            if value is not None and len(value) > VALUE_BYTES_MAX:
                raise StoreError(f"{key}: {len(value)} bytes, at most {VALUE_BYTES_MAX} can be stored")
            sealed.append((_key(key), None if value is None else self._master.seal(key, value)))
        for key, expected in compares:
            entry = self.get(key)
            actual = 0 if entry is None else entry.revision
            if actual != expected:
                raise ConflictError(f"{key} is at revision {actual}, not {expected}")
        writer = self._writer
        if writer is None:
            writer = self._writer = self._environment.begin(write=True)
        revision = self._revision + 1
        stamp = _REVISION.pack(revision)
        try:
            for index, (raw, value) in enumerate(sealed):
                if value is None:
                    writer.delete(raw, db=self._data)
                else:
                    writer.put(raw, stamp + value, db=self._data)
                writer.put(_HISTORY.pack(revision, index), raw, db=self._history, append=True)
            writer.put(b"revision", stamp, db=self._meta)
        except lmdb.Error as error:
            writer.abort()
            self._writer = None
            with self._reader() as reader:
                self._revision = _number(reader.get(b"revision", db=self._meta))
            raise StoreError(f"the store cannot write: {error}") from error
        self._revision = revision
        return revision

    def flush(self) -> None:
        if self._writer is None:
            return
        if self._revision - self._compacted > 2 * HISTORY_REVISIONS_MAX:
            self._compact(self._writer, self._revision - HISTORY_REVISIONS_MAX)
        writer, self._writer = self._writer, None
        try:
            writer.commit()
        except lmdb.Error as error:
            raise StoreError(f"the disk does not take the state: {error}") from error

    def watch(self, prefix: str, revision: int) -> "LmdbWatch":
        return LmdbWatch(self, prefix.encode(), revision)

    def lease(self, name: str, holder: str, seconds: float, now: float) -> bool:
        key = f"lease/{name}"
        entry = self.get(key)
        if entry is not None:
            expiry, _, owner = entry.value.partition(b" ")
            if owner.decode() != holder and float(expiry) > now:
                return False
        self.transaction([Operation(key, f"{now + seconds} {holder}".encode())], [Compare(key, 0 if entry is None else entry.revision)])
        self.flush()
        return True

    def close(self) -> None:
        if self._lock < 0:
            return
        self.flush()
        self._environment.close()
        os.close(self._lock)
        self._lock = -1

    def history(self, prefix: bytes, revision: int, limit: int) -> tuple[int, list[Event]]:
        """Events after a revision, in whole transactions until ``limit`` is reached, and the last revision among them.

        Raises:
            CompactedError: that part of the history is gone.
        """
        if revision < self._compacted:
            raise CompactedError(f"history begins after revision {self._compacted}; asked for what follows {revision}")
        events: list[Event] = []
        last = revision
        with self._reader() as reader, reader.cursor(db=self._history) as cursor:
            positioned = cursor.set_range(_HISTORY.pack(revision + 1, 0))
            while positioned:
                at, _ = _HISTORY.unpack(cursor.key())
                if at != last and len(events) >= limit:
                    break
                last = at
                raw = bytes(cursor.value())
                if raw.startswith(prefix):
                    key = raw.decode()
                    stored = reader.get(raw, db=self._data)
                    entry = None if stored is None else self._entry(key, bytes(stored))
                    events.append(Event(at, key, entry.value if entry is not None and entry.revision == at else None))
                positioned = cursor.next()
        return last, events

    @contextmanager
    def _reader(self) -> Iterator[lmdb.Transaction]:
        if self._writer is not None:
            yield self._writer
            return
        with self._environment.begin() as reader:
            yield reader

    def _entry(self, key: str, raw: bytes) -> Entry:
        (revision,) = _REVISION.unpack_from(raw)
        return Entry(key, self._master.open(key, raw[_REVISION.size :]), revision)

    def _compact(self, writer: lmdb.Transaction, revision: int) -> None:
        limit = _HISTORY.pack(revision + 1, 0)
        with writer.cursor(db=self._history) as cursor:
            positioned = cursor.first()
            while positioned and bytes(cursor.key()) < limit:
                positioned = cursor.delete()
        writer.put(b"compacted", _REVISION.pack(revision), db=self._meta)
        self._compacted = revision


class LmdbWatch:
    """`controller.store.Watch` over the history of a `LmdbStore`."""

    def __init__(self, store: LmdbStore, prefix: bytes, revision: int) -> None:
        self._store = store
        self._prefix = prefix
        self._revision = revision

    def events(self, limit: int = 1000) -> list[Event]:
        self._revision, events = self._store.history(self._prefix, self._revision, limit)
        return events


def _key(key: str) -> bytes:
    raw = key.encode()
    if not 0 < len(raw) <= KEY_BYTES_MAX:
        raise StoreError(f"a key has 1 to {KEY_BYTES_MAX} bytes, this one has {len(raw)}")
    return raw


def _number(raw: bytes | memoryview | None) -> int:
    return 0 if raw is None else int.from_bytes(raw, "big")
