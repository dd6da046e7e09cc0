"""Many calls from one process, on a clock of their own.

Rules:
- Open loop: call i begins at i / rate, whatever became of those before it. Set-up is measured from that moment, so that
  a stall of the server (or of ours) is not left out (coordinated omission).
- One SIP socket for all calls, one RTP socket a call, as with that many phones behind one address.
- RTP leaves every 20 ms in `PHASES` groups; what comes in is counted, and one packet in `LISTEN_EVERY` is listened to.
- Bounds: calls in all, calls at a time (`CONCURRENT_MAX`), ringing, duration.
"""

import contextlib
import math
import secrets
import select
import socket
import time

import numpy as np

from loadtest import sound
from loadtest.call import END_SECONDS_MAX, Wish, server_of
from loadtest.description import Agreed, agreed, offer
from loadtest.figures import LoadReport
from loadtest.line import Line
from loadtest.stream import FRAME, HEADER, LAW, PTIME_SECONDS, encode
from media.g711 import DECODE
from telephony.sip.digest import Credentials
from telephony.sip.events import Answered, ByeAnswered, Ended, Event, Rejected
from telephony.sip.session import Session
from telephony.sip.uri import Uri

CONCURRENT_MAX = 4000
"""Calls at a time; more are not begun, and count as failed with ``not-begun``."""
PHASES = 4
PHASE_SECONDS = PTIME_SECONDS / PHASES
RING_SECONDS_MAX = 32.0
LISTEN_EVERY = 10
PACKETS_AT_ONCE_MAX = 32
VOICE_SECONDS = 2.0
"""Length of the probe that every call says over and over."""


class Caller:
    """One call of the load."""

    __slots__ = (
        "agreed",
        "gap_seconds_max",
        "heard",
        "highest",
        "last_at",
        "leave_at",
        "leaving",
        "lowest",
        "received",
        "rtp",
        "sent",
        "sequence",
        "session",
        "ssrc",
        "wanted_at",
    )

    def __init__(self, session: Session, rtp: socket.socket, wanted_at: float, leave_at: float) -> None:
        self.session = session
        self.rtp = rtp
        self.wanted_at = wanted_at
        self.leave_at = leave_at
        self.leaving = False
        self.agreed: Agreed | None = None
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(15)
        self.sent = self.received = 0
        self.lowest = self.highest = -1
        self.last_at = math.inf
        self.gap_seconds_max = 0.0
        self.heard = False

    @property
    def lost(self) -> int:
        return max((self.highest - self.lowest + 1 if self.highest >= 0 else 0) - self.received, 0)


