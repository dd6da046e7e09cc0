"""What a machine knows of its own wanted state: the replica of its subjects. No socket, no clock, no disk.

    apart -> (session) -> proving -> (echo heard) -> syncing -> (snapshot whole) -> current

Rules:
- Publications are only relied on once an echo proved that they are heard; then a snapshot fills in what was before.
- A subject's generation only grows: what is older than, or the same as, what is had is thrown away. The same one again means that
  the controller does not know that it was taken, so it is confirmed.
- Every state is whole; a delta on another base than the one had makes a new snapshot, never a guess.
- A lost message (a gap in the sequence), or a head that does not come within `PATIENCE_SECONDS`, makes a snapshot. Snapshots are
  spread by a jitter, one at a time, `RESYNC_SECONDS_MIN` apart, and repeated with back-off.
- The heads name all subjects; what they do not name is dropped. A head below what is had changes nothing: no way back.
- A machine without a controller goes on with what it has, for ever.
"""

import random
from typing import NamedTuple

from agent.wire.envelope import Header
from agent.wire.messages import MachineDocument, State
from agent.wire.refusal import WrongSchema

ECHO_SECONDS = 0.2
"""Between two requests for an echo; twice as long each time up to `ECHO_SECONDS_MAX`."""
ECHO_SECONDS_MAX = 5.0
PATIENCE_SECONDS = 0.6
JITTER_SECONDS = 0.25
RESYNC_SECONDS_MIN = 0.5
SNAPSHOT_SECONDS = 1.5
"""A snapshot that is not whole by then is asked for again, later each time up to `SNAPSHOT_SECONDS_MAX`."""
SNAPSHOT_SECONDS_MAX = 20.0
SUBJECTS_MAX = 1024
"""Of one machine; more are refused."""


class SayEcho(NamedTuple):
    """Publish a request for an echo."""

    nonce: bytes


class AskSnapshot(NamedTuple):
    """Ask for a snapshot over the request channel."""

    number: int
    have: dict[str, int]


class Keep(NamedTuple):
    """A newer state of a subject was taken: store it as it came, then apply it, then confirm."""

    subject: str
    generation: int
    state: State
    packed: bytes


class Drop(NamedTuple):
    """A subject is no more."""

    subject: str


class Confirm(NamedTuple):
    """Report again: the controller does not know what was taken."""


Effect = SayEcho | AskSnapshot | Keep | Drop | Confirm


