"""The resource database: who is reached where, who holds what, who is busy. Its content is in LMDB.

- `store`: tables in LMDB, one transaction a turn, changes kept for a successor.
- `bindings`, `claims`, `busy`: what the jobs mean, on a store.
- `watches`: who is told of members' changes.
- `succession`: taking over the content of another database, and giving it.
- `core`: jobs in, answers out.
"""
