"""The desk of a media processor: jobs about legs by name, carried out on the engine's arrays.

Rules:
- A job is done or refused as a whole: what can fail is done first.
- Legs at most `MediaConfiguration.legs_max` as it was at the start; events that nobody fetched at most `EVENTS_MAX`.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np

from media import coders, extended, negotiation, place, sdp
from media.codecs import OPUS
from media.config import MediaConfiguration
from media.control import (
    Accept,
    Answer,
    Answerer,
    Bridge,
    Connect,
    Done,
    Dtmf,
    Event,
    LegReport,
    Listen,
    MediaError,
    Mix,
    Nothing,
    Offer,
    Pause,
    Play,
    Playing,
    PlayTo,
    Proposal,
    Propose,
    Query,
    Record,
    Release,
    Request,
    Response,
    Room,
    RtpTimeout,
    SendDigits,
    Silence,
    Skip,
    Stop,
    Tone,
)
from media.engine import Engine
from media.events import DIGITS
from media.legs import Legs
from media.mirror import Mirror
from media.negotiation import Agreement
from media.participation import Participation
from media.plan import best
from media.program import Program, frames
from media.record import LegRecord
from media.report import report
from media.sockets import PortsExhaustedError, Sockets
from media.switchboard import Switchboard
from media.tones.activity import SilenceHeard
from media.tones.answering import AnswerHeard
from media.tones.dtmf import DigitHeard
from media.tones.fax import FaxHeard
from media.tones.progress import ProgressHeard
from media.transports import Attributes, Transports
from media.trunks import TRUNKS_MAX, Trunks, codecs

EVENTS_MAX = 10_000
TIMEOUT_CHECK_SECONDS = 0.5
NAME_MAX = 256
"""Characters of the name of a leg, call or room."""


class Desk:
    """Legs, rooms, playbacks and recordings of one process.

    Args:
        configuration: host, port range and limits.
        sockets: ``rtp`` and ``rtcp`` of the shared pair, and ``state``, a memory file; each may be missing.
        now: seconds.
    """

    def __init__(self, configuration: MediaConfiguration, sockets: dict[str, int], now: float) -> None:
        self._configuration = configuration
        self._rng = random.SystemRandom()
        legs = Legs(configuration.legs_max + TRUNKS_MAX, sockets.get("state"))
        self.engine = Engine(legs, Sockets(configuration, sockets), now, np.random.default_rng(self._rng.getrandbits(64)))
        self._records: dict[str, LegRecord] = {}
        self._by_leg: dict[int, LegRecord] = {}
        self._board = Switchboard(self.engine, self._records, self._by_leg, configuration.room_rate_max)
        self._mirror = Mirror(self.engine, self._board.notes)
        self._transports = Transports(self.engine)
        self._events: list[tuple[str, str, Event]] = []
        self._rooms = Participation(self.engine, self._records, self._by_leg, self._say)
        self._program = Program(self.engine, self._board, self._records, self._say)
        self._trunks = Trunks(self.engine, self._records, self._end, self._say)
        self._timeouts_due = now
        self._jobs: dict[type[Request], Callable[..., Response]] = {
            Offer: self._offer,
            Propose: self._propose,
            Accept: self._accept,
            Connect: self._connect,
            Mix: self._rooms.mix,
            PlayTo: self._program.play,
            Skip: self._program.skip,
            Playing: self._program.playing,
            Record: self._program.record,
            Pause: self._program.pause,
            Stop: self._program.stop,
            Listen: self._listen,
            SendDigits: self._dtmf,
            Release: self._release,
            Query: self._query,
        }

    def take_over(self, now: float) -> int:
        """Go on with the legs that another process left in the memory; returns how many."""
        legs = self.engine.legs
        legs.process["over"] = False
        for leg in place.take_over(self.engine):
            legs.free(leg)
        for leg in np.flatnonzero(legs.used).tolist():
            record = self._mirror.record(leg)
            if record is None:
                place.vacate(self.engine, leg)
                legs.free(leg)
                continue
            self._keep(record)
            if record.link is not None:
                self._transports.take_over(record, now)
        self.engine.take_over()
        self._board.take_over()
        self._program.take_over()
        self._rooms.take_over()
        return len(self._records)

    def died(self) -> bool:
        """In a standby: the process that ran is gone, and did not end in order."""
        return not self.engine.legs.process["over"][0]

    def look(self) -> None:
        """In a standby: make ready what the running process has done since the last call."""
        self.engine.sockets.hear_peer()
        self._mirror.look()

    def do(self, request: Request, client: str, now: float) -> Response:
        """Do a job for a client.

        Raises:
            MediaError: it can't be done.
        """
        return self._jobs[type(request)](request, client, now)

    def configure(self, configuration: MediaConfiguration) -> None:
        """New limits; more legs than at the start there can't be."""
        self._configuration = configuration
        self.engine.sockets.range(configuration)
        self._board.limit(configuration.room_rate_max)

    def legs(self) -> int:
        """How many legs exist."""
        return len(self._records)

    def clients(self) -> list[str]:
        """Whose legs they are, each once."""
        return sorted({record.client for record in self._records.values()})

    def _find(self, name: str) -> LegRecord:
        record = self._records.get(name)
        if record is None:
            raise MediaError("not-found", f"no leg {name[:NAME_MAX]!r}")
        return record

    # Offer and answer

    def _make(self, name: str, call: str, client: str, now: float, trunk: bool = False) -> LegRecord:
        if not 0 < len(name) <= NAME_MAX or len(call) > NAME_MAX:
            raise MediaError("bad-request", f"a leg's name has 1 to {NAME_MAX} characters")
        most = min(self._configuration.legs_max, self.engine.legs.capacity - TRUNKS_MAX)
        leg = self.engine.legs.take(now) if trunk or len(self._records) < most else None
        if leg is None:
            raise MediaError("full", f"{len(self._records)} legs")
        legs, bits = self.engine.legs, self._rng.getrandbits
        legs.phase[leg] = best(legs)
        legs.cname[leg] = np.frombuffer(f"{bits(64):016x}".encode(), np.uint8)
        legs.ssrc_out[leg], legs.sequence_out[leg], legs.timestamp_out[leg] = bits(32), bits(15), bits(32)
        legs.clock_out[leg], legs.marker[leg], legs.clock[leg], legs.rate[leg] = now, True, 8000.0, 8000.0
        self.engine.reports.schedule(np.array([leg]), now)
        return LegRecord(name, call, client, leg, bits(48), version=1)

    def _keep(self, record: LegRecord) -> None:
        self._records[record.name] = record
        self._by_leg[record.leg] = record

    def _parse(self, data: bytes) -> sdp.Description:
        try:
            return sdp.parse(data)
        except sdp.SdpError as error:
            raise MediaError("bad-sdp", str(error)) from None

    def _offer(self, job: Offer, client: str, now: float) -> Answer:
        description = self._parse(job.sdp)
        try:
            agreement = negotiation.answer(description, self._families())
        except negotiation.NotAcceptableError as error:
            raise MediaError("not-acceptable", str(error)) from None
        if job.trunk:
            self._trunks.check(job.leg, down=False)
        record = self._records.get(job.leg)
        new = record is None
        if record is None:
            record = self._make(job.leg, job.call, client, now, bool(job.trunk))
        record.keys = []
        try:
            said = self._apply(record, agreement, True, now)
        except MediaError:
            if new:
                self.engine.legs.free(record.leg)
            raise
        if new:
            self._keep(record)
        if job.trunk:
            self._trunks.made(record, job.trunk, False, now)
            record.sink = Room(job.trunk)
        media = [sdp.refused(section) for section in description.media]
        media[agreement.section] = sdp.audio(
            int(self.engine.legs.port[record.leg]),
            agreement.protocol,
            agreement.formats(self._configuration.room_rate_max),
            agreement.answer_direction(),
            agreement.mux,
            self._rtcp_port(record.leg),
            said.media + extended.attribute(agreement.extended),
        )
        self._describe(record, media, description.time, said.session)
        self._board.route(record)
        return Answer(sdp=record.sdp, codec=agreement.codec.label, held=not agreement.sends)

    def _families(self) -> negotiation.Families:
        sockets = self.engine.sockets
        return ":" not in sockets.host(False), bool(sockets.host(True))

    def _rtcp_port(self, leg: int) -> int:
        return int(self.engine.legs.port[leg]) + 1 if self.engine.legs.own[leg] else self.engine.sockets.port_rtcp

    def _describe(self, record: LegRecord, media: list[str], time: str, session: Sequence[str]) -> None:
        """Write our description; its version goes up where it changed."""
        host = self._transports.host(record.leg)
        text = sdp.write(sdp.Local(host, record.session, record.version, time, session), media)
        if record.sdp and text != record.sdp:
            record.version += 1
            text = sdp.write(sdp.Local(host, record.session, record.version, time, session), media)
        record.sdp = text

    def _apply(self, record: LegRecord, agreement: Agreement, answers: bool, now: float) -> Attributes:
        """Set a leg's arrays to what was agreed on; attributes of our answer."""
        self._transports.check(agreement)
        try:
            place.place(self.engine, record.leg, self._configuration.host, agreement)
        except PortsExhaustedError as error:
            raise MediaError("full", str(error)) from None
        except OSError:
            raise MediaError("not-acceptable", "an address that is no literal") from None
        legs, leg = self.engine.legs, record.leg
        legs.kinds[leg] = 0
        # Who holds us sends nothing that counts.
        for kind, number in agreement.kinds.items() if agreement.receives else ():
            legs.kinds[leg, kind] = number
        if legs.codec[leg] != agreement.codec.number:
            self.engine.transcoder.begin(leg, agreement.codec.number, agreement.parameters)
        codec = agreement.codec
        legs.best_rate[leg] = coders.best_rate(agreement.parameters) if codec.number == OPUS else codec.rate
        legs.codec[leg], legs.payload_type[leg] = agreement.codec.number, agreement.payload_type
        legs.event_rate[leg] = agreement.event_rate
        legs.event_type[leg], legs.comfort_type[leg] = agreement.event_type, agreement.comfort_type
        legs.clock[leg] = legs.rate[leg] = agreement.codec.clock
        legs.sends[leg], legs.receives[leg] = agreement.sends, agreement.receives
        record.agreement = agreement
        legs.extended[leg] = agreement.extended
        self.engine.receiver.bursts.recount()
        return self._transports.apply(record, agreement, answers, now)

    def _propose(self, job: Propose, client: str, now: float) -> Proposal:
        if job.trunk:
            self._trunks.check(job.leg, down=True)
        record = self._records.get(job.leg)
        if record is None:
            record = self._make(job.leg, job.call, client, now, bool(job.trunk))
            host = self.engine.sockets.host(job.six) or self._configuration.host
            try:
                place.place(self.engine, record.leg, host, None)
            except PortsExhaustedError as error:
                self.engine.legs.free(record.leg)
                raise MediaError("full", str(error)) from None
            self._keep(record)
        if job.trunk:
            self._trunks.made(record, job.trunk, True, now)
        protocol, said = self._transports.propose(record, job.protocol)
        rate = self._configuration.room_rate_max
        formats, kinds = negotiation.offer(rate, codecs(rate) if record.trunk else ())
        record.offered = kinds
        leg = record.leg
        legs = self.engine.legs
        if record.agreement is None:
            # Media may come before the answer does (RFC 3264 section 5.1).
            legs.receives[leg] = True
            for kind, number in kinds.items():
                legs.kinds[leg, kind] = number
        asked = int(legs.extended[leg]) or (extended.VOIP_METRICS | extended.ROUND_TRIP) * job.extended
        more = said.media + extended.attribute(asked)
        section = sdp.audio(int(legs.port[leg]), protocol, formats, job.direction, True, self._rtcp_port(leg), more)
        self._describe(record, [section], "0 0", said.session)
        self._board.notes.write(record)
        return Proposal(sdp=record.sdp)

    def _accept(self, job: Accept, client: str, now: float) -> Done:
        record = self._find(job.leg)
        if not record.offered:
            raise MediaError("bad-request", f"nothing was proposed for leg {job.leg!r}")
        try:
            reply, link = self._parse(job.sdp), record.link
            ice = link is not None and bool(link.local.ufrag)
            agreement = negotiation.accept(
                reply, record.offered, record.keys, dtls=self._transports.by_dtls(record), ice=ice, families=self._families()
            )
        except negotiation.NotAcceptableError as error:
            raise MediaError("not-acceptable", str(error)) from None
        self._apply(record, agreement, False, now)
        if record.trunk:
            record.sink = Room(record.trunk_room)
        self._board.route(record)
        return Done()

    # Connections

    def _connect(self, job: Connect, client: str, now: float) -> Done:
        record = self._find(job.leg)
        sink = job.to
        if isinstance(sink, Bridge):
            other = self._find(sink.leg)
            if other is record:
                raise MediaError("bad-request", "a leg can't be bridged with itself")
            if record.sink == sink and other.sink == Bridge(record.name):
                return Done()
            for side, to in ((record, sink), (other, Bridge(record.name))):
                self._disconnect(side)
                side.sink = to
        else:
            if isinstance(sink, Room) and not 0 < len(sink.name) <= NAME_MAX:
                raise MediaError("bad-request", f"a room's name has 1 to {NAME_MAX} characters")
            if isinstance(sink, Play):
                self._program.check(sink.source)
            if record.sink == sink and not isinstance(sink, Play):
                return Done()
            self._disconnect(record)
            record.sink = sink
        record.resume_frames = frames(sink.offset_seconds) if isinstance(sink, Play) else 0
        self._program.hear(record)
        self._rooms.enter(record)
        peer = self._board.peer(record)
        if peer is not None:
            self._rooms.enter(peer)
        return Done()

    def _disconnect(self, record: LegRecord) -> None:
        """Out of whatever it is in; the other leg of a bridge then hears nothing."""
        other = self._board.peer(record)
        record.sink = Nothing()
        if other is not None and other.sink == Bridge(record.name):
            other.sink = Nothing()
            self._board.route(other)

    # Digits, reports, end

    def _dtmf(self, job: SendDigits, client: str, now: float) -> Done:
        record = self._find(job.leg)
        if not job.digits or any(digit not in DIGITS for digit in job.digits):
            raise MediaError("bad-digits", f"expected digits of {DIGITS}")
        if not self.engine.digits.queue(record.leg, job.digits):
            raise MediaError("full", "too many digits wait")
        self.engine.changed()
        return Done()

    def _query(self, job: Query, client: str, now: float) -> list[LegReport]:
        if job.leg is not None:
            return [self._report(self._find(job.leg), now)]
        return [self._report(record, now) for record in self._records.values() if record.client == client]

    def _report(self, record: LegRecord, now: float) -> LegReport:
        return report(self.engine.legs, record, self._board.connected(record), now)

    def _release(self, job: Release, client: str, now: float) -> LegReport:
        return self._end(self._find(job.leg), now)

    def _end(self, record: LegRecord, now: float) -> LegReport:
        final = self._report(record, now)
        self._program.forget(record)
        self._disconnect(record)
        self._board.leave(record)
        self._rooms.enter(record)
        self._rooms.end(record)
        self.engine.reports.send(np.array([record.leg]), now, leaving=True)
        place.vacate(self.engine, record.leg)
        self._transports.vacate(record)
        self.engine.legs.free(record.leg)
        self.engine.listening.recount()
        self.engine.receiver.bursts.recount()
        del self._records[record.name], self._by_leg[record.leg]
        return final

    # Time

    def tick(self, now: float) -> None:
        """One tick of the engine, and what came of it."""
        self.engine.tick(now)
        self._board.tick()
        self._program.tick()
        self._rooms.tick()
        for digit in self.engine.events.take():
            record = self._by_leg.get(digit.leg)
            if record is not None:
                event = Dtmf(leg=record.name, call=record.call, digit=digit.digit, duration_ms=digit.duration_ms)
                self._say(record.client, "dtmf", event)
                self._press(record, digit.digit)
        if self.engine.listening.any:
            self._tell_sounds()
        self.engine.sockets.give()
        if now >= self._timeouts_due:
            self._timeouts_due = now + TIMEOUT_CHECK_SECONDS
            self._check_timeouts(now)
            self._trunks.tick(now)

    def _press(self, record: LegRecord, digit: str) -> None:
        """A key of a leg came as an event: who it is bridged with hears it as a tone, where it takes no events."""
        other = self._board.peer(record)
        if other is not None and other.agreement is not None and not other.agreement.event_type:
            self.engine.digits.queue(other.leg, digit)
            self.engine.changed()

    def _listen(self, job: Listen, client: str, now: float) -> Done:
        record = self._find(job.leg)
        self.engine.listening.want(record.leg, job.kinds)
        record.listens = bool(job.kinds)
        self._board.route(record)
        return Done()

    def _tell_sounds(self) -> None:
        for sound in self.engine.listening.take():
            record = self._by_leg.get(sound.leg)
            if record is None:
                continue
            leg, call = record.name, record.call
            match sound:
                case DigitHeard(_, digit, duration):
                    self._say(record.client, "dtmf", Dtmf(leg=leg, call=call, digit=digit, duration_ms=duration))
                case SilenceHeard(_, silent, duration):
                    self._say(record.client, "silence", Silence(leg=leg, call=call, silent=silent, duration_ms=duration))
                case AnswerHeard(_, what, confidence, duration):
                    event = Answerer(leg=leg, call=call, what=what, confidence=confidence, duration_ms=duration)
                    self._say(record.client, "answerer", event)
                case FaxHeard(_, tone) | ProgressHeard(_, tone):
                    self._say(record.client, "tone", Tone(leg=leg, call=call, tone=tone))

    def _check_timeouts(self, now: float) -> None:
        legs = self.engine.legs
        silent = now - np.maximum(legs.heard, legs.since)
        over = legs.used & legs.receives & (silent > self._configuration.rtp_timeout_seconds)
        for leg in np.flatnonzero(over & ~legs.timed_out).tolist():
            record = self._by_leg[leg]
            self._say(record.client, "rtp-timeout", RtpTimeout(leg=record.name, call=record.call, seconds=float(silent[leg])))
        legs.timed_out[:] = over

    def _say(self, client: str, operation: str, event: Event) -> None:
        if len(self._events) < EVENTS_MAX:
            self._events.append((client, operation, event))

    def events(self) -> list[tuple[str, str, Event]]:
        """Events since the last call, in order: client, operation, structure."""
        events, self._events = self._events, []
        return events

    def close(self, now: float) -> None:
        """Say BYE for all legs, finish recordings, close own sockets."""
        self.engine.legs.process["over"] = True
        self.engine.reports.send(np.flatnonzero(self.engine.legs.used), now, leaving=True)
        self.engine.close()
        self.engine.sockets.close()
