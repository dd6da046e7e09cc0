"""A whole proxy core, fed with messages of users, routers and another proxy, with answers of both sides and with time.

Whatever comes: nothing is raised, what it sends can be read, it sends a bounded number of messages for each that comes, and
after the longest timer nothing is left.
"""

import functools
import random

import msgspec

from telephony.effects import Ask, Locate, Send
from telephony.jobs.resource import Binding, Bound, BoundEach
from telephony.proxy.core import Proxy
from telephony.sip.digest import Credentials
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.resolution import Hop, Located
from tests.fuzz.peer import CUT, Peer, number, records
from tests.fuzz.vectors import messages
from tests.telephony.proxy.setting import OTHER, ROUTERS, configuration

USER = Flow("udp", "public-udp", "192.0.2.99", 5060)
STREAM = Flow("tcp", "public-tcp", "192.0.2.98", 40000, 7)
ROUTER = Flow("udp", "sip-udp", *ROUTERS[0])
PROXY = Flow("udp", "sip-udp", *OTHER)
SOURCES = {b"U": USER, b"S": STREAM, b"R": ROUTER, b"P": PROXY}
FOLLOWING = {b"K": "ACK", b"X": "CANCEL", b"B": "BYE", b"I": "INVITE"}
ALICE = Credentials("1001", "one")
EFFECTS_MAX = 24
"""Effects of one message: a request has at most two routers, each with its own CANCEL and answers."""
STEPS_MAX = 2000
"""Times that timers bring something, from the last message to rest."""
START = 1000.0

INVITE = (
    b"INVITE sip:9196@192.0.2.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:guest@192.0.2.99>;tag=a\r\nTo: <sip:9196@192.0.2.100>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:guest@192.0.2.99:5060>\r\nContent-Length: 0\r\n\r\n"
)
FROM_USER = INVITE.replace(b"sip:guest@192.0.2.99>", b"sip:1001@hotswitch>").replace(b"9196", b"1002")
REGISTER = FROM_USER.replace(b"INVITE", b"REGISTER").replace(b"<sip:1002@192.0.2.100>", b"<sip:1001@hotswitch>")
TO_USER = INVITE.replace(b"9196@192.0.2.100", b"1001@192.0.2.99").replace(b"192.0.2.99:5060;branch", b"192.0.2.20:5060;branch")


def seeds() -> list[bytes]:
    """Exchanges of messages that go well and badly, and every vector from every side."""
    exchanges = [
        [b"U" + INVITE, b"A180", b"A200\r\nSession-Expires: 90", b"K", b"B", b"A200"],
        [b"U" + INVITE, b"A100", b"X", b"A200", b"a487", b"K"],
        [b"U" + INVITE, b"T3", b"A183", b"a503", b"T40"],
        [b"U" + INVITE, b"A486", b"K", b"A486"],
        [b"U" + FROM_USER, b"K", b"C", b"A407\r\nProxy-Authenticate: Digest realm=x, nonce=y", b"K"],
        [b"S" + FROM_USER.replace(b"/UDP", b"/TCP"), b"C", b"A200", b"K", b"D"],
        [b"U" + REGISTER, b"C", b"Jok", b"T5", b"J"],
        [b"R" + TO_USER, b"A180", b"A200", b"T1", b"X"],
        [b"R" + TO_USER.replace(b"INVITE", b"MESSAGE"), b"A200"],
        [b"P" + TO_USER, b"A404", b"Z", b"T200"],
        [b"R" + TO_USER.replace(b"192.0.2.99 SIP", b"example.com SIP"), b"Ltu", b"A503", b"A180", b"A200"],
        [b"R" + TO_USER.replace(b"192.0.2.99 SIP", b"192.0.2.100 SIP"), b"Jok", b"A180", b"A603", b"T200"],
    ]
    found = [CUT.join(exchange) for exchange in exchanges]
    return found + [source + data for data in messages() for source in (b"U", b"R")]


@functools.cache
def _configured() -> object:
    return configuration(routers=2, source_failures_max=1_000_000)


