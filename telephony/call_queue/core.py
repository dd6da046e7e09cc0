"""The call queue without a socket.

Rules:
- Callers are offered in the order in which they joined; one offer a caller and one a member at a time.
- A member is free when it is registered, in no call, has no offer, and its pause is over (`Queue.retry_seconds` after an
  offer that failed, `SETTLE_SECONDS` after one that was answered, until the resource database knows that it is busy).
- Members are looked at while somebody waits: read every `POLL_SECONDS`, and told of at once when they change.
- An offer whose outcome does not come is over after ``ring_seconds`` and `GRACE_SECONDS`. A router that does not know of
  its offer (it renews the caller without it) is told again.
- A caller not renewed for `LEASE_SECONDS` is gone. A queue that starts has nobody in it, and everybody back
  within `JOIN_SECONDS`, in the old order.
- Draining: who waits is forgotten and sent elsewhere (``retry``), what is offered is carried out.

Bound: `Queue.callers_max` in each queue.
"""

from collections.abc import Sequence

import msgspec

from telephony.call_queue.strategies import STRATEGIES
from telephony.call_queue.strategies.candidate import Candidate
from telephony.call_queue.waiting import Caller, Waiting
from telephony.config import CallQueueConfiguration, Configuration, Queue
from telephony.core import Job
from telephony.effects import Ask, Effect, Notify, Reply, Tell
from telephony.jobs.protocol import BAD_REQUEST, OK, RETRY
from telephony.jobs.queue import JOIN_SECONDS, LEASE_SECONDS, Join, Leave, Offered, Outcome, Position, Withdrawn
from telephony.jobs.resource import WATCH_SECONDS, MemberChanged, Members, MemberState, MemberStates
from telephony.sip.flow import Flow

POLL_SECONDS = 3.0
SWEEP_SECONDS = 0.5
GRACE_SECONDS = 5.0
SETTLE_SECONDS = 3.0

_encode = msgspec.msgpack.Encoder().encode
_decoders = {
    "join": msgspec.msgpack.Decoder(Join).decode,
    "leave": msgspec.msgpack.Decoder(Leave).decode,
    "outcome": msgspec.msgpack.Decoder(Outcome).decode,
}
_decode_states = msgspec.msgpack.Decoder(MemberStates).decode
_decode_changed = msgspec.msgpack.Decoder(MemberChanged).decode


class _Member:
    __slots__ = ("not_before", "offer", "offered_at", "state")

    def __init__(self) -> None:
        self.state: MemberState | None = None
        self.not_before = 0.0
        self.offer = 0
        self.offered_at = 0.0


class _Offer:
    __slots__ = ("call", "member", "queue", "router", "until")

    def __init__(self, queue: str, call: str, router: str, member: str, until: float) -> None:
        self.queue = queue
        self.call = call
        self.router = router
        self.member = member
        self.until = until


