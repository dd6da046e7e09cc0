"""The library: bundles that were built, in a folder, by content hash.

Rules:
- A build is repeated only when a source changed (path, size, time of change), the release key or the Python did; the same sources give
  the same hash on every host.
- A package is checked against its hash and the release key whenever it is read.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.wire.archive import bytecode_tag
from agent.wire.bundle import CHUNK_BYTES, BundleError, BundleWriter, Package, pack
from agent.wire.files import write_private
from agent.wire.keys import Identity
from controller.calculation.catalogue import PLATFORMS
from controller.release import contents
from controller.state import Bundle

_INDEX = "index.json"


class _Built(msgspec.Struct, frozen=True):
    fingerprint: str
    hash: str
    version: str
    size_bytes: int


class Built(NamedTuple):
    """A package of the library."""

    hash: str
    platform: str
    version: str
    size_bytes: int


def packages_root() -> Path:
    """Folder that holds the installed packages `telephony` and `media`."""
    return Path(__file__).resolve().parents[2]


def project_version() -> str:
    """Version of the installed distribution."""
    try:
        return importlib.metadata.version("hotswitch")
    except importlib.metadata.PackageNotFoundError:
        return "0"


class Library:
    """Bundles in a folder."""

    def __init__(self, folder: Path, release: Identity, root: Path | None = None) -> None:
        """``root``: folder that holds the packages; None: those that are installed."""
        self._folder = folder
        self._release = release
        self._root = packages_root() if root is None else root
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def release_public(self) -> bytes:
        """Identity that signs the bundles, 32 bytes."""
        return self._release.public

    def build(self, platform: str) -> Built:
        """The bundle of the platform's sources as they are now; built where it is not in the library.

        Raises:
            MissingModuleError: there is no such service. SyntaxError: a source does not compile. KeyError: no such platform.
        """
        PLATFORMS[platform]
        index = self._index()
        fingerprint = self._fingerprint()
        known = index.get(platform)
        if known is not None and known.fingerprint == fingerprint and self._path(known.hash).is_file():
            return Built(known.hash, platform, known.version, known.size_bytes)
        files = {path: file.read_bytes() for path, file in contents.files(self._root, platform).items()}
        digest = hashlib.sha256(b"".join(hashlib.sha256(path.encode() + b"\0" + data).digest() for path, data in sorted(files.items())))
        version = f"{project_version()}+{digest.hexdigest()[:8]}"
        package = pack(files, platform=platform, version=version, release=self._release)
        write_private(self._path(package.hash), package.data)
        index[platform] = _Built(fingerprint, package.hash, version, len(package.data))
        write_private(self._folder / _INDEX, msgspec.json.encode(index))
        return Built(package.hash, platform, version, len(package.data))

    def read(self, hash: str) -> Package:
        """A package by its hash, checked.

        Raises:
            LookupError: it is not there, or not what its hash names.
        """
        try:
            return Package.read(self._path(hash).read_bytes(), [self._release.public], hash)
        except FileNotFoundError as error:
            raise LookupError(f"no bundle {hash}") from error
        except BundleError as error:
            raise LookupError(f"bundle {hash}: {error}") from error

    def writer(self, bundle: Bundle) -> BundleWriter:
        """The chunks of a bundle under its content key.

        Raises:
            LookupError: it is not there, or not what its hash names.
        """
        return BundleWriter(self.read(bundle.id), bundle.content_key)

    def prune(self, keep: set[str]) -> None:
        """Delete packages that are not among these hashes."""
        for path in self._folder.glob("*.bundle"):
            if path.stem not in keep:
                path.unlink(missing_ok=True)

    def _path(self, hash: str) -> Path:
        if not hash.isalnum():
            raise LookupError(f"not a hash: {hash!r}")
        return self._folder / f"{hash}.bundle"

    def _index(self) -> dict[str, _Built]:
        try:
            return msgspec.json.decode((self._folder / _INDEX).read_bytes(), type=dict[str, _Built])
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(bytecode_tag().encode() + self._release.public)
        for package in contents.PACKAGES:
            for path in sorted((self._root / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    status = path.stat()
                    digest.update(f"{path.relative_to(self._root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()


def record(built: Built, content_key: bytes, now: float) -> Bundle:
    """A bundle of the library as a record of the cluster."""
    return Bundle(
        id=built.hash,
        platform=built.platform,
        version=built.version,
        size_bytes=built.size_bytes,
        chunks=-(-built.size_bytes // CHUNK_BYTES),
        content_key=content_key,
        created_at=now,
        proves=True,
    )
