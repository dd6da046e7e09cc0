"""A call's legs on its media processor.

Rules:
- All legs of a call are on one processor. The first job that makes a leg chooses it.
- What was made is released exactly once, also where the answer that says so comes after the call is over.
"""

from collections.abc import Callable

import msgspec

from media.control import Accept, Connect, LegReport, Offer, Propose, Release, Sink
from telephony.call_router.desk import Desk, Done, Result

KIND = "media_processor"
_decode_report = msgspec.msgpack.Decoder(LegReport).decode


class Legs:
    """Media legs of one call.

    Args:
        call: id of the call.
        key: affinity of the job that chooses the processor; empty: the least busy one.
    """

    def __init__(self, desk: Desk, call: str) -> None:
        self._desk = desk
        self._call = call
        self.worker = ""
        """The processor; empty: none is chosen yet."""
        self._made: set[str] = set()
        """Legs that exist, or will when the answer is there."""
        self._making: set[str] = set()
        """Legs that an answer is awaited for."""
        self._given_up: set[str] = set()
        """To be released as soon as that answer is there."""

    def offer(self, leg: str, sdp: bytes, done: Done, *, key: str = "", worker: str = "") -> None:
        """A peer's offer; makes the leg or changes it."""
        self._make(leg, "offer", Offer(leg=leg, call=self._call, sdp=sdp), done, key, worker)

    def propose(self, leg: str, done: Done, *, key: str = "", worker: str = "") -> None:
        """An offer of ours; makes the leg, or asks one that exists for a new one."""
        self._make(leg, "propose", Propose(leg=leg, call=self._call), done, key, worker)

    def accept(self, leg: str, sdp: bytes, done: Done | None) -> None:
        """The peer's answer to our offer."""
        self._desk.ask(KIND, "accept", Accept(leg=leg, sdp=sdp), done, worker=self.worker)

    def connect(self, leg: str, to: Sink, done: Done | None) -> None:
        """What the leg is to hear."""
        self._desk.ask(KIND, "connect", Connect(leg=leg, to=to), done, worker=self.worker)

    def release(self, leg: str, report: Callable[[LegReport | None], None] | None = None) -> bool:
        """Give a leg up; its report comes later. False: there is none, and no report."""
        if leg not in self._made:
            return False
        if leg in self._making:
            self._given_up.add(leg)
            return False
        self._made.discard(leg)

        def done(result: Result, now: float) -> None:
            if report is not None:
                report(_decode_report(result.body) if result.ok else None)

        self._desk.ask(KIND, "release", Release(leg=leg), done, worker=self.worker)
        return True

    def release_all(self, report: Callable[[LegReport | None], None]) -> int:
        """Give all legs up; how many reports will come."""
        return sum(self.release(leg, report) for leg in sorted(self._made))

    def has(self, leg: str) -> bool:
        """Whether the processor has this leg by now."""
        return leg in self._made and leg not in self._making

    def _make(self, leg: str, operation: str, body: msgspec.Struct, done: Done, key: str, worker: str) -> None:
        fresh = leg not in self._made
        if fresh:
            self._made.add(leg)
            self._making.add(leg)

        def answered(result: Result, now: float) -> None:
            if fresh:
                self._making.discard(leg)
                if not result.ok:
                    self._made.discard(leg)
                if result.worker and not self.worker:
                    self.worker = result.worker
                if leg in self._given_up:
                    self._given_up.discard(leg)
                    self.release(leg)
            done(result, now)

        self._desk.ask(KIND, operation, body, answered, worker=worker or self.worker, key=key)
