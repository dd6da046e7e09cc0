"""The codecs of this process that need more than a table: what there is, and how much memory their state takes.

Rules:
- Opus decodes and encodes at the rate of the room by itself (`media.rates`): the same rows of state, begun at another rate.
- What is missing on a machine (libopus, the package G722) is not offered, and nothing else changes.
"""

import numpy as np

from media.arrays import I64
from media.coding.codec import StateError
from media.coding.g722 import G722
from media.coding.libopus import OpusMissingError
from media.coding.opus import Opus
from media.coding.opus_parameters import EncoderSettings, OpusParameters
from media.coding.pcm import L16
from media.concealment import Concealment
from media.rates import RATES, highest

RATE = RATES[0]
"""Of positions in a stream, whatever its codec, Hz."""
WIDE_RATE = 16000
"""Sample rate of G.722 and of L16 at 16 kHz, Hz."""
COMPLEXITY = 5
"""Of Opus encoders: half of libopus' range."""


def _opus() -> dict[int, Opus]:
    try:
        return {rate: Opus(rate, 1, EncoderSettings(complexity=COMPLEXITY)) for rate in RATES}
    except OpusMissingError:
        return {}


def _g722() -> G722 | None:
    codec = G722()
    try:
        codec.reset_encoder(np.zeros((1, codec.encoder_bytes), np.uint8), np.zeros(1, np.intp))
    except (ImportError, StateError):
        return None
    return codec


OPUS_AT = _opus()
"""By sample rate, Hz; empty: there is no libopus."""
OPUS = OPUS_AT.get(RATE)
G_722 = _g722()
NARROW, WIDE = L16(RATE), L16(WIDE_RATE)
CONCEALMENT, CONCEALMENT_WIDE = Concealment(RATE), Concealment(WIDE_RATE)
ENCODER_BYTES = max(OPUS.encoder_bytes if OPUS else 0, G722.encoder_bytes)
"""Of a leg's row of encoder state."""
DECODER_BYTES = max(OPUS.decoder_bytes if OPUS else 0, G722.decoder_bytes)


def opus_parameters(rate: int) -> str:
    """What we say of ourselves in ``a=fmtp``, where rooms have a rate of at most this, Hz."""
    return str(OpusParameters(maxplaybackrate=rate, sprop_maxcapturerate=rate, useinbandfec=True))


def best_rate(parameters: str) -> int:
    """The rate, of `media.rates.RATES`, up to which a peer wants to hear Opus, Hz."""
    return highest(OpusParameters.parse(parameters).maxplaybackrate)


def settings(parameters: str) -> EncoderSettings:
    """How to encode Opus for a peer whose ``a=fmtp`` says this."""
    return EncoderSettings.towards(OpusParameters.parse(parameters), complexity=COMPLEXITY)


def linear_samples(size: I64, rate: I64) -> I64:
    """Duration of packets of L16 in samples at 8 kHz, by their bytes and sample rates; only whole 10 ms count."""
    return np.asarray(size // (rate // 50) * (RATE // 100))


def packet_samples(payload: bytes) -> int:
    """Duration of an Opus packet in samples at 8 kHz, by its first two bytes (RFC 6716 section 3.1); 0: it has none."""
    if not payload:
        return 0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (80, 160, 320, 480)[config & 3]
    elif config < 16:
        frame = (80, 160)[config & 1]
    else:
        frame = (20, 40, 80, 160)[config & 3]
    count = (1, 2, 2, payload[1] & 0x3F if len(payload) > 1 else 0)[code]
    return frame * count
