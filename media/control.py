"""What a media processor is asked to do, what it answers, what it reports: msgpack structures, and the desk that serves them.

Rules:
- A job is an operation's name and the msgpack of its request; the answer is the msgpack of its response, or `MediaError`.
- This module imports no numpy: whoever asks for media can afford it. `MediaProcessor` loads the engine when it is made.
- A leg belongs to the client that created it; its events go there.
- Every operation on a leg is idempotent as far as its meaning allows: `connect` and `accept` can be said twice.

| operation | request | response | errors |
| --- | --- | --- | --- |
| ``offer`` | `Offer` | `Answer` | ``bad-sdp``, ``not-acceptable``, ``full``, ``exists`` |
| ``propose`` | `Propose` | `Proposal` | ``full``, ``exists`` |
| ``accept`` | `Accept` | `Done` | ``not-found``, ``bad-sdp``, ``not-acceptable`` |
| ``connect`` | `Connect` | `Done` | ``not-found``, ``no-source``, ``full`` |
| ``mix`` | `Mix` | `Done` | ``not-found``, ``full`` |
| ``play`` | `PlayTo` | `PlayStarted` | ``not-found``, ``no-source``, ``full`` |
| ``record`` | `Record` | `RecordStarted` | ``not-found``, ``full`` |
| ``pause`` | `Pause` | `Done` | ``not-found`` |
| ``stop`` | `Stop` | `Done` | ``not-found`` |
| ``skip`` | `Skip` | `Done` | ``not-found`` |
| ``playing`` | `Playing` | list of `Played` | ``not-found`` |
| ``listen`` | `Listen` | `Done` | ``not-found`` |
| ``dtmf`` | `SendDigits` | `Done` | ``not-found``, ``bad-digits``, ``full`` |
| ``release`` | `Release` | `LegReport` | ``not-found`` |
| ``query`` | `Query` | list of `LegReport` | ``not-found`` |

Any request may also be refused with ``bad-request`` (not the structure of its operation).
"""

import os
from typing import Literal

import msgspec

from media.config import MediaConfiguration

TICK_SECONDS = 0.005
"""How often `MediaProcessor.tick` wants to be called."""


class MediaError(Exception):
    """The job cannot be done; ``code`` is one of the table above."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A remote offer (RFC 3264). Makes the leg, or renegotiates it: hold, new address, other codec."""

    leg: str
    """Name of the leg, chosen by the client, unique in the processor."""
    call: str
    """The call it belongs to; handed back in events and reports."""
    sdp: bytes
    trunk: str = ""
    """The leg is a trunk of this room, to the hub of its conference (`media.trunks`); it is in the room at once."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    sdp: bytes
    codec: str = ""
    """What was agreed on: ``PCMU/8000``."""
    held: bool = False
    """The peer does not want to hear us now (its direction is ``sendonly`` or ``inactive``)."""


class Propose(msgspec.Struct, frozen=True, kw_only=True):
    """A local offer for an outbound leg, or for a re-INVITE of one that exists."""

    leg: str
    call: str
    direction: Literal["sendrecv", "sendonly", "recvonly", "inactive"] = "sendrecv"
    """As we say it: ``sendonly`` tells the peer that it is on hold (RFC 3264 section 8.4)."""
    protocol: Literal["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"] = "RTP/AVP"
    """Of a new leg: in the clear, SRTP with keys in the description (RFC 4568), or what browsers want: ICE and DTLS-SRTP (RFC 5763).
    One that exists keeps what was agreed on."""
    trunk: str = ""
    """The leg is a trunk of this room, from the hub of its conference to a branch (`media.trunks`); it is in the room once it is
    answered."""
    six: bool = False
    """A new leg has an address of IPv6, where the processor has one."""
    extended: bool = False
    """Ask the peer for extended reports (RFC 3611). Who asks us has them in any case."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    sdp: bytes


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """The remote answer to the last proposal. Several answers may come (early media, forking); the last one holds."""

    leg: str
    sdp: bytes


class Echo(msgspec.Struct, frozen=True, tag="echo"):
    """The leg hears itself."""


class Bridge(msgspec.Struct, frozen=True, tag="bridge"):
    """Two legs hear each other; both are connected by one job, and taken from whatever each heard before."""

    leg: str