class Fuzzed:
    """One proxy and what surrounds it."""

    def __init__(self) -> None:
        self.now = START
        self.proxy = Proxy(random.Random(1).randbytes)
        self.proxy.configure(_configured(), self.now)  # type: ignore[arg-type]
        self.peer = Peer()
        self.asks: list[Ask] = []
        self.locates: list[Locate] = []

    def take(self) -> int:
        """See to the effects; how many there were."""
        effects = self.proxy.take()
        for effect in effects:
            if isinstance(effect, Send):
                self.peer.saw(effect)
            elif isinstance(effect, Ask):
                self.asks.append(effect)
            elif isinstance(effect, Locate):
                self.locates.append(effect)
        return len(effects)

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message."""
        try:
            message = Message.parse(data)
        except MessageError:
            pass
        else:
            if message.method not in (None, "ACK", "CANCEL") and flow in (USER, STREAM):
                self.peer.asked.append((message, flow))
        self.proxy.receive(data, flow, self.now)
        assert self.take() <= EFFECTS_MAX

    def record(self, kind: bytes, rest: bytes) -> None:
        """One record of an input."""
        if kind in SOURCES:
            self.receive(rest, SOURCES[kind])
        elif kind in (b"A", b"a"):
            made = self.peer.response(rest, 1 if kind == b"A" else 2)
            if made is not None:
                self.receive(*made)
        elif kind in FOLLOWING:
            made = self.peer.follow(FOLLOWING[kind], rest)
            if made is not None:
                self.receive(*made)
        elif kind == b"C":
            made = self.peer.authenticated(ALICE)
            if made is not None:
                self.receive(*made)
        elif kind == b"T":
            self.pass_time(number(rest, 400.0))
        elif kind == b"J" and self.asks:
            binding = Binding(contact="sip:1001@192.0.2.99", path="<sip:p;lr>", expires_at=self.now + 60)
            ok = rest == b"ok"
            ask = self.asks.pop()
            answer = BoundEach([None]) if ask.operation == "bind-each" else Bound(bindings=[binding])
            body = msgspec.msgpack.encode(answer) if ok else rest
            self.proxy.reply(ask.id, "ok" if ok or rest else "timeout", body, "database", self.now)
        elif kind == b"L" and self.locates:
            hops = [Hop("tcp" if rest[:1] == b"t" else "udp", "192.0.2.97", 5060), Hop("udp", "192.0.2.96", 5070)][: len(rest)]
            self.proxy.located(self.locates.pop().id, Located(hops, not hops), self.now)
        elif kind == b"D":
            self.proxy.closed(STREAM if rest else ROUTER, self.now)
        elif kind == b"Z":
            (self.proxy.undrain(self.now) if rest else self.proxy.drain(self.now + 60, self.now))
        self.take()

    def pass_time(self, seconds: float) -> None:
        """Let timers run."""
        end = self.now + seconds
        for _ in range(STEPS_MAX):
            at = self.proxy.deadline()
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.proxy.timeout(self.now)
            self.take()
        else:
            raise AssertionError("the proxy does not come to rest")
        self.now = end


def check(data: bytes) -> None:
    fuzzed = Fuzzed()
    for record in records(data):
        fuzzed.record(record[:1], record[1:])
    while fuzzed.asks or fuzzed.locates:
        asks, fuzzed.asks = fuzzed.asks, []
        locates, fuzzed.locates = fuzzed.locates, []
        for ask in asks:
            fuzzed.proxy.reply(ask.id, "timeout", b"", "", fuzzed.now)
        for locate in locates:
            fuzzed.proxy.located(locate.id, Located([], True), fuzzed.now)
        fuzzed.take()
    fuzzed.pass_time(1000.0)
    proxy = fuzzed.proxy
    assert not proxy.transactions.clients, proxy.transactions.clients
    assert not proxy.transactions.servers, proxy.transactions.servers
    assert not proxy.transactions._waiting
    assert proxy.remaining() == 0
    assert proxy.deadline() is None
