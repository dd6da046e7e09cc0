"""Keys of a machine and of the controller, and how a machine keeps its own.

Rules:
- An identity (Ed25519) signs; its hash is the machine's id, so an id cannot be claimed without the key.
- A security key (ML-KEM-768 with X25519, HPKE of RFC 9180) is what the controller stores and seals to.
- A transport key (CURVE) opens the way to the broker; nothing else rests on it.
- Secret bytes leave an object only through ``secret_bytes``, for storage.

Left to others: when keys change (enrolment, rotation), who trusts which (`agent.trust`).
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import zmq
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from agent.wire.files import write_private

IDENTITY_PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
MLKEM_PUBLIC_BYTES = 1184
MLKEM_SEED_BYTES = 64
SECURITY_PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + 32
SECURITY_SECRET_BYTES = MLKEM_SEED_BYTES + 32
SEAL_OVERHEAD_BYTES = 1088 + 32 + 16
"""What sealing to a security key adds: encapsulated key (ML-KEM-768 ciphertext, X25519 point) and tag."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class KeyFormatError(ValueError):
    """Bytes that should be a key are none."""


class SealError(ValueError):
    """A sealed text that this key does not open, or not with this context."""


def machine_id(identity_public: bytes) -> str:
    """Id of the machine with this identity: ``m`` and 24 letters or digits of its SHA-256 (120 bits)."""
    digest = hashlib.sha256(b"hotswitch machine\0" + identity_public).digest()
    return "m" + base64.b32encode(digest[:15]).decode().lower()


def verify(identity_public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the holder of this identity signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(identity_public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


class Identity:
    """Who somebody is: an Ed25519 key pair (RFC 8032)."""

    __slots__ = ("_private", "public")

    public: bytes
    """32 bytes."""

    def __init__(self, secret: bytes) -> None:
        """From its 32 secret bytes.

        Raises:
            KeyFormatError: not 32 bytes.
        """
        try:
            self._private = Ed25519PrivateKey.from_private_bytes(secret)
        except ValueError as error:
            raise KeyFormatError(f"identity: expected 32 secret bytes, got {len(secret)}") from error
        self.public = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(32))

    @property
    def id(self) -> str:
        """Machine id that belongs to it."""
        return machine_id(self.public)

    def secret_bytes(self) -> bytes:
        return self._private.private_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Signature of 64 bytes."""
        return self._private.sign(data)


class SecurityKey:
    """What others seal to: the hybrid KEM of ML-KEM-768 (FIPS 203) and X25519 for HPKE (RFC 9180)."""

    __slots__ = ("_private", "_secret", "public")

    public: bytes
    """1216 bytes: ML-KEM-768 public key, X25519 public key."""

    def __init__(self, secret: bytes) -> None:
        """From its 96 secret bytes (ML-KEM seed of 64, X25519 secret of 32).

        Raises:
            KeyFormatError: not 96 bytes.
        """
        if len(secret) != SECURITY_SECRET_BYTES:
            raise KeyFormatError(f"security key: expected {SECURITY_SECRET_BYTES} secret bytes, got {len(secret)}")
        lattice = MLKEM768PrivateKey.from_seed_bytes(secret[:MLKEM_SEED_BYTES])
        curve = X25519PrivateKey.from_private_bytes(secret[MLKEM_SEED_BYTES:])
        self._secret = secret
        self._private = MLKEM768X25519PrivateKey(lattice, curve)
        self.public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(SECURITY_SECRET_BYTES))

    def secret_bytes(self) -> bytes:
        return self._secret

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Open what `seal` made for this key in the same context.

        Raises:
            SealError: another key, another context, or changed bytes.
        """
        try:
            return _SUITE.decrypt(sealed, self._private, context)
        except (InvalidTag, ValueError) as error:
            raise SealError("not sealed to this key in this context") from error


def seal(security_public: bytes, plain: bytes, context: bytes) -> bytes:
    """Seal to the holder of a security key; ``context`` must be the same when opened.

    Raises:
        KeyFormatError: the public key is none.
    """
    if len(security_public) != SECURITY_PUBLIC_BYTES:
        raise KeyFormatError(f"security key: expected {SECURITY_PUBLIC_BYTES} public bytes, got {len(security_public)}")
    try:
        public = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(security_public[:MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(security_public[MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(plain, public, context)
    except ValueError as error:
        raise KeyFormatError("security key: not a public key") from error


class TransportKey(NamedTuple):
    """CURVE key pair (ZMTP 3.1, RFC 26/CURVEZMQ), both halves in Z85 (40 characters)."""

    public: str
    secret: str

    @classmethod
    def generate(cls) -> Self:
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: bytes
    security: bytes
    security_epoch: int
    transport_public: str
    transport_secret: str


class MachineKeys(NamedTuple):
    """All keys of one machine."""

    identity: Identity
    security: SecurityKey
    transport: TransportKey
    security_epoch: int = 1
    """Grows with each rotation of the security key; an envelope's header names the epoch that it is sealed for."""

    @classmethod
    def generate(cls) -> Self:
        return cls(Identity.generate(), SecurityKey.generate(), TransportKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read them from a file of `store`.

        Raises:
            FileNotFoundError: there is none.
            KeyFormatError: others may read the file, or its content is not that of `store`.
        """
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeyFormatError(f"{path}: expected mode 600, got {mode:o}")
        try:
            stored = msgspec.msgpack.decode(path.read_bytes(), type=_Stored)
        except msgspec.MsgspecError as error:
            raise KeyFormatError(f"{path}: not a key file: {error}") from error
        return cls(
            Identity(stored.identity),
            SecurityKey(stored.security),
            TransportKey(stored.transport_public, stored.transport_secret),
            stored.security_epoch,
        )

    def store(self, path: Path) -> None:
        """Write them to a file of mode 600, durably and at once (never half a file)."""
        stored = _Stored(
            self.identity.secret_bytes(),
            self.security.secret_bytes(),
            self.security_epoch,
            self.transport.public,
            self.transport.secret,
        )
        write_private(path, msgspec.msgpack.encode(stored))
