"""SIP endpoints on real UDP sockets around a real proxy process."""

import select
import socket
import time
from collections.abc import Callable

import zmq

from telephony.config import Jobs, Peer, ProxyConfiguration
from telephony.effects import Send
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event
from telephony.sip.flow import Flow
from tests.telephony.service.unit import Unit, tcp, udp

WAIT_SECONDS = 10.0


class Party:
    """A SIP endpoint on a real UDP socket."""

    def __init__(self) -> None:
        self.socket = udp()
        self.port = self.socket.getsockname()[1]
        self.endpoint = Endpoint(f"127.0.0.1:{self.port}")
        self.events: list[Event] = []

    def work(self) -> None:
        while select.select([self.socket], [], [], 0)[0]:
            data, (host, port) = self.socket.recvfrom(65535)
            self.endpoint.receive(data, Flow("udp", "sip", host, port), time.time())
        self.endpoint.timeout(time.time())
        for one in self.endpoint.take():
            if isinstance(one, Send):
                self.socket.sendto(one.data, (one.flow.host, one.flow.port))
            else:
                self.events.append(one)

    def close(self) -> None:
        self.socket.close()


def until(parties: list[Party], condition: Callable[[], object]) -> None:
    """Let them work until the condition holds."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, [party.events for party in parties]
        for party in parties:
            party.work()
        select.select([party.socket for party in parties], [], [], 0.02)


def proxy_unit(router: Party, name_server: str = "") -> tuple[Unit, dict[str, socket.socket]]:
    """A proxy process with one call router, and its sockets."""
    sockets = {"sip-udp": udp(), "sip-tcp": tcp(), "public-udp": udp(), "public-tcp": tcp()}
    ports = {name: one.getsockname()[1] for name, one in sockets.items()}
    public, secret = zmq.curve_keypair()
    unit = Unit("proxy", "proxy-1", dict(sockets))
    unit.configure(
        ProxyConfiguration(
            id="proxy-1",
            platform="voice",
            jobs=Jobs(curve_public=public.decode(), curve_secret=secret.decode()),
            realm="hotswitch",
            host="127.0.0.1",
            port=ports["sip-udp"],
            public_host="127.0.0.1",
            public_port=ports["public-udp"],
            public=True,
            routers={"voice": [Peer(id="router-1", host="127.0.0.1", port=router.port)]},
            name_servers=[name_server] if name_server else [],
        )
    )
    return unit, sockets
