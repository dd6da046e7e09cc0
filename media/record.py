"""What the desk knows of a leg besides its arrays."""

from dataclasses import dataclass, field

from media.control import Nothing, Play, Sink
from media.negotiation import Agreement
from media.srtp.sdes import Crypto
from media.webrtc.link import LinkNote


@dataclass
class Playback:
    """A source that a leg hears, or shall hear once it was read."""

    id: str
    """Empty: it is what the leg is connected to."""
    source: str
    loop: bool
    offset_frames: int = 0


@dataclass
class RoomRecord:
    """What a room hears besides its members."""

    name: str
    client: str
    """Who is told of its end."""
    playback: Playback
    queue: list[Playback] = field(default_factory=list)
    """What it hears afterwards."""


@dataclass
class LegRecord:
    """A leg by name."""

    name: str
    call: str
    client: str
    """Who created it; events go there."""
    leg: int
    """Row of the arrays."""
    session: int
    """Session id of our descriptions."""
    version: int = 0
    sdp: bytes = field(default=b"", repr=False)
    """Our last description."""
    offered: dict[int, int] = field(default_factory=dict)
    """Payload types of our last offer; empty: we made none."""
    keys: list[Crypto] = field(default_factory=list, repr=False)
    """Of our last offer."""
    link: LinkNote | None = None
    """How its peer is reached, where ICE or DTLS is needed."""
    agreement: Agreement | None = None
    sink: Sink = field(default_factory=Nothing)
    playback: Playback | None = None
    """Heard instead of what the sink gives."""
    queue: list[Playback] = field(default_factory=list)
    """Heard after `playback`."""
    resume_frames: int = 0
    """Where in it the sink's own source goes on after `playback`."""
    recording: str = ""
    """Id of its recording."""
    listens: bool = False
    """It is listened to (`media.listening`)."""
    tones: bool = False
    """Its coming to the room that it is in was heard, and its going will be."""
    sounded: int = -1
    """That room, by number."""
    trunk: str = ""
    """``up`` or ``down`` (`media.trunks`); empty: it is none."""
    trunk_room: str = ""
    """Of a trunk: the room that it is a part of."""
    room: str = ""
    """Name of the room that it is in, as the switchboard calls it; empty: none."""


def sources(record: LegRecord) -> list[str]:
    """Names of what a leg hears of the bank, or will."""
    found = [playback.source for playback in (record.playback, *record.queue) if playback is not None]
    return [*found, record.sink.source] if isinstance(record.sink, Play) else found
