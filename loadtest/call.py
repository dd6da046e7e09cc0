"""One test call: dial, speak, listen, hang up, and say how it was.

Rules:
- One thread, one wait: SIP and RTP sockets and the next deadline.
- Everything ends: ringing after `RING_SECONDS_MAX`, the call after its duration, the rest after `END_SECONDS_MAX`.
- RTP that comes in is timed by the kernel, so that a busy process does not report its own delay as jitter.
"""

import contextlib
import secrets
import select
import socket
import time
from typing import NamedTuple

from loadtest import sound
from loadtest.description import Agreed, agreed, offer
from loadtest.line import Line
from loadtest.ports import RTP_BYTES_MAX, arrivals, open_media
from loadtest.report import CallReport
from loadtest.stream import PTIME_SECONDS, Incoming, Outgoing
from media import quality
from telephony.sip.digest import Credentials
from telephony.sip.events import Answered, ByeAnswered, Ended, Event, Progressed, Rejected
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.sip.uri import Uri

RING_SECONDS_MAX = 60.0
END_SECONDS_MAX = 5.0
"""For the answer to our BYE or CANCEL."""
LINGER_SECONDS = 0.3
"""We go on listening for so long after our last packet: an echo is on its way."""
G711_IMPAIRMENT, G711_ROBUSTNESS = 0.0, 25.1
"""Ie and Bpl of G.711 with packet loss concealment (ITU-T G.113 appendix I)."""


class Wish(NamedTuple):
    """What call to make."""

    target: str
    """SIP URI."""
    duration_seconds: float = 4.0
    user: str = ""
    """Who calls; empty: a guest."""
    password: str = ""
    proxy: str = ""
    """``host[:port]`` that requests are sent to; empty: the host of the target."""
    play: sound.Samples | None = None
    """What is said; None: the probe."""


class WishError(ValueError):
    """The wish cannot be read: the message says what was expected."""


def server_of(wish: Wish) -> tuple[Uri, tuple[str, int], str]:
    """Target, the server's (host, port), and transport of a wish.

    Raises:
        WishError: no SIP URI with a user, or no ``host[:port]``.
    """
    text = wish.target if ":" in wish.target.partition("@")[0] else f"sip:{wish.target}"
    try:
        target = Uri.parse(text)
    except ValueError as error:
        raise WishError(f"{wish.target!r}: expected a URI like sip:9196@127.0.0.1 ({error})") from error
    if not target.is_sip or not target.username:
        raise WishError(f"{wish.target!r}: expected a URI like sip:9196@127.0.0.1")
    transport = target.transport or "udp"
    if transport not in ("udp", "tcp"):
        raise WishError(f"transport {transport!r}: expected udp or tcp")
    host, port = target.host, target.port or 5060
    if wish.proxy:
        host, _, number = wish.proxy.rpartition(":") if wish.proxy.rpartition(":")[2].isdecimal() else (wish.proxy, "", "5060")
        port = int(number)
    return target, (host.strip("[]"), port), transport


