"""What kinds of RTP payload there are, and the codecs among them.

Rules:
- A payload type of a leg maps to a *kind*: 0 unknown, a codec's number, `EVENT` or `COMFORT`.
- Numbers are part of the layout of the legs' arrays: they are never given to something else.
"""

from typing import NamedTuple

import numpy as np

from media import coders
from media.arrays import F64

PCMU, PCMA, G722, OPUS, L16, L16_WIDE = 1, 2, 3, 4, 5, 6
"""From `OPUS` on, what comes is kept as packets."""
EVENT = 0x40
"""telephone-event (RFC 4733)."""
COMFORT = 0x41
"""Comfort noise (RFC 3389)."""


class Codec(NamedTuple):
    number: int
    name: str
    """Encoding name as in ``a=rtpmap``."""
    clock: int
    """RTP clock, Hz."""
    rate: int
    """Samples a second, Hz: G.722 has another one than its clock (RFC 3551 section 4.5.2); of Opus the highest."""
    channels: int
    static_type: int | None
    """Payload type of RFC 3551 section 6; None: dynamic."""
    impairment: float
    """Ie of the E-model (ITU-T G.113 appendix I)."""
    robustness: float
    """Bpl of the E-model: how well it bears random loss, with concealment."""

    @property
    def label(self) -> str:
        """``PCMU/8000``."""
        return f"{self.name}/{self.clock}" + (f"/{self.channels}" if self.channels > 1 else "")


CODECS: dict[int, Codec] = {
    PCMU: Codec(PCMU, "PCMU", 8000, 8000, 1, 0, 0.0, 25.1),
    PCMA: Codec(PCMA, "PCMA", 8000, 8000, 1, 8, 0.0, 25.1),
    **({G722: Codec(G722, "G722", 8000, 16000, 1, 9, 0.0, 13.0)} if coders.G_722 else {}),
    **({OPUS: Codec(OPUS, "opus", 48000, 48000, 2, None, 0.0, 20.0)} if coders.OPUS else {}),
    L16: Codec(L16, "L16", 8000, 8000, 1, None, 0.0, 25.1),
    L16_WIDE: Codec(L16_WIDE, "L16", 16000, 16000, 1, None, 0.0, 25.1),
}
"""Codecs of this engine by number, in order of preference."""

CLOCKS: F64 = np.array([CODECS[number].clock if number in CODECS else 8000 for number in range(EVENT)], np.float64)
"""float64[codec]: RTP clock by number, Hz."""


def find(name: str, clock: int, channels: int) -> Codec | None:
    """The codec of an ``a=rtpmap``, names in any case (RFC 4855 section 3)."""
    for codec in CODECS.values():
        if codec.name.lower() == name.lower() and codec.clock == clock and codec.channels == channels:
            return codec
    return None
