"""Questions about units that the whole calculation asks."""

from controller.calculation.catalogue import KINDS, serves
from controller.state import Bundle, Delivery, Machine, Operation, Status, Subject, Unit
from controller.tables import Draft

ACTIVE_PHASES = frozenset({"prepare", "aside", "drain", "take-over", "settle"})
ROUTING_KINDS = frozenset({"load_balancer", "proxy", "call_router"})
"""Kinds whose configuration decides where new work goes."""


def active_operation(draft: Draft, machine: str) -> Operation | None:
    """The replacement that goes on at a machine now."""
    for operation in draft.all(Operation).values():
        if operation.machine == machine and operation.phase in ACTIVE_PHASES:
            return operation
    return None


def state(draft: Draft, unit: Unit) -> str:
    """What was last reported of a unit."""
    status = draft.get(Status, unit.id)
    return "unknown" if status is None else status.state


def healthy(draft: Draft, unit: Unit) -> bool:
    return state(draft, unit) == "healthy"


def stopped(draft: Draft, unit: Unit) -> bool:
    """It ended, or never ran."""
    return state(draft, unit) in ("stopped", "failed", "unknown")


def takes_new(draft: Draft, unit: Unit) -> bool:
    """Whether new work may go to a unit."""
    return unit.intent == "serve" and healthy(draft, unit)


def peers(draft: Draft, unit: Unit) -> list[Unit]:
    """The units that do the same work as this one and are to stay, without itself."""
    shared = KINDS[unit.kind].shared
    return [
        other
        for other in draft.units_of(unit.kind)
        if other.id != unit.id and not other.leaving and (shared or other.platform == unit.platform)
    ]


def balancers_of(draft: Draft, unit: Unit) -> list[Unit]:
    """The load balancers that list a dependent, in order of their ids."""
    return [balancer for balancer in draft.units_of("load_balancer") if serves(unit.kind, unit.platform, balancer.platform)]


def unacknowledged(draft: Draft) -> list[str]:
    """Units whose configuration decides where new work goes and which have not applied their current one.

    Only healthy units of machines that are there count: a silent one gets no work that it could misdirect.
    """
    late: list[str] = []
    for kind in sorted(ROUTING_KINDS):
        for unit in draft.units_of(kind):
            machine = draft.get(Machine, unit.machine)
            if machine is None or machine.presence == "dead" or not healthy(draft, unit):
                continue
            subject, delivery = draft.get(Subject, unit.id), draft.get(Delivery, unit.id)
            if subject is not None and (delivery is None or delivery.applied < subject.generation):
                late.append(unit.id)
    return late


def current_bundle(draft: Draft, platform: str) -> str:
    """Software that machines of a platform run unless told otherwise; empty: there is none yet."""
    for bundle in draft.all(Bundle).values():
        if bundle.platform == platform and bundle.current:
            return bundle.id
    return ""
