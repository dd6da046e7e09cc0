"""One ICE agent (RFC 8445) for one leg: one component, one candidate of ours. No socket, no clock: datagrams and time in, datagrams out.

Rules:
- A *lite* agent answers checks and takes the address that its peer nominates; it is controlled. A *full* one checks as well: a check every
  `PACE_SECONDS`, the highest priority first, those that the peer's checks trigger before (section 6.1.4); sent again after `RETRY_SECONDS`,
  twice as long each time, at most `TRIES_MAX` times. As controlling agent it nominates the first pair that works (section 8.1.1).
- Both agents in one role: the smaller tie-breaker gives way (section 7.3.1.1).
- Consent (RFC 7675): a full agent asks about every `CONSENT_SECONDS`, and for a lite one the peer's own checks count; after
  `CONSENT_SECONDS_MAX` without any nothing may be sent there.
- Whatever comes in, nothing raises. What is not authentic is answered with an error or not at all, and counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

from media.webrtc import stun
from media.webrtc.candidates import PEER_REFLEXIVE_PREFERENCE, Candidate, Credentials, priority
from media.webrtc.stun import Address, Message

PACE_SECONDS = 0.05
RETRY_SECONDS = 0.5
TRIES_MAX = 7
CONSENT_SECONDS = 5.0
CONSENT_SECONDS_MAX = 30.0
PAIRS_MAX = 32
"""Addresses of a peer that are kept."""

Datagram = tuple[bytes, Address]


@dataclass
class Pair:
    """Our candidate and one of the peer's."""

    address: Address
    priority: int
    tries: int = 0
    """Checks that were sent, of the one that is on its way."""
    due: float = 0.0
    """When the next one is sent, or given up."""
    transaction: bytes = b""
    """Of the check on its way; empty: none is."""
    nominates: bool = False
    """That check nominates."""
    valid: bool = False
    """A check succeeded."""
    failed: bool = False
    nominated: bool = False
    """The peer nominated it."""


