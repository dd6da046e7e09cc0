"""Which proxy serves the address that users know.

Rules:
- The owner stays as long as it takes new work, or has not been healthy yet.
- Else the oldest healthy proxy that serves takes over; where there is none, one that is to serve.
"""

from controller.calculation.roster import healthy
from controller.state import Machine, Ownership, Status, Unit
from controller.tables import Draft


def assign(draft: Draft) -> None:
    """Choose the owner of the public address."""
    candidates = [unit for unit in draft.units_of("proxy") if _can(draft, unit)]
    owner = draft.get(Ownership, "public")
    current = draft.get(Unit, owner.proxy) if owner is not None else None
    if current is not None and current in candidates and (healthy(draft, current) or not _was_healthy(draft, current)):
        return
    ready = [unit for unit in candidates if healthy(draft, unit)]
    chosen = ready or ([current] if current is not None and current in candidates else candidates)
    if chosen:
        draft.put(Ownership(id="public", proxy=chosen[0].id))


def _can(draft: Draft, unit: Unit) -> bool:
    machine = draft.get(Machine, unit.machine)
    return machine is not None and machine.public and machine.presence not in ("dead", "suspect") and unit.intent == "serve"


def _was_healthy(draft: Draft, unit: Unit) -> bool:
    status = draft.get(Status, unit.id)
    return status is not None and (status.restarts > 0 or status.state in ("draining", "stopped", "failed"))
