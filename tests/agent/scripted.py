"""A broker process, an agent process, and a tiny controller that does what a test says: for tests of a real agent."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import zmq

from agent import conversation
from agent import unit as units_module
from agent.run import run_agent
from agent.wire import broker as protocol
from agent.wire import topics
from agent.wire.bundle import BundleWriter, pack
from agent.wire.enrolment import EnrolmentBody, TokenRecord, judge, make_answer, read_token_id
from agent.wire.envelope import Envelope
from agent.wire.keys import Identity, TransportKey
from agent.wire.link import Link, unused_ports
from agent.wire.messages import (
    Beat,
    BundleReference,
    Carried,
    ChunkRequest,
    Echo,
    EchoRequest,
    Farewell,
    Heads,
    MachineDocument,
    MachineReport,
    SessionRequest,
    SnapshotEnd,
    SnapshotRequest,
    State,
    Unit,
    UnitConfiguration,
    UnitEvents,
    UnitReport,
)
from agent.wire.opener import Opener, Recipient, seal_state
from agent.wire.refusal import Refusal
from agent.wire.session import Sessions, answer_session
from agent.wire.token import BrokerAddress, JoinToken
from controller.broker import run_broker

WAIT_SECONDS = 20.0
CLUSTER = "scripted"
SERVICE = (Path(__file__).parent / "tiny_service.py").read_bytes()


class Known:
    """One machine as the controller has it."""

    def __init__(self, body: EnrolmentBody, identity: Identity, term: int) -> None:
        self.body = body
        self.sessions = Sessions()
        self.opener = Opener(
            cluster=CLUSTER,
            recipient=topics.CONTROLLER,
            sender=body.machine,
            sender_public=body.identity,
            channel=self.sessions.channel,
            term=term,
        )
        self.report: MachineReport | None = None
        self.reports = 0
        self.beats = 0
        self.snapshots: list[SnapshotRequest] = []
        self.events: list[tuple[str, bytes]] = []
        self.farewell = False
        self.wanted: dict[str, tuple[int, State, str]] = {}
        """Subject to generation, state and the machine that relays it."""

    @property
    def id(self) -> str:
        return self.body.machine

    def unit(self, id: str) -> UnitReport | None:
        return next((unit for unit in self.report.units if unit.id == id), None) if self.report else None

    def applied(self, subject: str) -> int:
        return next((each.applied for each in self.report.subjects if each.subject == subject), 0) if self.report else 0


class Cluster:
    """The three together. The controller runs in the test's own thread, while the test waits for something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity, self.release = Identity.generate(), Identity.generate()
        self.key, self.broker_key = TransportKey.generate(), TransportKey.generate()
        self.address = BrokerAddress(*(f"tcp://127.0.0.1:{port}" for port in unused_ports("127.0.0.1", 4)), self.broker_key.public)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.spawn = multiprocessing.get_context("spawn")
        self.tokens: dict[str, TokenRecord] = {}
        self.machines: dict[str, Known] = {}
        self.term = 1
        self.refusals: list[str] = []
        self.verdicts: list[str] = []
        self.mute = False
        """The controller publishes no states (but answers snapshots)."""
        self.lose: Callable[[Any], bool] = lambda message: False
        """Which messages of the controller get lost on their way."""
        self.bundles: dict[str, BundleWriter] = {}
        self.chunks = 0
        self.processes: list[BaseProcess] = []
        self.instance = ""
        self.broker = self.start_broker()
        self.link = self.connect()

    # -- processes ---------------------------------------------------------------------------------------------

    def start_broker(self) -> BaseProcess:
        process = self.spawn.Process(target=run_broker, args=(self.address, self.broker_key, self.key.public))
        process.start()
        self.processes.append(process)
        return process

    def connect(self) -> Link:
        link = Link.open(self.context, self.address, self.key)
        link.subscribe.subscribe(b"m/")
        return link

    def start_agent(self, name: str, token: str | None = None, **arguments: Any) -> BaseProcess:
        process = self.spawn.Process(target=_agent, args=(str(self.folder / name), token, name, arguments))
        process.start()
        self.processes.append(process)
        return process

    def token(self) -> JoinToken:
        made = JoinToken.generate(CLUSTER, [self.address], self.identity.public, [self.release.public])
        proof = made.proof()
        self.tokens[proof.id] = TokenRecord(id=proof.id, public=proof.public, cluster=CLUSTER, role="machine", expires=time.time() + 900)
        return made

    def join(self, name: str = "one", **arguments: Any) -> Known:
        """A new machine, with a session."""
        before = set(self.machines)
        self.start_agent(name, str(self.token()), **arguments)
        self.wait(lambda: set(self.machines) - before)
        known = self.machines[(set(self.machines) - before).pop()]
        self.wait(lambda: known.report is not None)
        return known

    def end(self, process: BaseProcess, number: int = signal.SIGTERM) -> int | None:
        assert process.pid is not None
        if process.is_alive():
            os.kill(process.pid, number)
        process.join(WAIT_SECONDS)
        return process.exitcode

    def close(self) -> None:
        for process in reversed(self.processes):
            self.end(process)
            if process.is_alive():
                process.kill()
                process.join()
        self.link.close()
        self.context.destroy(0)

    def restart_controller(self) -> None:
        """A new term: no session is known any more."""
        self.term += 1
        self.link.close()
        self.link = self.connect()
        self.instance = ""
        for id, known in self.machines.items():
            fresh = Known(known.body, self.identity, self.term)
            fresh.wanted = known.wanted
            self.machines[id] = fresh

    # -- what is wanted ----------------------------------------------------------------------------------------

    def bundle(self, known: Known, version: str = "1", service: bytes = SERVICE) -> BundleReference:
        package = pack({"tiny/__init__.py": b"", "tiny/service.py": service}, platform="tiny", version=version, release=self.release)
        writer = self.bundles.setdefault(package.hash, BundleWriter(package))
        return BundleReference(
            hash=package.hash, platform="tiny", version=version, sealed_key=writer.seal_key(known.id, known.body.security)
        )

    def want(self, known: Known, subject: str, state: State, via: str = "") -> int:
        """A new generation of a subject, published."""
        generation = known.wanted.get(subject, (0,))[0] + 1
        known.wanted[subject] = (generation, state, via)
        if not self.mute:
            self.publish_state(known, subject)
        return generation

    def carried(self, known: Known, subject: str) -> Carried:
        generation, state, via = known.wanted[subject]
        envelope = seal_state(
            self.identity, CLUSTER, self.term, Recipient(known.id, known.body.security), subject, generation, state, time.time(), via
        )
        return Carried(machine=known.id, subject=subject, generation=generation, envelope=envelope.pack())

    def publish_state(self, known: Known, subject: str) -> None:
        via = known.wanted[subject][2]
        self.say(self.machines[via] if via else known, self.carried(known, subject))

    def heads(self, known: Known) -> None:
        self.say(known, Heads(heads={subject: wanted[0] for subject, wanted in known.wanted.items()}))

    def run_units(self, known: Known, *units: Unit, configuration: bytes | None = b"configuration") -> int:
        """A document with these units, and a configuration for each that has none."""
        bundles = {unit.bundle: self.bundle_of(known, unit.bundle) for unit in units}
        generation = self.want(known, known.id, MachineDocument(platform="tiny", bundles=list(bundles.values()), units=list(units)))
        for unit in units:
            if configuration is not None and unit.id not in known.wanted:
                self.want(known, unit.id, UnitConfiguration(unit=unit.id, body=configuration))
        return generation

    def bundle_of(self, known: Known, hash: str) -> BundleReference:
        writer = self.bundles[hash]
        return BundleReference(
            hash=hash, platform="tiny", version=writer.package.manifest.version, sealed_key=writer.seal_key(known.id, known.body.security)
        )

    # -- the controller ----------------------------------------------------------------------------------------

    def say(self, known: Known, message: Any) -> None:
        session = known.sessions.current
        if session is not None:
            envelope = session.say.seal(message, time.time())
            if not self.lose(message):
                self.link.publish.send_multipart(envelope)

    def answer(self, known: Known, message: Any) -> None:
        session = known.sessions.current
        assert session is not None
        envelope = session.say_request.seal(message, time.time())
        if not self.lose(message):
            self.link.request.send_multipart([known.id.encode(), *envelope])

    def wait(self, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
        """Be the controller until something holds.

        Raises:
            AssertionError: it did not within ``seconds``.
        """
        until = time.monotonic() + seconds
        asked = 0.0
        while not condition():
            now = time.monotonic()
            assert now < until, f"waited {seconds} s in vain; reports: {[known.report for known in self.machines.values()]}"
            if now > asked + 0.5:
                asked = now
                self.link.request.send_multipart([protocol.BROKER, protocol.encode(protocol.BrokerCommand())])
            for source in zmq.select([self.link.request, self.link.subscribe], [], [], 0.1)[0]:
                frames = source.recv_multipart()
                if source is self.link.request:
                    self._requested(frames)
                else:
                    self._opened(topics.sender_of(frames[0]) or "", frames)

    def _requested(self, frames: list[bytes]) -> None:
        if frames[0] == protocol.BROKER:
            status = protocol.decode_status(frames[1])
            if status.instance != self.instance:
                self.instance = status.instance
                keys = {id: known.body.transport for id, known in self.machines.items()}
                self.link.request.send_multipart([protocol.BROKER, protocol.encode(protocol.BrokerCommand(replace=keys))])
        elif frames[0] == protocol.ENROL:
            record = self.tokens.get(read_token_id(frames[2]))
            verdict = judge(frames[2], record, time.time())
            self.verdicts.append(verdict.code)
            if verdict.code == "ok" and verdict.body is not None and record is not None:
                record = TokenRecord(**{**{name: getattr(record, name) for name in record.__struct_fields__}, "used_by": verdict.body})
                self.tokens[record.id] = record
                if not verdict.repeated:
                    self.machines[verdict.body.machine] = Known(verdict.body, self.identity, self.term)
                allow = protocol.BrokerCommand(allow={verdict.body.machine: verdict.body.transport})
                self.link.request.send_multipart([protocol.BROKER, protocol.encode(allow)])
            answer = make_answer(self.identity, frames[2], verdict, CLUSTER, self.term)
            self.link.request.send_multipart([protocol.ENROL, frames[1], answer])
        else:
            self._opened(frames[0].decode(), frames[1:])

    def _opened(self, sender: str, frames: list[bytes]) -> None:
        known = self.machines.get(sender)
        if known is None:
            return
        try:
            envelope = Envelope.of_frames(frames)
            opened = known.opener.open(envelope, time.time())
        except Refusal as refusal:
            self.refusals.append(refusal.code)
            return
        if opened.header.session:
            known.sessions.opened(opened.header.session)
        match opened.message:
            case SessionRequest() as request:
                session, reply = answer_session(
                    request, envelope, opened.header, self.identity, known.body.security, self.term, time.time()
                )
                known.sessions.offer(session)
                self.link.request.send_multipart([known.id.encode(), *reply])
            case EchoRequest(nonce=nonce):
                self.say(known, Echo(nonce=nonce))
            case SnapshotRequest(number=number, have=have) as request:
                known.snapshots.append(request)
                for subject, wanted in known.wanted.items():
                    if have.get(subject, 0) < wanted[0]:
                        self.answer(known, self.carried(known, subject))
                heads = {subject: wanted[0] for subject, wanted in known.wanted.items()}
                self.answer(known, SnapshotEnd(number=number, heads=heads))
            case MachineReport() as report:
                known.report = report
                known.reports += 1
            case Beat():
                known.beats += 1
            case Farewell():
                known.farewell = True
            case UnitEvents(events=events):
                known.events += events
            case ChunkRequest(bundle=bundle, chunks=chunks):
                for index in chunks:
                    chunk = self.bundles[bundle].envelope(index, self.identity, CLUSTER, self.term, time.time())
                    self.chunks += 1
                    if not self.lose(chunk):
                        self.link.publish.send_multipart(chunk)


def _agent(folder: str, token: str | None, name: str, arguments: dict[str, Any]) -> None:
    units_module.WATCHDOG_SECONDS = arguments.pop("watchdog_seconds", units_module.WATCHDOG_SECONDS)
    conversation.SILENCE_SECONDS = arguments.pop("silence_seconds", conversation.SILENCE_SECONDS)
    raise SystemExit(run_agent(Path(folder), token=token, name=name, **arguments))
