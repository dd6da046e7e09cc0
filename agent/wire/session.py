"""Sessions: the keys under which controller and one machine talk, for as long as both live.

machine -> `SessionRequest` (its fresh X25519 key; signed) -> controller -> `SessionAnswer` (its fresh X25519 key, a
secret sealed to the machine's stored security key; signed, over the hash of the request) -> both derive

    key = HKDF-SHA256(ECDH || secret, salt = SHA-256(request body || answer body), info = channel and direction)

Rules:
- Four keys: two channels (publication, request) in two directions. A key and its sequence belong to one direction.
- Only who holds the identity can ask, only who holds the security key can use what was answered; past traffic stays
  closed to who steals both later, since the X25519 keys are forgotten.
- A session ends with its controller (a new term) and is replaced at any time by a new one. The controller goes on with
  the old one until the first message under the new one proves that the machine has it (`Sessions`).
- The answer carries the controller's clock; a machine reckons expiry by it, so that its own clock may jump.
"""

import hashlib
import os
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.wire import topics
from agent.wire.envelope import Envelope, Header, encode_header, sign
from agent.wire.keys import Identity, SealError, SecurityKey, machine_id, seal
from agent.wire.messages import SessionAnswer, SessionRequest
from agent.wire.refusal import Replayed, Undecipherable

TRAFFIC_SECONDS = 60.0
"""Envelopes of a session expire after this."""
SEQUENCE_MAX = (1 << 48) - 1
"""A channel that reached this is closed; a new session is due long before."""
_CONTEXT = b"hotswitch session"


class Sender(NamedTuple):
    """Who speaks in a session's channel, to whom."""

    cluster: str
    sender: str
    recipient: str
    term: int


class SealingChannel:
    """One direction, the side that speaks: seals, numbers and signs."""

    __slots__ = ("_aead", "_prefix", "_sender", "_signer", "id", "sequence")

    def __init__(self, id: str, key: bytes, sender: Sender, signer: Identity, prefix: bytes) -> None:
        self.id = id
        """As in the header's ``session``."""
        self.sequence = 0
        """Of the last message sealed."""
        self._aead = AESGCM(key)
        self._sender = sender
        self._signer = signer
        self._prefix = prefix

    def seal(self, message: msgspec.Struct, now: float, *, subject: str = "", generation: int = 0) -> Envelope:
        """One message, sealed and signed; ``now`` in seconds since the epoch, of the controller's clock.

        Messages must be sent in the order in which they were sealed.
        """
        self.sequence += 1
        if self.sequence > SEQUENCE_MAX:
            raise OverflowError(f"session {self.id}: no sequence numbers left")
        kind = str(message.__struct_config__.tag)
        header = encode_header(
            Header(
                type=kind,
                cluster=self._sender.cluster,
                sender=self._sender.sender,
                recipient=self._sender.recipient,
                session=self.id,
                term=self._sender.term,
                sequence=self.sequence,
                subject=subject,
                generation=generation,
                created=now,
                expires=now + TRAFFIC_SECONDS,
            )
        )
        topic = self._prefix + kind.encode()
        body = self._aead.encrypt(_nonce(self.sequence), _encoder.encode(message), topic + header)
        return sign(self._signer, topic, header, body)


class OpeningChannel:
    """One direction, the side that hears: takes each sequence number once, in growing order."""

    __slots__ = ("_aead", "id", "missed", "sequence")

    def __init__(self, id: str, key: bytes) -> None:
        self.id = id
        self.sequence = 0
        """Of the last message taken."""
        self.missed = 0
        """Messages that were skipped by the last one taken: above 0, something was lost."""
        self._aead = AESGCM(key)

    def check_sequence(self, sequence: int) -> None:
        """Raises:
        Replayed: not above the last one taken.
        """
        if sequence <= self.sequence or sequence > SEQUENCE_MAX:
            raise Replayed(f"sequence: expected above {self.sequence}, got {sequence}")

    def open(self, envelope: Envelope, sequence: int) -> bytes:
        """Decrypt, and count it as taken.

        Raises:
            Undecipherable: not sealed in this channel.
        """
        try:
            plain = self._aead.decrypt(_nonce(sequence), envelope.body, envelope.topic + envelope.header)
        except InvalidTag as error:
            raise Undecipherable(f"not sealed in session {self.id}") from error
        self.missed = sequence - self.sequence - 1
        self.sequence = sequence
        return plain


_encoder = msgspec.msgpack.Encoder()


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(12, "big")


