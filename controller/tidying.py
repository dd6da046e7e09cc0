"""What is not needed any more goes: nothing that grows is without a bound.

| what | kept |
| --- | --- |
| answers to idempotency keys | `ANSWER_SECONDS` |
| lines of the audit log | the latest `AUDIT_LINES_MAX` |
| replacements that ended | the latest `OPERATIONS_MAX` |
| bundles that nobody runs and that are not current | none |
"""

from controller.calculation.replacement import OPEN_PHASES
from controller.state import Answered, Audit, Bundle, Counter, Machine, Operation, SealedKey, Unit
from controller.store import Operation as Writing
from controller.store import Store
from controller.tables import Draft, decode

ANSWER_SECONDS = 86400.0
AUDIT_LINES_MAX = 100_000
OPERATIONS_MAX = 1000
DELETED_MAX = 5000
"""Entries that one call deletes at most; the rest follows at the next one."""


def tidy_store(store: Store, draft: Draft, now: float) -> int:
    """Drop old entries of tables that are not in memory; returns how many."""
    gone = []
    for entry in store.range(f"{Answered.table}/"):
        record = decode(entry.key, entry.value)
        if isinstance(record, Answered) and now > record.at + ANSWER_SECONDS:
            gone.append(entry.key)
    counter = draft.get(Counter, "audit")
    oldest = f"{Audit.table}/{(0 if counter is None else counter.value) - AUDIT_LINES_MAX:012}"
    for entry in store.range(f"{Audit.table}/") if counter is not None and counter.value > AUDIT_LINES_MAX else ():
        if entry.key > oldest or len(gone) >= DELETED_MAX:
            break
        gone.append(entry.key)
    gone = gone[:DELETED_MAX]
    if gone:
        store.transaction([Writing(key, None) for key in gone])
    return len(gone)


def tidy_tables(draft: Draft) -> None:
    """Drop old replacements, and software that nobody needs."""
    ended = sorted(id for id, operation in draft.all(Operation).items() if operation.phase not in OPEN_PHASES)
    for id in ended[:-OPERATIONS_MAX]:
        draft.delete(Operation, id)
    needed = {unit.bundle for unit in draft.all(Unit).values()} | {machine.bundle for machine in draft.all(Machine).values()}
    needed |= {operation.bundle for operation in draft.all(Operation).values() if operation.phase in OPEN_PHASES}
    for bundle in list(draft.all(Bundle).values()):
        if not bundle.current and bundle.id not in needed:
            draft.delete(Bundle, bundle.id)
            for key in [key for key in draft.all(SealedKey) if key.endswith(f"/{bundle.id}")]:
                draft.delete(SealedKey, key)
