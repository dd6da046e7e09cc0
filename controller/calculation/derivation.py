"""The subjects that follow from the state, and only those that a change touches.

| what changed | whose configuration may change |
| --- | --- |
| a dependent (there, gone, healthy, stepping aside) | the load balancers that list it; its own |
| a proxy | the same, and call routers and the other proxies when it comes or goes |
| a call router | all proxies; its load balancer when it comes or goes |
| a load balancer | its call router and the dependents that it lists, when it comes or goes |
| users | proxies, routing services; dial plan: routing services; queues: call queues |
| who hears which share of the public address | proxies |
| a machine, an operation, a sealed key | the document of that machine |
| the cluster's own record | everything |

A subject whose content is the same keeps its generation; a new content is a new generation and an outbox entry.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from controller.calculation.catalogue import KINDS, serves
from controller.calculation.configurations import configuration
from controller.calculation.documents import document
from controller.state import (
    Bundle,
    Cluster,
    Delivery,
    Machine,
    Operation,
    Outbox,
    Ownership,
    Queue,
    Record,
    Route,
    SealedKey,
    Status,
    Subject,
    Unit,
    User,
)
from controller.tables import Draft, Write


def derive(draft: Draft, writes: Iterable[Write], everything: bool = False) -> list[str]:
    """Bring the subjects in line with what was written; returns those that got new content."""
    units, machines = (set(draft.all(Unit)), set(draft.all(Machine))) if everything else touched(draft, writes)
    changed: list[str] = []
    for id in sorted(machines):
        machine = draft.get(Machine, id)
        if machine is None:
            _drop(draft, id)
        elif _put(draft, id, "machine", id, "", document(draft, machine)):
            changed.append(id)
    for id in sorted(units):
        unit = draft.get(Unit, id)
        if unit is None or draft.get(Machine, unit.machine) is None:
            _drop(draft, id)
        elif _put(draft, id, "unit", unit.machine, _via(draft, unit), configuration(draft, unit)):
            changed.append(id)
    return changed


def touched(draft: Draft, writes: Iterable[Write]) -> tuple[set[str], set[str]]:
    """Units and machines whose subjects may differ after these writes."""
    units: set[str] = set()
    machines: set[str] = set()
    for write in writes:
        record = write.new or write.old
        if isinstance(record, Unit):
            units |= _by_unit(draft, write)
            machines |= {side.machine for side in (write.old, write.new) if isinstance(side, Unit)}
        elif isinstance(record, Status):
            unit = draft.get(Unit, record.id)
            if unit is not None and _state(write.old) != _state(write.new):
                units |= _by_health(draft, unit)
        elif isinstance(record, User):
            units |= _of(draft, "proxy", "routing")
        elif isinstance(record, Route):
            units |= _of(draft, "routing")
        elif isinstance(record, Queue):
            units |= _of(draft, "call_queue")
        elif isinstance(record, Ownership):
            units |= _of(draft, "proxy")
        elif isinstance(record, Operation):
            machines.add(record.machine)
        elif isinstance(record, SealedKey):
            machines.add(record.id.partition("/")[0])
        elif isinstance(record, Bundle):
            machines |= set(draft.all(Machine))
        elif isinstance(record, Machine):
            machines.add(record.id)
            if not isinstance(write.old, Machine) or not isinstance(write.new, Machine) or write.old.address != write.new.address:
                for unit in draft.units_on(record.id):
                    units |= {unit.id} | _by_existence(draft, unit) | _by_health(draft, unit)
        elif isinstance(record, Cluster):
            units |= set(draft.all(Unit))
            machines |= set(draft.all(Machine))
    return units, machines


def _by_unit(draft: Draft, write: Write) -> set[str]:
    sides = [side for side in (write.old, write.new) if isinstance(side, Unit)]
    found = {sides[0].id}
    if len(sides) == 1:
        return found | _by_existence(draft, sides[0]) | _by_health(draft, sides[0])
    old, new = sides
    if old.home != new.home or old.bundle != new.bundle:
        found.add(new.id)
    if old.bundle != new.bundle and new.kind in ("call_router", "proxy"):
        found |= _by_existence(draft, new)  # its software may prove requests
    if old.intent != new.intent or old.successor_of != new.successor_of:
        found |= _by_health(draft, new)
    if (old.port, old.curve_public, old.mate, old.machine) != (new.port, new.curve_public, new.mate, new.machine):
        found |= _by_existence(draft, new) | _by_health(draft, new)
    return found


def _by_existence(draft: Draft, unit: Unit) -> set[str]:
    """Whose configuration names a unit, whatever its health."""
    if unit.kind == "load_balancer":
        listed = {
            other.id
            for kind in KINDS
            for other in draft.units_of(kind)
            if KINDS[kind].dependent and serves(kind, other.platform, unit.platform)
        }
        return listed | ({unit.mate} & set(draft.all(Unit)))
    if unit.kind == "call_router":
        return _of(draft, "proxy") | ({unit.mate} & set(draft.all(Unit)))
    if unit.kind == "proxy":
        return _of(draft, "call_router", "proxy")
    return set()


def _by_health(draft: Draft, unit: Unit) -> set[str]:
    """Whose configuration depends on whether a unit takes work."""
    if unit.kind == "call_router":
        return _of(draft, "proxy")
    if KINDS[unit.kind].dependent:
        return {balancer.id for balancer in draft.units_of("load_balancer") if serves(unit.kind, unit.platform, balancer.platform)}
    return set()


def _of(draft: Draft, *kinds: str) -> set[str]:
    return {unit.id for kind in kinds for unit in draft.units_of(kind)}


def _state(record: Record | None) -> str:
    return record.state if isinstance(record, Status) else "unknown"


def _via(draft: Draft, unit: Unit) -> str:
    """Machine through which a dependent's state goes: that of its load balancer, unless it is its own."""
    home = draft.get(Unit, unit.home)
    return "" if home is None or home.machine == unit.machine else home.machine


def _put(draft: Draft, id: str, kind: str, machine: str, via: str, body: bytes) -> bool:
    digest = hashlib.sha256(body).hexdigest()
    old = draft.get(Subject, id)
    if old is not None and old.content_hash == digest and old.machine == machine:
        draft.put(msgspec.structs.replace(old, via=via))
        return False
    generation = 1 if old is None else old.generation + 1
    draft.put(
        Subject(
            id=id,
            kind="machine" if kind == "machine" else "unit",
            machine=machine,
            via=via,
            generation=generation,
            content_hash=digest,
            body=body,
        )
    )
    draft.put(Outbox(id=id, generation=generation))
    return True


def _drop(draft: Draft, id: str) -> None:
    draft.delete(Subject, id)
    draft.delete(Outbox, id)
    draft.delete(Delivery, id)