class Session:
    """Both channels of one session, as one side has them."""

    __slots__ = ("hear", "hear_request", "id", "say", "say_request", "term")

    def __init__(self, material: bytes, transcript: bytes, own: Sender, signer: Identity, *, controller: bool, id: str) -> None:
        machine = own.recipient if controller else own.sender
        say, hear = ("c", "m") if controller else ("m", "c")

        def key(channel: str, direction: str) -> bytes:
            info = b"%s %s %s" % (_CONTEXT, channel.encode(), direction.encode())
            return HKDF(hashes.SHA256(), 32, salt=transcript, info=info).derive(material)

        prefix = topics.to_machine(machine) if controller else topics.from_machine(machine)
        self.id = id
        self.term = own.term
        self.say = SealingChannel(f"{id}.p", key("publication", say), own, signer, prefix)
        """Publication channel, own direction."""
        self.hear = OpeningChannel(f"{id}.p", key("publication", hear))
        """Publication channel, the other's direction."""
        self.say_request = SealingChannel(f"{id}.r", key("request", say), own, signer, topics.request(own.recipient, ""))
        """Request channel, own direction."""
        self.hear_request = OpeningChannel(f"{id}.r", key("request", hear))
        """Request channel, the other's direction."""

    def channel(self, session: str) -> OpeningChannel | None:
        """The channel that a header names; None: not of this session."""
        if session == self.hear.id:
            return self.hear
        return self.hear_request if session == self.hear_request.id else None


class PendingSession:
    """The machine's half of a session that it has asked for."""

    __slots__ = ("_body", "_ephemeral", "envelope", "nonce")

    def __init__(self, identity: Identity, cluster: str, term: int, now: float) -> None:
        """``term``: the highest one known; ``now``: own clock, seconds since the epoch (informative)."""
        self._ephemeral = X25519PrivateKey.generate()
        self.nonce = os.urandom(16)
        request = SessionRequest(ephemeral=self._ephemeral.public_key().public_bytes_raw(), nonce=self.nonce)
        self._body = _encoder.encode(request)
        self.envelope = _plain(identity, machine_id(identity.public), topics.CONTROLLER, "session-request", cluster, term, self._body, now)
        """To be sent over the request channel; the same one again until it is answered."""

    def finish(self, answer: SessionAnswer, envelope: Envelope, header: Header, identity: Identity, security: SecurityKey) -> Session:
        """Derive the session from an authentic answer (``header`` is the one that `Opener` gave).

        Raises:
            Undecipherable: it answers another request, or is not sealed to this security key.
        """
        if answer.nonce != self.nonce:
            raise Undecipherable("answers another session request")
        try:
            secret = security.open(answer.sealed, _CONTEXT + self._body)
            shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(answer.ephemeral))
        except (SealError, ValueError) as error:
            raise Undecipherable(f"session answer: {error}") from error
        transcript = hashlib.sha256(self._body + envelope.body).digest()
        own = Sender(header.cluster, header.recipient, topics.CONTROLLER, header.term)
        return Session(shared + secret, transcript, own, identity, controller=False, id=answer.session)


def answer_session(
    request: SessionRequest, envelope: Envelope, header: Header, controller: Identity, security_public: bytes, term: int, now: float
) -> tuple[Session, Envelope]:
    """The controller's half: the session, and the answer to send to the machine over the request channel.

    ``request``, ``envelope`` and ``header`` are those of a machine's authentic request; ``security_public`` is the key stored at its
    enrolment.

    Raises:
        Undecipherable: its X25519 key is none.
    """
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(request.ephemeral))
    except ValueError as error:
        raise Undecipherable(f"session request: {error}") from error
    secret = os.urandom(32)
    answer = SessionAnswer(
        nonce=request.nonce,
        session=os.urandom(8).hex(),
        ephemeral=ephemeral.public_key().public_bytes_raw(),
        sealed=seal(security_public, secret, _CONTEXT + envelope.body),
        now=now,
    )
    body = _encoder.encode(answer)
    reply = _plain(controller, topics.CONTROLLER, header.sender, "session-answer", header.cluster, term, body, now)
    transcript = hashlib.sha256(envelope.body + body).digest()
    own = Sender(header.cluster, topics.CONTROLLER, header.sender, term)
    return Session(shared + secret, transcript, own, controller, controller=True, id=answer.session), reply


def _plain(signer: Identity, sender: str, recipient: str, kind: str, cluster: str, term: int, body: bytes, now: float) -> Envelope:
    header = Header(type=kind, cluster=cluster, sender=sender, recipient=recipient, term=term, created=now)
    return sign(signer, topics.request(recipient, kind), encode_header(header), body)


OFFERED_MAX = 8
"""Sessions that a machine was answered and has not used yet: its requests may have piled up on the way."""


class Sessions:
    """The controller's sessions with one machine: the one in use, and those offered that the machine has not used yet."""

    __slots__ = ("_offered", "current")

    def __init__(self) -> None:
        self.current: Session | None = None
        """Speak in this one."""
        self._offered: list[Session] = []

    def offer(self, session: Session) -> None:
        """A session was answered; it takes over with the machine's first message in it."""
        self._offered = [*self._offered[1 - OFFERED_MAX :], session]

    def channel(self, session: str) -> OpeningChannel | None:
        """The channel that a header names; None: unknown."""
        for candidate in (self.current, *self._offered):
            if candidate is not None and (channel := candidate.channel(session)) is not None:
                return channel
        return None

    def opened(self, session: str) -> bool:
        """A message of this channel was opened: true when that made an offered session the current one."""
        for candidate in self._offered:
            if candidate.channel(session) is not None:
                self.current, self._offered = candidate, []
                return True
        return False
