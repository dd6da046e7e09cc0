"""A media processor's place in the shell: jobs are handed to the engine, its events to who made the leg.

Rules:
- A tick every `TICK_SECONDS`, by absolute deadlines: a late tick does not move the ones after it. After a pause longer
  than `LATE_SECONDS_MAX` counting starts afresh instead of catching up. Ticks that have nothing to do are left out: waking up costs
  more than an empty tick.
- Every `FIGURES_SECONDS` the controller is told figures for its metrics (notification ``figures``).
- A processor that died leaves its legs in the memory file ``state``: the next process goes on with them, a warm standby within
  milliseconds. A file of another layout is emptied.
- Draining: balancers give it nothing new but what names it, so every job is done. `GRACE_SECONDS` before the
  deadline the routers are told of the legs that are still there (``leg-ending``), so that they end these calls in order.
"""

import os
from collections.abc import Sequence

import msgspec

from media.config import MediaConfiguration
from media.control import TICK_SECONDS, LegReport, MediaError, MediaProcessor, Query
from telephony.config import Configuration, MediaProcessorConfiguration
from telephony.core import Job
from telephony.effects import Effect, Notify, Reply, Tell
from telephony.jobs.media import STEPS_MAX, LegEnding, StepDone, Steps
from telephony.jobs.protocol import BAD_REQUEST, OK
from telephony.service.log import say
from telephony.sip.flow import Flow

LATE_SECONDS_MAX = 0.1
GRACE_SECONDS = 1.0
FIGURES_SECONDS = 30.0

_encode = msgspec.msgpack.Encoder().encode
_decode_steps = msgspec.msgpack.Decoder(Steps).decode
_decode_reports = msgspec.msgpack.Decoder(list[LegReport]).decode


def _media(configuration: Configuration) -> MediaConfiguration:
    if not isinstance(configuration, MediaProcessorConfiguration):
        raise ValueError(f"a media processor's configuration is wanted, not a {type(configuration).__name__}")
    return configuration.media


class Media:
    """One media processor.

    Args:
        sockets: descriptors of the UDP sockets ``rtp`` and ``rtcp``, of the memory file ``state``, and in a standby ``peer``.
    """

    def __init__(self, sockets: dict[str, int]) -> None:
        self._sockets = {name: descriptor for name, descriptor in sockets.items() if name in ("rtp", "rtcp", "state", "peer")}
        self._processor: MediaProcessor | None = None
        self._tick_at: float | None = None
        self._figures_at = 0.0
        self._ends_at: float | None = None
        """Draining: when the legs' routers are told."""
        self._effects: list[Effect] = []

    def warm(self, configuration: Configuration, now: float) -> None:
        """Load the engine and map the legs of the process that runs.

        Raises:
            ValueError: its memory holds another layout.
        """
        media = _media(configuration)
        if self._processor is None:
            self._processor = MediaProcessor(media, self._sockets, now)
        else:
            self._processor.configure(media)

    def configure(self, configuration: Configuration, now: float) -> None:
        media = _media(configuration)
        if self._tick_at is not None and self._processor is not None:
            self._processor.configure(media)
            return
        if self._processor is None:
            try:
                self._processor = MediaProcessor(media, self._sockets, now)
            except ValueError as error:
                say(f"legs of another process are lost: {error}")
                os.ftruncate(self._sockets["state"], 0)
                self._processor = MediaProcessor(media, self._sockets, now)
        self._processor.hear_peer()
        legs = self._processor.take_over(now)
        if legs:
            self._processor.tick(now)
            say(f"goes on with {legs} legs")
        self._tick_at = now if legs else now + TICK_SECONDS

    def standby(self, peer: int) -> None:
        if self._processor is None:
            os.close(peer)
        else:
            self._processor.standby(peer)

    def hear_peer(self) -> bool:
        """Take what the running process gives; false: it is gone."""
        return self._processor is not None and self._processor.hear_peer()

    def look(self) -> None:
        if self._processor is not None:
            self._processor.look()

    def died(self) -> bool:
        return self._processor is not None and self._processor.died()

    def job(self, job: Job, now: float) -> None:
        assert self._processor is not None
        if self._tick_at is not None and self._tick_at > now:
            # The next tick may have something to do now.
            self._tick_at -= int((self._tick_at - now) / TICK_SECONDS) * TICK_SECONDS
        if job.operation != "steps":
            status, answer = self._do(self._processor, job.operation, job.body, job.client, now)
            self._effects.append(Reply(job.number, status, answer))
            return
        try:
            steps = _decode_steps(job.body).steps
        except msgspec.DecodeError as error:
            self._effects.append(Reply(job.number, BAD_REQUEST, str(error).encode()))
            return
        if len(steps) > STEPS_MAX:
            self._effects.append(Reply(job.number, BAD_REQUEST, f"{len(steps)} steps, {STEPS_MAX} at most".encode()))
            return
        done = [StepDone(*self._do(self._processor, step.operation, step.body, job.client, now)) for step in steps]
        self._effects.append(Reply(job.number, OK, _encode(done)))

    def timeout(self, now: float) -> None:
        if self._processor is None or self._tick_at is None:
            return
        self._processor.tick(now)
        self._tick_at += TICK_SECONDS * self._processor.rest()
        if now >= self._figures_at:
            self._figures_at = now + FIGURES_SECONDS
            self._effects.append(Notify({"event": "figures", "figures": self._processor.figures()}))
        if self._ends_at is not None and now >= self._ends_at:
            self._ends_at = None
            self._announce_end(self._processor, now)
        if now - self._tick_at > LATE_SECONDS_MAX:
            self._tick_at = now + TICK_SECONDS

    def deadline(self) -> float | None:
        return self._tick_at

    def take(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        if self._processor is not None:
            effects += [Tell(client, operation, body) for client, operation, body in self._processor.events()]
        return effects

    def drain(self, deadline: float, now: float) -> None:
        self._ends_at = max(now, deadline - GRACE_SECONDS)

    def undrain(self, now: float) -> None:
        self._ends_at = None

    def ready(self) -> bool:
        return self._processor is not None

    def remaining(self) -> int:
        return 0 if self._processor is None else self._processor.legs()

    def close(self) -> None:
        """End the engine: RTCP BYE, recordings finished."""
        if self._processor is not None:
            self._processor.close()

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        pass

    def closed(self, flow: Flow, now: float) -> None:
        pass

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        pass

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        pass

    def _do(self, processor: MediaProcessor, operation: str, body: bytes, client: str, now: float) -> tuple[str, bytes]:
        try:
            return OK, processor.handle(operation, body, client, now)
        except MediaError as error:
            return error.code, error.message.encode()

    def _announce_end(self, processor: MediaProcessor, now: float) -> None:
        for client in processor.clients():
            for report in _decode_reports(processor.handle("query", _encode(Query()), client, now)):
                ending = LegEnding(leg=report.leg, call=report.call, reason="drained")
                self._effects.append(Tell(client, "leg-ending", _encode(ending)))