class CallQueue:
    """All queues of one service."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._waiting: dict[str, Waiting] = {}
        self._members: dict[str, _Member] = {}
        self._offers: dict[int, _Offer] = {}
        self._number = 0
        self._draining = False
        self._poll_at = 0.0
        self._learned_at = 0.0
        """When the members' states were read last."""
        self._sweep_at: float | None = None
        self._effects: list[Effect] = []

    def configure(self, configuration: Configuration, now: float) -> None:
        if not isinstance(configuration, CallQueueConfiguration):
            raise ValueError(f"a call queue's configuration is wanted, not a {type(configuration).__name__}")
        for queue in configuration.queues:
            if queue.strategy not in STRATEGIES:
                raise ValueError(f"queue {queue.name}: expected one of {', '.join(STRATEGIES)}, came {queue.strategy!r}")
        if not self._number:
            self._number = int(now * 1000)  # other numbers than those of the process before
        self._queues = {queue.name: queue for queue in configuration.queues}
        self._waiting = {name: self._waiting.get(name) or Waiting() for name in self._queues}
        wanted = {member for queue in configuration.queues for member in queue.members}
        self._members = {member: self._members.get(member) or _Member() for member in wanted}
        self._poll_at = now
        self._match(now)

    def job(self, job: Job, now: float) -> None:
        decode = _decoders.get(job.operation)
        if decode is None:
            self._effects.append(Reply(job.number, BAD_REQUEST, f"no such operation: {job.operation}".encode()))
            return
        try:
            request = decode(job.body)
        except msgspec.DecodeError as error:
            self._effects.append(Reply(job.number, BAD_REQUEST, str(error).encode()))
            return
        if isinstance(request, Join):
            status = self._join(request, job.client, now)
        elif isinstance(request, Outcome):
            status = self._outcome(request, now)
        else:
            assert isinstance(request, Leave)
            status = self._leave(request, now)
        waiting = self._waiting.get(request.queue)
        position = Position(position=0 if waiting is None else waiting.position(request.call))
        self._effects.append(Reply(job.number, status, _encode(position)))

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        if status != OK:
            return  # asked again in a moment
        self._learned_at = now
        for state in _decode_states(body).members:
            self._learn(state)
        self._match(now)

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        if operation == "member-changed":
            self._learn(_decode_changed(body).member)
            self._match(now)

    def timeout(self, now: float) -> None:
        if self._sweep_at is None or now < self._sweep_at:
            return
        for number, offer in [item for item in self._offers.items() if item[1].until <= now]:
            self._effects.append(Tell(offer.router, "withdrawn", _encode(Withdrawn(call=offer.call, offer=number))))
            self._end_offer(number, now, self._pause(offer.queue))
        for waiting in self._waiting.values():
            for caller in waiting.not_heard_since(now - LEASE_SECONDS):
                waiting.remove(caller.call)
        self._match(now)

    def deadline(self) -> float | None:
        return self._sweep_at

    def take(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def drain(self, deadline: float, now: float) -> None:
        self._draining = True
        for waiting in self._waiting.values():
            for caller in waiting.without_offer():
                waiting.remove(caller.call)

    def undrain(self, now: float) -> None:
        self._draining = False

    def ready(self) -> bool:
        return True

    def remaining(self) -> int:
        return len(self._offers)

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        pass

    def closed(self, flow: Flow, now: float) -> None:
        pass

    def _join(self, join: Join, router: str, now: float) -> str:
        queue = self._queues.get(join.queue)
        if queue is None:
            return "not-found"
        waiting = self._waiting[join.queue]
        caller = waiting.get(join.call)
        if caller is None:
            if self._draining and join.offer not in self._offers:
                return RETRY
            if len(waiting) >= queue.callers_max:
                return "full"
            caller = Caller(join.call, router, join.joined_at, now)
            waiting.add(caller)
            self._effects.append(Notify({"event": "queue-joined", "queue": join.queue, "call": join.call, "caller": join.caller}))
        caller.heard_at = now
        caller.router = router
        if join.offer and not caller.offer and join.member in self._members:
            self._adopt(queue, caller, join, now)
        elif caller.offer and not join.offer and now - caller.offered_at >= JOIN_SECONDS / 2:
            self._say_offer(queue, caller, now)
        self._match(now)
        return OK

    def _leave(self, leave: Leave, now: float) -> str:
        waiting = self._waiting.get(leave.queue)
        caller = None if waiting is None else waiting.remove(leave.call)
        if caller is not None and caller.offer:
            self._end_offer(caller.offer, now, 0.0)
        self._match(now)
        return OK

    def _outcome(self, outcome: Outcome, now: float) -> str:
        waiting = self._waiting.get(outcome.queue)
        if outcome.result in ("answered", "caller-left") and waiting is not None:
            caller = waiting.remove(outcome.call)
            if caller is not None and caller.offer and caller.offer != outcome.offer:  # made before the router said of another
                self._effects.append(Tell(caller.router, "withdrawn", _encode(Withdrawn(call=caller.call, offer=caller.offer))))
                self._end_offer(caller.offer, now, self._pause(outcome.queue))
        if outcome.offer in self._offers:
            if outcome.result == "answered":
                pause = SETTLE_SECONDS
            elif outcome.result == "caller-left":
                pause = 0.0
            else:
                pause = self._pause(outcome.queue)
            self._end_offer(outcome.offer, now, pause)
            self._effects.append(
                Notify(
                    {
                        "event": "queue-offer-ended",
                        "queue": outcome.queue,
                        "call": outcome.call,
                        "member": outcome.member,
                        "result": outcome.result,
                    }
                )
            )
        self._match(now)
        return OK

    def _adopt(self, queue: Queue, caller: Caller, join: Join, now: float) -> None:
        """An offer that the process before us made."""
        member = self._members[join.member]
        if member.offer:
            return
        caller.offer = member.offer = join.offer
        caller.offered_at = member.offered_at = now
        self._offers[join.offer] = _Offer(queue.name, caller.call, caller.router, join.member, now + queue.ring_seconds + GRACE_SECONDS)

    def _match(self, now: float) -> None:
        """Offer whom can be offered; look after the members while somebody waits."""
        if now - self._learned_at > WATCH_SECONDS:  # nobody told us of changes since
            for member in self._members.values():
                member.state = None
        somebody = False
        for name, waiting in self._waiting.items():
            if not len(waiting):
                continue
            somebody = True
            queue = self._queues[name]
            for caller in waiting.without_offer():
                free = self._free(queue, now)
                if not free or self._draining:
                    break
                self._offer(queue, caller, STRATEGIES[queue.strategy](free), now)
        if somebody or self._offers:
            self._sweep_at = now + SWEEP_SECONDS
        else:
            self._sweep_at = None
        if somebody and now >= self._poll_at:
            self._poll_at = now + POLL_SECONDS
            users = sorted({member for name, waiting in self._waiting.items() if len(waiting) for member in self._queues[name].members})
            self._effects.append(Ask(1, "resource_database", "members", _encode(Members(users=users, watch=True))))

    def _free(self, queue: Queue, now: float) -> list[Candidate]:
        free: list[Candidate] = []
        for position, user in enumerate(queue.members):
            member = self._members[user]
            state = member.state
            if state is None or not state.registered or state.busy or member.offer or now < member.not_before:
                continue
            free.append(Candidate(user, position, state.idle_since, member.offered_at))
        return free

    def _offer(self, queue: Queue, caller: Caller, candidate: Candidate, now: float) -> None:
        self._number += 1
        member = self._members[candidate.user]
        caller.offer = member.offer = self._number
        member.offered_at = now
        self._offers[self._number] = _Offer(
            queue.name, caller.call, caller.router, candidate.user, now + queue.ring_seconds + GRACE_SECONDS
        )
        self._say_offer(queue, caller, now)
        self._effects.append(Notify({"event": "queue-offered", "queue": queue.name, "call": caller.call, "member": candidate.user}))

    def _say_offer(self, queue: Queue, caller: Caller, now: float) -> None:
        offer = self._offers[caller.offer]
        caller.offered_at = now
        body = Offered(queue=queue.name, call=caller.call, offer=caller.offer, member=offer.member, ring_seconds=queue.ring_seconds)
        self._effects.append(Tell(caller.router, "offered", _encode(body)))

    def _end_offer(self, number: int, now: float, pause_seconds: float) -> None:
        offer = self._offers.pop(number, None)
        if offer is None:
            return
        member = self._members.get(offer.member)
        if member is not None and member.offer == number:
            member.offer = 0
            member.not_before = now + pause_seconds
        waiting = self._waiting.get(offer.queue)
        caller = None if waiting is None else waiting.get(offer.call)
        if caller is not None and caller.offer == number:
            caller.offer = 0

    def _pause(self, queue: str) -> float:
        found = self._queues.get(queue)
        return 0.0 if found is None else found.retry_seconds

    def _learn(self, state: MemberState) -> None:
        member = self._members.get(state.user)
        if member is not None:
            member.state = state
