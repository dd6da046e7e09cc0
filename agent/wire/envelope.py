"""The envelope of every message of the control plane: topic, header, body, signature, as four frames.

| frame | content | bound |
| --- | --- | --- |
| topic | ``c/<machine>/<type>`` and so on; see `agent.wire.topics` | `TOPIC_BYTES_MAX` |
| header | one byte version, msgpack array of `Header` | `HEADER_BYTES_MAX` |
| body | plain, or sealed as the header says | `BODY_BYTES_MAX` |
| signature | Ed25519 over the other three | 64 |

How the body is sealed follows from the header:

| session | key epoch | body |
| --- | --- | --- |
| empty | 0 | plain (session set-up; chunks of bundles, which are ciphertext already) |
| empty | n > 0 | sealed to the recipient's security key of epoch n, the header as context |
| named | 0 | AES-256-GCM under that session's key, sequence as nonce, topic and header as associated data |

The checks are made in the order size, version, recipient, signature, term, sequence, expiry, decryption,
schema; each has its type in `agent.wire.refusal`. `authenticate` makes the first four; nothing beyond the
header is parsed before they hold. `agent.wire.opener` makes the others.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec

from agent.wire.keys import SIGNATURE_BYTES, Identity, verify
from agent.wire.refusal import BadSignature, Malformed, Oversized, WrongRecipient, WrongVersion

VERSION = 1
TOPIC_BYTES_MAX = 256
HEADER_BYTES_MAX = 1024
BODY_BYTES_MAX = 4 << 20
STATE_BYTES_MAX = BODY_BYTES_MAX - 8192
"""Of a subject's state: sealed, it fits into the body of another envelope."""
PACKED_BYTES_MAX = TOPIC_BYTES_MAX + HEADER_BYTES_MAX + BODY_BYTES_MAX + SIGNATURE_BYTES + 32
EVERYBODY = "*"
"""Recipient of what any enrolled machine may read (chunks of bundles)."""


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a message before it is opened."""

    type: str
    """Tag of the body's structure in `agent.wire.messages`."""
    cluster: str
    sender: str
    """Machine id, or ``controller``."""
    recipient: str
    """Machine id, ``controller``, or `EVERYBODY`."""
    via: str = ""
    """Machine that relays it: that of the load balancer."""
    session: str = ""
    key_epoch: int = 0
    """Epoch of the recipient's security key that the body is sealed to; 0: none."""
    term: int = 0
    """Of the controller that speaks, or that the sender obeys; grows with each controller start."""
    sequence: int = 0
    """Grows by one a message within a session's channel, from 1."""
    subject: str = ""
    """Whose state it is: machine id or unit id; or hash of the bundle."""
    generation: int = 0
    """Of that subject; only grows."""
    base_generation: int = 0
    """Generation that a delta applies to; 0: the body is the whole state."""
    content_hash: bytes = b""
    """SHA-256 of the plain body where it is a subject's state; empty elsewhere."""
    created: float = 0.0
    """Seconds since the epoch, sender's clock."""
    expires: float = 0.0
    """Seconds since the epoch, sender's clock; 0: never."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)
_unpacker = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes, bytes])


class Envelope(NamedTuple):
    """The four frames, as they travel and as they are stored."""

    topic: bytes
    header: bytes
    body: bytes
    signature: bytes

    @classmethod
    def of_frames(cls, frames: Sequence[bytes]) -> Self:
        """From what a socket gave.

        Raises:
            Oversized: not four frames, or one above its bound.
        """
        if len(frames) != 4:
            raise Oversized(f"expected 4 frames, got {len(frames)}")
        for name, frame, bound in zip(
            cls._fields, frames, (TOPIC_BYTES_MAX, HEADER_BYTES_MAX, BODY_BYTES_MAX, SIGNATURE_BYTES), strict=True
        ):
            if len(frame) > bound:
                raise Oversized(f"{name}: expected at most {bound} bytes, got {len(frame)}")
        return cls(*frames)

    def pack(self) -> bytes:
        """As one byte string: for a file, or inside another envelope."""
        return _encoder.encode(tuple(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """What `pack` made.

        Raises:
            Oversized: too long. Malformed: not packed frames.
        """
        if len(data) > PACKED_BYTES_MAX:
            raise Oversized(f"packed envelope: expected at most {PACKED_BYTES_MAX} bytes, got {len(data)}")
        try:
            return cls.of_frames(_unpacker.decode(data))
        except msgspec.MsgspecError as error:
            raise Malformed(f"packed envelope: {error}") from error


def encode_header(header: Header) -> bytes:
    """The header frame."""
    return bytes([VERSION]) + _encoder.encode(header)


def read_header(envelope: Envelope) -> Header:
    """The header, not yet authentic: only to choose whose key and which session it would be.

    Raises:
        WrongVersion: not version 1. Malformed: no header.
    """
    frame = envelope.header
    if not frame:
        raise Malformed("header: empty")
    if frame[0] != VERSION:
        raise WrongVersion(f"version: expected {VERSION}, got {frame[0]}")
    try:
        return _decoder.decode(memoryview(frame)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"header: {error}") from error


def signed_bytes(topic: bytes, header: bytes, body: bytes) -> bytes:
    """What the signature covers; lengths keep the frames apart, the body enters by its hash."""
    return b"".join(
        (
            b"hotswitch envelope\0",
            len(topic).to_bytes(4, "big"),
            topic,
            len(header).to_bytes(4, "big"),
            header,
            hashlib.sha256(body).digest(),
        )
    )


def sign(signer: Identity, topic: bytes, header: bytes, body: bytes) -> Envelope:
    """Put the signature to the three frames."""
    return Envelope(topic, header, body, signer.sign(signed_bytes(topic, header, body)))


def authenticate(envelope: Envelope, *, cluster: str, recipient: str, sender: str, sender_public: bytes) -> Header:
    """The checks size, version, recipient and signature; the header is authentic when this returns.

    Raises:
        Oversized, Malformed, WrongVersion, WrongRecipient, BadSignature: in this order.
    """
    Envelope.of_frames(envelope)
    header = read_header(envelope)
    if header.cluster != cluster:
        raise WrongRecipient(f"cluster: expected {cluster}, got {header.cluster}")
    if header.recipient not in (recipient, EVERYBODY):
        raise WrongRecipient(f"recipient: expected {recipient}, got {header.recipient}")
    if header.sender != sender:
        raise WrongRecipient(f"sender: expected {sender}, got {header.sender}")
    if not verify(sender_public, envelope.signature, signed_bytes(*envelope[:3])):
        raise BadSignature(f"not signed by {sender}")
    return header