class Replica:
    """Generations of one machine's subjects, and the way to the current ones."""

    def __init__(self, machine: str, held: dict[str, int], rng: random.Random) -> None:
        """``held``: subject to the generation that is stored."""
        self.held = held
        self.phase = "apart"
        self.resyncs = 0
        """Snapshots asked for because something was missing."""
        self._machine = machine
        self._rng = rng
        self._effects: list[Effect] = []
        self._nonce = b""
        self._echo_at: float | None = None
        self._echo_pause = ECHO_SECONDS
        self._number = 0
        self._asked = 0
        """Number of the snapshot that is under way; 0: none."""
        self._again = False
        """Something was lost while a snapshot was under way: it may lack it."""
        self._asked_at = -RESYNC_SECONDS_MIN
        self._resync_at: float | None = None
        self._pause = SNAPSHOT_SECONDS
        self._behind_at: float | None = None
        self._behind: dict[str, int] = {}

    def take(self) -> list[Effect]:
        """Effects since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def joined(self, now: float) -> None:
        """There is a (new) session: prove that publications are heard."""
        self.phase = "proving"
        self._nonce = self._rng.randbytes(16)
        self._asked, self._again, self._pause = 0, False, SNAPSHOT_SECONDS
        self._resync_at = self._behind_at = None
        self._behind = {}
        self._echo_pause = ECHO_SECONDS
        self._echo(now)

    def parted(self) -> None:
        """There is no session."""
        self.phase = "apart"
        self._echo_at = self._resync_at = self._behind_at = None

    def echoed(self, nonce: bytes, now: float) -> None:
        """An echo came back."""
        if self.phase == "proving" and nonce == self._nonce:
            self.phase = "syncing"
            self._echo_at = None
            self._ask(now)

    def carried(self, header: Header, state: State, packed: bytes, now: float) -> bool:
        """An authentic state for this machine; true when it is news.

        Raises:
            WrongSchema: the content is of another subject than the header says, or there are too many subjects.
        """
        subject = header.subject
        own = self._machine if isinstance(state, MachineDocument) else state.unit
        if subject != own:
            raise WrongSchema(f"subject: header says {subject}, content {own}")
        had = self.held.get(subject, 0)
        if header.generation <= had:
            if header.generation == had:
                self._effects.append(Confirm())
            return False
        if header.base_generation and header.base_generation != had:
            self._resync(now)
            return False
        if not had and len(self.held) >= SUBJECTS_MAX:
            raise WrongSchema(f"subjects: expected at most {SUBJECTS_MAX}")
        self.held[subject] = header.generation
        self._effects.append(Keep(subject, header.generation, state, packed))
        if self._behind.get(subject, 0) <= header.generation:
            self._behind.pop(subject, None)
            if not self._behind:
                self._behind_at = None
        return True

    def missed(self, now: float) -> None:
        """A publication was lost."""
        self._resync(now)

    def heads(self, heads: dict[str, int], now: float) -> None:
        """The controller says which generations are current."""
        self._drop(heads)
        self._behind = {subject: head for subject, head in heads.items() if head > self.held.get(subject, 0)}
        if not self._behind:
            self._behind_at = None
        elif self._behind_at is None:
            self._behind_at = now + PATIENCE_SECONDS + self._rng.random() * JITTER_SECONDS

    def snapshot_end(self, number: int, heads: dict[str, int], now: float) -> None:
        """A snapshot is whole, unless parts of it were lost or refused."""
        if number != self._asked:
            return
        self._asked, self._resync_at = 0, None
        self._drop(heads)
        again, self._again = self._again, False
        if again:
            self._schedule(now + RESYNC_SECONDS_MIN)
        if any(head > self.held.get(subject, 0) for subject, head in heads.items()):
            self._schedule(now + self._pause)
            return
        self._pause = SNAPSHOT_SECONDS
        if self.phase == "syncing":
            self.phase = "current"
            self._effects.append(Confirm())

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self._echo_at is not None and now >= self._echo_at:
            self._echo(now)
        if self._behind_at is not None and now >= self._behind_at:
            self._behind_at = None
            self._behind = {}
            self._resync(now)
        if self._resync_at is not None and now >= self._resync_at:
            self._ask(now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        return min((at for at in (self._echo_at, self._behind_at, self._resync_at) if at is not None), default=None)

    def _echo(self, now: float) -> None:
        self._effects.append(SayEcho(self._nonce))
        self._echo_at = now + self._echo_pause * (1 + 0.25 * self._rng.random())
        self._echo_pause = min(self._echo_pause * 2, ECHO_SECONDS_MAX)

    def _drop(self, heads: dict[str, int]) -> None:
        for subject in [subject for subject in self.held if subject not in heads]:
            del self.held[subject]
            self._effects.append(Drop(subject))

    def _resync(self, now: float) -> None:
        """Something is missing: a snapshot soon, unless one is on its way anyhow."""
        if self.phase not in ("syncing", "current"):
            return
        self.resyncs += 1
        self._again = self._asked != 0
        self._schedule(max(now, self._asked_at + RESYNC_SECONDS_MIN) + self._rng.random() * JITTER_SECONDS)

    def _schedule(self, at: float) -> None:
        if self._asked == 0 and (self._resync_at is None or at < self._resync_at):
            self._resync_at = at

    def _ask(self, now: float) -> None:
        """Ask now, and again if no answer comes."""
        self._number += 1
        self._asked, self._asked_at = self._number, now
        self._effects.append(AskSnapshot(self._number, dict(self.held)))
        self._resync_at = now + self._pause * (1 + 0.25 * self._rng.random())
        self._pause = min(self._pause * 2, SNAPSHOT_SECONDS_MAX)
