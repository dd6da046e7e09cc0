"""A proxy between phones and call routers, all of them real cores, on a network under a fake clock."""

import random

from telephony.config import Jobs, Peer, ProxyConfiguration, User
from telephony.proxy.core import Proxy
from telephony.sip.digest import ha1
from telephony.sip.endpoint import Endpoint
from telephony.sip.flow import Flow
from telephony.sip.session import Session
from tests.telephony.sip.network import Network

PHONE = ("192.0.2.1", 5060)
OWN = ("192.0.2.10", 5060)
OTHER = ("192.0.2.11", 5060)
PUBLIC = ("192.0.2.100", 5060)
ROUTERS = (("192.0.2.20", 5060), ("192.0.2.21", 5060))
SECRET = b"0123456789abcdef0123456789abcdef"
REALM = "hotswitch"


def user(name: str, password: str) -> User:
    return User(name=name, ha1={algorithm: ha1(name, REALM, password, algorithm) for algorithm in ("MD5", "SHA-256")})


def configuration(routers: int = 1, public: bool = True, own: tuple[str, int] = OWN, **changes: object) -> ProxyConfiguration:
    peers = [Peer(id=f"router-{number}", host=host, port=port) for number, (host, port) in enumerate(ROUTERS[:routers])]
    given: dict[str, object] = {
        "id": "proxy-1",
        "platform": "voice",
        "jobs": Jobs(curve_public="", curve_secret=""),
        "realm": REALM,
        "host": own[0],
        "port": own[1],
        "public_host": PUBLIC[0],
        "public_port": PUBLIC[1],
        "public": public,
        "routers": {"voice": peers, "messaging": peers},
        "trusted": [f"{host}:{port}" for host, port in ROUTERS],
        "proxies": [f"{host}:{port}" for host, port in (OWN, OTHER)],
        "users": [user("1001", "one"), user("1002", "two")],
        "nonce_secret": SECRET,
        "guest_targets": ["9196"],
    }
    return ProxyConfiguration(**{**given, **changes})  # type: ignore[arg-type]


class Setting:
    """One phone, one proxy (or two: the second holds the public address), one or two routers."""

    def __init__(self, routers: int = 1, two_proxies: bool = False, **network: object) -> None:
        self.network = Network(**network)  # type: ignore[arg-type]
        self.phone = Endpoint(f"{PHONE[0]}:5060", random=random.Random(1).randbytes, user="phone")
        self.network.add(*PHONE, self.phone)
        self.routers = []
        for number in range(routers):
            host, port = ROUTERS[number]
            router = Endpoint(f"{host}:{port}", random=random.Random(10 + number).randbytes)
            self.routers.append(router)
            self.network.add(host, port, router, "sip")
        self.proxy = Proxy(random.Random(5).randbytes)
        self.proxy.configure(configuration(routers, public=not two_proxies), self.now)
        self.network.add(*OWN, self.proxy, "sip-udp")
        self.second = Proxy(random.Random(6).randbytes)
        if two_proxies:
            self.second.configure(configuration(routers, own=OTHER), self.now)
            self.network.add(*OTHER, self.second, "sip-udp")
        self.network.add(*PUBLIC, self.second if two_proxies else self.proxy, "public-udp")

    @property
    def now(self) -> float:
        return self.network.now

    @property
    def outside(self) -> Flow:
        """The phone's flow to the public address."""
        return self.network.flow(*PUBLIC)

    def invite(self, target: str = "sip:9196@192.0.2.100", from_: str = "<sip:guest@192.0.2.1>", **options: object) -> Session:
        return self.phone.invite(target, from_, f"<{target}>", self.outside, now=self.now, body=b"offer", **options)  # type: ignore[arg-type]

    def run(self, seconds: float = 0.1) -> tuple[list[object], list[object]]:
        """What the phone and the first router saw."""
        self.network.run(seconds)
        return self.network.happened(*PHONE), self.network.happened(*ROUTERS[0])

    def at_rest(self) -> None:
        """Nothing is left after the longest timer."""
        self.network.run(400)
        for core in (self.phone, *self.routers, self.proxy, self.second):
            assert not core.transactions.clients
            assert not core.transactions.servers
            assert not core.transactions._waiting
            assert core.deadline() is None
        assert self.proxy.remaining() == self.second.remaining() == 0
