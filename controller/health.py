"""Whether everything that shall run does."""

from controller.calculation.replacement import OPEN_PHASES
from controller.state import Delivery, Operation, Ownership, Status, Subject, Unit, Vitals
from controller.tables import Tables


def restless(tables: Tables) -> bool:
    """Whether a replacement, a unit that leaves or a share of the public address is under way: time alone may move something on."""
    if any(operation.phase in OPEN_PHASES for operation in tables.all(Operation).values()):
        return True
    owner = tables.get(Ownership, "public")
    if owner is not None and owner.unsettled:
        return True
    return any(unit.leaving for unit in tables.all(Unit).values())


def all_healthy(tables: Tables) -> tuple[int, int]:
    """Units that are healthy with their current configuration, of machines that reported in this term; and all units."""
    ready = 0
    for unit in tables.all(Unit).values():
        status, subject, delivery = tables.get(Status, unit.id), tables.get(Subject, unit.id), tables.get(Delivery, unit.id)
        reported = tables.get(Vitals, unit.machine) is not None
        if reported and status is not None and status.state == "healthy" and subject is not None and delivery is not None:
            ready += delivery.applied >= subject.generation
    return ready, len(tables.all(Unit))
