"""Session descriptions (RFC 8866): read what peers send, write ours.

Rules:
- Reading is lenient about what we do not use, strict about what we do; it is bounded in bytes, lines and media.
- A description that can't be read raises `SdpError`, nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from media.srtp import sdes
from media.webrtc.candidates import CANDIDATES_MAX

BYTES_MAX = 16_384
LINES_MAX = 400
MEDIA_MAX = 16
FORMATS_MAX = 64
FINGERPRINTS_MAX = 8
EXTENDED_MAX = 16

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_DIRECTIONS: dict[str, Direction] = {"sendrecv": "sendrecv", "sendonly": "sendonly", "recvonly": "recvonly", "inactive": "inactive"}
REVERSE: dict[Direction, Direction] = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
"""A direction seen from the other side (RFC 3264 section 6.1)."""

_TEXTS = {"setup": "setup", "ice-ufrag": "ufrag", "ice-pwd": "password", "mid": "mid"}
"""Attributes that are kept as they are."""


class SdpError(ValueError):
    """Not a session description."""


@dataclass
class Media:
    """One ``m=`` section."""

    kind: str
    """``audio``, ``video``, ..."""
    port: int
    protocol: str
    """``RTP/AVP``, ..."""
    formats: list[str]
    host: str = ""
    """Address of its ``c=`` line, or the session's."""
    family: str = "IP4"
    direction: Direction = "sendrecv"
    codecs: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """Payload type to encoding name, clock and channels (``a=rtpmap``)."""
    parameters: dict[int, str] = field(default_factory=dict)
    """Payload type to ``a=fmtp``."""
    rtcp_port: int = 0
    """``a=rtcp`` (RFC 3605); 0: the next port."""
    rtcp_host: str = ""
    mux: bool = False
    """``a=rtcp-mux`` (RFC 5761)."""
    ptime: int = 0
    """Milliseconds; 0: not said."""
    crypto: list[str] = field(default_factory=list, repr=False)
    """``a=crypto`` (RFC 4568), as many as `media.srtp.sdes` reads."""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    """``a=fingerprint`` (RFC 8122): hash function in lower case, value in upper case."""
    setup: str = ""
    """``a=setup`` (RFC 4145)."""
    ufrag: str = ""
    password: str = field(default="", repr=False)
    """``a=ice-ufrag`` and ``a=ice-pwd`` (RFC 8839)."""
    lite: bool = False
    """``a=ice-lite``."""
    candidates: list[str] = field(default_factory=list)
    mid: str = ""
    """``a=mid`` (RFC 5888)."""
    extended: list[str] = field(default_factory=list)
    """Words of ``a=rtcp-xr`` (RFC 3611 section 5.1)."""


@dataclass
class Description:
    """A whole description."""

    media: list[Media]
    time: str = "0 0"
    bundle: list[str] = field(default_factory=list)
    """Identifications of the sections of its first ``a=group:BUNDLE`` (RFC 9143)."""


def parse(data: bytes) -> Description:
    """Read a description.

    Raises:
        SdpError: it is none; the message names the line.
    """
    if len(data) > BYTES_MAX:
        raise SdpError(f"more than {BYTES_MAX} bytes")
    try:
        lines = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError:
        raise SdpError("not UTF-8") from None
    if len(lines) > LINES_MAX:
        raise SdpError(f"more than {LINES_MAX} lines")
    if lines[0].strip() != "v=0":
        raise SdpError("expected v=0")
    session = Media("", 0, "", [])
    description = Description([])
    current = session
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        if len(line) < 2 or line[1] != "=":
            raise SdpError(f"line {number}: expected type=value")
        value = line[2:].strip()
        try:
            if line[0] == "m":
                current = _media(value, session)
                description.media.append(current)
                if len(description.media) > MEDIA_MAX:
                    raise SdpError(f"more than {MEDIA_MAX} media")
            elif line[0] == "c":
                _connection(current, value)
            elif line[0] == "t":
                description.time = value
            elif line[0] == "a":
                _attribute(current, value)
                if value.startswith("group:BUNDLE ") and not description.bundle:
                    description.bundle = value.split()[1 : MEDIA_MAX + 1]
        except (ValueError, IndexError) as error:
            raise SdpError(f"line {number}: {error}") from None
    return description


