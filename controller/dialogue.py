"""The controller's talk with one machine: sessions, what is opened and what is sealed. No socket, no clock.

Rules:
- A machine asks for a session; the controller answers it and goes on speaking in the old one until the machine uses the new one.
- A request that comes again (its answer was late or lost) gets the same answer: the machine may use either copy.
- What does not open is refused and counted by its code; nothing else happens.
- A state is sealed once a generation and sent again unchanged, until half of its life is over.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from agent.wire import topics
from agent.wire.envelope import Envelope
from agent.wire.keys import Identity
from agent.wire.messages import Carried, Echo, Heads, ReportRequest, SnapshotEnd, State
from agent.wire.opener import STATE_SECONDS, Opened, Opener, Recipient, seal_state
from agent.wire.refusal import Refusal
from agent.wire.session import Sessions, answer_session
from controller.effects import Frames
from controller.state import Machine, Subject

Said = Carried | Echo | Heads | ReportRequest | SnapshotEnd

_state = msgspec.msgpack.Decoder(State)


class Speaker(NamedTuple):
    """The controller as machines hear it."""

    identity: Identity
    cluster: str
    term: int


class Heard(NamedTuple):
    """What a machine said, authentic and fresh."""

    opened: Opened
    began: bool
    """The first message in a new session."""


class Dialogue:
    """Sessions with one machine."""

    def __init__(self, speaker: Speaker, machine: Machine) -> None:
        self.machine = machine.id
        self.security_key = machine.security_key
        self.refusals: Counter[str] = Counter()
        """Envelopes that were not taken, by code."""
        self.missed = 0
        """Messages of the machine that were lost on the way."""
        self._speaker = speaker
        self._answer: tuple[bytes, Frames] | None = None
        """Nonce of the latest request for a session, and what it was answered."""
        self._sessions = Sessions()
        self._opener = Opener(
            cluster=speaker.cluster,
            recipient=topics.CONTROLLER,
            sender=machine.id,
            sender_public=machine.identity_key,
            channel=self._sessions.channel,
            term=speaker.term,
        )

    @property
    def open(self) -> bool:
        """Whether the controller can speak to the machine."""
        return self._sessions.current is not None

    def hear(self, envelope: Envelope, now: float) -> Heard | None:
        """Open what a machine sent; None: refused, and counted."""
        try:
            opened = self._opener.open(envelope, now)
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return None
        self.missed += opened.missed
        began = bool(opened.header.session) and self._sessions.opened(opened.header.session)
        return Heard(opened, began)

    def answer_session(self, envelope: Envelope, opened: Opened, now: float) -> Frames | None:
        """Frames of the answer to a request for a session, for the request channel."""
        nonce = opened.message.nonce
        if self._answer is not None and self._answer[0] == nonce:
            return self._answer[1]
        try:
            session, reply = answer_session(
                opened.message, envelope, opened.header, self._speaker.identity, self.security_key, self._speaker.term, now
            )
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
            return None
        self._sessions.offer(session)
        frames = (self.machine.encode(), *reply)
        self._answer = (nonce, frames)
        return frames

    def publish(self, message: Said, now: float) -> Frames | None:
        """Frames for the publication channel; None: no session."""
        session = self._sessions.current
        return None if session is None else tuple(session.say.seal(message, now))

    def respond(self, messages: Iterable[Said], now: float) -> list[Frames]:
        """Frames for the request channel; nothing without a session."""
        session = self._sessions.current
        if session is None:
            return []
        return [(self.machine.encode(), *session.say_request.seal(message, now)) for message in messages]


class _Sealed(NamedTuple):
    generation: int
    via: str
    at: float
    envelope: bytes


class Sealer:
    """Seals subjects to their machines, each generation once."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._sealed: dict[str, _Sealed] = {}

    def carried(self, subject: Subject, machine: Machine, now: float) -> Carried:
        """A subject's current state, sealed to its machine end to end."""
        kept = self._sealed.get(subject.id)
        if kept is None or kept.generation != subject.generation or kept.via != subject.via or now > kept.at + STATE_SECONDS / 2:
            envelope = seal_state(
                self._speaker.identity,
                self._speaker.cluster,
                self._speaker.term,
                Recipient(machine.id, machine.security_key),
                subject.id,
                subject.generation,
                _state.decode(subject.body),
                now,
                via=subject.via,
            )
            kept = self._sealed[subject.id] = _Sealed(subject.generation, subject.via, now, envelope.pack())
        return Carried(machine=machine.id, subject=subject.id, generation=subject.generation, envelope=kept.envelope)

    def forget(self, subject: str) -> None:
        """A subject is no more."""
        self._sealed.pop(subject, None)