class Agent:
    """ICE of one leg.

    Args:
        local: our credentials.
        lite: answers only.
        controlling: the role to begin with.
        draw: gives so many bytes by chance.
    """

    def __init__(self, local: Credentials, *, lite: bool, controlling: bool, draw: Callable[[int], bytes]) -> None:
        self.local, self.lite, self.controlling = local, lite, controlling
        self.remote = Credentials()
        self.selected: Address | None = None
        """Where packets go; None: nowhere yet, or consent has ended."""
        self.refused = 0
        """Datagrams that were not taken."""
        self.consent_until = 0.0
        self._draw = draw
        self._tie_breaker = int.from_bytes(draw(8), "big")
        self._pairs: dict[Address, Pair] = {}
        self._triggered: list[Pair] = []
        self._paced = 0.0
        self._consent_due = 0.0
        self._consent: bytes = b""
        """Transaction of the last question for consent."""

    def begin(self, remote: Credentials, candidates: list[Candidate], peer_lite: bool, now: float) -> None:
        """The peer's side of the descriptions."""
        self.remote = remote
        if peer_lite and not self.lite:
            self.controlling = True
        if self.lite:
            return
        for candidate in candidates:
            self._pair((candidate.host, candidate.port), candidate.priority)
        self._paced = now

    def go_on(self, remote: Credentials, selected: Address | None, now: float) -> None:
        """Be the agent that another process was."""
        self.remote, self.selected = remote, selected
        self.consent_until, self._consent_due = now + CONSENT_SECONDS_MAX, now + CONSENT_SECONDS

    def _pair(self, address: Address, rank: int) -> Pair | None:
        pair = self._pairs.get(address)
        if pair is None and len(self._pairs) < PAIRS_MAX:
            pair = self._pairs[address] = Pair(address, rank)
        return pair

    # What comes in

    def receive(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        """A datagram that begins like STUN; what is to be sent for it."""
        try:
            message = stun.parse(data)
        except stun.StunError:
            self.refused += 1
            return []
        if message.kind == stun.REQUEST:
            return self._request(message, source, now)
        if message.kind in (stun.SUCCESS, stun.ERROR):
            return self._response(message, source, now)
        return []

    def _request(self, message: Message, source: Address, now: float) -> list[Datagram]:
        name = message.attributes.get(stun.USERNAME, b"").partition(b":")[0]
        if not message.signed or not name:
            return self._refuse(message, source, 400, "Bad Request", "")
        if name != self.local.ufrag.encode() or not message.authentic(self.local.password):
            return self._refuse(message, source, 401, "Unauthenticated", "")
        unknown = message.unknown()
        if unknown:
            body = b"".join(kind.to_bytes(2, "big") for kind in unknown)
            return self._refuse(message, source, 420, "Unknown Attribute", self.local.password, (stun.UNKNOWN_ATTRIBUTES, body))
        if self._conflict(message):
            return self._refuse(message, source, 487, "Role Conflict", self.local.password)
        out = [(stun.write(stun.SUCCESS, message.transaction, [stun.mapped(source, message.transaction)], self.local.password), source)]
        nominates = stun.USE_CANDIDATE in message.attributes and not self.controlling
        if self.lite:
            if nominates:
                self._select(source, now)
            elif source == self.selected:
                self.consent_until = now + CONSENT_SECONDS_MAX
            return out
        if not self.remote.ufrag:
            return out  # it was faster than its description
        pair = self._pair(source, message.number(stun.PRIORITY, 4) or priority(PEER_REFLEXIVE_PREFERENCE))
        if pair is None:
            return out
        pair.nominated |= nominates
        if pair.valid:
            if nominates:
                self._select(source, now)
        elif pair not in self._triggered:
            pair.failed = False
            self._triggered.append(pair)
        return out

    def _conflict(self, message: Message) -> bool:
        """Settle roles by a request; True: the peer has to give way."""
        theirs = message.number(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED, 8)
        if theirs is None:
            return False
        if self.lite:
            return True
        if (self._tie_breaker >= theirs) == self.controlling:
            return True
        self.controlling = not self.controlling
        return False

    def _refuse(self, message: Message, source: Address, code: int, reason: str, password: str, *more: tuple[int, bytes]) -> list[Datagram]:
        self.refused += 1
        return [(stun.write(stun.ERROR, message.transaction, [stun.error(code, reason), *more], password), source)]

    def _response(self, message: Message, source: Address, now: float) -> list[Datagram]:
        if not message.authentic(self.remote.password):
            self.refused += 1
            return []
        if message.transaction == self._consent and source == self.selected:
            if message.kind == stun.SUCCESS:
                self.consent_until = now + CONSENT_SECONDS_MAX
            return []
        pair = self._pairs.get(source)
        if pair is None or not pair.transaction or pair.transaction != message.transaction:
            self.refused += 1
            return []
        pair.transaction = b""
        if message.kind == stun.ERROR:
            if message.code() == 487:
                self.controlling = not self.controlling
                self._triggered.append(pair)
            else:
                pair.failed = True
            return []
        pair.valid = True
        if pair.nominates or pair.nominated:
            self._select(source, now)
        elif self.controlling and self.selected is None and not any(other.nominates for other in self._pairs.values()):
            pair.nominates = True
            return [self._check(pair, now)]
        return []

    def _select(self, address: Address, now: float) -> None:
        if self.selected != address:
            self._consent_due = now + CONSENT_SECONDS
        self.selected = address
        self.consent_until = now + CONSENT_SECONDS_MAX

    # What goes out

    def timeout(self, now: float) -> list[Datagram]:
        """What is due; to be called every few milliseconds, or by `deadline`."""
        if self.selected is not None:
            return self._ask_consent(now)
        if self.lite or not self.remote.ufrag:
            return []
        out = [self._check(pair, now) for pair in self._pairs.values() if pair.transaction and pair.due <= now and pair.tries < TRIES_MAX]
        for pair in self._pairs.values():
            if pair.transaction and pair.due <= now:
                pair.transaction, pair.failed, pair.valid, pair.nominates = b"", True, False, False
        if self._paced <= now:
            pair_next = self._next()
            if pair_next is not None:
                self._paced = now + PACE_SECONDS
                out.append(self._check(pair_next, now))
        return out

    def _next(self) -> Pair | None:
        while self._triggered:
            pair = self._triggered.pop(0)
            if not pair.transaction:
                return pair
        waiting = [pair for pair in self._pairs.values() if not (pair.transaction or pair.valid or pair.failed)]
        return max(waiting, key=lambda pair: pair.priority, default=None)

    def _check(self, pair: Pair, now: float) -> Datagram:
        if not pair.transaction:
            pair.transaction, pair.tries = self._draw(stun.TRANSACTION_BYTES), 0
        pair.due = now + RETRY_SECONDS * 2**pair.tries
        pair.tries += 1
        return self._ask(pair.transaction, pair.address, nominates=pair.nominates and self.controlling)

    def _ask(self, transaction: bytes, address: Address, *, nominates: bool) -> Datagram:
        role = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        attributes = [
            (stun.USERNAME, f"{self.remote.ufrag}:{self.local.ufrag}".encode()),
            (stun.PRIORITY, priority(PEER_REFLEXIVE_PREFERENCE).to_bytes(4, "big")),
            (role, self._tie_breaker.to_bytes(8, "big")),
        ]
        if nominates:
            attributes.append((stun.USE_CANDIDATE, b""))
        return stun.write(stun.REQUEST, transaction, attributes, self.remote.password), address

    def _ask_consent(self, now: float) -> list[Datagram]:
        assert self.selected is not None
        if now >= self.consent_until:
            self.selected = None
            return []
        if self.lite or now < self._consent_due:
            return []
        # Between 0.8 and 1.2 times the interval (RFC 7675 section 5.1).
        self._consent_due = now + CONSENT_SECONDS * (0.8 + 0.4 * self._draw(1)[0] / 255)
        self._consent = self._draw(stun.TRANSACTION_BYTES)
        return [self._ask(self._consent, self.selected, nominates=False)]
