"""State of all legs: a structure of arrays, one row a leg.

Rules:
- Nothing about a leg's packets is kept anywhere else: a process that maps these arrays and reads the same sockets goes on.
- Positions in a stream are counted in samples of the codec's RTP clock and in frames of 20 ms, as int64 that never wrap; only
  what is on the wire wraps (RFC 3550 section 5.1).
- A row is zeroed when it is given out; zero is the resting value of every field, -1 where an index is meant.
"""

import mmap
import os
import sys
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from media import coders, gain, rates
from media.addresses import ADDRESS_BYTES
from media.arrays import CAPACITY_PLACE, F32, F64, HEADER_BYTES, I16, I32, I64, IDENTITY_BYTES, U8, U16, U32, Arena, Bool, LayoutError
from media.comfort_noise import ComfortNoise
from media.slips import Slips
from media.srtp.suites import KEY_BYTES_MAX
from media.tape import Tape
from media.tones import activity, answering
from media.tones.listener import Listener

LAYOUT_VERSION = 4
FRAME_SAMPLES = 160
"""Samples of 20 ms at 8 kHz: what a tick of a leg plays and sends."""
FRAME_SECONDS = 0.020
RING_FRAMES = 16
"""Depth of the jitter ring: 320 ms."""
HALF_SAMPLES = FRAME_SAMPLES // 2
PACKET_BYTES_MAX = 1280
"""Longest payload of Opus that is kept (RFC 6716 section 3.2.1: 1275)."""
PCM_SAMPLES = 6720
"""Decoded samples that may wait: 140 ms at 48 kHz."""
DIGIT_EAR = Listener(("dtmf",))
LINE_EAR = Listener(("fax", "progress"))
NOISE = ComfortNoise(FRAME_SAMPLES)
NOTE_BYTES = 8192
POSITION_FIRST = 960 * 1024
"""Where a stream's positions begin: a whole number of frames of any codec."""
PARTNERS_MAX = 4
"""Legs that a leg may whisper to, or ignore."""
DIGITS_MAX = 32
"""Digits that wait to be sent, a leg."""


PROCESS = np.dtype([("began", "f8"), ("ticks", "i8"), ("named", "i8"), ("over", "?")])
"""Of the process as a whole: when its ticks are counted from, seconds; how many it has served; how many playbacks and recordings it has
named; it ended in order."""
LOSSES = np.dtype([(name, "i8") for name in ("first", "last", "lost", "bursts", "packets", "within")])
"""Of `media.extended`: the stretch of losses that may go on (its numbers, and how many), bursts that are over, their packets and losses."""


