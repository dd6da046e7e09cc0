"""Who is heard at all: bans of sources that guess, flood with garbage or scan, and lock-out of guessed users.

Rules:
- What counts is failure, not load: a source (an IPv4 address, an IPv6 /64) that sends nothing but good requests is never
  stopped, whatever their rate, unless `Limits.requests_per_second` says so.
- A failure is a digest that proves the wrong secret under a nonce of ours. A message that cannot be read, or that is above
  the rate, weighs `LIGHT_FAILURE` of one. Challenges without an answer are no failures: every honest registration starts so.
- Failures drain at `Limits.failures` in `FORGIVEN_SECONDS`. A source that reaches `Limits.failures` is banned, each time for
  twice as long, `BAN_SECONDS_MAX` at most. A scanner that says its name is banned at its first request.
- A source from which a user has authenticated lately has `PROVEN_FACTOR` times the room: one phone with a wrong password
  does not silence its office, and who forges an address needs more to have it banned.
- A user who authenticates more often than `Limits.user_requests_per_second` is asked to wait (503 with Retry-After), wherever the
  requests come from; who goes on all the same is refused for `Limits.ban_seconds`, each time for twice as long. Nobody else can have
  that done to a user: it counts after the digest.
- After `GUESSES_MAX` failures in a row for one user from one source that pair is locked, each time for twice as long; the
  user elsewhere is not. Users who do not exist are locked alike: nobody learns which do.
- Addresses of the cluster (`Limits.exempt`) are never counted or banned.
- All tables are bounded; the entry that was used least lately goes first.
"""

from collections import deque
from math import ceil
from typing import Any, NamedTuple

from telephony.sip.flow import Flow
from telephony.sip.flow import source_of as source_of
from telephony.sip.message import Message

SOURCES_MAX = 20_000
"""Sources that are remembered for a failure, or for their rate."""
PROVEN_MAX = 20_000
"""Sources remembered for an authenticated request."""
USERS_MAX = 20_000
"""Users whose rate is remembered."""
EXCESS_MAX = 50
"""Requests above a user's rate after which they are refused for a while; forgiven in `FORGIVEN_SECONDS`."""
BANNED_MAX = 10_000
USER_CHARACTERS_MAX = 128
"""Of a name that was guessed: no user of ours has one as long."""
GUESSED_MAX = 20_000
"""Pairs of source and user that are remembered."""
BANS_KEPT_MAX = 10
"""Bans kept for the report; more are only counted."""
FORGIVEN_SECONDS = 25.0
LIGHT_FAILURE = 0.1
PROVEN_FACTOR = 10
PROVEN_SECONDS = 3600.0
BAN_SECONDS_MAX = 3600.0
FORGOTTEN_SECONDS = 3600.0
"""After the end of a ban or of a lock, and this time in peace, the next one is as short as the first."""
GUESSES_MAX = 10
LOCK_SECONDS_MIN = 30.0
LOCK_SECONDS_MAX = 3600.0
SCANNERS = (
    "friendly-scanner", "friendly-request", "sipvicious", "sipcli", "sip-scan", "sipscan", "sundayddr", "iwar", "smap", "pplsip", "sivus",
    "siparmyknife",
)  # fmt: skip
"""How the User-Agent of a scanner starts, in lower case."""


class Limits(NamedTuple):
    """What a source may do."""

    failures: int = 50
    """Failures at once; 0: nobody is banned."""
    ban_seconds: float = 30.0
    """The first ban."""
    requests_per_second: float = 0.0
    """New requests outside of dialogs, of one source; as many at once. 0: any."""
    exempt: frozenset[tuple[str, int]] = frozenset()
    """Addresses (host, port) of the cluster."""
    user_requests_per_second: float = 0.0
    """New requests outside of dialogs, of one user; as many at once. 0: any."""


class Ban(NamedTuple):
    """A source, or a user, is heard no more for a while."""

    source: str
    """Address or network; of a user ``user NAME``."""
    seconds: float
    cause: str
    """What filled the measure: ``guessing``, ``broken``, ``rate`` or ``scanner``."""


class _Source:
    """What is held against one source, or one user."""

    __slots__ = ("at", "banned_until", "bans", "failures", "requests", "requests_at")

    def __init__(self, now: float) -> None:
        self.failures = 0.0
        self.at = now
        self.bans = 0
        self.banned_until = 0.0
        self.requests = 0.0
        self.requests_at = now

    def requested(self, rate: float, now: float) -> bool:
        """Another request; it is within the rate."""
        self.requests = max(0.0, self.requests - (now - self.requests_at) * rate) + 1.0
        self.requests_at = now
        if self.requests <= max(1.0, rate):
            return True
        self.requests -= 1.0
        return False

    def failed(self, failures: float, room: float, now: float) -> bool:
        """More is held against it, and that is too much now."""
        self.failures = max(0.0, self.failures - (now - self.at) * room / FORGIVEN_SECONDS) + failures
        self.at = now
        return self.failures >= room - LIGHT_FAILURE / 2

    def ban(self, seconds: float, now: float) -> float:
        """Ban it; for how long, ``seconds`` being the first time."""
        if self.banned_until + FORGOTTEN_SECONDS < now:
            self.bans = 0
        seconds = min(seconds * 2.0 ** min(self.bans, 16), BAN_SECONDS_MAX)
        self.bans += 1
        self.failures = 0.0
        self.banned_until = now + seconds
        return seconds


class _Guessed:
    """Failures of one user from one source."""

    __slots__ = ("at", "guesses", "locked_until", "locks")

    def __init__(self, now: float) -> None:
        self.guesses = 0
        self.at = now
        self.locks = 0
        self.locked_until = 0.0


