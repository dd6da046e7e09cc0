"""Durable state behind one interface: get, range, transaction with compare, watch from a revision, lease.

The default is LMDB (`controller.store.lmdb_store`); another database can stand behind the same interface.
Every value is sealed at rest (`controller.store.sealing`), so a backup of the files gives nothing away.
"""

from controller.store.interface import CompactedError, Compare, ConflictError, Entry, Event, Operation, Store, StoreError, Watch

__all__ = ["CompactedError", "Compare", "ConflictError", "Entry", "Event", "Operation", "Store", "StoreError", "Watch"]
