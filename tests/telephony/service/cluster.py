"""A small cluster of real service processes on one host, without agent and controller."""

import hashlib
import socket
import time
from pathlib import Path

import msgspec
import zmq

from media.config import MediaConfiguration
from telephony.config import (
    CallQueueConfiguration,
    CallRouterConfiguration,
    Dependent,
    Jobs,
    LoadBalancerConfiguration,
    MediaProcessorConfiguration,
    Peer,
    ProxyConfiguration,
    Queue,
    ResourceDatabaseConfiguration,
    Route,
    RoutingConfiguration,
    User,
)
from tests.telephony.service.unit import Unit, tcp, udp

REALM = "hotswitch"
USERS = {"1001": "one", "1002": "two", "1003": "three"}
ROUTES = [
    Route(pattern="30XX", action="conference"),
    Route(pattern="4000", action="queue"),
    Route(pattern="9196", action="echo"),
    Route(pattern="9664", action="music"),
]


def users() -> list[User]:
    """Subscribers with their digest secrets."""
    return [
        User(
            name=name,
            ha1={
                "MD5": hashlib.md5(f"{name}:{REALM}:{password}".encode()).hexdigest(),
                "SHA-256": hashlib.sha256(f"{name}:{REALM}:{password}".encode()).hexdigest(),
            },
        )
        for name, password in USERS.items()
    ]


