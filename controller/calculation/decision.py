"""Which units there shall be, where, and what for.

Order within one decision: replacements go on, dead machines lose their units, services are placed, units that
leave step aside, the public address gets its proxy, dependents get their homes.
"""

from typing import Protocol

import msgspec

from controller.calculation import homes, ownership, replacement, retirement
from controller.calculation.catalogue import KINDS, PLATFORMS
from controller.calculation.placement import Held, Host, Slot, place
from controller.calculation.roster import active_operation, current_bundle, healthy, stopped
from controller.state import Intent, Machine, Status, Unit
from controller.tables import Draft


class Mint(Protocol):
    """Where new key pairs come from."""

    def curve(self) -> tuple[str, str]:
        """A CURVE key pair: public and secret, Z85."""


def decide(draft: Draft, now: float, mint: Mint, machines_expected: int = 0) -> None:
    """Bring the units in line with machines, operations and reports.

    With fewer machines than expected nothing is placed for the first time, so that the first one to join does not get everything.
    """
    replacement.advance(draft, now)
    _bury(draft)
    if draft.all(Unit) or len(draft.all(Machine)) >= machines_expected:
        _place(draft, now, mint)
    retirement.retire(draft, now)
    ownership.assign(draft, now)
    homes.assign(draft)


def _bury(draft: Draft) -> None:
    """Units of machines that are gone are no more."""
    for unit in list(draft.all(Unit).values()):
        machine = draft.get(Machine, unit.machine)
        if machine is None or machine.presence == "dead":
            draft.delete(Unit, unit.id)
            draft.delete(Status, unit.id)


def _place(draft: Draft, now: float, mint: Mint) -> None:
    hosts = _hosts(draft)
    units = [unit for unit in draft.all(Unit).values() if unit.kind != "load_balancer"]
    slots = place(hosts, [_held(draft, unit) for unit in units], {"proxy": draft.cluster.public_shards})
    staying = {slot.unit for slot in slots}
    for unit in units:
        for member in (unit, draft.get(Unit, unit.mate)):
            if member is not None:
                draft.put(msgspec.structs.replace(member, leaving=unit.id not in staying, intent=_intent(member, unit.id in staying)))
    changing = {host.id for host in hosts if host.changing}
    for slot in slots:
        if not slot.unit and _has_ports(draft, slot):
            _create(draft, slot, slot.machine in changing, now, mint)


def _intent(unit: Unit, stays: bool) -> Intent:
    """One that comes back from leaving serves again."""
    return "serve" if stays and unit.leaving and unit.intent == "aside" else unit.intent


def _hosts(draft: Draft) -> list[Host]:
    hosts = []
    for machine in draft.all(Machine).values():
        if machine.presence == "dead" or machine.cordoned:
            continue
        operation = active_operation(draft, machine.id)
        platform, bundle = (machine.platform, machine.bundle) if operation is None else (operation.target, operation.bundle)
        if platform in PLATFORMS and (bundle or current_bundle(draft, platform)):
            hosts.append(Host(machine.id, machine.name, platform, bundle=bundle, public=machine.public, changing=operation is not None))
    return hosts


def _held(draft: Draft, unit: Unit) -> Held:
    serving = unit.intent in ("serve", "standby", "aside") and not (unit.intent == "aside" and stopped(draft, unit))
    return Held(unit.id, unit.kind, unit.machine, unit.platform, unit.bundle, leaving=unit.leaving, serving=serving)


def _create(draft: Draft, slot: Slot, changing: bool, now: float, mint: Mint) -> None:
    machine = draft.must(Machine, slot.machine)
    operation = active_operation(draft, machine.id)
    standby = (
        operation is not None
        and changing
        and (operation.phase == "prepare" or (not KINDS[slot.kind].shared and operation.phase in ("aside", "drain")))
    )
    bundle = (operation.bundle if operation is not None else machine.bundle) or current_bundle(draft, slot.platform)
    ids = {kind: f"{kind.replace('_', '-')}-{draft.count(kind)}" for kind in _kinds(slot.kind)}
    for kind, id in ids.items():
        public, secret = mint.curve()
        mate = next((other for other in ids.values() if other != id), "")
        draft.put(
            Unit(
                id=id,
                kind=kind,
                machine=machine.id,
                platform=slot.platform,
                bundle=bundle,
                curve_public=public,
                curve_secret=secret,
                port=_port(draft, machine, kind) or 0,
                intent="standby" if standby else "serve",
                mate=mate,
                successor_of=_predecessor(draft) if kind == "resource_database" else "",
                drain_seconds=draft.cluster.drain_seconds,
                created_at=now,
                changed_at=now,
            )
        )


def _kinds(kind: str) -> tuple[str, ...]:
    return ("call_router", "load_balancer") if kind == "call_router" else (kind,)


def _predecessor(draft: Draft) -> str:
    """The database whose content a new one takes over: the one that serves now."""
    for unit in draft.units_of("resource_database"):
        if unit.leaving and healthy(draft, unit):
            return unit.id
    return ""


def _has_ports(draft: Draft, slot: Slot) -> bool:
    """Whether a machine can hold one more; where not, the place stays empty until one of its units is gone."""
    machine = draft.must(Machine, slot.machine)
    return all(_port(draft, machine, kind) is not None for kind in _kinds(slot.kind))


def _port(draft: Draft, machine: Machine, kind: str) -> int | None:
    """First free port of a kind on a machine; 0: it needs none; None: all are taken."""
    shape = KINDS[kind]
    if not shape.port_first:
        return 0
    taken = {unit.port for unit in draft.units_on(machine.id) if unit.kind == kind}
    if machine.address == draft.cluster.public_host:
        taken |= {draft.cluster.public_port, *draft.cluster.public_ports.values()}
    ports = (shape.port_first + slot * shape.port_step for slot in range(shape.port_slots))
    return next((port for port in ports if port not in taken), None)
