"""The elements of a scenario, all of them real cores, on a link under a fake clock that loses and delays what it is told to."""

import heapq
import random
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from media.config import MediaConfiguration
from telephony.call_queue.core import CallQueue
from telephony.call_router.core import CallRouter
from telephony.config import (
    CallQueueConfiguration,
    CallRouterConfiguration,
    Jobs,
    MediaProcessorConfiguration,
    Peer,
    ProxyConfiguration,
    Queue,
    ResourceDatabaseConfiguration,
    Route,
    RoutingConfiguration,
    User,
)
from telephony.core import Core, Job
from telephony.effects import Ask, Notify, Reply, Send, Tell
from telephony.media_processor.core import Media
from telephony.proxy.core import Proxy
from telephony.resource_database.core import ResourceDatabase
from telephony.routing.core import Routing
from telephony.sip.digest import ha1
from telephony.sip.message import Message
from tests.scenarios.phone import Phone
from tests.scenarios.transcript import SETTLE_SECONDS, Sent
from tests.telephony.sip.network import Network

NO_KEYS = Jobs(curve_public="", curve_secret="")
ROUTES = [
    Route(pattern="30XX", action="conference"),
    Route(pattern="4000", action="queue"),
    Route(pattern="9196", action="echo"),
    Route(pattern="9664", action="music"),
]

_PHONE = re.compile(r"(\w+) +phone (\w+)(?: behind (\w+))?")
_PROXY = re.compile(r"(\w+) +proxy(?: in front of ([\w ]+?))?(?: beside (\w+))?(?:, users ([\w ]+?))?(?:, guests may call ([\w ]+))?")
_ROUTER = re.compile(r"(\w+) +call router(?:, queue of ([\w ]+))?")


class Fault(NamedTuple):
    """What happens to the next messages of a kind."""

    matches: Callable[[Sent], bool]
    count: int
    seconds: float
    """They are late by so much; 0: they are lost."""


