"""How loud a frame is, read off its codes: a frame that says nothing need not be decoded.

Rules:
- The level of a frame is the greatest magnitude among its codes, 0 to 127: about 16 steps for 6 dB (both laws are nearly logarithmic).
- Level 0 is PCMU of nothing but zeros: leaving it out of a sum changes nothing. PCMA has no zero; its levels begin at 1.
- Of codecs that must be decoded to be known it is taken from the samples, in steps of mu-law.
"""

import numpy as np

from media.arrays import F32, I16, U8, Index
from media.codecs import PCMA
from media.g711 import DECODE, ENCODE, MU

LEVEL_MAX = 128
QUIET = 8
"""Up to it (-54 dBov) a frame is no speech: what large rooms leave out, so that a thousand quiet lines are no roar."""
SPEECH = 34
"""Louder than it (-37 dBov): somebody speaks."""
_PLAIN = np.array([0x7F7F, 0x5555], np.uint16).view(np.uint8)[::2].copy()
"""What a code is compared with: mu-law, A-law."""
DECIBELS: F32 = (20 * np.log10(np.maximum(DECODE[MU, (np.arange(256) & 0x7F) ^ 0xFF].astype(np.float64), 1.0) / 32768)).astype(np.float32)
"""float32[level]: dBov."""
DECIBELS[LEVEL_MAX] = DECIBELS[LEVEL_MAX - 1]


def of_codes(payload: U8, codec: U8) -> U8:
    """uint8[n]: levels of frames of G.711, uint8[n, any], and the codec of each row."""
    law = codec == PCMA
    if law.all() or not law.any():
        codes = payload ^ _PLAIN[int(law[0])]
    else:
        codes = payload ^ _PLAIN[law.view(np.uint8)][:, None]
    codes &= 0x7F
    return np.asarray(codes.max(axis=1) + law, np.uint8)


def of_samples(samples: I16) -> U8:
    """uint8[n]: levels of frames of samples, int16[n, any]."""
    peak = np.maximum(samples.max(axis=1).astype(np.int32), -samples.min(axis=1).astype(np.int32))
    place: Index = np.minimum(peak, 32767) + 32768
    return np.asarray(~ENCODE[place] & 0x7F, np.uint8)
