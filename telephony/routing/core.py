"""The routing service without a socket.

Rules:
- ``route`` is answered from the dial plan; for a user the resource database is asked where they are reached.
- A user without bindings is ``not-registered``; a number that means nothing is ``not-found``.
- MESSAGE goes to users, and outside, only.
- What leads outside is ``refused`` to whom the plan does not name.
- A request that was routed more than `HOPS_MAX` times is a ``loop``.

Bound: `LOOKUPS_MAX` lookups at a time; more is ``retry``.
"""

from collections.abc import Sequence

import msgspec

from telephony.config import Configuration, RoutingConfiguration
from telephony.core import Job
from telephony.effects import Ask, Effect, Reply
from telephony.jobs.protocol import BAD_REQUEST, OK, RETRY, UNAVAILABLE
from telephony.jobs.resource import Binding, Bound, Lookup
from telephony.jobs.routing import HOPS_MAX, Decision, Route, Target
from telephony.routing.plan import OUTSIDE, REFUSED, Plan
from telephony.sip.flow import Flow

LOOKUPS_MAX = 4096
LOOKUP_SECONDS = 2.0
TARGETS_MAX = 16
"""Contacts of one user that are rung."""

_encode = msgspec.msgpack.Encoder().encode
_decode_route = msgspec.msgpack.Decoder(Route).decode
_decode_bound = msgspec.msgpack.Decoder(Bound).decode


def _targets(bindings: Sequence[Binding]) -> list[Target]:
    """One target a phone, with its other flows."""
    phones: dict[str, list[Target]] = {}
    for number, binding in enumerate(bindings):
        phone = binding.instance if binding.instance and binding.reg_id else f"{number}"
        phones.setdefault(phone, []).append(Target(contact=binding.contact, path=binding.path, q=binding.q, ice=binding.ice))
    return [msgspec.structs.replace(first, others=others) for first, *others in phones.values()]


class Routing:
    """One routing service."""

    def __init__(self) -> None:
        self._plan = Plan([], [])
        self._number = 0
        self._lookups: dict[int, tuple[int, str]] = {}
        """Ask to (job, user)."""
        self._effects: list[Effect] = []

    def configure(self, configuration: Configuration, now: float) -> None:
        if not isinstance(configuration, RoutingConfiguration):
            raise ValueError(f"a routing service's configuration is wanted, not a {type(configuration).__name__}")
        self._plan = Plan(configuration.users, configuration.routes)

    def job(self, job: Job, now: float) -> None:
        if job.operation != "route":
            self._effects.append(Reply(job.number, BAD_REQUEST, f"no such operation: {job.operation}".encode()))
            return
        try:
            request = _decode_route(job.body)
        except msgspec.DecodeError as error:
            self._effects.append(Reply(job.number, BAD_REQUEST, str(error).encode()))
            return
        status, body = self._route(request, job.number)
        if status:
            self._effects.append(Reply(job.number, status, body))

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        job, user = self._lookups.pop(ask)
        if status != OK:
            self._effects.append(Reply(job, UNAVAILABLE, b"resource database: " + status.encode()))
            return
        bindings = _decode_bound(body).bindings[:TARGETS_MAX]
        if not bindings:
            self._effects.append(Reply(job, "not-registered", user.encode()))
            return
        self._effects.append(Reply(job, OK, _encode(Decision(action="user", target=user, targets=_targets(bindings)))))

    def take(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def remaining(self) -> int:
        return len(self._lookups)

    def drain(self, deadline: float, now: float) -> None:
        """Its balancers give it nothing new; what it has takes milliseconds."""

    def undrain(self, now: float) -> None:
        pass

    def ready(self) -> bool:
        return True

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        pass

    def closed(self, flow: Flow, now: float) -> None:
        pass

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        pass

    def timeout(self, now: float) -> None:
        pass

    def deadline(self) -> float | None:
        return None

    def _route(self, request: Route, job: int) -> tuple[str, bytes]:
        """Status and body of the answer; no status: it comes later."""
        if request.hops > HOPS_MAX:
            return "loop", b""
        found = self._plan.find(request.user, request.host, request.caller)
        if found is None or (request.method == "MESSAGE" and found[0] not in ("user", OUTSIDE, REFUSED)):
            return "not-found", request.user.encode()[:256]
        action, target = found
        if action == REFUSED:
            return "refused", b"not a caller of this line"
        if action == OUTSIDE:
            return OK, _encode(Decision(action=action, target=target, targets=[Target(contact=target, path="")]))
        if action != "user":
            return OK, _encode(Decision(action=action, target=target))
        if len(self._lookups) >= LOOKUPS_MAX:
            return RETRY, b"too many lookups"
        self._number += 1
        self._lookups[self._number] = (job, target)
        self._effects.append(Ask(self._number, "resource_database", "lookup", _encode(Lookup(aor=target)), timeout_seconds=LOOKUP_SECONDS))
        return "", b""
