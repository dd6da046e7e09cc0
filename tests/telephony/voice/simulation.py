"""A call router, phones and dependents in one process, under a fake clock and over a link that may lose and delay.

Router, phones, routing, queue, database and media processors are the real cores; what is made up is the network, a proxy
that only passes on, and a balancer of a few lines.
"""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from media.config import MediaConfiguration
from telephony.call_queue.core import CallQueue
from telephony.call_router.core import CallRouter
from telephony.config import (
    CallQueueConfiguration,
    CallRouterConfiguration,
    Jobs,
    MediaProcessorConfiguration,
    Peer,
    Queue,
    ResourceDatabaseConfiguration,
    Route,
    RoutingConfiguration,
)
from telephony.core import Core, Job
from telephony.effects import Ask, Notify, Reply, Send, Tell
from telephony.jobs.media import Steps
from telephony.jobs.resource import Bind, BindingChange
from telephony.load_balancer.affinity import choose
from telephony.media_processor.core import Media
from telephony.resource_database.core import ResourceDatabase
from telephony.routing.core import Routing
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import (
    Answered,
    Event,
    InviteReceived,
    ReinviteAnswered,
    ReinviteReceived,
    RequestReceived,
    SessionRequestReceived,
)
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.session import Session

PROXY = ("192.0.2.1", 5060)
ROUTER = ("192.0.2.2", 5060)
STEP_SECONDS = 0.02
NO_KEYS = Jobs(curve_public="", curve_secret="")


def sdp(port: int = 40000, direction: str = "sendrecv", codec: str = "0 8") -> bytes:
    """An offer or answer of a phone."""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        f"m=audio {port} RTP/AVP {codec}",
        f"a={direction}",
        "",
    ]
    return "\r\n".join(lines).encode()


class Phone:
    """A user agent of a user. What it does by itself is in its attributes."""

    def __init__(self, simulation: "Simulation", user: str, number: int) -> None:
        self.simulation = simulation
        self.user = user
        self.address = (f"198.51.100.{number}", 5062)
        self.endpoint = Endpoint(f"{self.address[0]}:{self.address[1]}", user=user, random=simulation.random.randbytes)
        self.events: list[Event] = []
        self.ring_seconds: float | None = 0.1
        """It rings so long before it answers; None: for ever."""
        self.reject: int = 0
        """It refuses with this status."""
        self.reject_headers: Headers = ()
        self.protocol = ""
        """It refuses offers over any other."""
        self.refuses_changes = 0
        """It refuses re-INVITE and UPDATE with this status."""
        self.early = False
        """It sends early media while it rings."""
        self.sessions: list[Session] = []
        self.sdp = sdp(40000 + number * 2)
        self.messages: list[Message] = []
        self.message_status = 200
        self.answers_messages = True
        self.notified: list[Message] = []
        """NOTIFY within its calls."""

    def call(self, user: str, body: bytes | None = None, **headers: str) -> Session:
        """Call somebody."""
        given = [(name.replace("_", "-"), value) for name, value in headers.items() if name != "content_type"]
        if "p_asserted_identity" not in headers and self.user != "guest":
            given.append(("P-Asserted-Identity", f"<sip:{self.user}@hotswitch>"))
        session = self.endpoint.invite(
            f"sip:{user}@hotswitch",
            f"<sip:{self.user}@hotswitch>",
            f"<sip:{user}@hotswitch>",
            Flow("udp", "sip-udp", *PROXY),
            now=self.simulation.now,
            headers=given,
            body=self.sdp if body is None else body,
            content_type=headers.get("content_type", "application/sdp"),
        )
        self.sessions.append(session)
        self.simulation.settle()
        return session

    def named(self, name: str) -> list[Event]:
        """Events of this name."""
        return [event for event in self.events if type(event).__name__ == name]

    def take(self) -> list[Send]:
        sends: list[Send] = []
        for one in self.endpoint.take():
            if isinstance(one, Send):
                sends.append(one)
            else:
                self.events.append(one)
                self.react(one)
        if self.endpoint.out:
            sends += self.take()
        return sends

    def react(self, event: Event) -> None:
        now = self.simulation.now
        if isinstance(event, InviteReceived):
            self.sessions.append(event.session)
            if f" {self.protocol} ".encode() not in event.session.invite.body and self.protocol:
                event.session.reject(488, now=now)
                return
            if self.reject:
                event.session.reject(self.reject, now=now, headers=self.reject_headers)
                return
            event.session.progress(183 if self.early else 180, self.sdp if self.early else b"", now=now)
            if self.ring_seconds is not None:
                self.simulation.later(self.ring_seconds, lambda: self.answer(event.session))
        elif isinstance(event, ReinviteReceived) and self.refuses_changes:
            event.session.reject_reinvite(self.refuses_changes, now=now)
        elif isinstance(event, ReinviteReceived):
            event.session.answer_reinvite(self.sdp, now=now)
        elif isinstance(event, Answered) and not event.session.invite.body:
            event.session.acknowledge(self.sdp, now=now)
        elif isinstance(event, ReinviteAnswered) and event.message is not None and event.status < 300:
            sent = event.session.sent
            if event.message.cseq_method == "INVITE" and sent is not None and not sent.message.body:
                event.session.acknowledge(self.sdp, now=now)
        elif isinstance(event, SessionRequestReceived):
            (self.messages if event.message.method == "MESSAGE" else self.notified).append(event.message)
            if self.answers_messages or event.message.method != "MESSAGE":
                event.request.respond(self.message_status if event.message.method == "MESSAGE" else 200, now=now)
        elif isinstance(event, RequestReceived):
            self.messages.append(event.message)
            event.request.respond(self.message_status, now=now)

    def answer(self, session: Session) -> None:
        if session.state in ("calling", "ringing"):
            session.accept(self.sdp, now=self.simulation.now)


