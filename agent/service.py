"""The agent's one shell: its sockets and its clock, around the cores.

    broker -> `Conversation` (opens) -> `Replica` | `Relay` | `Bundles` -> journal -> `Supervisor` -> report -> broker

Rules:
- What was taken is on the disk before it is applied and before it is reported: one sync for all that happened in one turn.
- At the start the stored state is applied first; the controller comes when it comes.
- Nothing that comes from a socket ends the agent.
"""

import asyncio
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent import relay as relaying
from agent import replica as replicating
from agent.bundles import Bundles
from agent.conversation import Conversation
from agent.journal import Journal
from agent.log import Log
from agent.memory import give_back
from agent.notices import Notices
from agent.post import Post
from agent.relay import Relay
from agent.replica import Replica
from agent.reporter import Reporter
from agent.sockets import Sockets
from agent.supervisor import Supervisor
from agent.trust import Trust
from agent.wire import broker, topics
from agent.wire.envelope import Envelope, read_header
from agent.wire.keys import MachineKeys
from agent.wire.messages import (
    Beat,
    Carried,
    ChunkRequest,
    Echo,
    EchoRequest,
    Farewell,
    Heads,
    MachineDocument,
    ReportRequest,
    SnapshotEnd,
    SnapshotRequest,
    UnitConfiguration,
)
from agent.wire.opener import Opened
from agent.wire.refusal import Refusal

STOP_SECONDS = 3.0
"""Units have this to end when the agent ends."""
TIDY_SECONDS = 2.0
"""After a bundle was opened, memory is given back."""
STORE_SECONDS = 1.0
"""What the disk did not take is tried again after this."""