class Room(msgspec.Struct, frozen=True, tag="room"):
    """The leg hears all others in the room, not itself. The room exists while somebody is in it."""

    name: str
    tones: bool = False
    """The others hear a tone when it comes, and one when it goes."""
    speakers: bool = False
    """Its client is told who speaks in the room: event `Speakers`."""


class Play(msgspec.Struct, frozen=True, tag="play"):
    """The leg hears a source: ``music``, ``ring-back``, ``busy``, ``silence``, or the path of a sound file: WAV, or what PyAV reads
    where it is installed."""

    source: str
    loop: bool = True
    offset_seconds: float = 0.0
    """Where in it to begin."""


class Nothing(msgspec.Struct, frozen=True, tag="nothing"):
    """Nothing is sent; what comes in is received and counted."""


Sink = Echo | Bridge | Room | Play | Nothing
"""What a leg is connected to."""


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    leg: str
    to: Sink


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """How a leg takes part in rooms, from now on; what is None stays as it is.

    Muted and whispering to a leg: to listen in, and to coach it; neither: to barge in.
    """

    leg: str
    muted: bool | None = None
    """Others do not hear it."""
    deaf: bool | None = None
    """It hears silence."""
    gain_in_db: float | None = None
    """Of what others hear of it, -60 to 30."""
    gain_out_db: float | None = None
    """Of what it hears, -60 to 30."""
    leveled: bool | None = None
    """Others hear it at the loudness of normal speech (automatic gain control)."""
    whispers: tuple[str, ...] | None = None
    """The only legs that hear it, at most 4; empty: all in its room do. When the last of them ends, it is muted."""
    ignores: tuple[str, ...] | None = None
    """Legs that it does not hear, at most 4."""


class PlayTo(msgspec.Struct, frozen=True, kw_only=True):
    """Play a source once (or in a loop) to one leg, or to all in a room.

    A leg hears the source alone, and afterwards again what it is connected to; others go on hearing the leg.
    Exactly one of ``leg`` and ``room`` is set.
    """

    leg: str = ""
    room: str = ""
    source: str
    loop: bool = False
    offset_seconds: float = 0.0
    queue: bool = False
    """After what it hears now and what is queued, at most 16 in all; else in place of all that."""


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """Go on with what is queued next for a leg or a room, or end. Exactly one of ``leg`` and ``room`` is set."""

    leg: str = ""
    room: str = ""
    all: bool = False
    """Forget what is queued, too."""


