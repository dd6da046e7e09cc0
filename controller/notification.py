"""What a machine reports, into the machine state database. Pure.

A report is the whole of a machine's state. A unit that it no longer names has stopped, if it was ever reported.
"""

import msgspec

from agent.wire.messages import MachineReport
from controller.state import Delivery, Machine, Status, Subject, Vitals
from controller.tables import Draft


def take_report(draft: Draft, machine: Machine, report: MachineReport, now: float) -> None:
    """Record what a machine says of itself, its units, and the subjects that it acknowledges."""
    draft.put(
        Vitals(
            id=machine.id,
            revision=report.revision,
            bundles=report.bundles,
            memory_bytes=report.memory_bytes,
            relayed=len(report.relayed),
            undelivered=sum(each.delivered < each.stored for each in report.relayed),
            refusals=report.refusals,
            reported_at=now,
        )
    )
    own = {unit.id for unit in draft.units_on(machine.id)}
    named = set()
    for unit in report.units:
        if unit.id not in own:
            continue
        named.add(unit.id)
        old = draft.get(Status, unit.id)
        draft.put(
            Status(
                id=unit.id,
                state=unit.state,
                since=old.since if old is not None and old.state == unit.state and old.restarts == unit.restarts else now,
                remaining=unit.remaining,
                restarts=unit.restarts,
                pid=unit.pid,
                message=unit.message,
            )
        )
    for id in own - named:
        old = draft.get(Status, id)
        if old is not None and old.state not in ("unknown", "stopped"):
            draft.put(msgspec.structs.replace(old, state="stopped", since=now, remaining=0, pid=0))
    for status in report.subjects:
        subject = draft.get(Subject, status.subject)
        if subject is None or subject.machine != machine.id:
            continue
        failure = status.failure
        refused = failure is not None and status.accepted >= subject.generation
        draft.put(
            Delivery(
                id=status.subject,
                accepted=min(status.accepted, subject.generation),
                applied=min(status.applied, subject.generation),
                failed_hash=subject.content_hash if refused else "",
                failure_code="" if failure is None else failure.code,
                failure="" if failure is None else f"{failure.unit}: {failure.message}",
            )
        )
