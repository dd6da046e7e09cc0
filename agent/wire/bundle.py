"""Bundles: the software of a platform as one signed, content-addressed, sealed package.

    files -> archive (zip, reproducible) -> manifest (hashes) -> release signature -> package -> chunks under a content key

Rules:
- The hash of a bundle is the SHA-256 of its manifest; the manifest holds the hash of the archive and of each file.
- The same files give the same bytes: sorted names, no time stamps, nothing compressed, bytecode without references.
- The release key signs the manifest; the controller's signature is on the document that names the hash and on every chunk.
  A machine runs what bears both, and no other.
- Encrypted once, under a content key that is sealed to each machine: AES-256-GCM a chunk, its index and whether it is the
  last one in the nonce (STREAM, as in age), the bundle's hash as associated data. Chunks may come in any order, more than once.
- A chunk is published when a machine asked for it: a machine has at most `CREDIT_CHUNKS_MAX` on their way.
"""

import hashlib
import os
import struct
from collections.abc import Mapping
from typing import NamedTuple, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.wire import topics
from agent.wire.envelope import EVERYBODY, Envelope, Header, encode_header, sign
from agent.wire.keys import Identity, SealError, SecurityKey, seal, verify
from agent.wire.refusal import Undecipherable

FORMAT = 1
CHUNK_BYTES = 65536
"""Plain bytes of every chunk but the last."""
BUNDLE_BYTES_MAX = 64 << 20
CHUNKS_MAX = BUNDLE_BYTES_MAX // CHUNK_BYTES
CREDIT_CHUNKS_MAX = 16
"""Chunks that a machine asks for at once."""
CHUNK_SECONDS = 60.0
"""A published chunk expires after this."""
_LENGTH = struct.Struct(">I")


class BundleError(ValueError):
    """Not the bundle that its hash names, or not signed by a release key."""


class BundleFile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One file of the archive."""

    path: str
    size: int
    """Bytes."""
    sha256: bytes


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle is."""

    format: int
    platform: str
    version: str
    python: str
    """``cpython-311``: whose bytecode it holds; another Python compiles the sources."""
    files: list[BundleFile]
    archive_bytes: int
    archive_sha256: bytes

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


class SignedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The manifest and the release key's signature."""

    manifest: bytes
    release: bytes
    """Identity of the signer, 32 bytes."""
    signature: bytes