def _number(text: str, most: int) -> int:
    """A decimal number of ASCII digits, not more than ``most``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > most:
        raise ValueError(f"expected a number up to {most}: {text[:20]!r}")
    return int(text)


def _media(value: str, session: Media) -> Media:
    kind, port, protocol, *formats = value.split()
    if not formats or len(formats) > FORMATS_MAX:
        raise ValueError(f"expected 1 to {FORMATS_MAX} formats")
    media = Media(kind, _number(port.partition("/")[0], 65535), protocol, formats)
    media.host, media.family, media.direction = session.host, session.family, session.direction
    media.fingerprints, media.setup, media.lite = list(session.fingerprints), session.setup, session.lite
    media.ufrag, media.password = session.ufrag, session.password
    media.extended = session.extended
    return media


def _connection(media: Media, value: str) -> None:
    net, family, host = value.split()
    if net != "IN":
        raise ValueError("expected IN")
    media.family, media.host = family, host.partition("/")[0]


def _attribute(media: Media, value: str) -> None:
    name, _, rest = value.partition(":")
    direction = _DIRECTIONS.get(name)
    if direction is not None:
        media.direction = direction
    elif name == "rtpmap":
        kind, _, coding = rest.strip().partition(" ")
        encoding, clock, *channels = coding.strip().split("/")
        media.codecs[_number(kind, 127)] = (encoding, _number(clock, 1_000_000), _number(channels[0], 255) if channels else 1)
    elif name == "fmtp":
        kind, _, parameters = rest.strip().partition(" ")
        if kind.isascii() and kind.isdigit():
            media.parameters[_number(kind, 127)] = parameters.strip()
    elif name == "rtcp":
        words = rest.split()
        media.rtcp_port = _number(words[0], 65535)
        if len(words) >= 4 and words[2] in ("IP4", "IP6"):
            media.rtcp_host = words[3]
    elif name == "rtcp-mux":
        media.mux = True
    elif name == "crypto":
        if len(media.crypto) < sdes.LINES_MAX:
            media.crypto.append(rest)
    elif name == "fingerprint":
        function, _, print_ = rest.strip().partition(" ")
        if len(media.fingerprints) < FINGERPRINTS_MAX:
            media.fingerprints.append((function.lower(), print_.strip().upper()))
    elif name == "rtcp-xr":
        media.extended = rest.split()[:EXTENDED_MAX]
    elif name == "candidate":
        if len(media.candidates) < CANDIDATES_MAX:
            media.candidates.append(rest)
    elif name in _TEXTS:
        setattr(media, _TEXTS[name], rest.strip())
    elif name == "ice-lite":
        media.lite = True
    elif name == "ptime":
        media.ptime = _number(rest.strip().partition(".")[0], 1000)


@dataclass
class Local:
    """What we say about our side of a leg."""

    host: str
    session: int
    """Session id of ``o=``."""
    version: int
    """Goes up with every change (RFC 3264 section 8)."""
    time: str = "0 0"
    attributes: Sequence[str] = ()
    """Of the session, ``name:value``."""


ORIGIN = "hotswitch"
"""Who has made a description: "-" would do, but there are peers that look for a name (SIPp's stock scenario ``regexp``)."""


def write(local: Local, media: list[str]) -> bytes:
    """A description: session lines, then media sections as they are."""
    address = f"IN {'IP6' if ':' in local.host else 'IP4'} {local.host}"
    session = [
        "v=0",
        f"o={ORIGIN} {local.session} {local.version} {address}",
        "s=-",
        f"c={address}",
        f"t={local.time}",
        *(f"a={attribute}" for attribute in local.attributes),
    ]
    return ("\r\n".join(session + media) + "\r\n").encode()


def audio(
    port: int,
    protocol: str,
    formats: list[tuple[int, str, str]],
    direction: Direction,
    mux: bool,
    rtcp_port: int,
    more: Sequence[str] = (),
) -> str:
    """An audio section of ours.

    Args:
        formats: payload type, ``a=rtpmap`` value and ``a=fmtp`` value (empty: none) of each.
        rtcp_port: said where it is not the next port.
        more: attributes besides, ``name:value``.
    """
    lines = [f"m=audio {port} {protocol} {' '.join(str(kind) for kind, _, _ in formats)}"]
    for kind, coding, parameters in formats:
        lines.append(f"a=rtpmap:{kind} {coding}")
        if parameters:
            lines.append(f"a=fmtp:{kind} {parameters}")
    lines += ["a=ptime:20", f"a={direction}"]
    if mux:
        lines.append("a=rtcp-mux")
    if rtcp_port != port + 1:
        lines.append(f"a=rtcp:{rtcp_port}")
    lines += [f"a={attribute}" for attribute in more]
    return "\r\n".join(lines)


def refused(media: Media) -> str:
    """The answer to a media section that we do not take (RFC 3264 section 6)."""
    return f"m={media.kind} 0 {media.protocol} {' '.join(media.formats)}"
