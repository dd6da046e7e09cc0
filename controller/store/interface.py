"""What the controller asks of its store.

Rules:
- A transaction is all or nothing, and has one revision, one more than the one before it.
- What a transaction wrote can be read at once; it may be published only after `Store.flush` returned:
  several transactions share one flush to the disk (group commit).
- History is bounded: a watch from a revision that is gone raises `CompactedError`, and its owner reads the
  whole state again.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """The store cannot do what was asked; the message says why."""


class ConflictError(StoreError):
    """A compare of the transaction did not hold; nothing was written."""


class CompactedError(StoreError):
    """The history asked for is no longer kept."""


class Entry(NamedTuple):
    """A key with its value."""

    key: str
    value: bytes
    revision: int
    """Revision of the transaction that wrote it last."""


class Compare(NamedTuple):
    """Condition of a transaction: the key was last written at this revision; 0: the key does not exist."""

    key: str
    revision: int


class Operation(NamedTuple):
    """One write of a transaction; value None deletes."""

    key: str
    value: bytes | None


class Event(NamedTuple):
    """One write that happened; value None: deleted, or overwritten since (then a later event follows)."""

    revision: int
    key: str
    value: bytes | None


class Watch(Protocol):
    """A place in the history; each call to `events` goes on from where the one before ended."""

    def events(self, limit: int = 1000) -> list[Event]:
        """What was written since, at most ``limit`` events, oldest first.

        Raises:
            CompactedError: the history from there is no longer kept.
        """


class Store(Protocol):
    """Keys in lexical order, values as bytes."""

    def revision(self) -> int:
        """Revision of the latest transaction."""

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""

    def range(self, prefix: str) -> Iterator[Entry]:
        """All entries whose key begins with the prefix, in order of the keys."""

    def transaction(self, operations: Sequence[Operation], compares: Sequence[Compare] = ()) -> int:
        """Write all operations if all compares hold, and return the revision.

        Raises:
            ConflictError: a compare did not hold.
        """

    def flush(self) -> None:
        """Make all transactions so far durable.

        Raises:
            StoreError: the disk does not take them. They are lost, together: whoever holds their result in memory must begin anew.
        """

    def watch(self, prefix: str, revision: int) -> Watch:
        """History of the keys with a prefix, after the given revision."""

    def lease(self, name: str, holder: str, seconds: float, now: float) -> bool:
        """Take or prolong a lease; False: somebody else holds it at ``now`` (seconds of the Unix epoch)."""

    def close(self) -> None:
        """Flush and let go of the files."""