class World(Network):
    """Phones, proxies and call routers of a scenario, with the services behind them."""

    def __init__(self, declarations: list[str], folder: Path) -> None:
        """
        Raises:
            ValueError: a declaration that has no meaning.
        """
        super().__init__()
        self.phones: dict[str, Phone] = {}
        self.proxies: dict[str, Proxy] = {}
        self.routers: dict[str, CallRouter] = {}
        self.sent: list[Sent] = []
        self.faults: list[Fault] = []
        self.since = self.now
        """When the last action was."""
        self.notified: list[dict[str, object]] = []
        self._folder = folder
        self._names: dict[str, str] = {}
        self._dependents: dict[str, Core] = {}
        self._sockets: list[socket.socket] = []
        self._jobs: dict[tuple[str, int], tuple[Any, int]] = {}
        self._job = 0
        phones = [found for line in declarations if (found := _PHONE.fullmatch(line))]
        proxies = [found for line in declarations if (found := _PROXY.fullmatch(line))]
        routers = [found for line in declarations if (found := _ROUTER.fullmatch(line))]
        if len(phones) + len(proxies) + len(routers) != len(declarations):
            raise ValueError(f"expected phones, proxies and call routers, got {declarations}")
        self._own = {found[1]: (f"192.0.2.{100 + number}", 5060) for number, found in enumerate(proxies)}
        self._public = {found[1]: (f"203.0.113.{100 + number}", 5060) for number, found in enumerate(proxies)}
        self._front = {found[1]: found[3] or found[1] for found in proxies}
        self._addresses = {found[1]: (f"198.51.100.{number}", 5060) for number, found in enumerate(phones, 1)}
        self._addresses |= {found[1]: (f"192.0.2.{1 + number}", 5060) for number, found in enumerate(routers)}
        for found in phones:
            self._add_phone(*found.groups())
        for found in proxies:
            self._add_proxy(found[1], (found[2] or "").split(), found[3] or "", (found[4] or "").split(), (found[5] or "").split())
        for found in routers:
            self._add_router(found[1], (found[2] or "").split(), [proxy[1] for proxy in proxies if found[1] in (proxy[2] or "").split()])

    def close(self) -> None:
        for core in self._dependents.values():
            if isinstance(core, Media | ResourceDatabase):
                core.close()
        for one in self._sockets:
            one.close()

    def public(self, proxy: str) -> tuple[str, int]:
        """Address that users know a proxy by."""
        return self._public[proxy]

    def uri(self, target: str, caller: Phone) -> str:
        """What ``caller`` calls: a phone's name, a number, or a URI."""
        if target.startswith("sip"):
            return target
        callee = self.phones.get(target)
        if callee is None:
            return f"sip:{target}@{caller.realm}"
        return f"sip:{callee.user}@{callee.address[0] if caller.server is None else callee.realm}"

    def move(self, phone: Phone, host: str) -> None:
        """A phone is at another address from now on; nobody is at the old one."""
        del self.nodes[phone.address]
        phone.move((host, 5060))
        self._join(phone.name, phone, {"sip": (host, 5060)})

    def at_rest(self) -> None:
        """Nobody says anything more, and nothing is left but bindings, after the longest timer.

        Raises:
            AssertionError: something is.
        """
        self.run(400.0)
        assert not self.sent, "after the end:\n" + "\n".join(map(str, self.sent))
        for name, phone in self.phones.items():
            left = (phone.endpoint.sessions, phone.endpoint.transactions.clients, phone.endpoint.transactions.servers)
            assert not any(left), f"{name} has something left: {left}"
            assert phone.deadline() is None, name
        for name, proxy in self.proxies.items():
            assert not (proxy.transactions.clients or proxy.transactions.servers or proxy.remaining()), f"{name} has something left"
        for name, router in self.routers.items():
            assert router.remaining() == 0, f"{name} has a call left"
        legs = [core.remaining() for core in self._dependents.values() if isinstance(core, Media)]
        assert not any(legs), "a leg is left"

    # Elements

    def _join(self, name: str, node: Any, sockets: dict[str, tuple[str, int]]) -> None:
        for socket_name, address in sockets.items():
            self.add(*address, node, socket_name)
            self._names[address[0]] = name

    def _add_phone(self, name: str, user: str, server: str | None) -> None:
        if server is not None and server not in self._public:
            raise ValueError(f"expected a proxy to be behind, got {server!r}")
        way = self._public[server] if server else None
        phone = self.phones[name] = Phone(
            name, user, self._addresses[name], way, f"{server}.example.com" if server else "", lambda: self.now
        )
        self._join(name, phone, {"sip": phone.address})

    def _add_proxy(self, name: str, targets: list[str], beside: str, users: list[str], guests: list[str]) -> None:
        realm = f"{beside or name}.example.com"
        own, public = self._own[name], self._public[beside or name]
        peers = [Peer(id=target, host=host, port=port) for target in targets for host, port in [self._hop(target)]]
        passwords = {phone.user: phone.password for phone in self.phones.values() if phone.user in users or phone.server == public}
        proxy = self.proxies[name] = Proxy(random.Random(name).randbytes)
        proxy.configure(
            ProxyConfiguration(
                id=name,
                platform="voice",
                jobs=NO_KEYS,
                realm=realm,
                host=own[0],
                port=own[1],
                public_host=public[0],
                public_port=public[1],
                public=not beside,
                routers={"voice": peers},
                proxies=[f"{host}:{port}" for other, (host, port) in self._own.items() if self._front[other] == self._front[name]],
                users=[
                    User(name=user, ha1={algorithm: ha1(user, realm, password, algorithm) for algorithm in ("MD5", "SHA-256")})
                    for user, password in passwords.items()
                ],
                nonce_secret=b"a secret that all proxies share.",
                guest_targets=guests,
                platform_of_method={},
            ),
            self.now,
        )
        self._join(name, proxy, {"sip-udp": own} | ({} if beside else {"public-udp": public}))
        self._need("resource_database")

    def _hop(self, target: str) -> tuple[str, int]:
        """Where a proxy sends to: a phone, a call router, or another proxy's public address."""
        return self._public.get(target) or self._addresses[target]

    def _add_router(self, name: str, members: list[str], proxies: list[str]) -> None:
        router = self.routers[name] = CallRouter(random=random.Random(name).randbytes)
        host, port = self._addresses[name]
        front = next((phone.realm for phone in self.phones.values() if phone.server is not None), "example.com")
        router.configure(
            CallRouterConfiguration(
                id=name,
                platform="voice",
                jobs=NO_KEYS,
                realm=front,
                host=host,
                port=port,
                public_host=self._public[proxies[0]][0],
                public_port=5060,
                proxies=[Peer(id=proxy, host=self._own[proxy][0], port=5060) for proxy in proxies],
            ),
            self.now,
        )
        self._join(name, router, {"sip-udp": (host, port)})
        for kind in ("routing", "media_processor", "resource_database"):
            self._need(kind)
        if members:
            queue = CallQueue()
            queues = [Queue(name="4000", members=members, ring_seconds=10.0)]
            queue.configure(CallQueueConfiguration(id="call_queue", platform="voice", jobs=NO_KEYS, queues=queues), self.now)
            self._dependents["call_queue"] = queue

    def _need(self, kind: str) -> None:
        """A service that others ask."""
        if kind in self._dependents:
            return
        core: Core
        if kind == "routing":
            core = Routing()
            users = [phone.user for phone in self.phones.values()]
            configuration: Any = RoutingConfiguration(
                id=kind, platform="voice", jobs=NO_KEYS, realm="example.com", users=users, routes=ROUTES
            )
        elif kind == "resource_database":
            core = ResourceDatabase(str(self._folder))
            configuration = ResourceDatabaseConfiguration(id=kind, platform="voice", jobs=NO_KEYS, size_bytes_max=1 << 22)
        else:
            pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
            for one in pair:
                one.bind(("127.0.0.1", 0))
            self._sockets += pair
            core = Media({"rtp": pair[0].fileno(), "rtcp": pair[1].fileno()})
            media = MediaConfiguration(host="127.0.0.1", rtp_port_first=39000, rtp_port_last=39099)
            configuration = MediaProcessorConfiguration(id=kind, platform="voice", jobs=NO_KEYS, media=media)
        core.configure(configuration, self.now)
        self._dependents[kind] = core

    # The link

    def collect(self) -> None:
        """Take every node's effects: put messages on their way, have jobs done at once."""
        busy = True
        while busy:
            busy = False
            for node in dict.fromkeys(self.nodes.values()):
                addresses = {self.sockets[address]: address for address, owner in self.nodes.items() if owner is node}
                for effect in node.take():
                    busy = True
                    if isinstance(effect, Send):
                        self._send(addresses.get(effect.flow.socket) or next(iter(addresses.values())), effect)
                    elif isinstance(effect, Ask):
                        self._ask(node, effect)
                    elif isinstance(effect, Notify):
                        self.notified.append(effect.body)
            for id, core in self._dependents.items():
                for effect in core.take():
                    busy = True
                    if isinstance(effect, Ask):
                        self._ask(core, effect)
                    else:
                        self._answered(id, effect)

    def _ask(self, node: Any, ask: Ask) -> None:
        core = self._dependents.get(ask.kind)
        if core is None:
            node.reply(ask.id, "unavailable", b"", "", self.now)
            return
        self._job += 1
        self._jobs[ask.kind, self._job] = (node, ask.id)
        clients = {**self.routers, **self.proxies, **self._dependents}
        client = next(name for name, owner in clients.items() if owner is node)
        core.job(Job(self._job, client, ask.operation, ask.body), self.now)

    def _answered(self, id: str, effect: object) -> None:
        if isinstance(effect, Reply) and (id, effect.job) in self._jobs:
            node, ask = self._jobs.pop((id, effect.job))
            node.reply(ask, effect.status, effect.body, id, self.now)
        elif isinstance(effect, Tell) and effect.client in self.routers:
            self.routers[effect.client].event(id, effect.operation, effect.body, self.now)

    def run(self, seconds: float = SETTLE_SECONDS) -> None:
        """Let this much time pass. Services behind the proxies have their time too; media processors need none here."""
        super().run(seconds)
        for core in self._dependents.values():
            if not isinstance(core, Media) and (at := core.deadline()) is not None and at <= self.now:
                core.timeout(self.now)

    def _send(self, source: tuple[str, int], effect: Send) -> None:
        target = effect.flow.host, effect.flow.port
        names = self._names.get(source[0], source[0]), self._names.get(target[0], target[0])
        sent = Sent(self.now - self.since, *names, Message.parse(effect.data), False)
        late = 0.0
        for number, fault in enumerate(self.faults):
            if fault.matches(sent):
                late = fault.seconds
                sent = sent._replace(lost=not late)
                self.faults[number : number + 1] = [fault._replace(count=fault.count - 1)] if fault.count > 1 else []
                break
        self.sent.append(sent)
        if not sent.lost:
            self._count += 1
            heapq.heappush(self._flying, (self.now + 0.001 + late, self._count, source, target, effect.data))
