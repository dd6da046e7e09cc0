"""Media type parameters of Opus: what stands in ``a=fmtp`` (RFC 7587 sections 6.1 and 7).

Rules:
- What a peer names is what it *wants to hear*, except ``sprop-...``, which tells what it is likely to send. So the peer's
  parameters steer our encoder; ours are a hint for its own.
- A value that is no number or out of its range is as if the parameter were not there: each has a default.
- The RTP clock is always 48000, whatever the bandwidth; the encoding parameter of ``a=rtpmap`` is always 2 (RFC 7587 section 7).
"""

from dataclasses import dataclass

BIT_RATE_MIN, BIT_RATE_MAX = 6000, 510000
"""Bit rates of Opus, bit/s (RFC 7587 section 3.1.1)."""
PLAYBACK_RATE_MIN, PLAYBACK_RATE_MAX = 8000, 48000
PACKET_MS_MIN, PACKET_MS_MAX = 3, 120
PARAMETERS_MAX = 32
"""More parameters than this are not read."""


@dataclass(frozen=True, slots=True)
class OpusParameters:
    """What one side declared; the defaults are those of the RFC."""

    maxplaybackrate: int = 48000
    """Highest sample rate that it can play, Hz."""
    sprop_maxcapturerate: int = 48000
    """Highest sample rate that it is likely to send, Hz."""
    maxaveragebitrate: int | None = None
    """Most bits a second that it wants to receive on average; None: what suits the bandwidth."""
    stereo: bool = False
    """It prefers to receive stereo."""
    sprop_stereo: bool = False
    """It is likely to send stereo."""
    cbr: bool = False
    """It wants a constant bit rate."""
    useinbandfec: bool = False
    """It makes use of redundancy that is sent to it."""
    usedtx: bool = False
    """It prefers that silence is not sent."""
    minptime: int = 3
    """Least duration of a packet that it prefers, ms."""
    maxptime: int = 120
    """Most duration of a packet that it takes, ms (an attribute of its own in SDP, RFC 8866 section 6.4; here when it stands in fmtp)."""

    @classmethod
    def parse(cls, text: str) -> "OpusParameters":
        """Read the parameters of ``a=fmtp`` behind the payload type: ``minptime=10; useinbandfec=1``. Never raises."""
        found = {}
        for item in text.split(";", PARAMETERS_MAX)[:PARAMETERS_MAX]:
            name, _, value = item.partition("=")
            found[name.strip().lower()] = _number(value.strip())

        def within(name: str, low: int, high: int, default: int) -> int:
            value = found.get(name)
            return default if value is None or not low <= value <= high else value

        rate = found.get("maxaveragebitrate")
        return cls(
            maxplaybackrate=within("maxplaybackrate", PLAYBACK_RATE_MIN, PLAYBACK_RATE_MAX, 48000),
            sprop_maxcapturerate=within("sprop-maxcapturerate", PLAYBACK_RATE_MIN, PLAYBACK_RATE_MAX, 48000),
            maxaveragebitrate=None if rate is None or rate < BIT_RATE_MIN else min(rate, BIT_RATE_MAX),
            stereo=found.get("stereo") == 1,
            sprop_stereo=found.get("sprop-stereo") == 1,
            cbr=found.get("cbr") == 1,
            useinbandfec=found.get("useinbandfec") == 1,
            usedtx=found.get("usedtx") == 1,
            minptime=within("minptime", PACKET_MS_MIN, PACKET_MS_MAX, 3),
            maxptime=within("maxptime", PACKET_MS_MIN, PACKET_MS_MAX, 120),
        )

    def __str__(self) -> str:
        """What stands behind the payload type in ``a=fmtp``; only what differs from the defaults. May be empty."""
        fields = [
            ("minptime", self.minptime, 3),
            ("maxptime", self.maxptime, 120),
            ("maxplaybackrate", self.maxplaybackrate, 48000),
            ("sprop-maxcapturerate", self.sprop_maxcapturerate, 48000),
            ("maxaveragebitrate", self.maxaveragebitrate, None),
            ("stereo", int(self.stereo), 0),
            ("sprop-stereo", int(self.sprop_stereo), 0),
            ("cbr", int(self.cbr), 0),
            ("useinbandfec", int(self.useinbandfec), 0),
            ("usedtx", int(self.usedtx), 0),
        ]
        return ";".join(f"{name}={value}" for name, value, default in fields if value != default)


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How an encoder works."""

    bit_rate: int | None = None
    """bit/s on average; None: what is usual (`media.coding.opus.BIT_RATES`)."""
    complexity: int = 5
    """0 (least CPU) to 10."""
    fec: bool = False
    """Send redundancy of the packet before, where the bit rate allows it."""
    expected_loss_percent: int = 0
    """How much redundancy; without expected loss libopus sends none."""
    dtx: bool = False
    """Send nothing during silence, but for one packet in 400 ms."""
    constant: bool = False
    """Constant bit rate."""
    bandwidth_rate: int = 48000
    """The sound is coded as if its sample rate were at most this, Hz."""
    music: bool = False
    """Tune for fidelity (``OPUS_APPLICATION_AUDIO``) instead of speech (``..._VOIP``)."""

    @classmethod
    def towards(
        cls, peer: OpusParameters, *, complexity: int = 5, expected_loss_percent: int = 10, music: bool = False
    ) -> "EncoderSettings":
        """Settings that honour what the peer wants to hear.

        Args:
            expected_loss_percent: what to assume when the peer uses redundancy.
        """
        return cls(
            bit_rate=peer.maxaveragebitrate,
            complexity=complexity,
            fec=peer.useinbandfec,
            expected_loss_percent=expected_loss_percent if peer.useinbandfec else 0,
            dtx=peer.usedtx,
            constant=peer.cbr,
            bandwidth_rate=peer.maxplaybackrate,
            music=music,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
