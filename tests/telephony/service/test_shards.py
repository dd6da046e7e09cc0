"""Two proxy processes on one public address: both work, and no message of a call overtakes another."""

import select
import socket
import time

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
        self.proxies: set[int] = set()

    def work(self, seconds: float = 0.0) -> None:
        while select.select([self.socket], [], [], seconds)[0]:
            data, peer = self.socket.recvfrom(65535)
            message = Message.parse(data)
            order = self.seen.setdefault(message.call_id, [])
            if message.method != "ACK" and message.cseq not in order:  # else the proxy repeats it
                order.append(message.cseq)
            self.proxies.add(peer[1])
            if message.method != "ACK":
                contact = [("Contact", f"<sip:127.0.0.1:{self.port}>")]
                self.socket.sendto(make_response(message, 200, to_tag="r", headers=contact).serialize(), peer)
            seconds = 0.0

    @property
    def count(self) -> int:
        return sum(map(len, self.seen.values()))


def test_no_message_of_a_call_overtakes_another() -> None:
    sockets = group("127.0.0.1", 2)
    public = sockets[0].getsockname()
    router = Router()
    owns = [udp(), udp()]
    ports = [own.getsockname()[1] for own in owns]
    streams = [tcp(), tcp()]
    units: list[Unit] = []
    calls = [Call(number, public) for number in range(CALLS)]
    try:
        for own, stream, port in zip(owns, streams, ports, strict=True):
            unit = Unit("proxy", f"proxy-{port}", {"sip-udp": own, "sip-tcp": stream, "public-udp": sockets[0], "public-udp-1": sockets[1]})
            units.append(unit)
            unit.configure(configuration(port, public, router.port, ports))
        for call in calls:
            call.send("INVITE")
        until(router, CALLS)
        for call in calls:
            call.established()
            call.send("ACK")
        sent = CALLS
        for _ in range(MESSAGES):
            for call in calls:
                call.send("INFO")
                sent += 1
                until(router, sent - UNDER_WAY_MAX)
        until(router, sent)
    finally:
        for unit in units:
            unit.kill()
        everything: list[socket.socket] = [*sockets, *owns, *streams, router.socket, *(call.socket for call in calls)]
        for one in everything:
            one.close()
    assert router.proxies == set(ports), "both have worked"
    assert all(order == sorted(order) for order in router.seen.values())


def until(router: Router, count: int) -> None:
    """Let the router work until it has seen so many requests."""
    end = time.monotonic() + WAIT_SECONDS
    router.work()
    while router.count < count:
        assert time.monotonic() < end, {id: len(order) for id, order in router.seen.items()}
        router.work(0.05)


def configuration(port: int, public: tuple[str, int], router: int, ports: list[int]) -> ProxyConfiguration:
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
        public_shards=[f"127.0.0.1:{each}" for each in ports],
        routers={"voice": [Peer(id="router-1", host="127.0.0.1", port=router)]},
        proxies=[f"127.0.0.1:{each}" for each in ports],
        guest_targets=["9196"],
        nonce_secret=b"n" * 32,
    )
