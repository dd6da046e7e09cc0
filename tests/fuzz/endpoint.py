"""A user agent, as a call router has it: messages of its peer, answers to its own, its owner's actions, and time.

Whatever comes, in whatever order: nothing is raised but `StateError` to the owner, what it sends can be read, and once the
owner has ended every session nothing is left.
"""

import contextlib
import random
from collections.abc import Callable

from telephony.effects import Send
from telephony.sip.digest import Credentials
from telephony.sip.endpoint import Endpoint
from telephony.sip.errors import MessageError, StateError
from telephony.sip.events import InviteReceived, RequestReceived, SessionRequestReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.request import ServerRequest
from telephony.sip.session import Session
from tests.fuzz.peer import CUT, Peer, number, records
from tests.fuzz.vectors import messages

UDP = Flow("udp", "sip-udp", "192.0.2.99", 5060)
TCP = Flow("tcp", "sip-tcp", "192.0.2.98", 40000, 7)
SOURCES = {b"U": UDP, b"S": TCP}
FOLLOWING = {b"K": "ACK", b"X": "CANCEL", b"B": "BYE", b"I": "INVITE", b"P": "UPDATE", b"Q": "PRACK", b"F": "REFER"}
EFFECTS_MAX = 24
STEPS_MAX = 3000
START = 1000.0
INVITE = (
    b"INVITE sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:peer@192.0.2.99>;tag=a\r\nTo: <sip:us@192.0.2.1>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nSupported: 100rel, timer\r\n"
    b"Session-Expires: 90;refresher=uas\r\nContact: <sip:peer@192.0.2.99:5060>\r\nContent-Length: 0\r\n\r\n"
)

Action = Callable[["Fuzzed", Session, bytes], object]
ACTIONS: dict[bytes, Action] = {
    b"r": lambda one, session, rest: session.progress(180, rest, now=one.now),
    b"R": lambda one, session, rest: session.progress(183, rest, now=one.now, reliable=True),
    b"s": lambda one, session, rest: session.accept(b"answer", now=one.now),
    b"n": lambda one, session, rest: session.reject(486, now=one.now),
    b"h": lambda one, session, rest: session.reinvite(rest, now=one.now),
    b"u": lambda one, session, rest: session.update(rest, now=one.now),
    b"g": lambda one, session, rest: session.answer_reinvite(rest, now=one.now),
    b"G": lambda one, session, rest: session.reject_reinvite(now=one.now),
    b"y": lambda one, session, rest: session.bye(now=one.now),
    b"c": lambda one, session, rest: session.cancel(now=one.now),
    b"k": lambda one, session, rest: session.acknowledge(b"answer", now=one.now),
    b"f": lambda one, session, rest: session.request("NOTIFY", rest, now=one.now),
    b"e": lambda one, session, rest: session.end(now=one.now),
}
OF_CALLEE = frozenset((b"r", b"R", b"s", b"n"))
"""Actions that only the callee has."""


def seeds() -> list[bytes]:
    """Calls in both directions, and every vector."""
    timer = b"\r\nSession-Expires: 90;refresher=uac\r\nAllow: UPDATE"
    exchanges = [
        [b"U" + INVITE, b"r", b"s", b"K", b"B"],
        [b"U" + INVITE, b"R", b"Q\r\nRAck: 1 1 INVITE", b"s", b"K", b"I", b"g", b"K", b"y", b"A200"],
        [b"U" + INVITE, b"r", b"X", b"K", b"T40"],
        [b"U" + INVITE, b"s", b"T40"],
        [b"U" + INVITE, b"s", b"K", b"hoffer", b"A491", b"uoffer", b"A200\r\nContact: <sip:other>", b"F\r\nRefer-To: <sip:x>", b"w"],
        [b"S" + INVITE.replace(b"/UDP", b"/TCP"), b"s", b"K", b"T100", b"A200", b"D"],
        [b"i", b"A100", b"A180\r\nRequire: 100rel\r\nRSeq: 1", b"A200", b"a200" + timer, b"T50", b"A200", b"T1000"],
        [b"i", b"A401\r\nWWW-Authenticate: Digest realm=r, nonce=n, qop=auth", b"A200", b"k", b"P", b"T1"],
        [b"i", b"A183", b"c", b"A200", b"a200", b"A200"],
        [b"i", b"A422\r\nMin-SE: 200", b"A302", b"T33"],
        [b"j", b"A407\r\nProxy-Authenticate: Digest realm=r, nonce=n", b"A500"],
        [b"i", b"A200;tag=x", b"A200", b"h", b"A481", b"f", b"A408"],
    ]
    return [CUT.join(exchange) for exchange in exchanges] + [b"U" + data for data in messages()]


