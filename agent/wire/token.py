"""The join token: how a new machine finds its cluster and shows that it was invited.

Rules:
- 32 random bytes that only the new machine's operator sees; from them both sides derive an Ed25519 key.
  The controller stores that key's public half alone: a one-way image that lets nobody join.
- A request to join is signed with it, so neither the broker nor its listener learns the secret.
- It carries all that the machine must trust from then on: the broker's CURVE key, the controller's identity
  and the release key.

Printed: ``hotswitch-join-`` and base64url of msgpack.
"""

import base64
import hashlib
import os
from typing import NamedTuple

import msgspec

from agent.wire.keys import Identity, KeyFormatError

PREFIX = "hotswitch-join-"
SECRET_BYTES = 32
TEXT_CHARACTERS_MAX = 2048


class TokenError(ValueError):
    """A text that is no join token."""


class BrokerAddress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a broker listens (ZeroMQ endpoints) and the CURVE key that proves it."""

    publish: str
    """XSUB: senders connect here."""
    subscribe: str
    """XPUB: receivers connect here."""
    request: str
    """ROUTER for enrolled machines and the controller."""
    enrol: str
    """ROUTER for machines that join."""
    curve_public: str
    """Z85."""


class JoinToken(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a machine needs to join, once."""

    secret: bytes
    cluster: str
    role: str
    """``machine``."""
    brokers: list[BrokerAddress]
    """Tried in turn."""
    controller: bytes
    """Identity of the controller, 32 bytes."""
    releases: list[bytes]
    """Identities that may sign bundles, 32 bytes each."""

    @classmethod
    def generate(
        cls, cluster: str, brokers: list[BrokerAddress], controller: bytes, releases: list[bytes], role: str = "machine"
    ) -> "JoinToken":
        """A fresh one; store `proof_of` it, and when it ends, with the controller."""
        return cls(os.urandom(SECRET_BYTES), cluster, role, brokers, controller, releases)

    def __str__(self) -> str:
        return PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Read a printed token.

        Raises:
            TokenError: it is none.
        """
        text = text.strip()
        if not text.startswith(PREFIX) or len(text) > TEXT_CHARACTERS_MAX:
            raise TokenError(f"expected {PREFIX}... of at most {TEXT_CHARACTERS_MAX} characters")
        encoded = text[len(PREFIX) :]
        try:
            token = msgspec.msgpack.decode(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)), type=cls)
        except (ValueError, msgspec.MsgspecError) as error:
            raise TokenError(f"not a join token: {error}") from error
        if len(token.secret) != SECRET_BYTES or len(token.controller) != 32 or not token.brokers:
            raise TokenError("not a join token: incomplete")
        return token

    def key(self) -> Identity:
        """The key that signs the request to join."""
        return Identity(hashlib.sha256(b"hotswitch join\0" + self.cluster.encode() + b"\0" + self.secret).digest())

    def proof(self) -> "TokenProof":
        """What the controller stores of it."""
        public = self.key().public
        return TokenProof(token_id(public), public)


class TokenProof(NamedTuple):
    """One-way image of a join token."""

    id: str
    """Names the token in a request to join: 32 hexadecimal digits."""
    public: bytes
    """Checks the request's signature."""


def token_id(public: bytes) -> str:
    """Id of the token with this public half."""
    if len(public) != 32:
        raise KeyFormatError(f"token: expected 32 public bytes, got {len(public)}")
    return hashlib.sha256(b"hotswitch token\0" + public).hexdigest()[:32]
