"""The real controller core and the real cores of agents, joined by links that drop, under one clock."""

import random
from pathlib import Path

import msgspec

from agent import relay as relaying
from agent import replica as replicating
from agent.conversation import Conversation
from agent.relay import Relay
from agent.replica import Replica
from agent.wire import broker as broker_wire
from agent.wire import messages, topics
from agent.wire.bundle import BundleReader
from agent.wire.enrolment import EnrolmentBody, make_request, read_answer
from agent.wire.envelope import Envelope
from agent.wire.keys import Identity, MachineKeys, SecurityKey, TransportKey
from agent.wire.token import BrokerAddress, JoinToken
from controller.core import Controller
from controller.effects import Publish
from controller.enrolment import invite
from controller.founding import Founding, found
from controller.keys import ControllerKeys
from controller.release.library import Library
from controller.state import Machine
from controller.store.lmdb_store import LmdbStore
from controller.store.sealing import MasterKey
from tests.controller.test_release import source

Frames = list[bytes]
STEP_SECONDS = 0.05
BEAT_SECONDS = 1.0
BROKER = BrokerAddress("tcp://a:1", "tcp://a:2", "tcp://a:3", "tcp://a:4", "k" * 40)


class FakeMachine:
    """An agent without processes: what it is told to run is healthy at once."""

    def __init__(self, name: str, address: str, now: float, rng: random.Random) -> None:
        self.name, self.address, self.rng = name, address, rng
        # the order of ids decides who is told first, and so what a lossy link loses
        self.keys = MachineKeys(Identity(rng.randbytes(32)), SecurityKey.generate(), TransportKey.generate())
        self.id = self.keys.identity.id
        self.on = True
        self.states: dict[str, messages.State] = {}
        self.envelopes: dict[str, bytes] = {}
        self.sick: set[str] = set()
        self.refuses: set[str] = set()
        """Units whose configuration cannot be applied."""
        self.out: list[tuple[str, Frames]] = []
        """(``publish`` or ``request``, frames)."""
        self.heard_states = 0
        self.packages: dict[str, BundleReader] = {}
        self.revision = 0
        self.said: bytes = b""
        self.beat_at = 0.0

    def start(self, token: JoinToken, cluster: str, now: float) -> None:
        self.conversation = Conversation(
            keys=self.keys, cluster=cluster, controller_public=token.controller, term=0, now=now, wall=lambda: now, rng=self.rng
        )
        self.replica = Replica(self.id, {}, self.rng)
        self.relay = Relay(self.rng)

    def request(self, token: JoinToken) -> bytes:
        keys = self.keys
        body = EnrolmentBody(
            cluster=token.cluster,
            role=token.role,
            identity=keys.identity.public,
            security=keys.security.public,
            transport=keys.transport.public,
            name=self.name,
            host=self.address,
            nonce=b"n",
        )
        return make_request(token, keys, body)

    def hear(self, frames: Frames, now: float) -> None:
        if frames[0].startswith(b"x/"):
            self._relayed(frames, now)
            return
        opened = self.conversation.hear(Envelope.of_frames(frames), now)
        if opened is None:
            return
        if opened.missed:
            self.replica.missed(now)
        match opened.message:
            case bytes() as chunk:
                reader = self.packages.get(opened.header.subject)
                if reader is not None:
                    reader.take(opened.header, chunk)
            case messages.Carried() as carried if carried.machine == self.id:
                self._state(carried.envelope, now)
            case messages.Carried() as carried:
                self.relay.carried(carried, now)
            case messages.Heads(heads=heads):
                self.replica.heads(heads, now)
            case messages.Echo(nonce=nonce):
                self.replica.echoed(nonce, now)
            case messages.SnapshotEnd(number=number, heads=heads):
                self.replica.snapshot_end(number, heads, now)
            case messages.ReportRequest():
                self.said = b""

    def _state(self, packed: bytes, now: float) -> str:
        opened = self.conversation.hear(Envelope.unpack(packed), now)
        if opened is None:
            return ""
        self.heard_states += 1
        self.replica.carried(opened.header, opened.message, packed, now)
        return opened.header.subject

    def _relayed(self, frames: Frames, now: float) -> None:
        _, _, sender, kind = frames[0].decode().split("/")
        if kind == "state":
            subject = self._state(Envelope.of_frames(frames[1:]).pack(), now)
            if subject:
                taken = str(self.replica.held.get(subject, 0)).encode()
                self.out.append(("publish", [topics.relayed(sender, self.id, "taken"), subject.encode(), taken]))
        else:
            self.relay.taken(sender, frames[1].decode(), int(frames[2]))

    def turn(self, now: float) -> None:
        for core in (self.conversation, self.replica, self.relay):
            core.timeout(now)
        if self.conversation.joined:
            self.conversation.joined = False
            self.replica.joined(now)
            self.said = b""
        for effect in [*self.replica.take(), *self.relay.take()]:
            match effect:
                case replicating.Keep(subject, _, state, packed):
                    self.states[subject] = state
                    self.envelopes[subject] = packed
                    if isinstance(state, messages.MachineDocument):
                        for reference in state.bundles:
                            if reference.hash not in self.packages:
                                reader = BundleReader(reference.hash, reference.sealed_key, self.id, self.keys.security)
                                self.packages[reference.hash] = reader
                case replicating.Drop(subject):
                    self.states.pop(subject, None)
                case replicating.SayEcho(nonce):
                    self._say(messages.EchoRequest(nonce=nonce), now)
                case replicating.AskSnapshot(number, have):
                    self.conversation.request(messages.SnapshotRequest(number=number, have=have), now)
                case relaying.Forward(machine, packed):
                    self.out.append(("publish", [topics.relayed(machine, self.id, "state"), *Envelope.unpack(packed)]))
        for reader in self.packages.values():
            if not reader.complete:
                self._say(messages.ChunkRequest(bundle=reader.hash, chunks=reader.missing()), now)
        self._report(now)
        for envelope in self.conversation.outbox:
            self.out.append(("request", list(envelope)))
        self.conversation.outbox = []

    def _report(self, now: float) -> None:
        document = self.states.get(self.id)
        units = document.units if isinstance(document, messages.MachineDocument) else []
        whole = {hash for hash, reader in self.packages.items() if reader.complete}
        reports = []
        for unit in units:
            ready = unit.bundle in whole and unit.id in self.states and unit.id not in self.sick
            state = "stopped" if unit.drain_seconds is not None else "healthy" if ready else "starting"
            reports.append(messages.UnitReport(id=unit.id, state=state))  # type: ignore[arg-type]
        subjects = []
        for subject, generation in self.replica.held.items():
            failure = messages.Failure(unit=subject, code="bad", message="no") if subject in self.refuses else None
            applied = 0 if failure else generation
            subjects.append(messages.SubjectStatus(subject=subject, accepted=generation, applied=applied, failure=failure))
        content = msgspec.msgpack.encode((reports, subjects, sorted(whole)))
        if content != self.said:
            self.revision += 1
            report = messages.MachineReport(revision=self.revision, units=reports, subjects=subjects, bundles=sorted(whole))
            if self._say(report, now):
                self.said = content
        elif now >= self.beat_at + BEAT_SECONDS:
            self.beat_at = now
            self._say(messages.Beat(revision=self.revision), now)

    def _say(self, message: msgspec.Struct, now: float) -> bool:
        envelope = self.conversation.say(message, now)
        if envelope is not None:
            self.out.append(("publish", list(envelope)))
        return envelope is not None


