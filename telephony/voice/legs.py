"""A call's legs on its media processor.

Rules:
- All legs of a call are on one processor. The first job that makes a leg chooses it.
- What was made is released exactly once, also where the answer that says so comes after the call is over.
- What is asked for within one turn is one job: its steps are done in order.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from media.control import Accept, Connect, LegReport, Offer, Propose, Release, SendDigits, Sink
from telephony.call_router.desk import Desk, Done, Result, encode
from telephony.jobs.media import STEPS_MAX, Step, StepDone, Steps

KIND = "media_processor"
Direction = Literal["sendrecv", "sendonly"]
Protocol = Literal["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]
"""Of media to phones, to those that want SRTP, and to browsers."""
_decode_steps_done = msgspec.msgpack.Decoder(list[StepDone]).decode
_decode_report = msgspec.msgpack.Decoder(LegReport).decode


class Legs:
    """Media legs of one call.

    Args:
        call: id of the call.
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
        self._steps: list[tuple[str, msgspec.Struct, Done | None]] = []
        """Asked for in this turn."""
        self._key = ""

    @staticmethod
    def resumed(desk: Desk, call: str, worker: str, legs: list[str]) -> "Legs":
        """Legs that the process before has made."""
        found = Legs(desk, call)
        found.worker = worker
        found._made.update(legs)
        return found

    def offer(self, leg: str, sdp: bytes, done: Done, *, key: str = "") -> None:
        """A peer's offer; makes the leg or changes it. ``key``: affinity, where the processor is not chosen yet."""
        self._make(leg, "offer", Offer(leg=leg, call=self._call, sdp=sdp), done, key)

    def propose(self, leg: str, done: Done, *, key: str = "", direction: Direction = "sendrecv", protocol: Protocol = "RTP/AVP") -> None:
        """An offer of ours; makes the leg, or asks one that exists for a new one, over the protocol that it has.

        Whoever we make an offer to is reached from the public address: media is of the same family. ICE finds its way by itself.
        """
        six = protocol == "RTP/AVP" and ":" in self._desk.configuration.public_host
        self._make(leg, "propose", Propose(leg=leg, call=self._call, direction=direction, protocol=protocol, six=six), done, key)

    def accept(self, leg: str, sdp: bytes, done: Done | None) -> None:
        """The peer's answer to our offer."""
        self._ask("accept", Accept(leg=leg, sdp=sdp), done)

    def connect(self, leg: str, to: Sink, done: Done | None) -> None:
        """What the leg is to hear."""
        self._ask("connect", Connect(leg=leg, to=to), done)

    def digits(self, leg: str, digits: str) -> None:
        """Send DTMF."""
        self._ask("dtmf", SendDigits(leg=leg, digits=digits), None)

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

        self._ask("release", Release(leg=leg), done)
        return True

    def release_all(self, report: Callable[[LegReport | None], None]) -> int:
        """Give all legs up; how many reports will come."""
        return sum(self.release(leg, report) for leg in sorted(self._made))

    def has(self, leg: str) -> bool:
        """Whether the processor has this leg by now."""
        return leg in self._made and leg not in self._making

    def _make(self, leg: str, operation: str, body: msgspec.Struct, done: Done, key: str) -> None:
        fresh = leg not in self._made
        if fresh:
            self._made.add(leg)
            self._making.add(leg)
        self._key = key or self._key

        def answered(result: Result, now: float) -> None:
            if fresh:
                self._making.discard(leg)
                if not result.ok:
                    self._made.discard(leg)
                if leg in self._given_up:
                    self._given_up.discard(leg)
                    self.release(leg)
            done(result, now)

        self._ask(operation, body, answered)

    def _ask(self, operation: str, body: msgspec.Struct, done: Done | None) -> None:
        if not self._steps:
            self._desk.at_end(self._send)
        self._steps.append((operation, body, done))

    def _send(self) -> None:
        while self._steps:
            steps, self._steps = self._steps[:STEPS_MAX], self._steps[STEPS_MAX:]
            dones = [done for _, _, done in steps]

            def answered(result: Result, now: float, dones: list[Done | None] = dones) -> None:
                if result.worker and not self.worker:
                    self.worker = result.worker
                results = [result] * len(dones)
                if result.ok and len(dones) > 1:
                    results = [Result(one.status, one.body, result.worker) for one in _decode_steps_done(result.body)]
                for done, one in zip(dones, results, strict=True):
                    if done is not None:
                        done(one, now)

            if len(steps) == 1:
                self._desk.ask(KIND, steps[0][0], steps[0][1], answered, worker=self.worker, key=self._key)
            else:
                several = Steps(steps=[Step(operation, encode(body)) for operation, body, _ in steps])
                self._desk.ask(KIND, "steps", several, answered, worker=self.worker, key=self._key)
