"""Replacement of a machine's platform, phase by phase, while the cluster runs.

| phase | what goes on | ends when | at the latest |
| --- | --- | --- | --- |
| queued | waits for the replacement before it | that one is done | - |
| prepare | new units start beside the old ones, without traffic; what others need starts elsewhere | all are healthy | revert: 120 s |
| aside | no new work for the old units; the public address moves | all who send work have applied it | revert: 15 s |
| drain | old units finish what they carry | they are gone | they are ended when their grace is over |
| take-over | new units take traffic | all who send work have applied it | revert: 30 s |
| settle | new units prove themselves | they were healthy for `SETTLE_SECONDS` on end | revert: 60 s |
| done | committed: the machine provides the new platform, the old software is dropped | | |
| revert | old units take work again, new ones go | at once | |
| failed | the machine provides what it did before; ``error`` says why | | |

A phase ends at the earliest in the decision after the one in which it began, so that what it changed was
derived and published in between. All of it is in the records: a controller that restarts goes on.
"""

from collections.abc import Callable

import msgspec

from controller.calculation.catalogue import PLATFORMS
from controller.calculation.ownership import passing
from controller.calculation.roster import active_operation, current_bundle, healthy, peers, state, unacknowledged
from controller.state import Machine, Operation, Phase, Status, Unit
from controller.tables import Draft

PREPARE_SECONDS_MAX = 120.0
ASIDE_SECONDS_MAX = 15.0
DRAIN_SECONDS_GRACE = 30.0
"""What the old units may take to end beyond the grace of both drain waves."""
TAKE_OVER_SECONDS_MAX = 30.0
SETTLE_SECONDS = 2.0
SETTLE_SECONDS_MAX = 60.0

OPEN_PHASES = frozenset({"queued", "prepare", "aside", "drain", "take-over", "settle", "revert"})


