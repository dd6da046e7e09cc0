"""The controller: state, calculation and publication together, without a socket, clock or task.

Ways through it:
- notification of a machine -> machine state database -> calculation of what it touches -> store and outbox -> effects
- change over the API (`Controller.change`) -> the same
- time (`Controller.tick`) -> presence, back-off, phases of replacements

Rules:
- What is published was durable before: the shell calls `take`, which flushes the store first.
- Each start is a new term; machines refuse what an older one says.
- What the network brings never raises; it is refused and counted.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import zmq

from agent.wire import broker as broker_wire
from agent.wire import messages, topics
from agent.wire.enrolment import EnrolmentError
from agent.wire.envelope import Envelope
from agent.wire.refusal import Refusal
from agent.wire.token import BrokerAddress
from controller import enrolment
from controller.calculation.size import check_sizes
from controller.calculation.step import calculate
from controller.delivery import Deliveries
from controller.dialogue import Dialogue, Heard, Said, Sealer, Speaker
from controller.effects import Effect, Publish, Request
from controller.happenings import Happenings
from controller.health import restless
from controller.keys import ControllerKeys
from controller.notification import take_report
from controller.presence import Watchman
from controller.publication import Publication
from controller.release.library import Library
from controller.state import Bundle, Cluster, Delivery, Machine, Subject, Unit, Vitals
from controller.store import Store
from controller.tables import Draft, Tables, Write
from controller.tidying import tidy_store, tidy_tables

T = TypeVar("T")

BROKER_SECONDS = 1.0
"""How often the broker is asked for its status."""
HEADS_SECONDS = 5.0
"""How often a machine hears which generations are current, so that it knows that it hears the controller."""
JUDGE_SECONDS = 0.5
TIDY_SECONDS = 600.0
REPORT_SECONDS = 1.0
"""A machine is asked for a report again after this."""
ROUNDS_MAX = 12
"""Calculations for one change; each moves a phase on by one step at most."""


class _Mint:
    def curve(self) -> tuple[str, str]:
        public, secret = zmq.curve_keypair()
        return public.decode(), secret.decode()


class Controller:
    """One cluster's controller."""

    def __init__(
        self,
        *,
        keys: ControllerKeys,
        cluster: str,
        store: Store,
        library: Library,
        brokers: list[BrokerAddress],
        now: float,
        machines_expected: int = 0,
        rng: random.Random | None = None,
    ) -> None:
        """Load the state and begin a new term.

        ``rng`` spreads what would else go out to many machines at once; None: one of its own.

        Raises:
            StoreError: the store does not open with its master key.
        """
        self.tables = Tables.load(store)
        self.happenings = Happenings()
        self.library = library
        self.machines_expected = machines_expected
        """Nothing is placed for the first time before so many machines have joined."""
        self.refusals: Counter[str] = Counter()
        """What was not even for a machine that we know, by reason."""
        self.broker: broker_wire.BrokerStatus | None = None
        self.started_at = now
        self._store = store
        self._mint = _Mint()
        self._effects: list[Effect] = []
        draft = Draft(self.tables)
        term = draft.count("term")
        self.speaker = Speaker(keys.identity, cluster, term)
        self.trust = enrolment.Trust(cluster=cluster, brokers=brokers, controller=keys.identity.public, releases=[library.release_public])
        self._sealer = Sealer(self.speaker)
        self._deliveries = Deliveries(self.speaker, library.writer)
        self._rng = random.Random() if rng is None else rng
        self._publication = Publication(self._rng.random)
        self._watchman = Watchman(now)
        self._dialogues: dict[str, Dialogue] = {}
        self._asked_report: dict[str, float] = {}
        self._heads_due: dict[str, float] = {}
        self._broker_asked = 0.0
        self._judged = self._tidied = now
        self._restless = True
        """Time alone may move something on."""
        for machine in self.tables.all(Machine).values():
            self._meet(machine, now)
        self._publication.resume(self.tables, now)
        if draft.get(Cluster, "cluster") is not None:
            self._settle(draft, now, everything=True)
        else:
            self._write(draft)

    # -- changes -------------------------------------------------------------------------------------------

    def change(self, edit: Callable[[Draft], T], now: float, dry_run: bool = False) -> tuple[T, list[Write]]:
        """Let somebody change the state, and do all that follows; what ``edit`` raises changes nothing.

        A dry run tells what would be written at once, and writes nothing.
        """
        draft = Draft(self.tables)
        result = edit(draft)
        if dry_run:
            calculate(draft, now, self._mint, self._wrap, self.machines_expected)
            check_sizes(draft.writes())
            return result, draft.writes()
        return result, self._settle(draft, now, wanted=True)

    def _settle(self, draft: Draft, now: float, everything: bool = False, wanted: bool = False) -> list[Write]:
        """Calculate until nothing moves, writing each step. ``wanted``: somebody asked for it, and is told if it cannot be.

        Raises:
            InstructionError: ``too-large``, where ``wanted``; nothing was written.
        """
        all_writes: list[Write] = []
        for _ in range(ROUNDS_MAX):
            calculate(draft, now, self._mint, self._wrap, self.machines_expected, everything)
            if wanted:
                check_sizes(draft.writes())
                wanted = False
            writes = self._write(draft)
            all_writes.extend(writes)
            if not writes:
                break
            self._follow(writes, now)
            draft, everything = Draft(self.tables), False
        self._restless = restless(self.tables)
        self._send_due(now)
        return all_writes

    def _write(self, draft: Draft) -> list[Write]:
        writes = draft.writes()
        operations = draft.operations()
        if operations:
            self._store.transaction(operations)
        self.tables.apply(writes)
        return writes

    def _follow(self, writes: Iterable[Write], now: float) -> None:
        """What has to be told after a write."""
        allow: dict[str, str] = {}
        revoke: list[str] = []
        for write in writes:
            old, new = write.old, write.new
            if isinstance(new, Subject):
                if not isinstance(old, Subject) or old.generation != new.generation:
                    self._publication.changed(new, now)
                    if new.via or not isinstance(old, Subject):
                        self._heads_due[new.machine] = now
                if isinstance(old, Subject) and old.via and old.via != new.via:
                    self._say(old.via, messages.Carried(machine=old.machine, subject=old.id, generation=old.generation, envelope=b""), now)
            elif isinstance(old, Subject):
                self._publication.dropped(old.id)
                self._sealer.forget(old.id)
                self._heads_due[old.machine] = now
                if old.via:
                    self._say(old.via, messages.Carried(machine=old.machine, subject=old.id, generation=old.generation, envelope=b""), now)
            elif isinstance(new, Machine) and old is None:
                self._meet(new, now)
                allow[new.id] = new.transport_key
            elif isinstance(old, Machine) and new is None:
                self._part(old)
                revoke.append(old.id)
            elif isinstance(old, Unit) and new is None and old.kind == "call_router":
                self.happenings.calls.lost([old.id], now)
        if allow or revoke:
            self._command(broker_wire.BrokerCommand(allow=allow, revoke=revoke))

    def _wrap(self, machine: Machine, bundle: Bundle) -> bytes | None:
        try:
            return self._deliveries.writer(bundle).seal_key(machine.id, machine.security_key)
        except LookupError:
            self.refusals["bundle-missing"] += 1
            return None

    # -- what comes in -------------------------------------------------------------------------------------

    def published(self, frames: list[bytes], now: float) -> None:
        """A message of the publication channel."""
        try:
            envelope = Envelope.of_frames(frames)
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return
        dialogue = self._dialogues.get(topics.sender_of(envelope.topic) or "")
        if dialogue is None:
            self.refusals["unknown-sender"] += 1
            return
        heard = dialogue.hear(envelope, now)
        if heard is not None:
            self._take(dialogue, heard, envelope, now)

    def requested(self, frames: list[bytes], now: float) -> None:
        """A message of the request channel (`agent.wire.broker`)."""
        if len(frames) == 2 and frames[0] == broker_wire.BROKER:
            self._broker_said(frames[1])
        elif len(frames) == 3 and frames[0] == broker_wire.ENROL:
            self._enrol(frames[1], frames[2], now)
        elif len(frames) == 5:
            dialogue = self._dialogues.get(frames[0].decode("ascii", "replace"))
            if dialogue is None:
                self.refusals["unknown-sender"] += 1
                return
            try:
                envelope = Envelope.of_frames(frames[1:])
            except Refusal as refusal:
                dialogue.refusals[refusal.code] += 1
                return
            heard = dialogue.hear(envelope, now)
            if heard is not None:
                self._take(dialogue, heard, envelope, now)
        else:
            self.refusals["malformed"] += 1

    def _take(self, dialogue: Dialogue, heard: Heard, envelope: Envelope, now: float) -> None:
        machine = self.tables.get(Machine, dialogue.machine)
        if machine is None:
            return
        message = heard.opened.message
        if isinstance(message, messages.Farewell):
            self._watchman.farewell(machine.id, now)
        else:
            self._watchman.heard(machine.id, now)
        if heard.began:
            self._heads_due[machine.id] = now
        match message:
            case messages.SessionRequest():
                answer = dialogue.answer_session(envelope, heard.opened, now)
                if answer is not None:
                    self._effects.append(Request(answer))
            case messages.EchoRequest():
                self._say(machine.id, messages.Echo(nonce=message.nonce), now)
            case messages.SnapshotRequest():
                self._snapshot(dialogue, machine, message, now)
            case messages.MachineReport():
                self._report(machine, message, now)
            case messages.Beat():
                vitals = self.tables.get(Vitals, machine.id)
                if vitals is None or vitals.revision != message.revision or machine.presence != "alive":
                    self._ask_report(machine.id, now)
            case messages.UnitEvents():
                self._unit_events(machine, message, now)
            case messages.ChunkRequest():
                self._effects.extend(Publish(frames) for frames in self._deliveries.requested(self.tables, message, now))

    def _report(self, machine: Machine, report: messages.MachineReport, now: float) -> None:
        draft = Draft(self.tables)
        take_report(draft, machine, report, now)
        if machine.presence != "alive":
            draft.put(msgspec.structs.replace(draft.must(Machine, machine.id), presence="alive"))
        touched = [write.id for write in draft.writes() if write.table == Delivery.table]
        self._publication.settle(draft, touched)
        self._settle(draft, now)

    def _unit_events(self, machine: Machine, events: messages.UnitEvents, now: float) -> None:
        for id, body in events.events:
            unit = self.tables.get(Unit, id)
            if unit is not None and unit.machine == machine.id and not self.happenings.take(id, body, now):
                self.refusals["event"] += 1

    def _snapshot(self, dialogue: Dialogue, machine: Machine, request: messages.SnapshotRequest, now: float) -> None:
        subjects = self._subjects_of(machine.id)
        carried: list[Said] = [
            self._sealer.carried(subject, machine, now) for subject in subjects if request.have.get(subject.id, 0) < subject.generation
        ]
        self._publication.answered([subject.id for subject in subjects], now)
        heads = {subject.id: subject.generation for subject in subjects}
        answers = dialogue.respond([*carried, messages.SnapshotEnd(number=request.number, heads=heads)], now)
        self._effects.extend(Request(frames) for frames in answers)

    def _subjects_of(self, machine: str) -> list[Subject]:
        found = [self.tables.get(Subject, machine), *(self.tables.get(Subject, unit.id) for unit in self.tables.units(f"@{machine}"))]
        return [subject for subject in found if subject is not None]

    def _enrol(self, handle: bytes, request: bytes, now: float) -> None:
        draft = Draft(self.tables)
        try:
            answer, verdict = enrolment.enrol(draft, request, self.speaker.identity, self.speaker.cluster, self.speaker.term, now)
        except EnrolmentError as refused:
            self.refusals[refused.code] += 1
            return
        if verdict.code != "ok":
            self.refusals[f"enrolment-{verdict.code}"] += 1
        self._settle(draft, now)
        if verdict.code == "ok" and verdict.body is not None:
            self._command(broker_wire.BrokerCommand(allow={verdict.body.machine: verdict.body.transport}))
        self._effects.append(Request((broker_wire.ENROL, handle, answer)))

    def _broker_said(self, data: bytes) -> None:
        try:
            status = broker_wire.decode_status(data)
        except msgspec.MsgspecError:
            self.refusals["malformed"] += 1
            return
        if self.broker is None or self.broker.instance != status.instance:
            keys = {machine.id: machine.transport_key for machine in self.tables.all(Machine).values()}
            self._command(broker_wire.BrokerCommand(replace=keys))
        self.broker = status

    # -- what time brings ----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Call several times a second."""
        if now >= self._broker_asked + BROKER_SECONDS:
            self._broker_asked = now
            self._command(broker_wire.BrokerCommand())
        draft = Draft(self.tables)
        if now >= self._judged + JUDGE_SECONDS:
            self._judged = now
            for id, presence in self._watchman.judge(now).items():
                machine = draft.get(Machine, id)
                # Only a report makes a machine alive: then what it runs is known.
                if machine is not None and presence != "alive" and machine.presence not in (presence, "new"):
                    if machine.presence != "dead":
                        draft.put(msgspec.structs.replace(machine, presence=presence))
                elif machine is not None and presence == "alive" and machine.presence in ("suspect", "dead"):
                    self._ask_report(id, now)
            self._deliveries.rest(now)
        if now >= self._tidied + TIDY_SECONDS:
            self._tidied = now
            enrolment.forget_ended(draft, now)
            tidy_tables(draft)
            tidy_store(self._store, draft, now)
        if self._restless or draft.writes():
            self._settle(draft, now)
        else:
            self._send_due(now)

    def _send_due(self, now: float) -> None:
        for subject in self._publication.due(self.tables, self.reachable, now):
            machine = self.tables.get(Machine, subject.machine)
            if machine is not None:
                self._say(subject.via or subject.machine, self._sealer.carried(subject, machine, now), now)
                if subject.via:
                    self._heads_due.setdefault(subject.machine, now)
        for id, due in list(self._heads_due.items()):
            if due <= now:
                self._heads_due[id] = now + HEADS_SECONDS * self._rng.uniform(0.8, 1.2)
                self._say(id, messages.Heads(heads={subject.id: subject.generation for subject in self._subjects_of(id)}), now)

    # -- what goes out -------------------------------------------------------------------------------------

    def take(self) -> list[Effect]:
        """Effects since the last call, in order; what they tell is durable when this returns.

        Raises:
            StoreError: the disk does not take it; nothing may be sent.
        """
        self._store.flush()
        effects, self._effects = self._effects, []
        return effects

    def reachable(self, machine: str) -> bool:
        """Whether a machine has a session."""
        dialogue = self._dialogues.get(machine)
        return dialogue is not None and dialogue.open

    def refused(self) -> Counter[str]:
        """Everything that was refused since the start, by reason."""
        total = Counter(self.refusals)
        for dialogue in self._dialogues.values():
            total.update(dialogue.refusals)
        return total

    def chunks_published(self) -> int:
        """Chunks of bundles sent since the start."""
        return self._deliveries.chunks

    def _say(self, machine: str, message: Said, now: float) -> None:
        dialogue = self._dialogues.get(machine)
        frames = None if dialogue is None else dialogue.publish(message, now)
        if frames is not None:
            self._effects.append(Publish(frames))

    def _ask_report(self, machine: str, now: float) -> None:
        if now >= self._asked_report.get(machine, 0.0) + REPORT_SECONDS:
            self._asked_report[machine] = now
            self._say(machine, messages.ReportRequest(), now)

    def _command(self, command: broker_wire.BrokerCommand) -> None:
        self._effects.append(Request((broker_wire.BROKER, broker_wire.encode(command))))

    def _meet(self, machine: Machine, now: float) -> None:
        self._dialogues[machine.id] = Dialogue(self.speaker, machine)
        if machine.presence not in ("new", "dead"):
            self._watchman.expect(machine.id, now)

    def _part(self, machine: Machine) -> None:
        self._dialogues.pop(machine.id, None)
        self._asked_report.pop(machine.id, None)
        self._heads_due.pop(machine.id, None)
        self._watchman.forget(machine.id)


def new_cluster_id() -> str:
    """A name for a cluster that no other one has."""
    return f"cluster-{os.urandom(6).hex()}"
