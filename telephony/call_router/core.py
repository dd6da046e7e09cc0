"""The call router without a socket: a SIP endpoint, jobs, and the behaviour of its platform.

Rules:
- Requests are taken from the proxies that the configuration lists; from elsewhere they are ignored, so that a proxy which
  is not listed yet finds another router, or this one a moment later. Responses find their transaction or nothing.
- With a key, a new request has to prove that a proxy of ours has sent it: sources can be forged (`telephony.sip.proof`).
- When it cannot keep up, or its load balancer says that dependents cannot, it refuses new requests, and tells the proxies by how
  much to reduce; when they ask for less, new requests of its own are held back (`telephony.sip.overload`).
- Draining: new requests get 503 with Retry-After; what exists goes on. `GRACE_SECONDS` before the deadline it is ended
  with its cause.
- Established calls are noted in a memory file: the process that comes after this one goes on with them (`ledger`).
- Host, port and platform stay as the first configuration gave them.
"""

import ipaddress
import secrets
from collections.abc import Callable, Sequence

from telephony.call_router.desk import Behaviour, Desk, Result
from telephony.call_router.ledger import Ledger
from telephony.config import CallRouterConfiguration, Configuration
from telephony.core import Job
from telephony.effects import Effect, Reply, Send
from telephony.jobs.protocol import BAD_REQUEST, REDUCE_SECONDS
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import InviteReceived, RequestReceived, SubscribeReceived
from telephony.sip.flow import Flow
from telephony.sip.overload import NEW, Emergencies, Overload
from telephony.sip.proof import Proofs
from telephony.sip.uri import host_port

GRACE_SECONDS = 1.0
RETRY_AFTER_SECONDS = 5
SESSION_SECONDS = 1800
"""Interval of session timers where the peer names none (RFC 4028 section 4): a phone that vanished is found out by then."""
ROUNDS_MAX = 64
"""Rounds of events that bring further events, in one turn."""
_LATER = (("Retry-After", str(RETRY_AFTER_SECONDS)),)


