"""The cluster as people and programs see it: what the API answers with. No secrets.

Rules: a machine is ``ready`` when all that it shall run is healthy; its conditions say what is not.
"""

from typing import Any

import msgspec

from controller.calculation.replacement import OPEN_PHASES, open_operation
from controller.calculation.roster import state as unit_state
from controller.state import Bundle, Delivery, Machine, Operation, Outbox, Ownership, Pool, Status, Subject, Unit, User, Vitals
from controller.tables import Draft, Tables


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One service of a machine."""

    id: str
    kind: str
    platform: str
    state: str
    """``starting``, ``healthy``, ``draining``, ``failed``, ...: as its machine reports."""
    intent: str
    """``standby``, ``serve``, ``aside`` or ``drain``: as the controller wants it."""
    port: int
    remaining: int
    restarts: int
    pid: int
    public: bool
    """It serves the address that users know, or a share of it."""
    public_shares: int
    """Shares of that address that it hears."""
    home: str
    """Its load balancer, of a dependent."""
    desired: int
    accepted: int
    applied: int
    message: str


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    """One machine."""

    id: str
    name: str
    pool: str
    address: str
    platform: str
    """What it provides."""
    state: str
    """``joining``, ``starting``, ``ready``, ``replacing``, ``draining``, ``drained``, ``suspect`` or ``dead``."""
    services: list[ServiceView]
    operation: str
    """The replacement that goes on; empty: none."""
    phase: str
    target: str
    """Platform that it is being switched to; empty: none."""
    desired: int
    """Generation of its document."""
    accepted: int
    applied: int
    conditions: list[str]
    """What is not as it should be, for people."""
    bundles: list[str]
    memory_bytes: int
    relayed: int
    """States that it keeps and passes on for dependents on other machines."""
    undelivered: int
    refusals: dict[str, int]
    """Envelopes that it refused, by reason."""
    enrolled_at: float


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """A replacement."""

    id: str
    machine: str
    name: str
    source: str
    target: str
    phase: str
    done: bool
    failed: bool
    error: str
    after: str
    group: str
    drain_seconds: float
    requested_by: str
    created_at: float
    steps: list[tuple[str, float]]
    remaining: int
    """Work that the old services still carry."""


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A pool."""

    name: str
    platform: str
    machines: list[str]


class BundleView(msgspec.Struct, frozen=True, kw_only=True):
    """Software of a platform."""

    hash: str
    platform: str
    version: str
    size_bytes: int
    chunks: int
    current: bool
    created_at: float
    machines: list[str]
    """Machines that hold it."""


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber."""

    name: str
    uri: str


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster at a glance."""

    cluster: str
    term: int
    state: str
    """``ready``: everything that shall run is healthy; ``starting``; ``degraded``."""
    units: int
    units_ready: int
    machines: dict[str, int]
    """Number of machines by state."""
    platforms: dict[str, int]
    """Number of machines by platform."""
    public: dict[str, Any]
    """The address that users know, and who serves it."""
    calls_active: int
    calls_total: int
    unpublished: int
    """Subjects that are not acknowledged yet."""
    memory_bytes: int
    """Of all machines."""
    refused: dict[str, int]
    """What was refused since the start, by reason."""
    broker: dict[str, Any]
    figures: dict[str, dict[str, float]]
    """What services that run said of themselves last, by name: media processors that they use io_uring, ..."""
    uptime_seconds: float


def service_view(draft: Draft, unit: Unit) -> ServiceView:
    """A unit as a service."""
    status = draft.get(Status, unit.id) or Status(id=unit.id)
    subject, delivery = draft.get(Subject, unit.id), draft.get(Delivery, unit.id)
    owner = draft.get(Ownership, "public")
    return ServiceView(
        id=unit.id,
        kind=unit.kind,
        platform=unit.platform,
        state="starting" if status.state == "unknown" else status.state,
        intent=unit.intent,
        port=unit.port,
        remaining=status.remaining,
        restarts=status.restarts,
        pid=status.pid,
        public=owner is not None and unit.id in owner.proxies,
        public_shares=0 if owner is None else sum(share.proxy == unit.id for share in owner.shares),
        home=unit.home,
        desired=0 if subject is None else subject.generation,
        accepted=0 if delivery is None else delivery.accepted,
        applied=0 if delivery is None else delivery.applied,
        message=status.message,
    )


