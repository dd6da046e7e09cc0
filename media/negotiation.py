"""Offer and answer (RFC 3264): what two sides agree on for one audio stream.

Rules:
- The first audio section over RTP/AVP(F), or RTP/SAVP(F) with a key of a suite of ours (RFC 4568), with an address of a protocol of
  ours and a codec of ours is taken; every other section is refused.
- The offerer's order of codecs decides. One codec is answered, with telephone-event and comfort noise where they were offered at its clock.
- A section with a fingerprint is DTLS-SRTP (RFC 5763); one with ICE credentials and rtcp-mux is ICE (RFC 8839), and its addresses are not
  believed but tried.
- A section over RTP/AVP with keys is an offer of SRTP to who can, as many phones make it: it is answered with a key.
- Hold is a direction; the address 0.0.0.0 means the same (RFC 3264 section 8.4).
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from media import coders, extended
from media.codecs import CODECS, COMFORT, EVENT, OPUS, Codec, find
from media.sdp import REVERSE, Description, Direction, Media
from media.srtp import sdes
from media.srtp.sdes import Crypto
from media.webrtc import candidates
from media.webrtc.candidates import FUNCTIONS, Candidate, Credentials

PROTOCOLS = ("RTP/AVP", "RTP/AVPF")
SECURE_PROTOCOLS = ("RTP/SAVP", "RTP/SAVPF")
DTLS_PROTOCOLS = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")
Families = tuple[bool, bool]
"""We have addresses of IPv4, of IPv6."""
EVENT_TYPE = 101
"""Payload type of telephone-event in our offers."""
COMFORT_TYPE = 13
EVENT_PARAMETERS = "0-15"
_STATIC = {codec.static_type: codec for codec in CODECS.values() if codec.static_type is not None}


class NotAcceptableError(Exception):
    """Nothing in it that we could agree on: 488."""


@dataclass
class Agreement:
    """One stream, as agreed on."""

    host: str
    """Where the peer receives; empty: nowhere (0.0.0.0)."""
    port: int
    rtcp_host: str
    rtcp_port: int
    mux: bool
    codec: Codec
    payload_type: int
    event_type: int = 0
    comfort_type: int = 0
    event_rate: int = 8000
    """Clock of telephone-event, Hz."""
    parameters: str = ""
    """The peer's ``a=fmtp`` of the codec."""
    kinds: dict[int, int] = field(default_factory=dict)
    """Payload types that may come in, and their kinds."""
    direction: Direction = "sendrecv"
    """The peer's."""
    protocol: str = "RTP/AVP"
    section: int = 0
    """Which media section it is."""
    crypto: Crypto | None = None
    """The peer's key and its suite; None: none."""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    """Of the peer's certificate; empty: no DTLS."""
    client: bool = False
    """We begin the handshake of DTLS."""
    remote: Credentials = field(default_factory=Credentials)
    """The peer's, of ICE; empty: no ICE."""
    candidates: list[Candidate] = field(default_factory=list)
    lite: bool = False
    """The peer's ICE is."""
    six: bool = False
    """The leg speaks IPv6."""
    mid: str = ""
    bundle: bool = False
    """The section is of a bundle."""
    extended: int = 0
    """What the peer asks for in extended reports, `media.extended`."""

    @property
    def receives(self) -> bool:
        """The peer sends."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def sends(self) -> bool:
        """The peer receives, and we know where."""
        return self.direction in ("sendrecv", "recvonly") and bool(self.host or self.remote.ufrag)

    @property
    def linked(self) -> bool:
        """The peer has to be reached first, by ICE or DTLS or both."""
        return bool(self.fingerprints or self.remote.ufrag)

    def formats(self, rate: int) -> list[tuple[int, str, str]]:
        """For our answer: payload type, coding, parameters; ``rate``: highest of our rooms, Hz."""
        formats = [(self.payload_type, self.codec.label, _parameters(self.codec, rate))]
        if self.event_type:
            formats.append((self.event_type, f"telephone-event/{self.event_rate}", EVENT_PARAMETERS))
        if self.comfort_type:
            formats.append((self.comfort_type, f"CN/{self.codec.clock}", ""))
        return formats

    def answer_direction(self) -> Direction:
        """What we say to the peer's direction."""
        return REVERSE[self.direction]


def _parameters(codec: Codec, rate: int) -> str:
    """What we say of ourselves in ``a=fmtp``."""
    return coders.opus_parameters(rate) if codec.number == OPUS else ""


def _codec(media: Media, kind: int) -> Codec | None:
    if kind in media.codecs:
        return find(*media.codecs[kind])
    return _STATIC.get(kind)


def _types(media: Media) -> list[int]:
    """Payload types of a section; what is none is left out, and what with a marker looks like RTCP (64 to 95, RFC 5761 section 4)."""
    types = [int(text) for text in media.formats if text.isascii() and text.isdigit() and len(text) <= 3]
    return [number for number in types if number < 64 or 95 < number < 128]