class Fuzzed:
    """One endpoint, its owner and its peer."""

    def __init__(self) -> None:
        self.now = START
        self.endpoint = Endpoint("192.0.2.1:5060", random=random.Random(1).randbytes, session_seconds=90)
        self.peer = Peer()
        self.sessions: list[Session] = []
        self.waiting: list[ServerRequest] = []

    def take(self) -> int:
        """See to the effects; how many there were."""
        taken = self.endpoint.take()
        for one in taken:
            if isinstance(one, Send):
                self.peer.saw(one)
            elif isinstance(one, InviteReceived):
                self.sessions.append(one.session)
            elif isinstance(one, RequestReceived | SessionRequestReceived):
                self.waiting.append(one.request)
        return len(taken)

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message."""
        try:
            message = Message.parse(data)
        except MessageError:
            pass
        else:
            if message.method not in (None, "ACK", "CANCEL"):
                self.peer.asked.append((message, flow))
        self.endpoint.receive(data, flow, self.now)
        assert self.take() <= EFFECTS_MAX

    def record(self, kind: bytes, rest: bytes) -> None:
        """One record of an input."""
        made = None
        if kind in SOURCES:
            made = rest, SOURCES[kind]
        elif kind in (b"A", b"a"):
            made = self.peer.response(rest, 1 if kind == b"A" else 2)
        elif kind in FOLLOWING:
            made = self.peer.follow(FOLLOWING[kind], rest)
        elif kind in ACTIONS and self.sessions and not (kind in OF_CALLEE and self.sessions[-1].outgoing):
            with contextlib.suppress(StateError):
                ACTIONS[kind](self, self.sessions[-1], rest)
        else:
            self.other(kind, rest)
        if made is not None:
            self.receive(*made)
        self.take()

    def other(self, kind: bytes, rest: bytes) -> None:
        """What is no message and belongs to no session."""
        parties = ("<sip:us@192.0.2.1>", "<sip:peer@192.0.2.99>")
        proof = Credentials("us", "secret")
        if kind == b"i":
            self.sessions.append(self.endpoint.invite("sip:peer@192.0.2.99", *parties, UDP, now=self.now, body=rest, credentials=proof))
        elif kind == b"j":
            self.endpoint.request("MESSAGE", "sip:peer@192.0.2.99", *parties, UDP, now=self.now, body=rest, credentials=proof)
        elif kind == b"w" and self.waiting:
            with contextlib.suppress(StateError):
                self.waiting.pop().respond(200, now=self.now)
        elif kind == b"T":
            self.pass_time(number(rest, 4000.0))
        elif kind == b"D":
            self.endpoint.closed(TCP if rest else UDP, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let timers run."""
        end = self.now + seconds
        for _ in range(STEPS_MAX):
            at = self.endpoint.deadline()
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.endpoint.timeout(self.now)
            self.take()
        else:
            raise AssertionError("the endpoint does not come to rest")
        self.now = end


def check(data: bytes) -> None:
    fuzzed = Fuzzed()
    for record in records(data):
        fuzzed.record(record[:1], record[1:])
    endpoint = fuzzed.endpoint
    for _ in range(2):
        for request in fuzzed.waiting:
            with contextlib.suppress(StateError):
                request.respond(480, now=fuzzed.now)
        for session in list(endpoint.sessions.values()):
            session.end(now=fuzzed.now)
        fuzzed.take()
        fuzzed.pass_time(1000.0)
    assert not endpoint.sessions, endpoint.sessions
    assert not endpoint._dialogs
    assert not endpoint._invites
    assert not endpoint.transactions.clients, endpoint.transactions.clients
    assert not endpoint.transactions.servers, endpoint.transactions.servers
    assert endpoint.deadline() is None