class Package(NamedTuple):
    """A signed bundle, not yet encrypted."""

    hash: str
    manifest: Manifest
    data: bytes
    """Length of the signed manifest (u32), signed manifest, archive."""

    @classmethod
    def read(cls, data: bytes, releases: list[bytes], expected_hash: str | None = None) -> Self:
        """Check a package completely.

        Raises:
            BundleError: form, hash, signature or archive are wrong.
        """
        try:
            (length,) = _LENGTH.unpack_from(data)
            signed = msgspec.msgpack.decode(memoryview(data)[4 : 4 + length], type=SignedManifest)
            digest = hashlib.sha256(signed.manifest).hexdigest()
            if expected_hash is not None and digest != expected_hash:
                raise BundleError(f"hash: expected {expected_hash}, got {digest}")
            if signed.release not in releases:
                raise BundleError("signed by an unknown release key")
            if not verify(signed.release, signed.signature, _signed(signed.manifest)):
                raise BundleError("not signed by the release key that it names")
            manifest = msgspec.msgpack.decode(signed.manifest, type=Manifest)
        except (struct.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BundleError(f"not a package: {error}") from error
        if manifest.format != FORMAT:
            raise BundleError(f"format: expected {FORMAT}, got {manifest.format}")
        archive = memoryview(data)[4 + length :]
        if len(archive) != manifest.archive_bytes or hashlib.sha256(archive).digest() != manifest.archive_sha256:
            raise BundleError("archive is not the one that the manifest names")
        return cls(digest, manifest, data)

    @property
    def archive(self) -> memoryview:
        """The zip that Python runs."""
        (length,) = _LENGTH.unpack_from(self.data)
        return memoryview(self.data)[4 + length :]


def _signed(manifest: bytes) -> bytes:
    return b"hotswitch bundle\0" + manifest


def pack(files: Mapping[str, bytes], *, platform: str, version: str, release: Identity) -> Package:
    """Build and sign a bundle of these files (path in the archive, with ``/``, to content).

    Bytecode of this Python is added beside each ``.py``, so that no process of a machine compiles.

    Raises:
        SyntaxError: a source does not compile. ValueError: above `BUNDLE_BYTES_MAX`.
    """
    from agent.wire.archive import bytecode_tag, write_archive

    archive, contents = write_archive(files)
    manifest = Manifest(
        format=FORMAT,
        platform=platform,
        version=version,
        python=bytecode_tag(),
        files=[BundleFile(path, len(content), hashlib.sha256(content).digest()) for path, content in contents.items()],
        archive_bytes=len(archive),
        archive_sha256=hashlib.sha256(archive).digest(),
    )
    encoded = manifest.encode()
    signed = msgspec.msgpack.encode(SignedManifest(manifest=encoded, release=release.public, signature=release.sign(_signed(encoded))))
    data = _LENGTH.pack(len(signed)) + signed + archive
    if len(data) > BUNDLE_BYTES_MAX:
        raise ValueError(f"bundle: expected at most {BUNDLE_BYTES_MAX} bytes, got {len(data)}")
    return Package(hashlib.sha256(encoded).hexdigest(), manifest, data)


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


def _key_context(bundle_hash: str, machine: str) -> bytes:
    return b"hotswitch bundle key\0" + bundle_hash.encode() + b"\0" + machine.encode()


class BundleWriter:
    """The controller's side: a package as chunks under its content key, and that key for each machine."""

    def __init__(self, package: Package, key: bytes | None = None) -> None:
        """``key``: content key of this very package (32 bytes), as stored; None: a fresh one."""
        self.package = package
        self.hash = package.hash
        self.key = key if key is not None else os.urandom(32)
        """Content key; a secret."""
        self.count = -(-len(package.data) // CHUNK_BYTES)
        """Number of chunks."""
        self._aead = AESGCM(self.key)

    def chunk(self, index: int) -> bytes:
        """Ciphertext of one chunk, the same each time.

        Raises:
            IndexError: no such chunk.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"chunk: expected 0 to {self.count - 1}, got {index}")
        plain = self.package.data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        return self._aead.encrypt(_nonce(index, index == self.count - 1), plain, self.hash.encode())

    def envelope(self, index: int, controller: Identity, cluster: str, term: int, now: float) -> Envelope:
        """One chunk as it is published: index + 1 is the header's sequence, the number of chunks its generation.

        Raises:
            IndexError: no such chunk.
        """
        body = self.chunk(index)
        header = Header(
            type="chunk",
            cluster=cluster,
            sender=topics.CONTROLLER,
            recipient=EVERYBODY,
            term=term,
            sequence=index + 1,
            subject=self.hash,
            generation=self.count,
            created=now,
            expires=now + CHUNK_SECONDS,
        )
        return sign(controller, topics.of_bundle(self.hash), encode_header(header), body)

    def seal_key(self, machine: str, security_public: bytes) -> bytes:
        """The content key for one machine: `BundleReference.sealed_key`."""
        return seal(security_public, self.key, _key_context(self.hash, machine))


class BundleReader:
    """The machine's side: takes chunks in any order until the package is whole. Bounded by `BUNDLE_BYTES_MAX`."""

    def __init__(self, bundle_hash: str, sealed_key: bytes, machine: str, security: SecurityKey) -> None:
        """Raises:
        Undecipherable: the content key is not sealed to this machine.
        """
        try:
            key = security.open(sealed_key, _key_context(bundle_hash, machine))
            self._aead = AESGCM(key)
        except (SealError, ValueError) as error:
            raise Undecipherable(f"key of bundle {bundle_hash}: {error}") from error
        self.hash = bundle_hash
        self.count = 0
        """Number of chunks; 0 until the first one came."""
        self._chunks: dict[int, bytes] = {}

    def take(self, header: Header, body: bytes) -> bool:
        """Take one chunk out of an authentic envelope; false: it was there already.

        Raises:
            Undecipherable: not a chunk of this bundle.
        """
        index, count = header.sequence - 1, header.generation
        if header.subject != self.hash or not 0 <= index < count <= CHUNKS_MAX or count != (self.count or count):
            raise Undecipherable(f"not a chunk of bundle {self.hash}")
        if index in self._chunks:
            return False
        try:
            plain = self._aead.decrypt(_nonce(index, index == count - 1), body, self.hash.encode())
        except InvalidTag as error:
            raise Undecipherable(f"chunk {index} of bundle {self.hash}") from error
        if index < count - 1 and len(plain) != CHUNK_BYTES:
            raise Undecipherable(f"chunk {index}: expected {CHUNK_BYTES} bytes, got {len(plain)}")
        self.count = count
        self._chunks[index] = plain
        return True

    def clear(self) -> None:
        """Forget every chunk: what was taken so far was not whole."""
        self._chunks.clear()
        self.count = 0

    @property
    def complete(self) -> bool:
        return self.count > 0 and len(self._chunks) == self.count

    def missing(self) -> list[int]:
        """The next chunks to ask for, at most `CREDIT_CHUNKS_MAX`; of an unknown number the first one."""
        if not self.count:
            return [0]
        wanted = (index for index in range(self.count) if index not in self._chunks)
        return [index for index, _ in zip(wanted, range(CREDIT_CHUNKS_MAX), strict=False)]

    def package(self, releases: list[bytes]) -> Package:
        """The whole package, checked.

        Raises:
            BundleError: not what the hash names, or not signed by one of these release keys.
        """
        data = b"".join(self._chunks[index] for index in range(self.count))
        return Package.read(data, releases, self.hash)
