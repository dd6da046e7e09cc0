"""Questions to name servers: exchanges, repetitions, cache; without a socket and without a clock.

    ask -> cached, or an exchange: `Exchange` (the shell sends it from a socket of its own) -> `received` | `broken` | time
        -> the answer to everyone who has asked the same meanwhile

Rules:
- Each exchange has a socket and so a source port of its own, and a random id. What does not fit (`StrangeError`) is counted and
  waited past; after `STRANGE_MAX` of it in one exchange somebody guesses, and the question goes over TCP.
- Servers are asked in turn, `rounds` times; a truncated reply is asked for again over TCP at the same server.
- A reply is kept for its time to live, at most `KEPT_SECONDS_MAX`; that there is nothing for the SOA's time, at most
  `NOTHING_SECONDS_MAX` (RFC 2308); that no server told for `FAILED_SECONDS` (RFC 9520).
- A name that stands for another one (CNAME) costs a further question, `ALIASES_MAX` in all.

Bounds: `EXCHANGES_MAX` at a time, `QUESTIONS_MAX` that wait (more fail at once), `CACHE_MAX` answers.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from telephony.dns.reply import ALIASES_MAX, Codec, Reply, StrangeError
from telephony.dns.system import System
from telephony.sip.resolution import FAILED, FOUND, NOTHING, Answer, Question
from telephony.sip.timers import Timer, Timers, cancel

EXCHANGES_MAX = 128
QUESTIONS_MAX = 2000
CACHE_MAX = 10_000
STRANGE_MAX = 8
KEPT_SECONDS_MAX = 86_400
NOTHING_SECONDS_MAX = 300
NOTHING_SECONDS = 5
"""Where the reply does not say how long."""
FAILED_SECONDS = 5

Done = Callable[[Answer, float], None]


class Exchange(NamedTuple):
    """Send a query from a new socket that is connected to the server; hand over what it says."""

    number: int
    transport: str
    """``udp`` or ``tcp`` (there with its length in front, RFC 1035 section 4.2.2; `data` is without)."""
    server: tuple[str, int]
    data: bytes


class Finish(NamedTuple):
    """Close the socket of an exchange."""

    number: int


class _Open:
    """A question that is being asked."""

    __slots__ = (
        "alias",
        "aliases",
        "attempt",
        "done",
        "exchange",
        "extended",
        "id",
        "question",
        "seconds",
        "strange",
        "timer",
        "transport",
    )

    def __init__(self, question: Question) -> None:
        self.question = question
        self.alias = question
        """What is asked now: the question, or where CNAMEs have led."""
        self.aliases = 0
        self.seconds = KEPT_SECONDS_MAX
        """Shortest time to live so far."""
        self.attempt = 0
        self.transport = "udp"
        self.extended = True
        self.strange = 0
        self.exchange = 0
        """Number of the one that is under way; 0: none."""
        self.id = 0
        self.timer: Timer | None = None
        self.done: list[Done] = []


class Resolver:
    """Everything that one process asks name servers.

    Args:
        codec: `telephony.dns.codec`.
        system: whom to ask.
        random: gives that many unguessable bytes.
    """

    def __init__(self, codec: Codec, system: System, random: Callable[[int], bytes]) -> None:
        self.timers = Timers()
        self.strange = 0
        """Replies that were none of ours."""
        self._codec = codec
        self.system = system
        """May be changed at any time."""
        self._random = random
        self._cache: dict[Question, tuple[Answer, float]] = {}
        self._open: dict[Question, _Open] = {}
        self._waiting: deque[_Open] = deque()
        self._exchanges: dict[int, _Open] = {}
        self._number = 0
        self._out: list[Exchange | Finish] = []

    def ask(self, question: Question, now: float, done: Done) -> None:
        """Ask; ``done(answer, now)`` is called once, at once where the answer is known."""
        known = self._hosts(question) or self._cached(question, now)
        if known is not None:
            done(known, now)
            return
        open = self._open.get(question)
        if open is None:
            if len(self._open) >= QUESTIONS_MAX:
                done(Answer(FAILED), now)
                return
            open = self._open[question] = _Open(question)
            open.done.append(done)
            self._waiting.append(open)
            self._admit(now)
        else:
            open.done.append(done)

    def received(self, number: int, data: bytes, now: float) -> None:
        """A server has said something in an exchange."""
        open = self._exchanges.get(number)
        if open is None:
            return
        try:
            reply = self._codec.read(data, open.id, open.alias)
        except StrangeError:
            self.strange += 1
            open.strange += 1
            if open.transport == "tcp":
                self._next(open, now)
            elif open.strange == STRANGE_MAX:
                open.transport = "tcp"
                self._try(open, now)
        else:
            self._read(open, reply, now)
        self._admit(now)

    def broken(self, number: int, now: float) -> None:
        """The server refuses, or the connection ended."""
        open = self._exchanges.get(number)
        if open is not None:
            self._next(open, now)
            self._admit(now)

    def timeout(self, now: float) -> None:
        self.timers.run(now)
        self._admit(now)

    def deadline(self) -> float | None:
        return self.timers.deadline()

    def take(self) -> list[Exchange | Finish]:
        """What is to be sent and closed, in order."""
        taken, self._out = self._out, []
        return taken

    def _read(self, open: _Open, reply: Reply, now: float) -> None:
        if reply.truncated and open.transport == "udp":
            open.transport = "tcp"
            self._try(open, now)
        elif reply.misunderstood and open.extended:
            open.extended = False
            self._try(open, now)
        elif reply.refused or reply.truncated:
            self._next(open, now)
        elif reply.alias:
            open.aliases += 1
            if open.aliases > ALIASES_MAX:
                self._close(open, Answer(FAILED), FAILED_SECONDS, now)
                return
            open.seconds = min(open.seconds, reply.seconds or 0)
            open.alias = Question(reply.alias, open.question.kind)
            open.attempt, open.transport = 0, "udp"
            self._try(open, now)
        elif reply.records:
            self._close(open, Answer(FOUND, tuple(reply.records)), min(open.seconds, reply.seconds or 0), now)
        else:
            seconds = NOTHING_SECONDS if reply.seconds is None else min(reply.seconds, NOTHING_SECONDS_MAX)
            self._close(open, Answer(NOTHING), min(open.seconds, seconds), now)

    def _admit(self, now: float) -> None:
        """Begin what waits, as far as there is room."""
        while self._waiting and len(self._exchanges) < EXCHANGES_MAX:
            self._try(self._waiting.popleft(), now)

    def _next(self, open: _Open, now: float) -> None:
        """This server does not tell: the next one."""
        open.attempt += 1
        open.transport = "udp"
        self._try(open, now)

    def _try(self, open: _Open, now: float) -> None:
        self._leave(open)
        servers = self.system.servers
        if open.attempt >= len(servers) * self.system.rounds:
            self._close(open, Answer(FAILED), FAILED_SECONDS, now)
            return
        open.id = int.from_bytes(self._random(2), "big")
        open.strange = 0
        try:
            data = self._codec.query(open.id, open.alias, open.extended)
        except ValueError:
            self._close(open, Answer(NOTHING), NOTHING_SECONDS, now)
            return
        self._number += 1
        open.exchange = self._number
        self._exchanges[open.exchange] = open
        self._out.append(Exchange(open.exchange, open.transport, servers[open.attempt % len(servers)], data))
        seconds = self.system.timeout_seconds * 2 ** (open.attempt // len(servers))
        open.timer = self.timers.start(now, seconds, lambda now: self._next(open, now))

    def _leave(self, open: _Open) -> None:
        """Give up the exchange that is under way."""
        cancel(open.timer)
        open.timer = None
        if open.exchange:
            del self._exchanges[open.exchange]
            self._out.append(Finish(open.exchange))
            open.exchange = 0

    def _close(self, open: _Open, answer: Answer, seconds: float, now: float) -> None:
        self._leave(open)
        del self._open[open.question]
        if seconds > 0:
            if len(self._cache) >= CACHE_MAX:
                self._sweep(now)
            self._cache[open.question] = (answer, now + seconds)
        for done in open.done:
            done(answer, now)

    def _sweep(self, now: float) -> None:
        """Make room: what has expired goes, then the oldest half."""
        kept = [(question, entry) for question, entry in self._cache.items() if entry[1] > now]
        self._cache = dict(kept[-CACHE_MAX // 2 :])

    def _cached(self, question: Question, now: float) -> Answer | None:
        entry = self._cache.get(question)
        if entry is None:
            return None
        if entry[1] <= now:
            del self._cache[question]
            return None
        return entry[0]

    def _hosts(self, question: Question) -> Answer | None:
        """What the machine itself knows; such a name has addresses alone, no services."""
        name = question.name
        while name.startswith("_"):
            name = name.partition(".")[2]
        addresses = self.system.hosts.get(name)
        if addresses is None:
            return None
        found = tuple(address for address in addresses if (":" in address) == (question.kind == "AAAA"))
        return Answer(FOUND, found) if found and question.kind in ("A", "AAAA") else Answer(NOTHING)