class InstructionError(Exception):
    """The replacement is not begun; ``code`` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(draft: Draft, machines: list[Machine], target: str, force: bool) -> None:
    """Whether machines can be switched to a platform.

    Raises:
        InstructionError: ``unknown-platform``, ``not-ready``, ``busy``, ``same-platform`` or ``last-machine``.
    """
    if target not in PLATFORMS:
        raise InstructionError(
            "unknown-platform", f"there is no software for the platform {target!r}; there is {', '.join(sorted(PLATFORMS))}"
        )
    for machine in machines:
        if machine.presence in ("new", "dead", "suspect") or machine.cordoned:
            what = "drained" if machine.cordoned else {"new": "not ready yet", "dead": "dead", "suspect": "silent"}[machine.presence]
            raise InstructionError("not-ready", f"{machine.name} is {what}")
        going = open_operation(draft, machine.id)
        if going is not None:
            raise InstructionError("busy", f"{machine.name} is being switched to {going.target} already (operation {going.id})")
    default = draft.cluster.default_platform
    leaving = {machine.id for machine in machines if machine.platform == default and target != default}
    if leaving and not force:
        left = [
            machine
            for machine in draft.all(Machine).values()
            if machine.platform == default and machine.id not in leaving and machine.presence == "alive" and not machine.cordoned
            and _destination(draft, machine) == default
        ]  # fmt: skip
        if not left:
            names = ", ".join(sorted(machine.name for machine in machines))
            raise InstructionError(
                "last-machine",
                f'{names} is the last that provides {default}: nobody could call any more; only --force ("force": true) switches it',
            )


def open_operation(draft: Draft, machine: str) -> Operation | None:
    """The replacement of a machine that is queued or goes on."""
    for operation in draft.all(Operation).values():
        if operation.machine == machine and operation.phase in OPEN_PHASES:
            return operation
    return None


def advance(draft: Draft, now: float) -> None:
    """Move each open replacement on by at most one phase."""
    for id in sorted(draft.all(Operation)):
        operation = draft.must(Operation, id)
        if operation.phase in OPEN_PHASES and (operation.phase == "queued" or operation.phase_since < now):
            _PHASES[operation.phase](draft, operation, now)


def _queued(draft: Draft, operation: Operation, now: float) -> None:
    before = draft.get(Operation, operation.after)
    machine = draft.get(Machine, operation.machine)
    if machine is None:
        _fail(draft, operation, "the machine is gone", now)
    elif before is not None and before.phase == "failed":
        _fail(draft, operation, f"the replacement before it failed: {before.error}", now)
    elif (before is None or before.phase == "done") and active_operation(draft, operation.machine) is None:
        _enter(draft, operation, "prepare", now)


def _prepare(draft: Draft, operation: Operation, now: float) -> None:
    if _lost(draft, operation, now):
        return
    new = _new_units(draft, operation)
    old = _old_units(draft, operation)
    for unit in new:
        if state(draft, unit) == "failed":
            _revert(draft, operation, f"{unit.id} does not start: {_message(draft, unit)}", now)
            return
    needed = {peer.id: peer for unit in old for peer in peers(draft, unit)}
    waiting = sorted({unit.id for unit in [*new, *needed.values()] if not healthy(draft, unit)})
    if new and not waiting:
        for unit in new:
            if unit.kind in ("proxy", "resource_database"):
                draft.put(msgspec.structs.replace(unit, intent="serve", changed_at=now))
        _enter(draft, operation, "aside", now)
    elif now >= operation.phase_since + PREPARE_SECONDS_MAX:
        _revert(draft, operation, f"not healthy within {PREPARE_SECONDS_MAX:g} s: {', '.join(waiting) or 'nothing was placed'}", now)


def _aside(draft: Draft, operation: Operation, now: float) -> None:
    if _lost(draft, operation, now):
        return
    late = unacknowledged(draft)
    if not late and not passing(draft) and all(unit.intent != "serve" for unit in _old_units(draft, operation)):
        _enter(draft, operation, "drain", now)
    elif now >= operation.phase_since + ASIDE_SECONDS_MAX:
        _revert(draft, operation, f"not acknowledged within {ASIDE_SECONDS_MAX:g} s by {', '.join(late)}", now)


def _drain(draft: Draft, operation: Operation, now: float) -> None:
    if _lost(draft, operation, now):
        return
    old = _old_units(draft, operation)
    if old and now < operation.phase_since + 2 * operation.drain_seconds + DRAIN_SECONDS_GRACE:
        return
    for unit in old:
        draft.delete(Unit, unit.id)
        draft.delete(Status, unit.id)
    for unit in _new_units(draft, operation):
        draft.put(msgspec.structs.replace(unit, intent="serve", changed_at=now))
    machine = draft.must(Machine, operation.machine)
    draft.put(msgspec.structs.replace(machine, platform=operation.target))
    _enter(draft, operation, "take-over", now)


def _take_over(draft: Draft, operation: Operation, now: float) -> None:
    if _lost(draft, operation, now):
        return
    late = unacknowledged(draft)
    if not late and all(healthy(draft, unit) for unit in _new_units(draft, operation)):
        _enter(draft, operation, "settle", now)
    elif now >= operation.phase_since + TAKE_OVER_SECONDS_MAX:
        _revert(draft, operation, f"did not take traffic within {TAKE_OVER_SECONDS_MAX:g} s: {', '.join(late)}", now)


def _settle(draft: Draft, operation: Operation, now: float) -> None:
    if _lost(draft, operation, now):
        return
    statuses = [draft.get(Status, unit.id) for unit in _new_units(draft, operation)]
    since = max((status.since for status in statuses if status is not None), default=now)
    steady = all(status is not None and status.state == "healthy" for status in statuses)
    if steady and now >= max(since, operation.phase_since) + SETTLE_SECONDS:
        machine = draft.must(Machine, operation.machine)
        draft.put(msgspec.structs.replace(machine, platform=operation.target, bundle=_pinned(draft, operation)))
        _enter(draft, operation, "done", now)
    elif now >= operation.phase_since + SETTLE_SECONDS_MAX:
        sick = [unit.id for unit in _new_units(draft, operation) if not healthy(draft, unit)]
        _revert(draft, operation, f"not healthy for {SETTLE_SECONDS:g} s on end: {', '.join(sick)}", now)


def _reverting(draft: Draft, operation: Operation, now: float) -> None:
    _fail(draft, operation, operation.error, now)


def _revert(draft: Draft, operation: Operation, error: str, now: float) -> None:
    """Back to the old platform: its units that still run take work again, the others are placed anew."""
    for unit in _new_units(draft, operation):
        draft.delete(Unit, unit.id)
        draft.delete(Status, unit.id)
    machine = draft.must(Machine, operation.machine)
    draft.put(msgspec.structs.replace(machine, platform=operation.source))
    _enter(draft, msgspec.structs.replace(operation, error=error), "revert", now)


def _lost(draft: Draft, operation: Operation, now: float) -> bool:
    """Give up where the machine is gone."""
    machine = draft.get(Machine, operation.machine)
    if machine is not None and machine.presence != "dead":
        return False
    if machine is not None:
        _revert(draft, operation, "the machine died", now)
    else:
        _fail(draft, operation, "the machine is gone", now)
    return True


def _new_units(draft: Draft, operation: Operation) -> list[Unit]:
    return [unit for unit in draft.units_on(operation.machine) if not unit.leaving]


def _old_units(draft: Draft, operation: Operation) -> list[Unit]:
    return [unit for unit in draft.units_on(operation.machine) if unit.leaving]


def _destination(draft: Draft, machine: Machine) -> str:
    operation = open_operation(draft, machine.id)
    return machine.platform if operation is None else operation.target


def _pinned(draft: Draft, operation: Operation) -> str:
    """Software that the machine stays with; empty: whatever is current."""
    return "" if current_bundle(draft, operation.target) == operation.bundle else operation.bundle


def _message(draft: Draft, unit: Unit) -> str:
    status = draft.get(Status, unit.id)
    return status.message if status is not None else ""


def _fail(draft: Draft, operation: Operation, error: str, now: float) -> None:
    _enter(draft, msgspec.structs.replace(operation, error=error), "failed", now)


def _enter(draft: Draft, operation: Operation, phase: Phase, now: float) -> None:
    draft.put(msgspec.structs.replace(operation, phase=phase, phase_since=now, steps=[*operation.steps, (phase, now)]))


_PHASES: dict[str, Callable[[Draft, Operation, float], None]] = {
    "queued": _queued,
    "prepare": _prepare,
    "aside": _aside,
    "drain": _drain,
    "take-over": _take_over,
    "settle": _settle,
    "revert": _reverting,
}
