"""Names, with real sockets: a resolver against a name server on loopback, and a proxy process that calls another domain."""

import time
from collections.abc import Iterator

import pytest

from telephony.dns.system import System
from telephony.effects import Locate
from telephony.service.loop import Loop
from telephony.service.names import Names
from telephony.sip.events import Answered, Rejected
from telephony.sip.flow import Flow
from telephony.sip.resolution import Hop, Located, Sought
from tests.telephony.dns.name_server import NameServer, Zone
from tests.telephony.service.party import Party, proxy_unit, until
from tests.telephony.service.unit import udp

WAIT_SECONDS = 10.0
ZONE = {
    "example.org NAPTR": ['10 20 "s" "SIP+D2U" "" _sip._udp.example.org.', '10 10 "s" "SIP+D2T" "" _sip._tcp.example.org.'],
    "_sip._tcp.example.org SRV": ["10 60 5062 server.example.org."],
    "_sip._udp.example.org SRV": ["10 60 5060 server.example.org."],
    "server.example.org A": ["127.0.0.1"],
}


@pytest.fixture
def zone() -> Zone:
    return Zone(dict(ZONE))


@pytest.fixture
def server(zone: Zone) -> Iterator[NameServer]:
    one = NameServer(zone)
    yield one
    one.close()


def locate(server: NameServer, sought: Sought, timeout_seconds: float = 5.0) -> Located:
    """One resolution on a loop of its own."""
    found: list[Located] = []
    loop = Loop()
    names = Names(loop, System((("127.0.0.1", server.port),), timeout_seconds, 2), lambda effect, located: found.append(located))
    now = time.time()
    names.locate(Locate(1, sought, ("udp", "tcp"), ("A",)), now)
    end = time.monotonic() + WAIT_SECONDS
    while not found:
        assert time.monotonic() < end
        deadline = names.deadline()
        loop.turn(None if deadline is None else max(0.0, deadline - time.time()))
        names.timeout(time.time())
    names.close()
    assert not loop._handlers
    loop.close()
    return found[0]


@pytest.mark.parametrize("fault", ["", "truncated", "old", "wrong-id", "wrong-question"])
def test_a_resolution_over_real_sockets(server: NameServer, zone: Zone, fault: str) -> None:
    zone.faults = dict.fromkeys(("example.org", "_sip._udp.example.org", "server.example.org"), fault)
    located = locate(server, Sought("example.org"))
    assert located == Located([Hop("tcp", "127.0.0.1", 5062), Hop("udp", "127.0.0.1", 5060)])
    assert ("tcp server.example.org A" in zone.asked) == (fault == "truncated")


def test_a_name_server_that_is_not_there() -> None:
    one = NameServer(Zone({}))
    one.close()
    assert locate(one, Sought("example.org", 5060)) == Located([], failed=True)


def test_a_silent_name_server(server: NameServer, zone: Zone) -> None:
    zone.faults = {"server.example.org": "silent"}
    assert locate(server, Sought("server.example.org", 5060), timeout_seconds=0.1) == Located([], failed=True)
    assert zone.asked == ["udp server.example.org A"] * 2


@pytest.mark.process
def test_a_proxy_process_calls_another_domain(server: NameServer, zone: Zone) -> None:
    """The first place does not listen on TCP, the second not on UDP, the third answers; then the domain is gone."""
    router, bob = Party(), Party()
    dead = udp()
    dead_port = dead.getsockname()[1]
    dead.close()
    zone.records |= {
        "_sip._tcp.example.org SRV": [f"10 60 {dead_port} server.example.org."],
        "_sip._udp.example.org SRV": [f"10 60 {dead_port} server.example.org.", f"20 60 {bob.port} bob.example.org."],
        "bob.example.org CNAME": ["server.example.org."],
    }
    unit, sockets = proxy_unit(router, f"127.0.0.1:{server.port}")
    try:
        to_proxy = Flow("udp", "sip", "127.0.0.1", sockets["sip-udp"].getsockname()[1])

        def call(target: str) -> None:
            router.endpoint.invite(target, "<sip:1001@hotswitch>", f"<{target}>", to_proxy, now=time.time(), body=b"offer")

        call("sip:bob@example.org")
        until([router, bob], lambda: bob.events)
        bob.events[0].session.accept(b"answer", now=time.time())  # type: ignore[union-attr]
        until([router, bob], lambda: any(isinstance(event, Answered) for event in router.events))
        assert "udp example.org NAPTR" in zone.asked
        router.events.clear()
        call("sip:bob@nowhere.example.org")
        until([router, bob], lambda: any(isinstance(event, Rejected) and event.status == 404 for event in router.events))
    finally:
        unit.kill()
        router.close()
        bob.close()
        for one in sockets.values():
            one.close()
