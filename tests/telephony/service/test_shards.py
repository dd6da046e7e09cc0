"""Two proxy processes on one public address: both work, and no message of a call overtakes another."""

import select
import socket
import time
from collections import Counter

import pytest
import zmq

from telephony.config import Jobs, Peer, ProxyConfiguration
from telephony.sip.message import Message, make_response
from tests.telephony.service.unit import Unit, tcp, udp
from tests.telephony.test_shard import group

pytestmark = pytest.mark.process
CALLS = 24
MESSAGES = 40
UNDER_WAY_MAX = 60
"""Messages sent that the router has not seen: what fits into the smallest receive buffer."""
WAIT_SECONDS = 10.0


class Call:
    """A phone, with one call."""

    def __init__(self, number: int, public: tuple[str, int]) -> None:
        self.socket = udp()
        self.id = f"call-{number}"
        self._public = public
        self._port = self.socket.getsockname()[1]
        self._route = ""
        self._to_tag = ""
        self._uri = "sip:9196@hotswitch"
        self.cseq = 0

    def send(self, method: str) -> None:
        self.cseq += 1
        number = self.cseq - (method == "ACK")
        self.cseq = number
        self.socket.sendto(
            (
                f"{method} {self._uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self._port};branch=z9hG4bK{self.id}-{number}-{method}\r\n"
                f"{self._route}Max-Forwards: 70\r\nFrom: <sip:guest@x>;tag=1\r\nTo: <sip:9196@hotswitch>{self._to_tag}\r\n"
                f"Call-ID: {self.id}\r\nCSeq: {number} {method}\r\nContact: <sip:guest@127.0.0.1:{self._port}>\r\nContent-Length: 0\r\n\r\n"
            ).encode(),
            self._public,
        )

    def established(self) -> None:
        """Read up to the 200, and take its route."""
        self.socket.settimeout(WAIT_SECONDS)
        while (response := Message.parse(self.socket.recv(65535))).status < 200:
            pass
        assert response.status == 200
        self._route = "".join(f"Route: {value}\r\n" for value in reversed(response.get_all("record-route")))
        self._to_tag = f";tag={response.to_tag}"
        self._uri = (response.get("contact") or "").strip("<>")


class Router:
    """Answers every request, and notes the order in which those of a call come."""

    def __init__(self) -> None:
        self.socket = udp()
        self.port = self.socket.getsockname()[1]
        self.seen: dict[str, list[int]] = {}
        self.repeated: Counter[str] = Counter()
        """Requests that came twice."""
        self.proxies: set[int] = set()

    def work(self, seconds: float = 0.0) -> None:
        while select.select([self.socket], [], [], seconds)[0]:
            data, peer = self.socket.recvfrom(65535)
            message = Message.parse(data)
            order = self.seen.setdefault(message.call_id, [])
            if message.method != "ACK":
                if message.cseq in order:  # the proxy repeats it
                    self.repeated[message.call_id] += 1
                else:
                    order.append(message.cseq)
            self.proxies.add(peer[1])
            if message.method != "ACK":
                contact = [("Contact", f"<sip:127.0.0.1:{self.port}>")]
                self.socket.sendto(make_response(message, 200, to_tag="r", headers=contact).serialize(), peer)
            seconds = 0.0

    @property
    def count(self) -> int:
        return sum(map(len, self.seen.values()))


class Pair:
    """Two proxies that share an address, a router, and calls."""

    def __init__(self) -> None:
        self._group = group("127.0.0.1", 2)
        self.public = self._group[0].getsockname()
        self.router = Router()
        self._owns = [udp(), udp()]
        self._streams = [tcp(), tcp()]
        self.ports = [own.getsockname()[1] for own in self._owns]
        self.calls = [Call(number, self.public) for number in range(CALLS)]
        self.units: list[Unit] = []
        self._sent = 0

    def __enter__(self) -> "Pair":
        for own, stream, port in zip(self._owns, self._streams, self.ports, strict=True):
            sockets = {"sip-udp": own, "sip-tcp": stream, "public-udp": self._group[0], "public-udp-1": self._group[1]}
            self.units.append(Unit("proxy", f"proxy-{port}", sockets))
            self.configure(len(self.units) - 1, 0, 1)
        return self

    def __exit__(self, *_: object) -> None:
        for unit in self.units:
            unit.kill()
        everything: list[socket.socket] = [
            *self._group,
            *self._owns,
            *self._streams,
            self.router.socket,
            *(call.socket for call in self.calls),
        ]
        for one in everything:
            one.close()

    def configure(self, unit: int, *hearers: int) -> None:
        """Tell a proxy who hears each share, and wait until it says that it acts by it."""
        hears = [self.ports[hearer] for hearer in hearers]
        self.units[unit].configure(configuration(self.ports[unit], self.public, self.router.port, hears, self.ports))

    def establish(self) -> None:
        for call in self.calls:
            call.send("INVITE")
        until(self.router, CALLS)
        for call in self.calls:
            call.established()
            call.send("ACK")
        self._sent = CALLS

    def talk(self, messages: int) -> None:
        """Each call sends so many more requests."""
        for _ in range(messages):
            for call in self.calls:
                call.send("INFO")
                self._sent += 1
                until(self.router, self._sent - UNDER_WAY_MAX)

    def check(self) -> None:
        """All that was sent came, in order."""
        until(self.router, self._sent)
        assert self.router.proxies == set(self.ports), "both have worked"
        disordered = {id: order for id, order in self.router.seen.items() if order != sorted(order)}
        assert not disordered, (disordered, self.router.repeated)


def test_no_message_of_a_call_overtakes_another() -> None:
    with Pair() as pair:
        pair.establish()
        pair.talk(MESSAGES)
        pair.check()


def test_a_share_that_passes_loses_nothing_and_nothing_overtakes() -> None:
    """To and fro under load: who had it stops, then the other one begins. Nobody repeats what is sent here."""
    with Pair() as pair:
        pair.establish()
        for hearer, former in ((1, 0), (0, 1)) * 4:
            pair.talk(1)
            pair.configure(former, hearer, 1)
            pair.talk(1)  # half of it waits in the socket
            pair.configure(hearer, hearer, 1)
        pair.check()


def until(router: Router, count: int) -> None:
    """Let the router work until it has seen so many requests."""
    end = time.monotonic() + WAIT_SECONDS
    router.work()
    while router.count < count:
        assert time.monotonic() < end, {id: len(order) for id, order in router.seen.items()}
        router.work(0.05)


def configuration(port: int, public: tuple[str, int], router: int, hearers: list[int], ports: list[int]) -> ProxyConfiguration:
    key, secret = (text.decode() for text in zmq.curve_keypair())
    return ProxyConfiguration(
        id=f"proxy-{port}",
        platform="voice",
        jobs=Jobs(curve_public=key, curve_secret=secret),
        realm="hotswitch",
        host="127.0.0.1",
        port=port,
        public_host=public[0],
        public_port=public[1],
        public=True,
        public_shards=[f"127.0.0.1:{each}" for each in hearers],
        routers={"voice": [Peer(id="router-1", host="127.0.0.1", port=router)]},
        proxies=[f"127.0.0.1:{each}" for each in ports],
        guest_targets=["9196"],
        nonce_secret=b"n" * 32,
    )