class Load:
    """A load to run once."""

    def __init__(self, wish: Wish, *, rate: float, calls: int) -> None:
        """``calls`` calls as wished, ``rate`` a second.

        Raises:
            WishError: the wish cannot be read.
        """
        self._wish, self._rate, self._calls = wish, rate, calls
        self._target, self._server, self._transport = server_of(wish)
        self._voice = {kind: encode(sound.probe(VOICE_SECONDS), kind) for kind in LAW}
        self._phases: list[dict[int, Caller]] = [{} for _ in range(PHASES)]
        self._by_session: dict[str, Caller] = {}
        self._begun = 0
        self._begin_at = 0.0
        self._report = LoadReport(str(self._target), rate)

    def run(self) -> LoadReport:
        """Carry it out.

        Raises:
            OSError: the server cannot be reached at all, or there are no sockets left.
        """
        report, processor = self._report, time.process_time()
        with (
            Line(self._server, transport=self._transport, user=self._wish.user, user_agent="Hotswitch load") as line,
            select.epoll() as poll,
        ):
            poll.register(line.fileno(), select.EPOLLIN)
            self._poll = poll
            self._begin_at = started = time.monotonic()
            last_began = started
            phase_at, phase = started, 0
            try:
                while self._begun < self._calls or self._by_session:
                    now = time.monotonic()
                    before = self._begun
                    self._begin(line, now)
                    last_began = now if self._begun > before else last_began
                    if now >= phase_at:
                        self._speak(self._phases[phase], now)
                        phase, phase_at = (phase + 1) % PHASES, phase_at + PHASE_SECONDS
                    self._take(line.flush())
                    due = [phase_at, line.deadline(), self._next_call_at()]
                    wait = min(at for at in due if at is not None) - time.monotonic()
                    for descriptor, _ in poll.poll(max(wait, 0.0)):
                        if descriptor != line.fileno():
                            self._listen(descriptor)
                    self._take(line.run())
            finally:
                for caller in list(self._by_session.values()):
                    caller.rtp.close()
            report.seconds = time.monotonic() - started
            report.rate_reached = (report.calls - 1) / (last_began - started) if report.calls > 1 and last_began > started else 0.0
        report.processor_seconds = time.process_time() - processor
        return report

    def _next_call_at(self) -> float | None:
        return self._begin_at + self._begun / self._rate if self._begun < self._calls else None

    def _begin(self, line: Line, now: float) -> None:
        report, wish = self._report, self._wish
        while (wanted_at := self._next_call_at()) is not None and wanted_at <= now:
            self._begun += 1
            report.calls += 1
            report.behind_seconds_max = max(report.behind_seconds_max, now - wanted_at)
            if len(self._by_session) >= CONCURRENT_MAX:
                report.statuses["not-begun"] += 1
                continue
            rtp = socket.socket(socket.AF_INET6 if ":" in line.host else socket.AF_INET, socket.SOCK_DGRAM)
            rtp.bind((line.host, 0))
            rtp.setblocking(False)
            caller = Uri.of(wish.user or "load", self._target.host)
            session = line.endpoint.invite(
                str(self._target),
                f"<{caller}>",
                f"<{self._target}>",
                line.flow,
                now=time.monotonic(),
                body=offer(line.host, rtp.getsockname()[1], session=self._begun),
                credentials=Credentials(wish.user, wish.password) if wish.password else None,
            )
            session.context = time.monotonic()
            made = Caller(session, rtp, wanted_at, now + RING_SECONDS_MAX)
            self._by_session[session.id] = self._phases[self._begun % PHASES][rtp.fileno()] = made
            report.concurrent_max = max(report.concurrent_max, len(self._by_session))
            self._poll.register(rtp.fileno(), select.EPOLLIN)

    def _speak(self, callers: dict[int, Caller], now: float) -> None:
        """One packet for each call of a phase; calls whose time is over are ended."""
        for caller in list(callers.values()):
            if now >= caller.leave_at:
                self._leave(caller, now)
            elif caller.agreed is not None and not caller.leaving:
                voice = self._voice[caller.agreed.payload_type]
                at = caller.sent * FRAME % len(voice)
                marker = 0 if caller.sent else 0x80
                sequence, timestamp = caller.sequence + caller.sent & 0xFFFF, caller.sent * FRAME & 0xFFFFFFFF
                header = HEADER.pack(0x80, marker | caller.agreed.payload_type, sequence, timestamp, caller.ssrc)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    caller.rtp.sendto(header + voice[at : at + FRAME], (caller.agreed.host, caller.agreed.port))
                caller.sent += 1

    def _leave(self, caller: Caller, now: float) -> None:
        if caller.leaving:
            self._close(caller, "408" if caller.agreed is None else "")
            return
        caller.leaving, caller.leave_at = True, now + END_SECONDS_MAX
        caller.session.end(now=now)

    def _listen(self, descriptor: int) -> None:
        caller = next((phase[descriptor] for phase in self._phases if descriptor in phase), None)
        if caller is None:
            return
        now = time.monotonic()
        for _ in range(PACKETS_AT_ONCE_MAX):
            try:
                data = caller.rtp.recv(2048)
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            if len(data) <= HEADER.size or data[1] & 0x7F not in LAW:
                continue
            caller.gap_seconds_max, caller.last_at = max(caller.gap_seconds_max, now - caller.last_at), now
            sequence = data[2] << 8 | data[3]
            if caller.highest < 0:
                caller.lowest = caller.highest = sequence
            else:
                caller.highest = max(caller.highest, caller.highest + (sequence - caller.highest + 0x8000 & 0xFFFF) - 0x8000)
            if not caller.heard and caller.received % LISTEN_EVERY == 0:
                samples = DECODE[LAW[data[1] & 0x7F]][np.frombuffer(data, np.uint8, offset=HEADER.size)] / 32768
                caller.heard = sound.level(samples) > sound.SILENCE_LEVEL
            caller.received += 1

    def _take(self, events: list[Event]) -> None:
        now, report = time.monotonic(), self._report
        for event in events:
            match event:
                case Answered(session, message):
                    caller = self._by_session.get(session.id)
                    if caller is None:
                        continue
                    report.answered += 1
                    report.statuses["200"] += 1
                    report.set_up_seconds.append(now - caller.wanted_at)
                    report.set_up_own_seconds.append(now - session.context)
                    caller.agreed = agreed(message.body)
                    caller.leave_at = now + (self._wish.duration_seconds if caller.agreed is not None else 0.0)
                case Rejected(session, status, _):
                    if (caller := self._by_session.get(session.id)) is not None:
                        self._close(caller, str(status))
                case Ended(session, _, reason):
                    if (caller := self._by_session.get(session.id)) is not None:
                        report.endings[reason] += 1
                        self._close(caller, "")
                case ByeAnswered(session, status, _):
                    if (caller := self._by_session.get(session.id)) is not None:
                        report.endings["here"] += 1
                        report.completed += status // 100 == 2
                        self._close(caller, "")

    def _close(self, caller: Caller, status: str) -> None:
        """A call is over; ``status`` where it was never answered."""
        report = self._report
        if status:
            report.statuses[status] += 1
        report.packets_sent += caller.sent
        report.packets_received += caller.received
        report.packets_lost += caller.lost
        report.gap_seconds_max = max(report.gap_seconds_max, caller.gap_seconds_max)
        report.with_audio += caller.heard
        del self._by_session[caller.session.id]
        for phase in self._phases:
            phase.pop(caller.rtp.fileno(), None)
        self._poll.unregister(caller.rtp.fileno())
        caller.rtp.close()
