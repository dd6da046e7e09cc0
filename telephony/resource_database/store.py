"""Tables in LMDB: one write transaction for all that one turn brings, committed before its answers leave.

Rules:
- `get`, `put`, `delete` and `scan` see what was put before them, committed or not.
- What is committed survives the process (`kill -9`); the disk is written by `sync`, so the machine's death may cost
  the last `SYNC_SECONDS` (phones register again). LMDB keeps the file whole as long as the file system keeps its order
  of writes; a file that cannot be opened is put aside and the store starts empty.
- The tables together are bounded; the file may be twice as large, since LMDB never writes over what it has committed: when
  the bound is reached records can still be changed and removed.
- Every change has a revision. While somebody reads the content (`keep_changes`), the last `CHANGES_MAX` are kept.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterator

import lmdb

from telephony.jobs.resource import Change

SYNC_SECONDS = 1.0
CHANGES_MAX = 20_000
KEY_BYTES_MAX = 480
"""LMDB's bound is 511 bytes."""
TABLES = ("bindings", "busy", "claims")
META = "meta"
PAGE_BYTES = 4096
MARGIN_BYTES = 1 << 20
"""Room of the file for what one transaction writes."""


class Store:
    """All content of a resource database.

    Args:
        directory: folder for the file; must exist.
        size_bytes: bound of the tables.
        revision: number that the first change comes after; one that grows with every start.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, directory: str, size_bytes: int, revision: int) -> None:
        path = os.path.join(directory, "resources.lmdb")
        self._pages_max = max(1, size_bytes // PAGE_BYTES)
        self._full = False
        try:
            self._open(path, size_bytes)
        except lmdb.Error:
            for suffix in ("", "-lock"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path + suffix, path + suffix + ".broken")
            try:
                self._open(path, size_bytes)
            except lmdb.Error as error:
                raise OSError(f"{path}: {error}") from None
        self.revision = revision
        self._changes: deque[tuple[int, Change]] | None = None
        self._changes_after = revision
        self._transaction: lmdb.Transaction | None = None
        self._dirty = False

    def get(self, table: str, key: bytes) -> bytes | None:
        value = self._begin().get(key, db=self._tables[table])
        return None if value is None else bytes(value)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Write a record.

        Raises:
            FullError: the bound is reached.
        """
        transaction = self._begin()
        if self._full and table != META and transaction.get(key, db=self._tables[table]) is None:
            raise FullError("the resource database is full")
        transaction.put(key, value, db=self._tables[table])
        self._note(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        """Remove a record; True if it was there."""
        removed: bool = self._begin().delete(key, db=self._tables[table])
        if removed:
            self._note(table, key, None)
        return removed

    def scan(self, table: str, after: bytes, records_max: int) -> list[tuple[bytes, bytes]]:
        """Records in key order behind ``after`` (empty: from the first)."""
        return list(self._walk(table, after, records_max))

    def clear(self) -> None:
        """Remove everything."""
        transaction = self._begin()
        for table in self._tables.values():
            transaction.drop(table, delete=False)
        self._dirty = True

    def count(self, table: str) -> int:
        """Number of records."""
        entries: int = self._begin().stat(self._tables[table])["entries"]
        return entries

    def commit(self) -> None:
        """Make all that was done so far survive this process."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.commit()

    def sync(self) -> None:
        """Write to the disk what was committed."""
        if self._dirty:
            self._dirty = False
            self._environment.sync(True)

    def keep_changes(self, wanted: bool) -> None:
        """Keep changes from now on, or forget them."""
        if wanted and self._changes is None:
            self._changes = deque()
            self._changes_after = self.revision
        elif not wanted:
            self._changes = None

    def changes(self, since: int, records_max: int) -> list[tuple[int, Change]] | None:
        """Changes after a revision, in order; None: they are not kept (any more)."""
        if self._changes is None or since < self._changes_after or since > self.revision:
            return None
        found: list[tuple[int, Change]] = []
        for revision, change in self._changes:
            if revision > since:
                found.append((revision, change))
                if len(found) >= records_max:
                    break
        return found

    def close(self) -> None:
        self.commit()
        self.sync()
        self._environment.close()

    def _open(self, path: str, size_bytes: int) -> None:
        self._environment = lmdb.open(
            path, map_size=2 * size_bytes + MARGIN_BYTES, subdir=False, sync=False, max_dbs=8, max_readers=4, lock=True
        )
        self._tables = {name: self._environment.open_db(name.encode()) for name in (*TABLES, META)}

    def _begin(self) -> lmdb.Transaction:
        if self._transaction is None:
            self._transaction = transaction = self._environment.begin(write=True)
            pages = 0
            for table in self._tables.values():
                stat = transaction.stat(table)
                pages += stat["leaf_pages"] + stat["branch_pages"] + stat["overflow_pages"]
            self._full = pages > self._pages_max
        return self._transaction

    def _walk(self, table: str, after: bytes, records_max: int) -> Iterator[tuple[bytes, bytes]]:
        with self._begin().cursor(self._tables[table]) as cursor:
            there = cursor.set_range(after) if after else cursor.first()
            if there and after and bytes(cursor.key()) == after:
                there = cursor.next()
            while there and records_max > 0:
                yield bytes(cursor.key()), bytes(cursor.value())
                records_max -= 1
                there = cursor.next()

    def _note(self, table: str, key: bytes, value: bytes | None) -> None:
        self._dirty = True
        if table == META:
            return
        self.revision += 1
        if self._changes is not None:
            if len(self._changes) >= CHANGES_MAX:
                self._changes_after = self._changes.popleft()[0]
            self._changes.append((self.revision, Change(table, key, value)))


class FullError(Exception):
    """No room for another record."""