class Simulation:
    """One router and all around it."""

    def __init__(self, folder: Path, *, platform: str = "voice", loss: float = 0.0, seed: int = 1, media: int = 2) -> None:
        self.now = 1_000_000.0
        self.random = random.Random(seed)
        self._router_random = random.Random(f"router {seed}")
        self.loss = loss
        self.folder = folder
        self.jobs: list[tuple[str, str, str]] = []
        """(kind, operation, worker) of every job, and of each step of one."""
        self.dead: set[str] = set()
        """Dependents that answer nothing: their jobs are ``unavailable``."""
        self.preferred = ""
        """Where jobs go that name nobody."""
        self.slow: dict[str, float] = {}
        """Operation to how long its answer takes."""
        self.notified: list[dict[str, object]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._dialogs: dict[str, Phone] = {}
        self._replies: dict[tuple[str, int], tuple[str, int]] = {}
        self._sockets: list[socket.socket] = []
        self.platform = platform
        self.memory = os.memfd_create("calls")
        """Where the router's calls outlive it."""
        self.router = self._router()
        self.cores: dict[str, Core] = {"router-1": self.router}
        self.kinds = {"routing-1": "routing", "queue-1": "call_queue", "database-1": "resource_database"}
        self.start("routing-1")
        self.start("queue-1")
        self.start("database-1")
        for number in range(1, media + 1):
            self.kinds[f"media-{number}"] = "media_processor"
            self.start(f"media-{number}")
        self.phones = {user: Phone(self, user, number) for number, user in enumerate(["1001", "1002", "1003", "guest"], 1)}

    def _router(self) -> CallRouter:
        router = CallRouter(self.memory, self._router_random.randbytes)
        router.configure(
            CallRouterConfiguration(
                id="router-1",
                platform=self.platform,
                jobs=NO_KEYS,
                realm="hotswitch",
                host=ROUTER[0],
                port=ROUTER[1],
                public_host=PROXY[0],
                public_port=PROXY[1],
                proxies=[Peer(id="proxy-1", host=PROXY[0], port=PROXY[1])],
            ),
            self.now,
        )
        return router

    def restart(self) -> None:
        """The router is killed, and started again."""
        for number in [number for number, (client, _) in self._replies.items() if client == "router-1"]:
            del self._replies[number]
        self.router = self.cores["router-1"] = self._router()
        self.settle()

    def start(self, id: str) -> None:
        """A dependent's process starts, perhaps again."""
        kind = self.kinds[id]
        core: Core
        if kind == "routing":
            core = Routing()
            routes = [
                Route(pattern="30XX", action="conference"),
                Route(pattern="4000", action="queue"),
                Route(pattern="9196", action="echo"),
                Route(pattern="9664", action="music"),
                Route(pattern="0XXX", action="outside", target="sip:trunk@198.51.100.4:5062", callers=["1001"]),
            ]
            users = ["1001", "1002", "1003"]
            core.configure(
                RoutingConfiguration(id=id, platform="voice", jobs=NO_KEYS, realm="hotswitch", users=users, routes=routes), self.now
            )
        elif kind == "call_queue":
            core = CallQueue()
            queues = [Queue(name="4000", members=["1003"], ring_seconds=10.0)]
            core.configure(CallQueueConfiguration(id=id, platform="voice", jobs=NO_KEYS, queues=queues), self.now)
        elif kind == "resource_database":
            core = ResourceDatabase(str(self.folder))
            core.configure(ResourceDatabaseConfiguration(id=id, platform="voice", jobs=NO_KEYS, size_bytes_max=1 << 22), self.now)
        else:
            pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
            for one in pair:
                one.bind(("127.0.0.1", 0))
            self._sockets += pair
            core = Media({"rtp": pair[0].fileno(), "rtcp": pair[1].fileno()})
            core.configure(
                MediaProcessorConfiguration(
                    id=id,
                    platform="voice",
                    jobs=NO_KEYS,
                    media=MediaConfiguration(host="127.0.0.1", rtp_port_first=39000, rtp_port_last=39099),
                ),
                self.now,
            )
        self.cores[id] = core

    def close(self) -> None:
        for core in self.cores.values():
            if isinstance(core, Media | ResourceDatabase):
                core.close()
        for one in self._sockets:
            one.close()
        os.close(self.memory)

    def register(self, *users: str, contact: str = "", **more: Any) -> None:
        """Phones register, as a proxy would tell."""
        for user in users:
            phone = self.phones[user]
            uri = contact or f"sip:{user}@{phone.address[0]}:{phone.address[1]}"
            change = BindingChange(contact=uri, path=f"<sip:token@{PROXY[0]}:{PROXY[1]};lr>", expires_seconds=3600.0, **more)
            self.cores["database-1"].job(Job(0, "proxy-1", "bind", msgspec.msgpack.encode(Bind(aor=user, bindings=[change]))), self.now)
            self.settle()

    def legs(self) -> int:
        """Legs on all media processors that live."""
        return sum(core.remaining() for id, core in self.cores.items() if isinstance(core, Media) and id not in self.dead)

    def records(self, name: str = "call-ended") -> list[dict[str, object]]:
        return [one for one in self.notified if one["event"] == name]

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        self._agenda.append((self.now + seconds, self._count, action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.settle()
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, max(self.now + STEP_SECONDS, self._next()))
            due = sorted(one for one in self._agenda if one[0] <= self.now)
            self._agenda = [one for one in self._agenda if one[0] > self.now]
            for _, _, action in due:
                action()
            for id, core in self.cores.items():
                if id not in self.dead and not isinstance(core, Media) and (at := core.deadline()) is not None and at <= self.now:
                    core.timeout(self.now)
            for phone in self.phones.values():
                phone.endpoint.timeout(self.now)
            self.settle()

    def _next(self) -> float:
        """When something is due."""
        due = [one[0] for one in self._agenda]
        due += [at for id, core in self.cores.items() if id not in self.dead and not isinstance(core, Media) and (at := core.deadline())]
        due += [at for phone in self.phones.values() if (at := phone.endpoint.deadline())]
        return min(due, default=self.now)

    def tick(self) -> None:
        """One tick of the media processors (they need none for signalling)."""
        for id, core in self.cores.items():
            if isinstance(core, Media) and id not in self.dead:
                core.timeout(self.now)
        self.settle()

    def trunks_end(self) -> None:
        """What joins no members any more goes by itself."""
        for _ in range(3):
            self.now += 3.0
            self.tick()

    def settle(self) -> None:
        """Until nobody has anything to say at this time."""
        busy = True
        while busy:
            busy = False
            for id, core in list(self.cores.items()):
                if id in self.dead:
                    continue
                for effect in core.take():
                    busy = True
                    if isinstance(effect, Send):
                        self._carry(effect, ROUTER)
                    elif isinstance(effect, Ask):
                        self._ask(id, effect)
                    elif isinstance(effect, Reply) and (id, effect.job) in self._replies:
                        client, number = self._replies.pop((id, effect.job))
                        self.cores[client].reply(number, effect.status, effect.body, id, self.now)
                    elif isinstance(effect, Tell) and effect.client in self.cores:
                        self.cores[effect.client].event(id, effect.operation, effect.body, self.now)
                    elif isinstance(effect, Notify):
                        self.notified.append(msgspec.msgpack.decode(msgspec.msgpack.encode(effect.body)))
            for phone in self.phones.values():
                for send in phone.take():
                    busy = True
                    self._carry(send, phone.address)

    def _ask(self, client: str, ask: Ask) -> None:
        workers = [id for id, kind in self.kinds.items() if kind == ask.kind and id not in self.dead]
        worker = ask.worker if ask.worker in workers else "" if ask.worker or not workers else choose(ask.key or str(self._count), workers)
        worker = self.preferred if not ask.worker and self.preferred in workers else worker
        operations = [ask.operation]
        if ask.operation == "steps":
            operations = [step.operation for step in msgspec.msgpack.decode(ask.body, type=Steps).steps]
        self.jobs += [(ask.kind, operation, worker) for operation in operations]
        if not worker:
            self.later(STEP_SECONDS, lambda: self.cores[client].reply(ask.id, "unavailable", b"", "", self.now))
            return
        self._count += 1
        number = self._count
        self._replies[worker, number] = (client, ask.id)

        def do() -> None:
            if worker in self.dead:
                del self._replies[worker, number]
                self.cores[client].reply(ask.id, "unavailable", b"", worker, self.now)
            else:
                self.cores[worker].job(Job(number, client, ask.operation, ask.body), self.now)

        slow = max(self.slow.get(operation, 0.0) for operation in operations)
        if slow:
            self.later(slow, do)
        else:
            do()

    def _carry(self, send: Send, source: tuple[str, int]) -> None:
        if self.random.random() < self.loss:
            return
        message = Message.parse(send.data)
        target = (send.flow.host, send.flow.port)
        phone = next((phone for phone in self.phones.values() if phone.address == source), None)
        if phone is not None:
            self._dialogs[f"{message.call_id} {phone.user}"] = phone
            self.router.receive(send.data, Flow("udp", "sip-udp", *PROXY), self.now)
            return
        receiver = next((phone for phone in self.phones.values() if phone.address == target), None)
        if receiver is None:  # by the proxy: back in the dialog, or to the contact
            known = [phone for key, phone in self._dialogs.items() if key.startswith(f"{message.call_id} ")]
            receiver = known[0] if known else next((p for p in self.phones.values() if f"@{p.address[0]}:" in message.uri), None)
        ours = message.method is None and f" {ROUTER[0]}:" in message.via
        if target == ROUTER or (receiver is None and (message.has("replaces") or ours)):
            self.router.receive(send.data, Flow("udp", "sip-udp", *PROXY), self.now)  # from a router to a router, through a proxy
        elif receiver is not None:
            receiver.endpoint.receive(send.data, Flow("udp", "sip-udp", *PROXY), self.now)