class Legs:
    """Arrays of all legs of a process, ``[capacity, ...]``.

    Args:
        capacity: rows, of a new memory; one that another process left has as many as it has.
        memory: descriptor of a memory file to live in; None makes a new one.

    Raises:
        LayoutError: the memory file holds another layout.
    """

    used: Bool
    """The row is a leg."""

    note: Annotated[U8, NOTE_BYTES]
    """`media.notes`: what the desk knows of it."""
    note_size: I32
    note_check: U32
    cname: Annotated[U8, 16]
    """Its name in RTCP (RFC 7022)."""

    # Where it is
    address: Annotated[U8, ADDRESS_BYTES]
    """Where RTP goes to (`media.addresses`); of IPv4 the first eight bytes (family, port, host) are its key."""
    address_rtcp: Annotated[U8, ADDRESS_BYTES]
    six: Bool
    """It speaks IPv6."""
    own: Bool
    """Has sockets of its own; else it shares the pair."""
    port: U16
    """Local RTP port that the SDP names."""
    latched: Bool
    """`address` is where packets really came from, not only what the SDP says."""
    told: Annotated[U8, ADDRESS_BYTES]
    """What the SDP names."""
    mux: Bool
    """RTP and RTCP on one port (RFC 5761)."""
    since: F64
    """When it was made, seconds."""
    heard: F64
    """When the last packet came, seconds; 0: never."""

    # What may pass (RFC 3264 section 5.1)
    sends: Bool
    """The peer wants to hear us and its address is known."""
    receives: Bool
    """We take what the peer sends."""

    ice: Bool
    """Its address is what ICE says (`media.webrtc`); no packet changes it."""

    # SRTP (`media.srtp`)
    secured: Bool
    """Nothing passes in the clear."""
    suite: U8
    """`media.srtp.suites`; 0: no keys yet."""
    key_in: Annotated[U8, KEY_BYTES_MAX]
    """Master key and salt of what comes in."""
    key_out: Annotated[U8, KEY_BYTES_MAX]
    ssrc_secured: I64
    """Source of the packet that was opened last; -1: none."""
    index_in: I64
    """Its highest index (RFC 3711 section 3.3.1); -1: none."""
    index_out: I64
    """Highest index that was sent; -1: none."""
    report_index_in: I64
    """Highest index of SRTCP; -1: none."""
    report_index_out: I64
    """Packets of SRTCP that were sent."""

    # Codecs
    kinds: Annotated[U8, 128]
    """Payload type that comes in to its kind: `media.codecs`."""
    codec: U8
    """Codec that we send."""
    codec_in: U8
    """Codec that came last; the ring holds this."""
    payload_type: U8
    """Payload type that we send it with."""
    event_type: U8
    """Payload type of telephone-event that we send; 0: none agreed on."""
    event_rate: F64
    """Clock of telephone-event, Hz."""
    comfort_type: U8
    """Payload type of comfort noise that we may send; 0: none."""
    clock: F64
    """RTP clock of what we send, Hz."""
    rate: F64
    """RTP clock of what comes in, Hz."""

    # The stream that comes in (RFC 3550 appendix A)
    ssrc_in: I64
    """-1: nothing was heard yet."""
    ssrc_next: I64
    """Another source that was heard once; twice in a row, and it takes over. -1: none."""
    ssrc_next_after: I64
    """`received` when that was."""
    sequence_max: I64
    """Highest extended sequence number."""
    sequence_first: I64
    sequence_bad: I32
    """After a wild jump: the number that would prove it (RFC 3550 A.1); -1: no jump."""
    received: I64
    """Packets of this source, for the reports."""
    received_before: I64
    """Packets of sources that this one followed."""
    bytes_in: I64
    lost_before: I64
    """Lost of sources that this one followed."""
    late: I64
    refused: I64
    concealed: I64
    expected_prior: I64
    received_prior: I64
    transit: F64
    """Arrival minus timestamp of the last packet, in units of the RTP clock."""
    jitter: F64
    """Interarrival jitter, in units of the RTP clock."""
    position: I64
    """Where the newest packet lies in its stream, samples."""
    position_base: U32
    """Timestamp of position 0."""

    # Jitter ring
    ring_wanted: Bool
    """Somebody listens by ticks; else packets are only counted and relayed."""
    ring: Annotated[U8, RING_FRAMES, FRAME_SAMPLES]
    """Payload of codecs of 8 bits a sample at a clock of 8 kHz, by position in the stream."""
    level: Annotated[U8, RING_FRAMES]
    """Peak of each slot, `media.levels`."""
    stamp: Annotated[I32, RING_FRAMES, 2]
    """Frame number that each half of a slot holds; a slot counts only where it is the one that is due."""
    playing: Bool
    play: I64
    """Frame that is due next."""
    hold: I16
    """Frames to make up before going on: the buffer grows."""
    drop: I16
    """Frames to skip: the buffer shrinks."""
    margin: F64
    """Least time that a packet came before it was needed, in this window, seconds."""
    window: I16
    """Frames of the window that are over."""
    missing: I16
    """Frames made up in a row."""
    quiet: Bool
    """The peer said that it is silent: comfort noise came last."""
    noise: Annotated[NDArray[Any], NOISE.state]
    """What its peer sounds like while it is silent."""
    healing: Bool
    """The last frame was made up: the next one is faded in."""
    concealment: Annotated[NDArray[Any], coders.CONCEALMENT.state]
    concealment_wide: Annotated[NDArray[Any], coders.CONCEALMENT_WIDE.state]
    """Of G.722 and L16 at 16 kHz."""

    # Codecs with a memory (`media.coding`); touched only where such a codec is used
    packets: Annotated[U8, 2 * RING_FRAMES, PACKET_BYTES_MAX]
    """Packets of Opus by position, slots of 10 ms."""
    packet_size: Annotated[I16, 2 * RING_FRAMES]
    packet_stamp: Annotated[I32, 2 * RING_FRAMES]
    pcm: Annotated[I16, PCM_SAMPLES]
    """Decoded and not yet heard: of Opus at the rate of the room, of L16 at its own."""
    pcm_count: I16
    pcm_at: I64
    """Where they begin: number of the 10 ms of the stream."""
    encoding: U32
    """Encoders of legs of one codec with the same number have the same settings."""
    follows: I64
    """Leg that it hears the packets of, encoded once for all who hear the same; -1: its own."""
    encoder: Annotated[U8, coders.ENCODER_BYTES]
    decoder: Annotated[U8, coders.DECODER_BYTES]
    best_rate: U16
    """Highest rate of `media.rates` that its codec has, Hz."""
    room_rate: U16
    """Rate that it is decoded and encoded at for its room, Hz."""
    tail: U8
    """Frames that the filters still hold something of it (`media.rates`)."""
    history_in: Annotated[I16, rates.HISTORY_IN]
    """Of the filter from the codec's rate to the room's."""
    history_out: Annotated[I16, rates.HISTORY_OUT]
    history_ear: Annotated[I16, rates.HISTORY_OUT]
    """Of the filter to 8 kHz for who listens (`media.listening`)."""

    # The stream that goes out
    ssrc_out: U32
    sequence_out: U16
    """Sequence number that is sent next."""
    timestamp_out: U32
    """Timestamp of the frame that was sent last."""
    clock_out: F64
    """When that was, seconds."""
    marker: Bool
    """The next packet begins a talkspurt."""
    packets_out: I64
    bytes_out: I64

    # Where it goes and what it hears
    target: I64
    """Leg that incoming packets are relayed to without decoding; -1: none."""
    relay_source: I64
    """Leg and SSRC (in 32 bits below) that the next two hold for, of what is relayed *to* this leg; -1: none."""
    relay_sequence: U16
    relay_timestamp: U32
    phase: U8
    """Which of the four ticks of 20 ms serves it."""
    feed: U8
    """What the tick sends it: `media.plan`: nothing, the mix, a playback."""
    room: I32
    """Room that it is in; -1: none."""
    echo: Bool
    play_at: I64
    """Frame of the source bank that is played next."""
    play_first: I64
    play_end: I64
    play_loop: Bool

    # In a room (`media.hearing`)
    muted: Bool
    """Others do not hear it."""
    deaf: Bool
    """It hears silence."""
    gain_in: F32
    """Of what others hear of it, dB."""
    gain_out: F32
    """Of what it hears, dB."""
    leveled: Bool
    """Others hear it by automatic gain control."""
    loudness: Annotated[NDArray[Any], gain.STATE]
    whispers: Annotated[I32, PARTNERS_MAX]
    """The only legs that hear it, -1 where fewer; none: all do."""
    ignores: Annotated[I32, PARTNERS_MAX]
    """Legs that it does not hear, -1 where fewer."""
    talk: I16
    """How sure it is that it speaks, `media.speakers`."""
    speaking: Bool
    strength: F32
    """Smoothed level of its speech, dBov."""

    # What is listened for (`media.listening`)
    listens: U8
    digit_ear: Annotated[NDArray[Any], DIGIT_EAR.state]
    line_ear: Annotated[NDArray[Any], LINE_EAR.state]
    silence_ear: Annotated[NDArray[Any], activity.STATE]
    answer_ear: Annotated[NDArray[Any], answering.STATE]

    # Telephone events (RFC 4733)
    event_on: Bool
    event_timestamp: U32
    event_code: U8
    event_duration: U16
    event_heard: F64
    event_done: Bool
    """The event of `event_timestamp` was reported."""
    digits: Annotated[U8, DIGITS_MAX]
    digits_waiting: U8
    digit_step: I16
    """Frames into the digit that is being sent; 0: none."""
    digit_timestamp: U32

    # Reports (RTCP)
    report_due: F64
    report_sent: I64
    """`packets_out` at the last report: a sender report is sent only by who sent."""
    remote_ntp: U32
    """Middle 32 bits of the last sender report's NTP time."""
    remote_report: F64
    """When it came, seconds; 0: none."""
    remote_lost: I32
    remote_fraction: U8
    remote_jitter: F64
    """Of our stream at the peer, in units of the RTP clock."""
    round_trip: F64
    """Seconds; -1: not known."""
    left: Bool
    """The peer said BYE."""
    extended: U8
    """What the peer asked for besides (`media.extended`)."""
    losses: Annotated[NDArray[Any], LOSSES]
    summary_next: I64
    """Sequence number that the next summary of losses begins with."""
    summary_received: I64
    """`received` when the last one was sent."""
    remote_metrics: Annotated[U8, 28]
    """VoIP metrics of our stream at the peer, as they came."""
    remote_metrics_told: Bool
    remote_reference: U32
    """Middle 32 bits of the peer's last receiver reference time."""
    remote_reference_at: F64
    """When it came, seconds; 0: none."""
    timed_out: Bool

    def __init__(self, capacity: int, memory: int | None = None) -> None:
        if memory is None:
            memory = os.memfd_create("hotswitch-media", os.MFD_CLOEXEC)
        size = os.fstat(memory).st_size
        self.capacity = int.from_bytes(os.pread(memory, 4, CAPACITY_PLACE), sys.byteorder) if size else capacity
        measure = Arena(None)
        self._lay(measure)
        if not size:
            os.ftruncate(memory, measure.size)
            os.pwrite(memory, capacity.to_bytes(4, sys.byteorder), CAPACITY_PLACE)
        elif size != measure.size:
            raise LayoutError(f"expected {measure.size} bytes for {self.capacity} legs, the memory has {size}")
        self.memory = memory
        """Descriptor of the memory file."""
        whole = mmap.mmap(memory, measure.size)
        self.whole: U8 = np.frombuffer(whole, np.uint8)
        """All of it."""
        arena = Arena(whole)
        self.identity: U8 = np.frombuffer(whole, np.uint8, IDENTITY_BYTES, HEADER_BYTES - IDENTITY_BYTES)
        """Where the certificate lies that processes of this memory show."""
        self._lay(arena)
        arena.seal()
        self._fields = [getattr(self, name) for name in FIELDS if name not in _LARGE]

    def _lay(self, arena: Arena) -> None:
        for name, (kind, shape) in FIELDS.items():
            setattr(self, name, arena.array(f"{LAYOUT_VERSION} {name}", kind, (self.capacity, *shape)))
        self.process: NDArray[Any] = arena.array("process", PROCESS, (1,))
        """`PROCESS`."""
        self.room_slips = Slips(arena, "rooms", self.capacity)
        """By number of the room: `media.record.RoomRecord`."""
        self.room_played: I64 = arena.array("room played", np.dtype(np.int64), (self.capacity,))
        """Frames of its playback that it has heard."""
        self.tape = Tape(arena, self.capacity)
        """Of recordings."""

    def take(self, now: float) -> int | None:
        """A free row, zeroed, or None when all are used."""
        free = np.flatnonzero(~self.used)
        if not len(free):
            return None
        leg = int(free[0])
        for field in self._fields:
            field[leg] = 0
        self.used[leg] = True
        self.since[leg] = now
        for index in (self.target, self.relay_source, self.room, self.sequence_bad, self.ssrc_in, self.ssrc_next, self.follows):
            index[leg] = -1
        for index in (self.ssrc_secured, self.index_in, self.index_out, self.report_index_in):
            index[leg] = -1
        self.round_trip[leg] = -1.0
        self.best_rate[leg] = self.room_rate[leg] = rates.RATES[0]
        self.stamp[leg] = self.packet_stamp[leg] = self.whispers[leg] = self.ignores[leg] = -1
        return leg

    def free(self, leg: int) -> None:
        """Give the row back."""
        self.used[leg] = False


_CODED = ("packets", "encoder", "decoder", "pcm", "concealment_wide", "history_in", "history_out", "history_ear")
_LARGE = (*_CODED, "note", "digit_ear", "line_ear", "silence_ear", "answer_ear")
"""Not zeroed when a row is given out: they would become real memory for every leg."""


def _fields() -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    fields = {}
    for name, hint in get_type_hints(Legs, include_extras=True).items():
        shape = getattr(hint, "__metadata__", ())
        if shape and isinstance(shape[0], np.dtype):
            fields[name] = (shape[0], shape[1:])
            continue
        array = get_args(hint)[0] if shape else hint
        fields[name] = (np.dtype(get_args(get_args(array)[1])[0]), shape)
    return fields


FIELDS = _fields()
"""Field to its type and the shape of a row, in the order of the layout."""
