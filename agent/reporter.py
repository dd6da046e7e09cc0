"""When a machine reports and beats, and what its report says.

Rules:
- Every change is a new revision and is reported at once; a burst of changes is one report every `REPORT_SECONDS_MIN`.
- A beat names the revision, so that the controller notices a report that it never got.
- A document is applied when every unit is as it says; it stays applied, whatever happens to a unit later.
"""

import os

from agent.bundles import Bundles
from agent.memory import memory_bytes
from agent.relay import Relay
from agent.supervisor import Supervisor
from agent.wire.messages import MachineReport, SubjectStatus

BEAT_SECONDS = 1.0
REPORT_SECONDS_MIN = 0.02
MEMORY_SECONDS = 5.0
"""How old the memory figure may be."""
MEMORY_FRACTION = 16
"""A change of memory below this part of it is no news."""


class Reporter:
    """Revisions of one machine."""

    def __init__(self, machine: str, supervisor: Supervisor, now: float) -> None:
        self.revision = 0
        self.document = 0
        """Generation of the document that was accepted."""
        self._machine = machine
        self._supervisor = supervisor
        self._applied = 0
        self._reported = -1
        self._reported_at = now - REPORT_SECONDS_MIN
        self._beat_at = now
        self._memory = 0
        self._memory_at = now + BEAT_SECONDS

    def changed(self) -> None:
        """Something that a report tells is different now."""
        self.revision += 1

    def again(self) -> None:
        """The controller lacks the last report."""
        self._reported = -1

    def report_due(self, now: float) -> bool:
        """Whether to report now."""
        return self._reported != self.revision and now >= self._reported_at + REPORT_SECONDS_MIN

    def beat_due(self, now: float) -> bool:
        """Whether to beat now; true once every `BEAT_SECONDS`."""
        if now < self._beat_at:
            return False
        self._beat_at = now + BEAT_SECONDS
        if now >= self._memory_at:
            self._measure(now)
        return True

    def _measure(self, now: float) -> None:
        self._memory_at = now + MEMORY_SECONDS
        memory = memory_bytes([os.getpid(), *self._supervisor.pids()])
        if abs(memory - self._memory) * MEMORY_FRACTION > self._memory:
            self._memory = memory
            self.changed()

    def deadline(self) -> float:
        """When one of both is due."""
        if self._reported != self.revision:
            return min(self._beat_at, self._reported_at + REPORT_SECONDS_MIN)
        return self._beat_at

    def report(self, held: dict[str, int], relay: Relay, bundles: Bundles, refusals: dict[str, int], now: float) -> MachineReport:
        """The whole of the machine's state. ``held``: accepted generation of each subject."""
        self._reported, self._reported_at = self.revision, now
        if self._applied != self.document and self._supervisor.settled():
            self._applied = self.document
        return MachineReport(
            revision=self.revision,
            units=self._supervisor.reports(),
            subjects=[self._status(subject, accepted) for subject, accepted in held.items()],
            bundles=sorted(bundles.opened),
            memory_bytes=self._memory,
            relayed=relay.status(),
            refusals=dict(refusals),
        )

    def _status(self, subject: str, accepted: int) -> SubjectStatus:
        if subject == self._machine:
            failure = self._supervisor.failure() if self._applied != self.document else None
            return SubjectStatus(subject=subject, accepted=accepted, applied=self._applied, failure=failure)
        unit, configured = self._supervisor.units.get(subject), self._supervisor.configurations.get(subject)
        failure = configured.failure if configured is not None else None
        return SubjectStatus(subject=subject, accepted=accepted, applied=unit.applied if unit is not None else 0, failure=failure)
