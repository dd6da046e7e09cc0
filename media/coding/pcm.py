"""Codecs without state: PCMU and PCMA (ITU-T G.711, tables of `media.g711`), and L16 (RFC 3551 section 4.5.11).

Rules:
- L16 is big endian, its channels interleaved; the static types 10 and 11 are 44.1 kHz, other rates are dynamic.
- A byte too much at the end of a payload of L16 is left out, and so is a sample that lacks its other channel.
"""

import numpy as np

from media import g711
from media.arrays import I16, I32, U8, Index
from media.coding.codec import Stateless

L16_RATES = (8000, 16000, 24000, 32000, 44100, 48000)
"""Sample rates of L16, Hz."""


class G711(Stateless):
    """PCMU or PCMA.

    Args:
        law: `media.g711.MU` or `media.g711.A`.
    """

    clock_rate = sample_rate = 8000
    channels = 1

    def __init__(self, law: int) -> None:
        self.law = law
        self.name = ("PCMU", "PCMA")[law]

    def encode(self, state: U8, rows: Index, samples: I16) -> tuple[U8, I32]:
        return g711.encode(samples, self.law), np.full(len(samples), samples.shape[1], np.int32)

    def decode(self, state: U8, rows: Index, payload: U8, lengths: I32) -> tuple[I16, I32]:
        return g711.decode(payload, self.law), np.minimum(lengths, payload.shape[1]).astype(np.int32)


class L16(Stateless):
    """Linear samples of 16 bits.

    Args:
        sample_rate: one of `L16_RATES`, Hz.
        channels: 1 or 2.

    Raises:
        ValueError: another rate or number of channels.
    """

    name = "L16"

    def __init__(self, sample_rate: int = 16000, channels: int = 1) -> None:
        if sample_rate not in L16_RATES or channels not in (1, 2):
            raise ValueError(f"expected a rate of {L16_RATES} Hz and 1 or 2 channels, got {sample_rate} and {channels}")
        self.clock_rate = self.sample_rate = sample_rate
        self.channels = channels

    def encode(self, state: U8, rows: Index, samples: I16) -> tuple[U8, I32]:
        count, width = samples.shape
        payload = samples.astype(">i2", order="C").view(np.uint8).reshape(count, 2 * width)
        return payload, np.full(count, 2 * width, np.int32)

    def decode(self, state: U8, rows: Index, payload: U8, lengths: I32) -> tuple[I16, I32]:
        count, width = payload.shape
        whole = np.ascontiguousarray(payload[:, : width // 2 * 2])
        samples = whole.view(">i2").reshape(count, width // 2).astype(np.int16)
        frame = 2 * self.channels
        return samples, (np.minimum(lengths, width) // frame * self.channels).astype(np.int32)
