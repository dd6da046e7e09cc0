"""Taking over the content of another resource database, without a moment in which both serve.

The successor: pages of all tables -> changes since the first page, until there are no more -> ``takeover``. The
predecessor answers that one with the last changes, and everything else with ``moved`` from then on.

Rules:
- A record is written whole, so that a change may be written twice; a page may be newer than its revision.
- Changes that are no longer kept (``lost``), or a predecessor that was restarted, mean: from the beginning.
- A predecessor that cannot be reached is asked again every `AGAIN_SECONDS`: its content is worth waiting for. The
  controller ends the wait by a configuration without ``successor_of``.
"""

import msgspec

from telephony.effects import Ask
from telephony.jobs.protocol import OK
from telephony.jobs.resource import Change, Changes, ChangesRead, Page, PageRead
from telephony.resource_database.store import META, TABLES, Store

PAGE_RECORDS = 200
PAGE_BYTES = 128 * 1024
CHANGES_RECORDS = 200
ASK_SECONDS = 3.0
AGAIN_SECONDS = 0.2
KEEP_SECONDS = 60.0
"""How long after the last question the predecessor keeps changes."""
_ORIGIN = b"origin"
_MOVED = b"moved"

_encode = msgspec.msgpack.Encoder().encode
_decode_page = msgspec.msgpack.Decoder(PageRead).decode
_decode_changes = msgspec.msgpack.Decoder(ChangesRead).decode


class Successor:
    """The one that takes over.

    Args:
        store: filled by it.
        predecessor: id of the database whose content it takes.
    """

    def __init__(self, store: Store, predecessor: str) -> None:
        self._store = store
        self.predecessor = predecessor
        self.done = store.get(META, _ORIGIN) == predecessor.encode()
        self._number = 0
        self._table = ""
        self._after = b""
        self._revision: int | None = None
        """Of the first page."""
        self._reading = True
        """Pages; then changes."""
        self._step = ""
        self.again_at: float | None = None
        """When the question is to be asked again."""

    def ask(self, number: int) -> Ask:
        """The next question, under this number."""
        self.again_at = None
        self._number = number
        if self._reading:
            if not self._table:
                self._store.clear()
            self._step = "page"
            body = _encode(Page(table=self._table, after=self._after))
        else:
            assert self._revision is not None
            self._step = self._step if self._step in ("changes", "takeover") else "changes"
            body = _encode(Changes(since=self._revision))
        return Ask(number, "resource_database", self._step, body, worker=self.predecessor, timeout_seconds=ASK_SECONDS)

    def answer(self, number: int, status: str, body: bytes, now: float) -> bool:
        """The answer to a question; True: ask on at once."""
        if number != self._number or self.done:
            return False
        if status == "lost":
            self._reading, self._table, self._after, self._revision = True, "", b"", None
            return True
        if status == "behind":
            self._step = "changes"
            return True
        if status != OK:
            self.again_at = now + AGAIN_SECONDS
            return False
        if self._step == "page":
            page = _decode_page(body)
            self._write(page.records)
            if self._revision is None:
                self._revision = page.revision
            self._table, self._after = page.table, page.after
            self._reading = bool(page.table)
            return True
        read = _decode_changes(body)
        self._write(read.changes)
        self._revision = read.revision
        if self._step == "takeover":
            self._store.put(META, _ORIGIN, self.predecessor.encode())
            self._store.delete(META, _MOVED)
            self.done = True
            return False
        self._step = "takeover" if read.revision == read.last else "changes"
        return True

    def _write(self, changes: list[Change]) -> None:
        for change in changes:
            if change.table not in TABLES:
                continue
            if change.value is None:
                self._store.delete(change.table, change.key)
            else:
                self._store.put(change.table, change.key, change.value)


class Predecessor:
    """The one whose content is taken over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        moved = store.get(META, _MOVED)
        self.moved_to = "" if moved is None else moved.decode()
        """Who serves instead; empty: still this one."""
        self.keep_until: float | None = None

    def page(self, request: Page, now: float) -> PageRead:
        """Read a page."""
        store = self._store
        store.keep_changes(True)
        self.keep_until = now + KEEP_SECONDS
        table = request.table if request.table in TABLES else TABLES[0]
        after = request.after if request.table in TABLES else b""
        records: list[Change] = []
        size = 0
        for key, value in store.scan(table, after, PAGE_RECORDS):
            records.append(Change(table, key, value))
            size += len(key) + len(value)
            if size >= PAGE_BYTES:
                break
        if len(records) < PAGE_RECORDS and size < PAGE_BYTES:
            following = TABLES.index(table) + 1
            return PageRead(records=records, revision=store.revision, table=TABLES[following] if following < len(TABLES) else "")
        return PageRead(records=records, revision=store.revision, table=table, after=records[-1].key)

    def changes(self, since: int, now: float) -> ChangesRead | None:
        """Read changes; None: ``lost``."""
        self.keep_until = now + KEEP_SECONDS
        found = self._store.changes(since, CHANGES_RECORDS)
        if found is None:
            return None
        revision = found[-1][0] if found else since
        return ChangesRead(changes=[change for _, change in found], revision=revision, last=self._store.revision)

    def hand_over(self, successor: str) -> None:
        """From now on the successor serves."""
        self.moved_to = successor
        self._store.put(META, _MOVED, successor.encode())

    def serve_again(self) -> None:
        """The replacement was called off."""
        if self.moved_to:
            self.moved_to = ""
            self._store.delete(META, _MOVED)

    def timeout(self, now: float) -> None:
        """Forget the changes when nobody has asked for long."""
        if self.keep_until is not None and now >= self.keep_until:
            self.keep_until = None
            if not self.moved_to:
                self._store.keep_changes(False)
