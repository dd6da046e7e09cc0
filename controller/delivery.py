"""Delivery of bundles: chunks over the publication channel, to those who asked, against their credit.

Rules:
- A machine asks for at most `agent.wire.bundle.CREDIT_CHUNKS_MAX` chunks at once; only what was asked for is sent.
- All machines that fetch a bundle hear the same chunk: one that was sent less than `ECHO_SECONDS` ago is not sent again.
- Bundles are read from the library's folder when they are first asked for, and let go after `IDLE_SECONDS`.
"""

from collections.abc import Callable

from agent.wire.bundle import CREDIT_CHUNKS_MAX, BundleWriter
from agent.wire.messages import ChunkRequest
from controller.dialogue import Speaker
from controller.effects import Frames
from controller.state import Bundle
from controller.tables import Tables

ECHO_SECONDS = 0.05
IDLE_SECONDS = 30.0


class Deliveries:
    """Writers of the bundles that are fetched now."""

    def __init__(self, speaker: Speaker, load: Callable[[Bundle], BundleWriter]) -> None:
        """``load`` reads a bundle of the library; it raises `LookupError` where it is not there."""
        self._speaker = speaker
        self._load = load
        self._writers: dict[str, BundleWriter] = {}
        self._sent: dict[tuple[str, int], float] = {}
        self._asked: dict[str, float] = {}
        self.chunks = 0
        """Chunks published."""

    def requested(self, tables: Tables, request: ChunkRequest, now: float) -> list[Frames]:
        """Frames to publish for one request."""
        bundle = tables.get(Bundle, request.bundle)
        if bundle is None:
            return []
        try:
            writer = self.writer(bundle)
        except LookupError:
            return []
        self._asked[bundle.id] = now
        frames: list[Frames] = []
        for index in request.chunks[:CREDIT_CHUNKS_MAX]:
            if not 0 <= index < writer.count or now < self._sent.get((bundle.id, index), 0.0) + ECHO_SECONDS:
                continue
            self._sent[bundle.id, index] = now
            frames.append(tuple(writer.envelope(index, self._speaker.identity, self._speaker.cluster, self._speaker.term, now)))
            self.chunks += 1
        return frames

    def writer(self, bundle: Bundle) -> BundleWriter:
        """The chunks and the content key of a bundle.

        Raises:
            LookupError: the library does not have it.
        """
        writer = self._writers.get(bundle.id)
        if writer is None:
            writer = self._writers[bundle.id] = self._load(bundle)
            self._asked.setdefault(bundle.id, 0.0)
        return writer

    def rest(self, now: float) -> None:
        """Let go of bundles that nobody fetches."""
        for hash in [hash for hash, at in self._asked.items() if now > at + IDLE_SECONDS]:
            del self._asked[hash]
            self._writers.pop(hash, None)
            self._sent = {key: at for key, at in self._sent.items() if key[0] != hash}
