"""Configuration of a media processor, as the controller sends it."""

from typing import Literal

import msgspec


class MediaConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a media engine needs to know to serve legs."""

    host: str
    """Address that RTP sockets bind and that SDP names (IP literal)."""
    host6: str = ""
    """The same for legs of IPv6, where ``host`` is IPv4; empty: there are none."""
    rtp_port_first: int
    """First port of the engine's range; even, RTP on even and RTCP on odd ports (RFC 3550 section 11)."""
    rtp_port_last: int
    """Last port of the range, inclusive."""
    legs_max: int = 4000
    """More legs than this are refused with ``full``."""
    rtp_timeout_seconds: float = 60.0
    """A leg without a packet for so long raises the event ``rtp-timeout``."""
    room_rate_max: Literal[8000, 16000, 48000] = 16000
    """Rooms are mixed at the highest rate that two of their legs have, up to this, Hz."""
