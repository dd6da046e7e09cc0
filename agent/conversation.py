"""The machine's talk with the controller: opens a session, keeps it, opens what is heard, seals what is said. No socket.

Rules:
- Without a session one is asked for, again with back-off and jitter, for as long as it takes.
- Nothing heard for `SILENCE_SECONDS`, or the broker's hint that the controller is another one: a new session is asked for; the
  old one stays in use until it is there, and is still understood a while after.
- A hint is not trusted: it can only make a session be asked for, at most once in `HINT_SECONDS_MIN`.
- Expiry is judged by the controller's clock, reckoned from a clock of ours that does not jump back; where ours stood still (a
  suspended host), what the controller says moves it on.
- What is refused is counted by its code, and nothing else happens.
"""

import random
from collections import Counter
from collections.abc import Callable

import msgspec

from agent.wire import topics
from agent.wire.envelope import Envelope
from agent.wire.keys import MachineKeys
from agent.wire.messages import SessionAnswer
from agent.wire.opener import Opened, Opener
from agent.wire.refusal import Refusal
from agent.wire.session import OpeningChannel, PendingSession, Session

ASK_SECONDS_FIRST = 0.3
ASK_SECONDS_MAX = 5.0
SILENCE_SECONDS = 12.0
HINT_SECONDS_MIN = 2.0
HINT_JITTER_SECONDS = 0.5
SESSION_SECONDS_MAX = 86400.0
"""A session is replaced by a fresh one after this."""


class Conversation:
    """One machine's sessions with its controller."""

    def __init__(
        self,
        *,
        keys: MachineKeys,
        cluster: str,
        controller_public: bytes,
        term: int,
        now: float,
        wall: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """``term``: highest controller term known; ``now``: monotonic seconds; ``wall``: own clock, before the controller's is known."""
        self.session: Session | None = None
        self.refusals: Counter[str] = Counter()
        self.joined = False
        """Set when a session was opened; the shell takes it back."""
        self.outbox: list[Envelope] = []
        """For the request channel."""
        self._keys = keys
        self._cluster = cluster
        self._previous: Session | None = None
        self._pending: PendingSession | None = None
        self._rng = rng
        self._offset = wall() - now
        self._ask_at: float | None = now
        self._pause = ASK_SECONDS_FIRST
        self._heard_at = self._opened_at = now
        self._hinted_at = now - HINT_SECONDS_MIN
        self._opener = Opener(
            cluster=cluster,
            recipient=keys.identity.id,
            sender=topics.CONTROLLER,
            sender_public=controller_public,
            channel=self._channel,
            security={keys.security_epoch: keys.security},
            term=term,
        )

    @property
    def term(self) -> int:
        """Highest controller term heard."""
        return self._opener.term

    def clock(self, now: float) -> float:
        """The controller's clock, seconds since the epoch."""
        return now + self._offset

    def hear(self, envelope: Envelope, now: float) -> Opened | None:
        """Open an envelope of the controller; None: refused, or it was a matter of the session itself."""
        try:
            opened = self._opener.open(envelope, self.clock(now))
            if isinstance(opened.message, SessionAnswer):
                self._finish(opened, envelope, now)
                return None
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return None
        if opened.header.session:
            self._heard_at = now
            self._offset = max(self._offset, opened.header.created - now)
        return opened

    def open_stored(self, envelope: Envelope) -> Opened | None:
        """Open a state that was stored; None: refused."""
        try:
            return self._opener.open_stored(envelope)
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return None

    def say(self, message: msgspec.Struct, now: float) -> Envelope | None:
        """Seal for the publication channel; None: no session."""
        return None if self.session is None else self.session.say.seal(message, self.clock(now))

    def request(self, message: msgspec.Struct, now: float) -> None:
        """Seal for the request channel, into `outbox`; without a session nothing happens."""
        if self.session is not None:
            self.outbox.append(self.session.say_request.seal(message, self.clock(now)))

    def hint(self, now: float) -> None:
        """The broker says that the controller is another one now."""
        if now >= self._hinted_at + HINT_SECONDS_MIN and self._ask_at is None:
            self._hinted_at = now
            self._pause = ASK_SECONDS_FIRST
            self._ask_at = now + self._rng.random() * HINT_JITTER_SECONDS

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self._ask_at is None and now >= self._renew_at():
            self._pause = ASK_SECONDS_FIRST
            self._ask_at = now
        if self._ask_at is not None and now >= self._ask_at:
            if self._pending is None:
                self._pending = PendingSession(self._keys.identity, self._cluster, self._opener.term, self.clock(now))
            self.outbox.append(self._pending.envelope)
            self._ask_at = now + self._pause * (1 + 0.25 * self._rng.random())
            self._pause = min(self._pause * 2, ASK_SECONDS_MAX)

    def deadline(self) -> float:
        """When `timeout` is wanted."""
        return self._ask_at if self._ask_at is not None else self._renew_at()

    def _renew_at(self) -> float:
        return min(self._heard_at + SILENCE_SECONDS, self._opened_at + SESSION_SECONDS_MAX)

    def _finish(self, opened: Opened, envelope: Envelope, now: float) -> None:
        if self._pending is None:
            return
        session = self._pending.finish(opened.message, envelope, opened.header, self._keys.identity, self._keys.security)
        self._previous, self.session = self.session, session
        self._pending = self._ask_at = None
        self._heard_at = self._opened_at = now
        self._offset = opened.message.now - now
        self.joined = True

    def _channel(self, name: str) -> OpeningChannel | None:
        for session in (self.session, self._previous):
            if session is not None and (channel := session.channel(name)) is not None:
                return channel
        return None