class TestCall:
    """A call from its first INVITE to its last word; `run` does all of it."""

    __test__ = False

    def __init__(self, wish: Wish) -> None:
        """
        Raises:
            WishError: the wish cannot be read.
        """
        self._wish = wish
        self._target, self._server, self._transport = server_of(wish)
        self._said = wish.play if wish.play is not None else sound.probe(wish.duration_seconds)
        self._report = CallReport(str(self._target))
        self._incoming = Incoming()
        self._outgoing: Outgoing | None = None
        self._agreed: Agreed | None = None
        self._asked_at = 0.0
        self._answered_at = 0.0
        self._first_sent_at = 0.0
        self._until = 0.0
        self._leaving = False
        self._over = False
        self._session: Session | None = None

    def run(self) -> CallReport:
        """Make the call.

        Raises:
            OSError: the server's name is unknown, its TCP port is closed, or there is no socket.
        """
        with Line(self._server, transport=self._transport, user=self._wish.user) as line:
            rtp, rtcp = open_media(line.host)
            with rtp, rtcp:
                self._dial(line, rtp.getsockname()[1])
                self._loop(line, rtp, rtcp)
        self._finish()
        return self._report

    def _dial(self, line: Line, media_port: int) -> None:
        wish, target = self._wish, self._target
        caller = Uri.of(wish.user or "guest", target.host)
        self._asked_at = time.monotonic()
        self._until = self._asked_at + RING_SECONDS_MAX
        self._session = line.endpoint.invite(
            str(target),
            f"<{caller}>",
            f"<{target}>",
            line.flow,
            now=self._asked_at,
            body=offer(line.host, media_port, session=secrets.randbelow(1 << 31)),
            credentials=Credentials(wish.user, wish.password) if wish.password else None,
        )
        self._take(line.flush())

    def _loop(self, line: Line, rtp: socket.socket, rtcp: socket.socket) -> None:
        poll = select.poll()
        for descriptor in (line.fileno(), rtp.fileno(), rtcp.fileno()):
            poll.register(descriptor, select.POLLIN)
        while not self._over:
            now = time.monotonic()
            if now >= self._until:
                if self._leaving:
                    break
                self._leave(now)
                self._take(line.flush())
            self._speak(rtp, now)
            due = [at for at in (self._until, line.deadline(), self._next_packet_at()) if at is not None]
            poll.poll(max(min(due) - time.monotonic(), 0.0) * 1000)
            for data, at in arrivals(rtp):
                self._incoming.receive(data, at)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                rtcp.recv(RTP_BYTES_MAX)
            self._take(line.run())

    def _leave(self, now: float) -> None:
        assert self._session is not None
        self._leaving, self._until = True, now + END_SECONDS_MAX
        if self._answered_at:
            self._report.ended, self._report.talk_seconds = "here", now - self._answered_at
        self._session.end(now=now)

    def _next_packet_at(self) -> float | None:
        if self._outgoing is None or self._leaving or self._outgoing.sent * PTIME_SECONDS >= self._wish.duration_seconds:
            return None
        return self._answered_at + self._outgoing.sent * PTIME_SECONDS

    def _speak(self, rtp: socket.socket, now: float) -> None:
        """Send the packets that are due."""
        while self._outgoing is not None and self._agreed is not None and (due := self._next_packet_at()) is not None and due <= now:
            if not self._outgoing.sent:
                self._first_sent_at = time.time()
            with contextlib.suppress(BlockingIOError, ConnectionError):
                rtp.sendto(self._outgoing.packet(), (self._agreed.host, self._agreed.port))

    def _take(self, events: list[Event]) -> None:
        now = time.monotonic()
        report = self._report
        for event in events:
            match event:
                case Progressed():
                    if report.ringing_seconds is None:
                        report.ringing_seconds = now - self._asked_at
                case Answered(_, message):
                    report.status, report.reason = 200, "OK"
                    report.set_up_seconds = now - self._asked_at
                    self._answer(message, now)
                case Rejected(_, status, message):
                    report.status = status
                    report.reason = (message.reason if message is not None else "") or "no answer"
                    self._over = True
                case Ended(_, _, reason):
                    report.ended = reason
                    report.talk_seconds = now - self._answered_at
                    self._over = True
                case ByeAnswered():
                    self._over = True

    def _answer(self, message: Message, now: float) -> None:
        self._answered_at = now
        self._agreed = agreed(message.body)
        if self._agreed is None:
            self._report.reason = "answered without audio that we can send"
            self._until = now
            return
        self._until = now + self._wish.duration_seconds + LINGER_SECONDS
        self._report.codec = self._agreed.codec
        self._report.media = f"{self._agreed.host}:{self._agreed.port}"
        self._outgoing = Outgoing(
            self._said,
            self._agreed.payload_type,
            ssrc=secrets.randbits(32),
            sequence=secrets.randbits(16),
            timestamp=secrets.randbits(32),
        )

    def _finish(self) -> None:
        report, stream = self._report, self._incoming
        report.packets_sent = self._outgoing.sent if self._outgoing is not None else 0
        report.packets_received, report.packets_lost = stream.received, stream.lost
        report.packets_late, report.packets_duplicate = stream.late, stream.duplicates
        report.level_said = sound.level(self._said)
        if stream.first_at is None:
            return
        report.first_audio_seconds = max(stream.first_at - time.time() + time.monotonic() - self._answered_at, 0.0)
        report.loss_percent = round(100 * stream.lost / stream.expected, 2)
        report.jitter_ms, report.jitter_max_ms = round(1000 * stream.jitter, 2), round(1000 * stream.jitter_max, 2)
        said_until = self._first_sent_at + report.packets_sent * PTIME_SECONDS
        report.gap_max_ms = round(1000 * max(stream.gap_max, said_until - stream.last_at), 1)
        report.heard, heard_at = stream.heard()
        report.level_heard = sound.level(report.heard)
        found = sound.find(self._said[: round(self._wish.duration_seconds * sound.RATE)], report.heard)
        report.likeness, report.echo = found.likeness, found.likeness >= sound.ECHO_LIKENESS
        delay = 0.0
        if report.echo:
            delay = heard_at + found.lag / sound.RATE - self._first_sent_at
            report.round_trip_ms = round(1000 * delay, 1)
        rating = quality.rating(stream.lost / stream.expected, max(delay, 0.0) / 2, G711_IMPAIRMENT, G711_ROBUSTNESS)
        report.mos = round(quality.opinion(rating), 2)