def machine_view(draft: Draft, machine: Machine) -> MachineView:
    """A machine with its services."""
    services = [service_view(draft, unit) for unit in draft.units_on(machine.id)]
    operation = open_operation(draft, machine.id)
    subject, delivery = draft.get(Subject, machine.id), draft.get(Delivery, machine.id)
    vitals = draft.get(Vitals, machine.id)
    return MachineView(
        id=machine.id,
        name=machine.name,
        pool=machine.pool,
        address=machine.address,
        platform=machine.platform,
        state=machine_state(draft, machine, operation),
        services=services,
        operation="" if operation is None else operation.id,
        phase="" if operation is None else operation.phase,
        target="" if operation is None else operation.target,
        desired=0 if subject is None else subject.generation,
        accepted=0 if delivery is None else delivery.accepted,
        applied=0 if delivery is None else delivery.applied,
        conditions=_conditions(services, delivery),
        bundles=[] if vitals is None else vitals.bundles,
        memory_bytes=0 if vitals is None else vitals.memory_bytes,
        relayed=0 if vitals is None else vitals.relayed,
        undelivered=0 if vitals is None else vitals.undelivered,
        refusals={} if vitals is None else vitals.refusals,
        enrolled_at=machine.enrolled_at,
    )


def machine_state(draft: Draft, machine: Machine, operation: Operation | None) -> str:
    """One word for a machine."""
    if machine.presence in ("dead", "suspect"):
        return machine.presence
    if machine.presence == "new":
        return "joining"
    if operation is not None and operation.phase != "queued":
        return "replacing"
    units = draft.units_on(machine.id)
    if machine.cordoned:
        return "draining" if units else "drained"
    if draft.get(Vitals, machine.id) is None or any(unit_state(draft, unit) != "healthy" and not unit.leaving for unit in units):
        return "starting"
    return "ready"


def _conditions(services: list[ServiceView], delivery: Delivery | None) -> list[str]:
    found = [
        f"{service.id} {service.state}{': ' + service.message if service.message else ''}"
        for service in services
        if service.state in ("failed", "stopped")
    ]
    found += [
        f"{service.id} has applied {service.applied} of {service.desired}" for service in services if service.applied < service.desired
    ]
    if delivery is not None and delivery.failure:
        found.append(f"document refused: {delivery.failure_code}: {delivery.failure}")
    return found


def operation_view(draft: Draft, operation: Operation) -> OperationView:
    """A replacement, with the name of its machine."""
    machine = draft.get(Machine, operation.machine)
    remaining = 0
    if operation.phase in OPEN_PHASES:
        for unit in draft.units_on(operation.machine):
            status = draft.get(Status, unit.id)
            remaining += status.remaining if unit.leaving and status is not None else 0
    return OperationView(
        id=operation.id,
        machine=operation.machine,
        name="" if machine is None else machine.name,
        source=operation.source,
        target=operation.target,
        phase=operation.phase,
        done=operation.phase in ("done", "failed"),
        failed=operation.phase == "failed",
        error=operation.error,
        after=operation.after,
        group=operation.group,
        drain_seconds=operation.drain_seconds,
        requested_by=operation.requested_by,
        created_at=operation.created_at,
        steps=operation.steps,
        remaining=remaining,
    )


def pool_view(draft: Draft, pool: Pool) -> PoolView:
    return PoolView(
        name=pool.id,
        platform=pool.platform,
        machines=sorted(machine.name for machine in draft.all(Machine).values() if machine.pool == pool.id),
    )


def bundle_view(draft: Draft, bundle: Bundle) -> BundleView:
    holders = [
        machine.name for machine in draft.all(Machine).values() if (vitals := draft.get(Vitals, machine.id)) and bundle.id in vitals.bundles
    ]
    return BundleView(
        hash=bundle.id,
        platform=bundle.platform,
        version=bundle.version,
        size_bytes=bundle.size_bytes,
        chunks=bundle.chunks,
        current=bundle.current,
        created_at=bundle.created_at,
        machines=sorted(holders),
    )


def user_view(draft: Draft, user: User) -> UserView:
    cluster = draft.cluster
    port = "" if cluster.public_port == 5060 else f":{cluster.public_port}"
    return UserView(name=user.id, uri=f"sip:{user.id}@{cluster.public_host}{port}")


def unpublished(tables: Tables) -> int:
    """Subjects that wait for their acknowledgement."""
    return len(tables.all(Outbox))