class Simulation:
    """One controller, machines, and a broker that loses messages."""

    store: LmdbStore
    library: Library
    core: Controller

    def __init__(self, folder: Path, machines: int = 4, loss: float = 0.0, seed: int = 1) -> None:
        self.folder = folder
        self.now = 1_000_000.0
        self.loss = loss
        self.rng = random.Random(seed)
        self.keys = ControllerKeys.load(folder)
        self.release = Identity.generate()
        self.root = source(folder / "src")
        self.published: list[Frames] = []
        """What the controller published, lost or not."""
        self.restart()
        founding = Founding(public_host="127.0.0.1", public_port=5060, passwords={"1001": "secret"}, queues={"4000": ["1001"]})
        built = [self.library.build(platform) for platform in ("voice", "messaging")]
        self.core.machines_expected = machines
        self.core.change(lambda draft: found(draft, founding, built, self.now), self.now)
        self.machines: dict[str, FakeMachine] = {}
        for index in range(1, machines + 1):
            self.join(f"machine-{index}", f"127.0.1.{index}")

    def restart(self) -> None:
        """Start the controller (again) from its store."""
        if hasattr(self, "store"):
            self.store.close()
        self.store = LmdbStore(self.folder / "state", MasterKey(b"m" * 32))
        self.library = Library(self.folder / "bundles", self.release, self.root)
        self.core = Controller(
            keys=self.keys,
            cluster="cluster-1",
            store=self.store,
            library=self.library,
            brokers=[BROKER],
            now=self.now,
            rng=random.Random(self.rng.random()),
        )

    def join(self, name: str, address: str) -> FakeMachine:
        machine = FakeMachine(name, address, self.now, random.Random(self.rng.random()))
        (token, _), _ = self.core.change(
            lambda draft: invite(draft, self.core.trust, self.now, name=name, address=address, public=True), self.now
        )
        request = machine.request(token)
        self.core.requested([broker_wire.ENROL, b"handle", request], self.now)
        answers = [effect.frames[2] for effect in self.core.take() if effect.frames[0] == broker_wire.ENROL]
        assert read_answer(answers[0], request, token, machine.keys).code == "ok"
        machine.start(token, "cluster-1", self.now)
        self.machines[machine.id] = machine
        return machine

    def step(self) -> None:
        self.now += STEP_SECONDS
        for machine in self.machines.values():
            if machine.on:
                machine.turn(self.now)
        for machine in self.machines.values():
            out, machine.out = machine.out, []
            for channel, frames in out:
                if not machine.on or self._lost():
                    continue
                if channel == "request":
                    self.core.requested([machine.id.encode(), *frames], self.now)
                elif frames[0].startswith(b"x/"):
                    recipient = self.machines.get(frames[0].split(b"/")[1].decode())
                    if recipient is not None and recipient.on:
                        recipient.hear(frames, self.now)
                else:
                    self.core.published(frames, self.now)
        self.core.tick(self.now)
        for effect in self.core.take():
            frames = list(effect.frames)
            if isinstance(effect, Publish):
                self.published.append(frames)
                for machine in self.machines.values():
                    addressed = frames[0].startswith(topics.to_machine(machine.id))
                    wanted = addressed or frames[0].startswith(b"b/")
                    if wanted and machine.on and not self._lost():
                        machine.hear(frames, self.now)
            elif frames[0].decode() in self.machines and len(frames) == 5:
                machine = self.machines[frames[0].decode()]
                if machine.on and not self._lost():
                    machine.hear(frames[1:], self.now)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_SECONDS)):
            self.step()

    def _lost(self) -> bool:
        return self.rng.random() < self.loss

    def named(self, name: str) -> FakeMachine:
        return next(machine for machine in self.machines.values() if machine.name == name)

    def record(self, name: str) -> Machine:
        return next(machine for machine in self.core.tables.all(Machine).values() if machine.name == name)

    def close(self) -> None:
        self.store.close()