class CallRouter:
    """One call router.

    Args:
        memory: descriptor of the memory file ``calls``, in which established calls outlive this process; None: they do not.
        random: gives that many unguessable bytes (tags, branches, Call-IDs, pauses after 491).
    """

    def __init__(self, memory: int | None = None, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random = random
        self._ledger = None if memory is None else Ledger(memory)
        self._desk: Desk | None = None
        self._overload: Overload
        self._behaviour: Behaviour | None = None
        self._trusted: frozenset[tuple[str, int]] = frozenset()
        self._ends_at: float | None = None
        self.ignored = 0
        """Requests from addresses that are not proxies of ours."""

    def configure(self, configuration: Configuration, now: float) -> None:
        if not isinstance(configuration, CallRouterConfiguration):
            raise ValueError(f"a call router's configuration is wanted, not a {type(configuration).__name__}")
        host = f"[{configuration.host}]" if ipaddress.ip_address(configuration.host).version == 6 else configuration.host
        desk = self._desk
        fresh = desk is None
        if desk is None:
            extensions = _extensions(configuration.platform)
            own = f"{host}:{configuration.port}"
            endpoint = Endpoint(own, random=self._random, session_seconds=SESSION_SECONDS, extensions=extensions)
            desk = Desk(endpoint, configuration, self._ledger)
            self._behaviour = _behaviour(configuration.platform, desk)
            self._desk = desk
            self._overload = desk.endpoint.transactions.overload = Overload(desk.endpoint.tokens.take())
        before = desk.configuration
        if (before.platform, before.host, before.port) != (configuration.platform, configuration.host, configuration.port):
            raise ValueError("platform and address of a call router cannot change while it runs")
        desk.configuration = configuration
        desk.endpoint.proofs = Proofs(configuration.proof_keys) if configuration.proof_keys else None
        desk.endpoint.unproven = frozenset(host_port(address) for address in configuration.unproven)
        self._trusted = frozenset((proxy.host, proxy.port) for proxy in configuration.proxies)
        desk.endpoint.restrictions.servers = self._trusted | {(configuration.public_host, configuration.public_port)}
        self._overload.emergencies = Emergencies(configuration.emergency_numbers)
        if fresh:
            assert self._behaviour is not None
            self._behaviour.resume(now)
            self._pump(now)

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        desk = self._desk
        assert desk is not None
        if data[:4] != b"SIP/" and (flow.host, flow.port) not in self._trusted:
            self.ignored += 1
            return
        overload = self._overload
        if now >= overload.touched_until or not overload.sheds(data, flow, desk.endpoint.transactions, now):
            if data[:3] in NEW:
                overload.accepted += 1
            desk.endpoint.receive(data, flow, now)
        self._pump(now)

    def waited(self, seconds: float, now: float) -> None:
        """How long what is read now has waited in its socket."""
        if self._desk is not None:
            self._overload.waited(seconds, now)

    def reduce(self, percent: int, now: float) -> None:
        """The load balancer asks for less."""
        if self._desk is not None:
            self._overload.reduce(percent, now, REDUCE_SECONDS)

    def closed(self, flow: Flow, now: float) -> None:
        if self._desk is not None:
            self._desk.endpoint.closed(flow, now)
            self._pump(now)

    def job(self, job: Job, now: float) -> None:
        assert self._desk is not None
        self._desk.effects.append(Reply(job.number, BAD_REQUEST, b"a call router does no jobs"))

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        assert self._desk is not None
        self._desk.answered(ask, Result(status, body, worker), now)
        self._pump(now)

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        assert self._behaviour is not None
        self._behaviour.told(sender, operation, body, now)
        self._pump(now)

    def drain(self, deadline: float, now: float) -> None:
        if self._desk is not None:
            self._desk.draining = True
            self._ends_at = max(now, deadline - GRACE_SECONDS)

    def undrain(self, now: float) -> None:
        if self._desk is not None:
            self._desk.draining = False
            self._ends_at = None

    def ready(self) -> bool:
        return self._desk is not None

    def remaining(self) -> int:
        return 0 if self._behaviour is None else self._behaviour.remaining()

    def timeout(self, now: float) -> None:
        if self._desk is None or self._behaviour is None:
            return
        self._desk.endpoint.timeout(now)
        if self._ends_at is not None and now >= self._ends_at:
            self._ends_at = None
            self._behaviour.end_all(now)
        self._pump(now)

    def deadline(self) -> float | None:
        if self._desk is None:
            return None
        deadline = self._desk.endpoint.deadline()
        if self._ends_at is not None and (deadline is None or self._ends_at < deadline):
            return self._ends_at
        return deadline

    def take(self) -> Sequence[Effect]:
        if self._desk is None:
            return ()
        effects, self._desk.effects = self._desk.effects, []
        return effects

    def _pump(self, now: float) -> None:
        """Hand what the endpoint says to the behaviour, until neither has anything to say."""
        desk, behaviour = self._desk, self._behaviour
        assert desk is not None and behaviour is not None
        for _ in range(ROUNDS_MAX):
            taken = desk.endpoint.take()
            if not taken:
                break
            for one in taken:
                if isinstance(one, Send):
                    desk.effects.append(one)
                elif desk.draining and isinstance(one, InviteReceived):
                    one.session.reject(503, "Service Moves", now=now, headers=_LATER)
                elif desk.draining and isinstance(one, SubscribeReceived):
                    one.notifier.reject(503, now=now, headers=_LATER)
                elif desk.draining and isinstance(one, RequestReceived):
                    one.request.respond(503, "Service Moves", now=now, headers=_LATER)
                else:
                    behaviour.sip(one, now)
        desk.end_turn()


def _extensions(platform: str) -> tuple[str, ...]:
    """Option tags that the platform's behaviour takes care of."""
    return ("replaces", "norefersub") if platform == "voice" else ()


def _behaviour(platform: str, desk: Desk) -> Behaviour:
    if platform == "voice":
        from telephony.voice.calls import Calls

        return Calls(desk)
    if platform == "messaging":
        from telephony.messaging.delivery import Deliveries

        return Deliveries(desk)
    raise ValueError(f"no such platform: {platform!r}; expected voice or messaging")