class Defence:
    """Judges sources by what they have done."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        self.banned: dict[str, float] = {}
        """Source to the end of its ban; empty: `drops` need not be asked."""
        self.bans: deque[Ban] = deque(maxlen=BANS_KEPT_MAX)
        """The latest, for the report, which takes them out."""
        self.bans_total = 0
        self._sources: dict[str, _Source] = {}
        self._users: dict[str, _Source] = {}
        self._proven: dict[str, float] = {}
        self._guessed: dict[tuple[str, str], _Guessed] = {}

    def drops(self, flow: Flow, now: float) -> bool:
        """The message shall not be read: its source is banned."""
        source = source_of(flow.host)
        until = self.banned.get(source)
        if until is None:
            return False
        if until <= now:
            del self.banned[source]
            return False
        return flow[2:4] not in self.limits.exempt

    def admits(self, flow: Flow, now: float) -> bool:
        """A new request outside of dialogs is within the rate of its source."""
        rate = self.limits.requests_per_second
        if not rate or flow[2:4] in self.limits.exempt:
            return True
        if self._known(self._sources, SOURCES_MAX, source_of(flow.host), now).requested(rate, now):
            return True
        self._count(flow, LIGHT_FAILURE, "rate", now)
        return False

    def wait_seconds(self, user: str, now: float) -> int:
        """For how long a user who has just authenticated is to wait with such a request; 0: they need not."""
        limits = self.limits
        rate = limits.user_requests_per_second
        if not rate:
            return 0
        known = self._known(self._users, USERS_MAX, user, now)
        if known.banned_until > now:
            return ceil(known.banned_until - now)
        if known.requested(rate, now):
            return 0
        if not known.failed(1.0, EXCESS_MAX, now):
            return max(1, ceil(1.0 / rate))
        seconds = known.ban(limits.ban_seconds, now)
        self._report(f"user {user}", seconds, "rate")
        return max(1, ceil(seconds))

    def scanned(self, message: Message, flow: Flow, now: float) -> bool:
        """The request is a scanner's, which is banned for it."""
        agent = message.get("user-agent")
        if (agent is None or not agent.lower().startswith(SCANNERS)) and "sipvicious" not in (message.get("from") or ""):
            return False
        if not self.limits.failures or flow[2:4] in self.limits.exempt:
            return False
        self._count(flow, float(self.limits.failures), "scanner", now)
        return True

    def broken(self, flow: Flow, now: float) -> None:
        """A message could not be read."""
        self._count(flow, LIGHT_FAILURE, "broken", now)

    def locked(self, flow: Flow, user: str, now: float) -> bool:
        """Nothing that this source says of this user is believed now."""
        if not self._guessed:
            return False
        guessed = self._guessed.get((source_of(flow.host), user[:USER_CHARACTERS_MAX]))
        return guessed is not None and guessed.locked_until > now

    def guessed(self, flow: Flow, user: str, now: float) -> None:
        """A digest for this user, known or not, proved the wrong secret, or came while the user was locked."""
        if not self.limits.failures or flow[2:4] in self.limits.exempt:
            return
        pair = source_of(flow.host), user[:USER_CHARACTERS_MAX]
        known = self._guessed.pop(pair, None)
        if known is None or max(known.at, known.locked_until) + FORGOTTEN_SECONDS < now:
            known = _Guessed(now)
        self._guessed[pair] = known
        _bound(self._guessed, GUESSED_MAX)
        if known.locked_until <= now:
            known.at = now
            known.guesses += 1
            if known.guesses >= GUESSES_MAX:
                known.locked_until = now + min(LOCK_SECONDS_MIN * 2.0 ** min(known.locks, 16), LOCK_SECONDS_MAX)
                known.locks += 1
                known.guesses = GUESSES_MAX - 1
        self._count(flow, 1.0, "guessing", now)

    def proved(self, flow: Flow, user: str, now: float) -> None:
        """The user has authenticated from there."""
        source = source_of(flow.host)
        self._proven[source] = now
        if len(self._proven) > PROVEN_MAX:
            _bound(self._proven, PROVEN_MAX)
        if self._guessed:
            self._guessed.pop((source, user[:USER_CHARACTERS_MAX]), None)

    def _known(self, table: dict[str, _Source], entries_max: int, name: str, now: float) -> _Source:
        known = table.pop(name, None) or _Source(now)
        table[name] = known
        _bound(table, entries_max)
        return known

    def _report(self, name: str, seconds: float, cause: str) -> None:
        self.bans_total += 1
        self.bans.append(Ban(name, seconds, cause))

    def _count(self, flow: Flow, failures: float, cause: str, now: float) -> None:
        limits = self.limits
        if not limits.failures or flow[2:4] in limits.exempt:
            return
        source = source_of(flow.host)
        known = self._known(self._sources, SOURCES_MAX, source, now)
        room = float(limits.failures)
        if source in self._proven:
            if self._proven[source] + PROVEN_SECONDS > now:
                room *= PROVEN_FACTOR
            else:
                del self._proven[source]
        if not known.failed(failures, room, now):
            return
        seconds = known.ban(limits.ban_seconds, now)
        self.banned[source] = now + seconds
        if len(self.banned) > BANNED_MAX:
            self.banned = {source: until for source, until in self.banned.items() if until > now}
            _bound(self.banned, BANNED_MAX)
        self._report(source, seconds, cause)


def _bound(table: dict[Any, Any], entries_max: int) -> None:
    """Forget what was put in first."""
    while len(table) > entries_max:
        del table[next(iter(table))]
