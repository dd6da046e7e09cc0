"""Opens what the other side sent: all checks of an envelope, in their order; and seals state for a machine.

size, version, recipient, signature -> term -> sequence -> expiry -> decryption -> schema

An `Opener` is for one sender (a machine has one for the controller; the controller has one a machine).
Outside a session nothing has a sequence: a subject's state is ordered by its generation, which the replica guards.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from agent.wire import topics
from agent.wire.envelope import EVERYBODY, STATE_BYTES_MAX, Envelope, Header, authenticate, encode_header, sign
from agent.wire.keys import Identity, SealError, SecurityKey, seal
from agent.wire.messages import ControllerMessage, MachineMessage, State
from agent.wire.refusal import Expired, StaleTerm, Undecipherable, UnknownSession, WrongRecipient, WrongSchema
from agent.wire.session import OpeningChannel

STATE_SECONDS = 86400.0
"""A state that is not taken within this time must be sealed anew."""

_encoder = msgspec.msgpack.Encoder()
_state_decoder: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(State)
_controller_decoder: msgspec.msgpack.Decoder[ControllerMessage] = msgspec.msgpack.Decoder(ControllerMessage)
_machine_decoder: msgspec.msgpack.Decoder[MachineMessage] = msgspec.msgpack.Decoder(MachineMessage)


class Opened(NamedTuple):
    """An authentic, fresh and readable message."""

    header: Header
    message: Any
    """A structure of `agent.wire.messages`, or the plain ``bytes`` of a chunk."""
    missed: int = 0
    """Messages of the same channel that were lost before this one."""


class Opener:
    """Opens what one sender says to one recipient."""

    def __init__(
        self,
        *,
        cluster: str,
        recipient: str,
        sender: str,
        sender_public: bytes,
        channel: Callable[[str], OpeningChannel | None],
        security: dict[int, SecurityKey] | None = None,
        term: int = 0,
    ) -> None:
        """``channel`` finds the channel that a header's ``session`` names; ``security`` holds the recipient's keys by epoch;
        ``term`` is the highest controller term known (persisted).
        """
        self._cluster = cluster
        self._recipient = recipient
        self._sender = sender
        self._public = sender_public
        self._channel = channel
        self._security = security or {}
        self._from_controller = sender == topics.CONTROLLER
        self.term = term
        """Highest controller term heard; a lower one is refused."""

    def open(self, envelope: Envelope, now: float) -> Opened:
        """All checks; ``now`` in seconds since the epoch (a machine: of the controller's clock).

        Raises:
            Refusal: the first check that fails, by its own type.
        """
        header = self._authentic(envelope)
        self._check_term(header)
        channel = None
        if header.session:
            channel = self._channel(header.session)
            if channel is None:
                raise UnknownSession(f"session {header.session} is not open")
            channel.check_sequence(header.sequence)
        if header.expires and now > header.expires:
            raise Expired(f"expired {now - header.expires:.1f} s ago")
        if channel is not None:
            plain = channel.open(envelope, header.sequence)
            return Opened(header, self._message(header, plain), channel.missed)
        if header.key_epoch:
            return Opened(header, self._state(envelope, header))
        if header.type == "chunk" and header.recipient == EVERYBODY:
            return Opened(header, envelope.body)
        return Opened(header, self._message(header, envelope.body))

    def open_stored(self, envelope: Envelope) -> Opened:
        """Open a state that was taken earlier and kept as it came: term and expiry were checked then.

        Raises:
            Refusal: as `open`; the file was changed, or the keys are others now.
        """
        header = self._authentic(envelope)
        if not header.key_epoch:
            raise WrongSchema(f"expected a state, got {header.type}")
        return Opened(header, self._state(envelope, header))

    def _authentic(self, envelope: Envelope) -> Header:
        header = authenticate(envelope, cluster=self._cluster, recipient=self._recipient, sender=self._sender, sender_public=self._public)
        if header.recipient == EVERYBODY and header.type != "chunk":
            raise WrongRecipient(f"{header.type} is not for everybody")
        return header

    def _check_term(self, header: Header) -> None:
        if self._from_controller:
            if header.term < self.term:
                raise StaleTerm(f"term: expected at least {self.term}, got {header.term}")
            self.term = header.term
        elif header.session and header.term != self.term:
            raise StaleTerm(f"term: expected {self.term}, got {header.term}")

    def _state(self, envelope: Envelope, header: Header) -> State:
        key = self._security.get(header.key_epoch)
        if key is None:
            raise Undecipherable(f"no security key of epoch {header.key_epoch}")
        try:
            plain = key.open(envelope.body, envelope.header)
        except SealError as error:
            raise Undecipherable(str(error)) from error
        if hashlib.sha256(plain).digest() != header.content_hash:
            raise Undecipherable("content is not what the header names")
        try:
            state = _state_decoder.decode(plain)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WrongSchema(f"{header.type}: {error}") from error
        if state.__struct_config__.tag != header.type:
            raise WrongSchema(f"type: header says {header.type}, body {state.__struct_config__.tag}")
        return state

    def _message(self, header: Header, plain: bytes) -> Any:
        decoder: msgspec.msgpack.Decoder[Any] = _controller_decoder if self._from_controller else _machine_decoder
        try:
            message = decoder.decode(plain)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WrongSchema(f"{header.type}: {error}") from error
        tag = message.__struct_config__.tag
        if tag != header.type:
            raise WrongSchema(f"type: header says {header.type}, body {tag}")
        if not header.session and tag not in ("session-request", "session-answer"):
            raise WrongSchema(f"{tag} outside a session")
        return message


class Recipient(NamedTuple):
    """A machine as the controller seals to it."""

    machine: str
    security_public: bytes
    key_epoch: int = 1


def seal_state(
    controller: Identity,
    cluster: str,
    term: int,
    recipient: Recipient,
    subject: str,
    generation: int,
    state: State,
    now: float,
    via: str = "",
) -> Envelope:
    """Seal the whole state of one subject to the machine that it is for.

    The envelope stands by itself: it is sent inside `Carried` (to the machine, or to the one that relays it), kept by the machine as it
    came, and may be sent again unchanged until it expires. ``generation`` must be above every earlier one of the subject.
    ``via``: id of the machine that relays it.

    Raises:
        ValueError: the state is longer than `STATE_BYTES_MAX`.
    """
    plain = _encoder.encode(state)
    if len(plain) > STATE_BYTES_MAX:
        raise ValueError(f"state of {subject}: expected at most {STATE_BYTES_MAX} bytes, got {len(plain)}")
    kind = str(state.__struct_config__.tag)
    header = encode_header(
        Header(
            type=kind,
            cluster=cluster,
            sender=topics.CONTROLLER,
            recipient=recipient.machine,
            via=via,
            key_epoch=recipient.key_epoch,
            term=term,
            subject=subject,
            generation=generation,
            content_hash=hashlib.sha256(plain).digest(),
            created=now,
            expires=now + STATE_SECONDS,
        )
    )
    return sign(controller, topics.to_machine(recipient.machine, kind), header, seal(recipient.security_public, plain, header))
