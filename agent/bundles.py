"""The bundles of a machine: fetched, kept on disk as they came (sealed), opened into memory for as long as they are wanted.

Rules:
- A bundle is opened only when the controller's document names it and the key in that document opens it; it is run only when a
  release key signed it.
- On disk there is ciphertext alone; the opened archive is a sealed memory file.
- What the disk holds is checked like what the network brings; what does not open is thrown away and fetched again.
- The newest `KEPT_MAX` bundles stay on disk, so that a way back needs no network; opened is what the document names.
"""

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.descriptors import sealed_memory
from agent.fetch import Ask, Fetch
from agent.wire.bundle import BUNDLE_BYTES_MAX, BundleError, BundleReader, Package
from agent.wire.envelope import Header
from agent.wire.files import write_private
from agent.wire.keys import SecurityKey
from agent.wire.messages import BundleReference
from agent.wire.refusal import Undecipherable

KEPT_MAX = 6
RETRY_SECONDS = 30.0
"""A bundle that was whole and wrong is fetched again after this."""
_HEX = frozenset("0123456789abcdef")


class Opened(NamedTuple):
    """A bundle that can be run."""

    descriptor: int
    """Sealed memory file with the archive."""
    packages: list[str]
    """Its top-level packages."""


class Bundles:
    """What a machine has of the bundles that its document names."""

    def __init__(
        self,
        folder: Path,
        machine: str,
        security: SecurityKey,
        releases: list[bytes],
        settled: Callable[[str, str], None],
        rng: random.Random,
    ) -> None:
        """``settled(hash, error)`` is called when a bundle was opened (empty error) or cannot be."""
        self._folder = folder
        self._machine = machine
        self._security = security
        self._releases = releases
        self._settled = settled
        self._rng = rng
        self._wanted: dict[str, BundleReference] = {}
        self._fetches: dict[str, Fetch] = {}
        self._failed: dict[str, float] = {}
        self.opened: dict[str, Opened] = {}
        self.online = False
        """There is a session to ask in."""

    def want(self, references: list[BundleReference], now: float) -> None:
        """The document names these, and no others."""
        self._wanted = {each.hash: each for each in references if len(each.hash) == 64 and _HEX.issuperset(each.hash)}
        for hash in [hash for hash in self.opened if hash not in self._wanted]:
            os.close(self.opened.pop(hash).descriptor)
        for hash in [hash for hash in self._fetches if hash not in self._wanted]:
            del self._fetches[hash]
        self._failed = {hash: at for hash, at in self._failed.items() if hash in self._wanted}
        for hash, reference in self._wanted.items():
            if hash not in self.opened and hash not in self._fetches and hash not in self._failed:
                self._begin(reference, now)
        self._clean()

    def connected(self, online: bool, now: float) -> None:
        """A session began, or ended."""
        self.online = online
        for fetch in self._fetches.values():
            if online:
                fetch.begin(now)
            else:
                fetch.pause()

    def chunk(self, header: Header, body: bytes, now: float) -> None:
        """A chunk came."""
        fetch = self._fetches.get(header.subject)
        if fetch is None:
            return
        fetch.chunk(header, body, now)
        if fetch.complete:
            del self._fetches[header.subject]
            self._finish(fetch.reader, fetch.stored, now)

    def topics(self) -> set[str]:
        """Hashes of the bundles to be subscribed to."""
        return set(self._fetches)

    def take(self) -> list[Ask]:
        """What to ask for."""
        return [ask for fetch in self._fetches.values() for ask in fetch.take()]

    def timeout(self, now: float) -> None:
        """Time has passed."""
        for fetch in self._fetches.values():
            fetch.timeout(now)
        for hash, at in list(self._failed.items()):
            if now >= at:
                del self._failed[hash]
                self._begin(self._wanted[hash], now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        candidates = [*self._failed.values(), *(at for fetch in self._fetches.values() if (at := fetch.deadline()) is not None)]
        return min(candidates, default=None)

    def close(self) -> None:
        """Give back the memory."""
        for opened in self.opened.values():
            os.close(opened.descriptor)
        self.opened.clear()

    def _begin(self, reference: BundleReference, now: float) -> None:
        try:
            reader = BundleReader(reference.hash, reference.sealed_key, self._machine, self._security)
        except Undecipherable as error:
            self._failed[reference.hash] = now + RETRY_SECONDS
            self._settled(reference.hash, str(error))
            return
        if self._load(reader):
            self._finish(reader, None, now)
            return
        fetch = self._fetches[reference.hash] = Fetch(reader, self._rng)
        if self.online:
            fetch.begin(now)

    def _load(self, reader: BundleReader) -> bool:
        """From the disk; false: it is not there, or not what it should be."""
        path = self._folder / reader.hash
        try:
            if path.stat().st_size > 2 * BUNDLE_BYTES_MAX:
                raise Undecipherable("too long")
            chunks = msgspec.msgpack.decode(path.read_bytes(), type=list[bytes])
            for index, body in enumerate(chunks):
                header = Header(
                    type="chunk", cluster="", sender="", recipient="", subject=reader.hash, sequence=index + 1, generation=len(chunks)
                )
                reader.take(header, body)
        except FileNotFoundError:
            return False
        except (OSError, msgspec.MsgspecError, Undecipherable):
            reader.clear()
            path.unlink(missing_ok=True)
            return False
        os.utime(path)
        return reader.complete

    def _finish(self, reader: BundleReader, stored: dict[int, bytes] | None, now: float) -> None:
        try:
            package = reader.package(self._releases)
        except BundleError as error:
            (self._folder / reader.hash).unlink(missing_ok=True)
            self._failed[reader.hash] = now + RETRY_SECONDS
            self._settled(reader.hash, str(error))
            return
        if stored is not None:
            with contextlib.suppress(OSError):
                # A full disk costs the way back without a network, nothing else.
                write_private(self._folder / reader.hash, msgspec.msgpack.encode([stored[index] for index in range(reader.count)]))
        self.opened[reader.hash] = Opened(sealed_memory(f"bundle {package.manifest.version}", package.archive), _packages(package))
        self._settled(reader.hash, "")

    def _clean(self) -> None:
        """Drop the oldest of what is kept without being wanted."""
        try:
            files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        except OSError:
            return
        for path in [path for path in files if path.name not in self._wanted][KEPT_MAX:]:
            with contextlib.suppress(OSError):
                path.unlink()


def _packages(package: Package) -> list[str]:
    return sorted({file.path.split("/", 1)[0].removesuffix(".py").removesuffix(".pyc") for file in package.manifest.files})
