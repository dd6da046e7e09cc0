"""What an outside system can tell the controller to do, as edits of a draft. Each is audited.

Errors are `InstructionError` with a code for programs and a message for people.
"""

import msgspec

from agent.wire.token import JoinToken
from controller.calculation.replacement import OPEN_PHASES, InstructionError, check, open_operation
from controller.calculation.roster import current_bundle
from controller.enrolment import Trust, audit, invite
from controller.founding import user
from controller.state import Bundle, Invitation, Machine, Operation, Pool, SealedKey, Subject, User
from controller.tables import Draft

DRAIN_SECONDS_MAX = 86400.0
NAME_CHARACTERS_MAX = 64


def find_machine(draft: Draft, key: str) -> Machine:
    """A machine by id or name.

    Raises:
        InstructionError: ``not-found``.
    """
    machine = draft.get(Machine, key)
    if machine is not None:
        return machine
    for candidate in draft.all(Machine).values():
        if candidate.name == key:
            return candidate
    raise InstructionError("not-found", f"there is no machine {key!r}")


def machines_of(draft: Draft, pool: str) -> list[Machine]:
    """Machines of a pool that are there, by name.

    Raises:
        InstructionError: ``not-found``.
    """
    if draft.get(Pool, pool) is None:
        raise InstructionError("not-found", f"there is no pool {pool!r}")
    return sorted(
        (machine for machine in draft.all(Machine).values() if machine.pool == pool and machine.presence != "dead"),
        key=lambda machine: machine.name,
    )


def replace(
    draft: Draft,
    machines: list[Machine],
    platform: str,
    now: float,
    *,
    actor: str,
    drain_seconds: float | None = None,
    force: bool = False,
    bundle: str = "",
    group: str = "",
) -> list[Operation]:
    """Switch machines to a platform, one after another.

    A machine that runs the platform already, from the same software, is left alone.

    Raises:
        InstructionError: ``unknown-platform``, ``unknown-bundle``, ``not-ready``, ``busy``, ``last-machine``.
    """
    check(draft, machines, platform, force)
    hash = bundle or current_bundle(draft, platform)
    software = draft.get(Bundle, hash)
    if software is None or software.platform != platform:
        raise InstructionError("unknown-bundle", f"there is no bundle {hash!r} of the platform {platform}")
    grace = draft.cluster.drain_seconds if drain_seconds is None else drain_seconds
    operations: list[Operation] = []
    for machine in machines:
        current = machine.bundle or current_bundle(draft, machine.platform)
        if machine.platform == platform and current == hash:
            continue
        operation = Operation(
            id=f"operation-{draft.count('operation'):06}",
            machine=machine.id,
            source=machine.platform,
            target=platform,
            bundle=hash,
            after=operations[-1].id if operations else "",
            group=group,
            drain_seconds=grace,
            force=force,
            requested_by=actor,
            created_at=now,
            phase_since=now,
            steps=[("queued", now)],
        )
        draft.put(operation)
        operations.append(operation)
        audit(draft, now, actor, "replace", machine.name, f"{machine.platform} -> {platform} ({operation.id})")
    return operations


def replace_pool(
    draft: Draft, pool: str, platform: str, now: float, *, actor: str, drain_seconds: float | None = None, force: bool = False
) -> list[Operation]:
    """Switch all machines of a pool, and what joins it later.

    Raises:
        InstructionError: as `replace`, and ``not-found``.
    """
    operations = replace(
        draft, machines_of(draft, pool), platform, now, actor=actor, drain_seconds=drain_seconds, force=force, group=f"pool/{pool}"
    )
    draft.put(Pool(id=pool, platform=platform))
    return operations


def add_machine(
    draft: Draft, trust: Trust, now: float, *, actor: str, name: str = "", pool: str = "default", address: str = "", public: bool = False
) -> tuple[JoinToken, Invitation]:
    """Invite a machine.

    Raises:
        InstructionError: ``exists`` where another machine has the name.
    """
    if name and any(machine.name == name for machine in draft.all(Machine).values()):
        raise InstructionError("exists", f"there is a machine {name!r} already")
    if draft.get(Pool, pool) is None:
        draft.put(Pool(id=pool, platform=draft.cluster.default_platform))
    token, invitation = invite(draft, trust, now, name=name, pool=pool, address=address, public=public)
    audit(draft, now, actor, "machine-invited", name or invitation.id, f"pool {pool}")
    return token, invitation


def drain_machine(draft: Draft, machine: Machine, now: float, *, actor: str, drain: bool = True, force: bool = False) -> Machine:
    """Let a machine's services go elsewhere, or let it take services again.

    Raises:
        InstructionError: ``busy``; ``last-machine`` of its platform, without force.
    """
    if open_operation(draft, machine.id) is not None:
        raise InstructionError("busy", f"{machine.name} is being switched")
    if drain and not force:
        _not_last(draft, machine)
    changed = msgspec.structs.replace(machine, cordoned=drain)
    draft.put(changed)
    audit(draft, now, actor, "drain" if drain else "undrain", machine.name)
    return changed


def remove_machine(draft: Draft, machine: Machine, now: float, *, actor: str, force: bool = False) -> None:
    """Take a machine out of the cluster: its keys are worth nothing from now on.

    Raises:
        InstructionError: ``in-use`` where it still runs services, without force; ``last-machine``.
    """
    if not force:
        _not_last(draft, machine)
        if draft.units_on(machine.id) and machine.presence != "dead":
            raise InstructionError(
                "in-use",
                f'{machine.name} still runs {len(draft.units_on(machine.id))} services: drain it first, or use --force ("force": true)',
            )
    for key in [key for key in draft.all(SealedKey) if key.startswith(f"{machine.id}/")]:
        draft.delete(SealedKey, key)
    for operation in list(draft.all(Operation).values()):
        if operation.machine == machine.id and operation.phase in OPEN_PHASES:
            draft.put(msgspec.structs.replace(operation, phase="failed", error="the machine was removed", phase_since=now))
    draft.delete(Machine, machine.id)
    draft.delete(Subject, machine.id)
    audit(draft, now, actor, "machine-removed", machine.name, machine.id)


def _not_last(draft: Draft, machine: Machine) -> None:
    others = [
        other
        for other in draft.all(Machine).values()
        if other.id != machine.id and other.platform == machine.platform and other.presence == "alive" and not other.cordoned
    ]
    if not others and machine.presence == "alive" and not machine.cordoned and machine.platform == draft.cluster.default_platform:
        raise InstructionError(
            "last-machine", f'{machine.name} is the last that provides {machine.platform}; only --force ("force": true) does it anyway'
        )


def put_user(draft: Draft, name: str, password: str, now: float, *, actor: str) -> User:
    """Add a subscriber, or give it another password.

    Raises:
        InstructionError: ``bad-name``.
    """
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not all(character.isalnum() or character in "-_.+" for character in name):
        raise InstructionError("bad-name", f"{name!r}: a user has 1 to {NAME_CHARACTERS_MAX} letters, digits, '-', '_', '.' or '+'")
    record = user(name, password, draft.cluster.realm)
    draft.put(record)
    audit(draft, now, actor, "user-set", name)
    return record


def delete_user(draft: Draft, name: str, now: float, *, actor: str) -> None:
    """Remove a subscriber.

    Raises:
        InstructionError: ``not-found``.
    """
    if draft.get(User, name) is None:
        raise InstructionError("not-found", f"there is no user {name!r}")
    draft.delete(User, name)
    audit(draft, now, actor, "user-removed", name)