class Agent:
    """One machine."""

    def __init__(
        self, *, folder: Path, keys: MachineKeys, trust: Trust, launcher: socket.socket, inherited: list[socket.socket], log: Log
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._id = keys.identity.id
        self._log = log
        self._rng = random.Random(os.urandom(16))
        self._stopped = asyncio.Event()
        self._journal = Journal(folder / "journal")
        now = self._loop.time()
        self._conversation = Conversation(
            keys=keys,
            cluster=trust.cluster,
            controller_public=trust.controller,
            term=int(self._journal.values.get("term", b"0")),
            now=now,
            wall=time.time,
            rng=self._rng,
        )
        self._relay = Relay(self._rng)
        self._notices = Notices()
        self._supervisor = Supervisor(
            loop=self._loop,
            launcher=launcher,
            sockets=Sockets(inherited),
            folder=folder,
            log=log,
            changed=self._changed,
            noticed=self._noticed,
            applied=self._applied,
        )
        self._bundles = Bundles(folder / "bundles", self._id, keys.security, trust.releases, self._bundle_settled, self._rng)
        self._supervisor.bundles = self._bundles
        self._packed: dict[str, bytes] = {}
        """Newest configurations as they came, until they are good."""
        self._reporter = Reporter(self._id, self._supervisor, now)
        self._undone: list[replicating.Effect | relaying.Effect] = []
        """What the disk did not take yet; later effects wait behind it."""
        self._retry_at = now
        self._turning = False
        self._timer: asyncio.TimerHandle | None = None
        self._post = Post(self._loop, self._id, trust.brokers[0], keys.transport, self._published, self._answered, self._soon)
        self._replica = Replica(self._id, self._restore(now), self._rng)

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None], stopped: Callable[[], bool]) -> None:
        """Serve until SIGTERM or SIGINT, then end everything. ``stopped``: one of them came before."""
        self._loop.set_exception_handler(self._went_wrong)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopped.set)
        self._post.open()
        if stopped():
            self._stopped.set()
        ready()
        self._soon()
        await self._stopped.wait()
        # A second signal must not cut the end short.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        await self._end()

    def _went_wrong(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault of ours in a callback: it is told, and the agent goes on."""
        error = context.get("exception")
        lines = traceback.format_exception(error) if isinstance(error, BaseException) else [str(context.get("message"))]
        for line in "".join(lines).splitlines():
            self._log.say("agent", line)

    async def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._turning = True
        self._post.close_ears()
        await self._supervisor.end(STOP_SECONDS)
        self._bundles.close()
        farewell = self._conversation.say(Farewell(), self._loop.time())
        if farewell is not None:
            self._post.publish(farewell)
        self._post.close()
        self._journal.close()

    def _restore(self, now: float) -> dict[str, int]:
        """Apply what is stored; returns the generations that are had."""
        held: dict[str, int] = {}
        document: MachineDocument | None = None
        for key, value in list(self._journal.values.items()):
            kind, _, name = key.partition("/")
            if kind not in ("state", "good", "relay"):
                continue
            try:
                envelope = Envelope.unpack(value)
                if kind == "relay":
                    header = read_header(envelope)
                    self._relay.restore(header.recipient, header.subject, header.generation, value, now)
                    continue
            except Refusal as refusal:
                self._conversation.refusals[refusal.code] += 1
                continue
            opened = self._conversation.open_stored(envelope)
            if opened is None or opened.header.subject != name:
                continue
            if kind == "good":
                self._supervisor.restore_good(name, opened.header.generation, opened.message.body)
                continue
            held[name] = opened.header.generation
            if isinstance(opened.message, MachineDocument):
                document = opened.message
                self._reporter.document = opened.header.generation
            else:
                self._packed[name] = value
                self._supervisor.configure(name, opened.header.generation, opened.message.body, now)
        if document is not None:
            self._apply(document, now)
        return held

    # -- what comes in -----------------------------------------------------------------------------------------

    def _published(self, frames: list[bytes]) -> None:
        now = self._loop.time()
        if frames[0].startswith(b"x/"):
            self._relayed(frames, now)
            return
        opened = self._open(frames, now)
        if opened is None:
            return
        if opened.missed:
            self._replica.missed(now)
        if isinstance(opened.message, bytes):
            self._bundles.chunk(opened.header, opened.message, now)
        else:
            self._take(opened, now)

    def _answered(self, frames: list[bytes]) -> None:
        now = self._loop.time()
        if frames[0] == broker.BROKER:
            self._conversation.hint(now)
        elif frames[0] == topics.CONTROLLER.encode():
            opened = self._open(frames[1:], now)
            if opened is not None:
                self._take(opened, now)

    def _open(self, frames: list[bytes], now: float) -> Opened | None:
        try:
            envelope = Envelope.of_frames(frames)
        except Refusal as refusal:
            self._conversation.refusals[refusal.code] += 1
            return None
        return self._conversation.hear(envelope, now)

    def _take(self, opened: Opened, now: float) -> None:
        match opened.message:
            case Carried() as carried if carried.machine == self._id:
                self._state(carried.envelope, now)
            case Carried() as carried:
                self._relay.carried(carried, now)
            case Heads(heads=heads):
                self._replica.heads(heads, now)
            case Echo(nonce=nonce):
                self._replica.echoed(nonce, now)
            case SnapshotEnd(number=number, heads=heads):
                self._replica.snapshot_end(number, heads, now)
            case ReportRequest():
                self._reporter.again()

    def _state(self, packed: bytes, now: float, via: str | None = None) -> tuple[str, int] | None:
        """A sealed state for this machine; returns subject and generation where it was taken, now or before."""
        try:
            envelope = Envelope.unpack(packed)
            opened = self._conversation.hear(envelope, now)
            if opened is None or not opened.header.key_epoch or (via is not None and opened.header.via != via):
                return None
            self._replica.carried(opened.header, opened.message, packed, now)
        except Refusal as refusal:
            self._conversation.refusals[refusal.code] += 1
            return None
        subject = opened.header.subject
        return (subject, opened.header.generation) if self._replica.held.get(subject, 0) >= opened.header.generation else None

    def _relayed(self, frames: list[bytes], now: float) -> None:
        """Over ``x/``: the broker vouches for the sender's id in the topic; a state is judged by what is signed inside."""
        parts = frames[0].decode("ascii", "replace").split("/")
        if len(parts) != 4 or parts[1] != self._id:
            return
        sender, kind = parts[2], parts[3]
        if kind == "state" and len(frames) == 5:
            try:
                packed = Envelope.of_frames(frames[1:]).pack()
            except Refusal as refusal:
                self._conversation.refusals[refusal.code] += 1
                return
            taken = self._state(packed, now, via=sender)
            if taken is not None:
                self._turn()
                if self._undone:
                    return
                self._post.publish([topics.relayed(sender, self._id, "taken"), taken[0].encode(), str(taken[1]).encode()])
        elif kind == "taken" and len(frames) == 3 and frames[2].isdigit() and len(frames[2]) < 20:
            self._relay.taken(sender, frames[1].decode("utf-8", "replace"), int(frames[2]))

    # -- what follows ------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._reporter.changed()
        self._soon()

    def _noticed(self, unit: str, body: bytes) -> None:
        self._notices.add(unit, body, self._loop.time())
        self._soon()

    def _applied(self, unit: str, generation: int) -> None:
        packed = self._packed.pop(unit, None)
        if packed is not None and read_header(Envelope.unpack(packed)).generation == generation:
            self._store({f"good/{unit}": packed})

    def _bundle_settled(self, hash: str, error: str) -> None:
        self._supervisor.bundle_settled(hash, error, self._loop.time())
        self._loop.call_later(TIDY_SECONDS, give_back)

    def _apply(self, document: MachineDocument, now: float) -> None:
        self._bundles.want(document.bundles, now)
        self._supervisor.apply(document, now)

    def _soon(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One turn; whatever goes wrong in it, the next one comes."""
        if self._stopped.is_set():
            return
        now = self._loop.time()
        try:
            self._work(now)
        finally:
            self._turning = False
            self._schedule(now)

    def _work(self, now: float) -> None:
        """Carry out what the cores want, in order; then report."""
        for core in (self._conversation, self._replica, self._relay, self._bundles, self._supervisor):
            core.timeout(now)
        if self._conversation.joined:
            self._conversation.joined = False
            self._store({"term": str(self._conversation.term).encode()})
            self._replica.joined(now)
            self._bundles.connected(True, now)
            self._reporter.again()
        self._carry_out(now)
        self._post.hear_bundles(self._bundles.topics())
        for ask in self._bundles.take():
            self._say(ChunkRequest(bundle=ask.bundle, chunks=ask.chunks), now)
        while self._conversation.session is not None and (batch := self._notices.batch(now)) is not None:
            self._say(batch, now)
        self._report(now)
        outbox, self._conversation.outbox = self._conversation.outbox, []
        for envelope in outbox:
            self._post.request(envelope)
        self._post.look()

    def _carry_out(self, now: float) -> None:
        """Effects of replica and relay: first all that must be durable, then the rest."""
        effects = [*self._undone, *self._replica.take(), *self._relay.take()]
        if self._undone and now < self._retry_at:
            self._undone = effects
            return
        changes: dict[str, bytes] = {}
        for effect in effects:
            match effect:
                case replicating.Keep(subject, _, _, packed):
                    changes[f"state/{subject}"] = packed
                case replicating.Drop(subject):
                    changes[f"state/{subject}"] = changes[f"good/{subject}"] = b""
                case relaying.KeepRelayed(machine, subject, _, packed):
                    changes[f"relay/{machine}/{subject}"] = packed
        self._undone = [] if self._store(changes) else effects
        if self._undone:
            self._retry_at = now + STORE_SECONDS
            return
        documents = []
        for effect in effects:
            match effect:
                case replicating.Keep(_, generation, MachineDocument() as document, _):
                    self._reporter.document = generation
                    documents.append(document)
                case replicating.Keep(subject, generation, UnitConfiguration(body=body), packed):
                    self._packed[subject] = packed
                    self._supervisor.configure(subject, generation, body, now)
                    self._reporter.changed()
                case replicating.Drop(subject):
                    self._packed.pop(subject, None)
                    self._supervisor.forget(subject)
                    self._reporter.changed()
                case replicating.Confirm() | relaying.Report():
                    self._reporter.changed()
                case replicating.SayEcho(nonce):
                    self._say(EchoRequest(nonce=nonce), now)
                case replicating.AskSnapshot(number, have):
                    self._conversation.request(SnapshotRequest(number=number, have=have), now)
                case relaying.Forward(machine, packed):
                    self._post.publish([topics.relayed(machine, self._id, "state"), *Envelope.unpack(packed)])
        for document in documents:
            self._apply(document, now)

    def _store(self, changes: dict[str, bytes]) -> bool:
        """Make these durable; false: the disk does not take them, and they must be tried again."""
        try:
            self._journal.append(changes)
        except OSError as error:
            self._log.say("agent", f"journal: {error}")
            return False
        return True

    def _report(self, now: float) -> None:
        """Report a change at once, and beat."""
        if self._conversation.session is None:
            return
        if self._reporter.report_due(now):
            self._say(self._reporter.report(self._replica.held, self._relay, self._bundles, self._conversation.refusals, now), now)
        if self._reporter.beat_due(now):
            self._say(Beat(revision=self._reporter.revision), now)

    def _say(self, message: msgspec.Struct, now: float) -> None:
        envelope = self._conversation.say(message, now)
        if envelope is not None:
            self._post.publish(envelope)

    def _schedule(self, now: float) -> None:
        """One timer for all deadlines."""
        deadlines = [
            self._conversation.deadline(),
            self._replica.deadline(),
            self._relay.deadline(),
            self._bundles.deadline(),
            self._supervisor.deadline(),
        ]
        if self._conversation.session is not None:
            deadlines += [self._notices.deadline(), self._reporter.deadline()]
        if self._undone:
            deadlines.append(self._retry_at)
        if self._timer is not None:
            self._timer.cancel()
        due = min(at for at in deadlines if at is not None)
        self._timer = self._loop.call_at(max(due, now), self._soon)