def _literal(host: str, six: bool) -> bool:
    """It is an address of IPv6 or IPv4, as text."""
    try:
        socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def _agree(
    media: Media,
    section: int,
    offered: dict[int, int] | None,
    keys: Sequence[Crypto] | None = None,
    ice: bool = True,
    families: Families = (True, False),
) -> Agreement | None:
    """Agree on a section; ``offered``: payload types of our own offer and their kinds, or None if the peer offers; ``keys``: ours;
    ``ice``: there may be ICE; ``families``: we have addresses of IPv4, of IPv6."""
    remote = Credentials(media.ufrag, media.password)
    # Of ICE there is component 1 alone, and then it says where the peer is.
    ice = ice and remote.valid() and media.mux
    if media.kind != "audio" or media.port == 0 or media.family not in ("IP4", "IP6"):
        return None
    crypto = sdes.choose(media.crypto, None if keys is None else frozenset((key.tag, key.suite) for key in keys))
    fingerprints = [] if crypto else [each for each in media.fingerprints if each[0] in FUNCTIONS]
    secure = SECURE_PROTOCOLS + (DTLS_PROTOCOLS if fingerprints else ()) if crypto or fingerprints else ()
    if media.protocol not in PROTOCOLS + secure or (keys and crypto is None) or (fingerprints and media.setup == "holdconn"):
        return None
    # What ICE says first is only a default (RFC 8839 section 4.2.1); hosts of one protocol are enough for it.
    six = media.family == "IP6" and (families[1] or not ice)
    if not families[six] or not (ice or _literal(media.host, six)):
        return None
    types = _types(media)
    known = [(kind, codec) for kind in types if (codec := _codec(media, kind)) and (offered is None or codec.number in offered.values())]
    if not known:
        return None
    kind, codec = known[0]
    host = "" if ice or media.host in ("0.0.0.0", "::") else media.host
    reports = media.rtcp_host if _literal(media.rtcp_host, six) else media.host
    agreement = Agreement(host, media.port, reports, media.rtcp_port or media.port + 1, media.mux, codec, kind)
    agreement.kinds = {kind: codec.number} if offered is None else dict(offered)
    agreement.parameters = media.parameters.get(kind, "")
    for other in types:
        name, clock, _ = media.codecs.get(other, ("CN" if other == COMFORT_TYPE else "", 8000, 1))
        if name.lower() == "telephone-event" and (not agreement.event_type or agreement.event_rate != codec.clock == clock):
            # At the codec's clock if there is one; many peers have 8 kHz alone.
            agreement.event_type, agreement.event_rate = other, clock
            agreement.kinds.setdefault(other, EVENT)
        elif clock != codec.clock:
            continue
        elif name.upper() == "CN" and not agreement.comfort_type:
            agreement.comfort_type = other
            agreement.kinds.setdefault(other, COMFORT)
    if agreement.mux:
        agreement.rtcp_host, agreement.rtcp_port = media.host, media.port
    agreement.direction, agreement.protocol, agreement.section = media.direction, media.protocol, section
    agreement.crypto, agreement.mid, agreement.six = crypto, media.mid, six
    agreement.extended = extended.wanted(media.extended)
    if media.protocol not in PROTOCOLS:
        agreement.fingerprints = fingerprints
        # Who may choose begins (RFC 5763 section 5), unless only the peer can reach the other: it may be behind a NAT.
        agreement.client = media.setup == "passive" or (media.setup != "active" and ice and offered is None)
    if ice:
        agreement.remote, agreement.lite = remote, media.lite
        agreement.candidates = [each for line in media.candidates if (each := candidates.read(line)) is not None]
    return agreement


def answer(offer: Description, families: Families = (True, False)) -> Agreement:
    """Agree on a remote offer.

    Raises:
        NotAcceptableError: none of its media can be taken.
    """
    for section, media in enumerate(offer.media):
        agreement = _agree(media, section, None, families=families)
        if agreement is not None:
            agreement.bundle = bool(media.mid) and media.mid in offer.bundle
            return agreement
    codecs = ", ".join(codec.label for codec in CODECS.values())
    raise NotAcceptableError(f"no audio over RTP/AVP, or SRTP with a key or fingerprint, with one of {codecs}")


def offer(rate: int, first: Sequence[int] = ()) -> tuple[list[tuple[int, str, str]], dict[int, int]]:
    """The formats of our own offer, and the kind of each payload type; ``rate``: highest of our rooms, Hz; ``first``: codecs by number."""
    formats = []
    kinds = {}
    dynamic = 102
    for codec in sorted(CODECS.values(), key=lambda codec: first.index(codec.number) if codec.number in first else len(first)):
        kind = codec.static_type
        if kind is None:
            kind, dynamic = dynamic, dynamic + 1
        formats.append((kind, codec.label, _parameters(codec, rate)))
        kinds[kind] = codec.number
    formats.append((EVENT_TYPE, "telephone-event/8000", EVENT_PARAMETERS))
    kinds[EVENT_TYPE] = EVENT
    kinds[COMFORT_TYPE] = COMFORT
    return formats, kinds


def accept(
    reply: Description,
    offered: dict[int, int],
    keys: Sequence[Crypto] = (),
    *,
    dtls: bool = False,
    ice: bool = False,
    families: Families = (True, False),
) -> Agreement:
    """Agree on the remote answer to `offer`, made with these keys, with DTLS, with ICE.

    Raises:
        NotAcceptableError: our stream was refused, or it is answered with what was not offered.
    """
    agreement = _agree(reply.media[0], 0, offered, keys, ice, families) if reply.media else None
    if agreement is None or bool(agreement.fingerprints) != dtls:
        secured = " and keys" if keys or dtls else ""
        raise NotAcceptableError(f"the answer takes none of the codecs{secured} that were offered")
    return agreement