class Cluster:
    """One of each service of a platform; `close` ends them.

    Args:
        folder: for the database.
        balancers: how many pairs of router and balancer.
    """

    def __init__(self, folder: Path, platform: str = "voice", balancers: int = 1, media: int = 1, proxy: bool = True) -> None:
        self.folder = folder
        self.platform = platform
        self.units: dict[str, Unit] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self.public_udp, self.public_tcp = _pair()
        self._listeners = {f"balancer-{number}": tcp() for number in range(1, balancers + 1)}
        self._sip = {f"router-{number}": udp() for number in range(1, balancers + 1)}
        self._proxy_udp, self._proxy_tcp = _pair()
        self.listed: dict[str, Dependent] = {}
        kinds = {"database-1": "resource_database", "routing-1": "routing"}
        if platform == "voice":
            kinds |= {"queue-1": "call_queue"}
            kinds |= {f"media-{number}": "media_processor" for number in range(1, media + 1)}
        if proxy:
            kinds["proxy-1"] = "proxy"
        for id, kind in kinds.items():
            self.list(id, kind)
        for number in range(1, balancers + 1):
            self.start_balancer(number)
        for id, kind in kinds.items():
            self.start(id, kind)
        for number in range(1, balancers + 1):
            self.start_router(number)

    @property
    def sip(self) -> tuple[str, int]:
        """Address that users know."""
        address: tuple[str, int] = self.public_udp.getsockname()
        return address

    def keys(self, id: str) -> tuple[str, str]:
        """CURVE key pair of a service."""
        if id not in self._keys:
            public, secret = zmq.curve_keypair()
            self._keys[id] = (public.decode(), secret.decode())
        return self._keys[id]

    def jobs(self, id: str, *only: str) -> Jobs:
        """How a service takes part in jobs."""
        public, secret = self.keys(id)
        peers = [
            Peer(id=name, host="127.0.0.1", port=listener.getsockname()[1], curve_public=self.keys(name)[0])
            for name, listener in self._listeners.items()
            if name != id and (not only or name in only)
        ]
        return Jobs(curve_public=public, curve_secret=secret, balancers=[] if id.startswith("balancer") else peers)

    def list(self, id: str, kind: str, takes_new: bool = True) -> None:
        """Put a dependent on the balancers' lists (see `publish`)."""
        host, port = self._proxy_udp.getsockname() if kind == "proxy" else ("", 0)
        self.listed[id] = Dependent(id=id, kind=kind, curve_public=self.keys(id)[0], takes_new=takes_new, host=host, port=port)

    def publish(self) -> None:
        """Give the balancers their list."""
        for number in range(1, len(self._listeners) + 1):
            self.units[f"balancer-{number}"].configure(self._balancer(number))

    def start_balancer(self, number: int) -> Unit:
        id = f"balancer-{number}"
        self.units[id] = Unit("load_balancer", id, {"jobs": self._listeners[id]})
        self.units[id].configure(self._balancer(number))
        return self.units[id]

    def start_router(self, number: int) -> Unit:
        id = f"router-{number}"
        host, port = self._sip[id].getsockname()
        proxy_host, proxy_port = self._proxy_udp.getsockname()
        unit = self.units[id] = Unit("call_router", id, {"sip-udp": self._sip[id]})
        unit.configure(
            CallRouterConfiguration(
                id=id,
                platform=self.platform,
                jobs=self.jobs(id, f"balancer-{number}"),
                realm=REALM,
                host=host,
                port=port,
                public_host=self.sip[0],
                public_port=self.sip[1],
                proxies=[Peer(id="proxy-1", host=proxy_host, port=proxy_port)],
            )
        )
        return unit

    def start(self, id: str, kind: str, successor_of: str = "", wait: bool = True) -> Unit:
        """Start a dependent."""
        common = {"id": id, "platform": self.platform, "jobs": self.jobs(id)}
        if kind == "routing":
            unit = Unit(kind, id)
            unit.configure(RoutingConfiguration(**common, realm=REALM, users=list(USERS), routes=ROUTES))  # type: ignore[arg-type]
        elif kind == "call_queue":
            unit = Unit(kind, id)
            unit.configure(CallQueueConfiguration(**common, queues=[Queue(name="4000", members=["1003"])]))  # type: ignore[arg-type]
        elif kind == "resource_database":
            state = self.folder / id
            state.mkdir(exist_ok=True)
            unit = Unit(kind, id, state=state)
            unit.configure(ResourceDatabaseConfiguration(**common, successor_of=successor_of, size_bytes_max=1 << 24), wait)  # type: ignore[arg-type]
        elif kind == "media_processor":
            rtp, rtcp = _neighbours()
            unit = Unit(kind, id, {"rtp": rtp, "rtcp": rtcp})
            first = 20000 + 2000 * int(id.rpartition("-")[2]) + (int(time.time()) % 10) * 2000
            unit.configure(
                MediaProcessorConfiguration(
                    **common,  # type: ignore[arg-type]
                    media=MediaConfiguration(host="127.0.0.1", rtp_port_first=first, rtp_port_last=first + 1999),
                )
            )
        else:
            unit = self._start_proxy(id)
        self.units[id] = unit
        return unit

    def close(self) -> None:
        """End every process."""
        for unit in self.units.values():
            unit.kill()
        for one in (
            self.public_udp,
            self.public_tcp,
            self._proxy_udp,
            self._proxy_tcp,
            *self._listeners.values(),
            *self._sip.values(),
            *(one for unit in self.units.values() for one in unit.sockets.values()),
        ):
            one.close()

    def forget(self, id: str) -> None:
        """The unit was ended by the test."""
        del self.units[id]

    def _start_proxy(self, id: str) -> Unit:
        sockets = {
            "sip-udp": self._proxy_udp,
            "sip-tcp": self._proxy_tcp,
            "public-udp": self.public_udp,
            "public-tcp": self.public_tcp,
        }
        host, port = self._proxy_udp.getsockname()
        routers = [Peer(id=name, host=one.getsockname()[0], port=one.getsockname()[1]) for name, one in self._sip.items()]
        unit = Unit("proxy", id, sockets)
        unit.configure(
            ProxyConfiguration(
                id=id,
                platform=self.platform,
                jobs=self.jobs(id),
                realm=REALM,
                host=host,
                port=port,
                public_host=self.sip[0],
                public_port=self.sip[1],
                public=True,
                routers={self.platform: routers},
                default_platform=self.platform if self.platform != "messaging" else "voice",
                trusted=[f"{router.host}:{router.port}" for router in routers],
                users=users(),
                nonce_secret=b"0123456789abcdef0123456789abcdef",
                guest_targets=["9196", "9664"],
            )
        )
        return unit

    def _balancer(self, number: int) -> LoadBalancerConfiguration:
        id = f"balancer-{number}"
        host, port = self._listeners[id].getsockname()
        router = f"router-{number}"
        return LoadBalancerConfiguration(
            id=id,
            platform=self.platform,
            jobs=self.jobs(id),
            host=host,
            port=port,
            router=Peer(id=router, host="127.0.0.1", port=self._sip[router].getsockname()[1], curve_public=self.keys(router)[0]),
            dependents=list(self.listed.values()),
        )


def _pair() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of the same port."""
    while True:
        one = udp()
        try:
            return one, tcp(port=one.getsockname()[1])
        except OSError:
            one.close()


def _neighbours() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets, of an even port and the one after it."""
    while True:
        one = udp()
        port = one.getsockname()[1]
        if port % 2 == 0:
            try:
                return one, udp(port=port + 1)
            except OSError:
                pass
        one.close()


def replaced(configuration: object, **changes: object) -> object:
    """A copy of a configuration with other values."""
    return msgspec.structs.replace(configuration, **changes)  # type: ignore[type-var]