class Playing(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg or a room hears, and what is queued for it. Exactly one of ``leg`` and ``room`` is set."""

    leg: str = ""
    room: str = ""


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """A playback: said again as `PlayTo` (or `Play`, where ``id`` is empty), elsewhere or to somebody else, it goes on where it was."""

    id: str
    """Empty: the leg is connected to it."""
    source: str
    loop: bool
    offset_seconds: float
    """How much of it was heard."""


class PlayStarted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """For `Stop`; named in `PlayEnded`."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Record a leg (stereo: left what it says, right what it hears) or a room (mono, the mix of all) to a WAV file.

    No disk is waited for: a file that can't be made is told as one that can't be written (`RecordFailed`).
    """

    leg: str = ""
    room: str = ""
    path: str
    mono: bool = False
    """Of a leg: both sides in one channel."""


class RecordStarted(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Leave out of a recording what is heard from now on, or go on with it. What was left out makes no gap in the file."""

    id: str
    paused: bool = True


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """End a playback, whether it is heard or queued, or a recording. What is queued next begins."""

    id: str


class SendDigits(msgspec.Struct, frozen=True, kw_only=True):
    """Send DTMF: ``0-9*#A-D``, by telephone-event (RFC 4733) where agreed on, else as tones in the audio."""

    leg: str
    digits: str


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Tell what a leg says besides speech, from now on; no kinds: nothing any more.

    | kind | event |
    | --- | --- |
    | ``dtmf`` | `Dtmf`, for keys in the audio too |
    | ``fax``, ``progress`` | `Tone` |
    | ``silence`` | `Silence` |
    | ``answer`` | `Answerer`: to be asked for when an outbound call is answered |
    """

    leg: str
    kinds: tuple[Literal["dtmf", "fax", "progress", "silence", "answer"], ...]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    leg: str


class Query(msgspec.Struct, frozen=True, kw_only=True):
    leg: str | None = None
    """None: all legs of the client that asks."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    pass


class VoipMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What the peer measures of our stream (RFC 3611 section 4.7)."""

    lost: float
    """Part of the packets that did not come."""
    discarded: float
    """Part that came too late."""
    burst_density: float
    """Part that is missing within bursts."""
    gap_density: float
    """The same between them."""
    burst_ms: int
    gap_ms: int
    """Their mean durations."""
    round_trip_ms: int
    end_system_ms: int
    """Delay within the peer."""
    r_factor: int
    """-1: it says none."""
    mos_listening: float
    """-1: it says none."""
    mos_conversation: float
    buffer_ms: int


class LegReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a leg fares, or fared."""

    leg: str
    call: str
    codec: str
    """``PCMU/8000``; empty before it was agreed on."""
    connected_to: str
    """``echo``, ``bridge``, ``room``, ``play`` or ``nothing``."""
    seconds: float
    """Age of the leg."""
    packets_in: int
    bytes_in: int
    """RTP payload, octets."""
    packets_out: int
    bytes_out: int
    lost: int
    """Of what the peer sent: expected - received (RFC 3550 A.3)."""
    late: int
    """Came too late for playing, or twice."""
    concealed: int
    """Frames of 20 ms that had to be made up."""
    refused: int
    """Datagrams that were no valid RTP for this leg: foreign source, unknown payload type, wrong length."""
    jitter_ms: float
    """Interarrival jitter of what we receive (RFC 3550 A.8)."""
    remote_lost: int
    """What the peer reports to have lost of ours."""
    remote_jitter_ms: float
    round_trip_ms: float
    """From the peer's reports (RFC 3550 section 6.4.1); negative: not known."""
    buffer_ms: float
    """Delay that the jitter buffer adds now."""
    r_factor: float
    """E-model (ITU-T G.107) rating of what we receive, 0..100."""
    mos: float
    """The same as mean opinion score, 1..4.5."""
    remote: VoipMetrics | None = None
    """What the peer says; None: it sends no such reports."""


class Dtmf(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``dtmf``: the peer pressed a key; said when it ended."""

    leg: str
    call: str
    digit: str
    duration_ms: int


class Tone(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``tone``: a fax, a modem or the line itself."""

    leg: str
    call: str
    tone: Literal["cng", "ced", "reversal", "congestion", "busy", "ring-back", "dial"]
    """A fax that calls, one that answers, its phase reversals (ITU-T T.30, V.25); what a line says (E.180)."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``silence``: the leg fell silent (after 2 s), or is heard again."""

    leg: str
    call: str
    silent: bool
    duration_ms: int
    """Of the silence so far, or of the one that ended."""


class Answerer(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``answerer``: who answered, and when a machine's greeting is over."""

    leg: str
    call: str
    what: Literal["human", "machine", "unknown", "beep", "greeting-end"]
    confidence: float
    """0.5 (no idea) to 1."""
    duration_ms: int
    """Of the greeting, of the silence (``unknown``), or of the beep."""


class RtpTimeout(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``rtp-timeout``: nothing was received for so long; said once per silence."""

    leg: str
    call: str
    seconds: float


class PlayEnded(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``play-ended``: a playback came to its end by itself."""

    id: str
    """As in `PlayStarted`; empty: the playback that the leg was connected to (`Play` without ``loop``)."""
    leg: str = ""
    room: str = ""
    call: str = ""


class RecordFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``record-failed``: the file lacks something; said once a recording."""

    id: str
    leg: str = ""
    room: str = ""
    call: str = ""
    error: str
    """What the disk said (it is full: nothing more is written), or that it was too slow (seconds are missing)."""


class Speakers(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``speakers``: who speaks in a room has changed."""

    room: str
    legs: tuple[str, ...]
    """The loudest first, at most 16."""


class TrunkLost(msgspec.Struct, frozen=True, kw_only=True):
    """Event ``trunk-lost``: the far end of a trunk has gone, and the leg with it."""

    leg: str
    room: str


class MediaProcessor:
    """All legs of one process: jobs in, RTP in and out, events out.

    The caller owns the clock (seconds, monotonic), calls `tick` every `TICK_SECONDS`, and hands jobs over between ticks. Ticks that have
    nothing to do may be left out (`rest`).

    Args:
        configuration: host, port range and limits.
        sockets: descriptors of bound UDP sockets by name: ``rtp`` and ``rtcp``, the pair that legs share; where they are missing
            the pair is bound from the port range. And ``state``: a memory file, empty or left by another process; where it is missing
            a new one is made. ``peer``: in a standby, its end of the socket to the process that runs. What was given is not closed by
            `close`.

    Raises:
        ValueError: the memory file holds another layout, or one for another number of legs.
        now: seconds.
    """

    def __init__(self, configuration: MediaConfiguration, sockets: dict[str, int], now: float) -> None:
        # Products of small matrices are faster on one thread; numpy reads this once, when it is loaded.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from media.desk import Desk  # loads numpy: only where media is processed

        self._desk = Desk(configuration, sockets, now)
        self._encode = msgspec.msgpack.Encoder().encode
        self._now = now

    def take_over(self, now: float) -> int:
        """Go on with the legs that another process left in ``state``: same sockets, SSRCs and sequence numbers.

        To be called once, before the first tick, when the other process is known to be dead. A processor may be made long before (a
        warm standby): until this call it only holds the memory and the sockets.

        Returns:
            how many legs there are.
        """
        self._now = now
        return self._desk.take_over(now)

    def standby(self, peer: int) -> None:
        """A standby is warm: own sockets of legs are given to it over the socket ``peer``, which is ours from now on."""
        self._desk.engine.sockets.standby(peer)

    def hear_peer(self) -> bool:
        """In a standby: take the sockets that the running process gives; false: it is gone."""
        return self._desk.engine.sockets.hear_peer()

    def look(self) -> None:
        """In a standby, several times a second: make ready ahead what taking over will need. Nothing of the running process is touched."""
        self._desk.look()

    def died(self) -> bool:
        """In a standby: the process that ran did not end by `close`."""
        return self._desk.died()

    @property
    def state(self) -> int:
        """Descriptor of the memory file that holds all legs: keep it to let another process `take_over`."""
        return self._desk.engine.legs.memory

    def handle(self, operation: str, body: bytes, client: str, now: float) -> bytes:
        """Do one job and return the msgpack of its response.

        Raises:
            MediaError: the job cannot be done; nothing was changed.
        """
        kind = REQUESTS.get(operation)
        if kind is None:
            raise MediaError("bad-request", f"no such operation: {operation!r}")
        try:
            request = msgspec.msgpack.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise MediaError("bad-request", f"{operation}: {error}") from None
        return self._encode(self._desk.do(request, client, now))

    def configure(self, configuration: MediaConfiguration) -> None:
        """Take new limits and port range; the address of legs that exist stays as it is."""
        self._desk.configure(configuration)

    def tick(self, now: float) -> None:
        """Receive what came, send what is due. Never raises because of bytes from the network."""
        self._now = now
        self._desk.tick(now)

    def rest(self) -> int:
        """Ticks from the last one to the next that has anything to do, until a job is done: 1 to 4. Those between may be left out."""
        return self._desk.engine.rest()

    def events(self) -> list[tuple[str, str, bytes]]:
        """Events since the last call, in order: client, operation, msgpack of `Dtmf`, `RtpTimeout`, `PlayEnded`, `RecordFailed`,
        `Speakers`, `Tone`, `Silence`, `Answerer` or `TrunkLost`."""
        return [(client, operation, self._encode(body)) for client, operation, body in self._desk.events()]

    def legs(self) -> int:
        """How many legs exist."""
        return self._desk.legs()

    def figures(self) -> dict[str, float]:
        """What there is to know of the process: for metrics."""
        return self._desk.engine.figures()

    def clients(self) -> list[str]:
        """Whose they are, each once."""
        return self._desk.clients()

    def close(self) -> None:
        """Send RTCP BYE for every leg, finish recordings, close own sockets."""
        self._desk.close(self._now)


Request = Offer | Propose | Accept | Connect | Mix | PlayTo | Skip | Playing | Record | Pause | Stop | Listen | SendDigits | Release | Query
Response = Answer | Proposal | Done | PlayStarted | RecordStarted | LegReport | list[LegReport] | list[Played]
Event = Dtmf | RtpTimeout | PlayEnded | RecordFailed | Speakers | Tone | Silence | Answerer | TrunkLost

REQUESTS: dict[str, type[Request]] = {
    "offer": Offer,
    "propose": Propose,
    "accept": Accept,
    "connect": Connect,
    "mix": Mix,
    "play": PlayTo,
    "record": Record,
    "pause": Pause,
    "stop": Stop,
    "skip": Skip,
    "playing": Playing,
    "listen": Listen,
    "dtmf": SendDigits,
    "release": Release,
    "query": Query,
}
