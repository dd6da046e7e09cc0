"""How a unit that leaves goes: it serves until others can, steps aside, drains, and is no more.

| intent | goes on to | when |
| --- | --- | --- |
| standby | (gone) | at once: it never had traffic |
| serve | aside | its machine's replacement says so; without one: those that stay are healthy |
| aside | drain | the replacement says so; without one: who sends work has applied it, or `ASIDE_SECONDS_MAX` are over |
| drain | (gone) | it stopped, or its grace and `STOP_SECONDS_MAX` are over |

A load balancer goes after its call router, and what calls need until their end goes after them (`DRAIN_WAVES`).
"""

import msgspec

from controller.calculation.catalogue import DRAIN_WAVES
from controller.calculation.roster import active_operation, healthy, peers, stopped, unacknowledged
from controller.state import Intent, Machine, Status, Unit
from controller.tables import Draft

ASIDE_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 10.0
"""What a unit may take to stop after its grace is over."""


def retire(draft: Draft, now: float) -> None:
    """Move each leaving unit on by at most one step."""
    for unit in list(draft.all(Unit).values()):
        if unit.leaving:
            _step(draft, unit, now)


def _step(draft: Draft, unit: Unit, now: float) -> None:
    operation = active_operation(draft, unit.machine)
    if unit.intent == "standby":
        _remove(draft, unit)
    elif unit.intent == "serve":
        if operation.phase != "prepare" if operation is not None else _replaced(draft, unit):
            _change(draft, unit, "aside", now)
    elif unit.intent == "aside":
        if operation is not None:
            ready = operation.phase in ("drain", "take-over", "settle")
        else:
            ready = not unacknowledged(draft) or now >= unit.changed_at + ASIDE_SECONDS_MAX
        if ready and unit.changed_at < now and not _needed(draft, unit):
            grace = operation.drain_seconds if operation is not None else draft.cluster.drain_seconds
            _change(draft, msgspec.structs.replace(unit, drain_seconds=grace), "drain", now)
    elif now > unit.changed_at and (_ended(draft, unit) or now >= unit.changed_at + unit.drain_seconds + STOP_SECONDS_MAX):
        _remove(draft, unit)


def _replaced(draft: Draft, unit: Unit) -> bool:
    """Whether those that stay can do without it."""
    if unit.kind == "load_balancer":
        mate = draft.get(Unit, unit.mate)
        return mate is None or mate.intent != "serve"
    return all(healthy(draft, peer) for peer in peers(draft, unit))


def _needed(draft: Draft, unit: Unit) -> bool:
    """Whether something that drains before it is still there."""
    if unit.kind == "load_balancer" and draft.get(Unit, unit.mate) is not None:
        return True
    wave = next(index for index, kinds in enumerate(DRAIN_WAVES) if unit.kind in kinds)
    return any(other.leaving and other.kind in kinds for kinds in DRAIN_WAVES[:wave] for other in draft.units_on(unit.machine))


def _ended(draft: Draft, unit: Unit) -> bool:
    """It stopped after it was told to drain; a machine that is silent is not waited for."""
    machine = draft.get(Machine, unit.machine)
    return stopped(draft, unit) and machine is not None and machine.presence != "suspect"


def _change(draft: Draft, unit: Unit, intent: Intent, now: float) -> None:
    draft.put(msgspec.structs.replace(unit, intent=intent, changed_at=now))


def _remove(draft: Draft, unit: Unit) -> None:
    draft.delete(Unit, unit.id)
    draft.delete(Status, unit.id)
