"""G.711: PCMU and PCMA by tables.

Rules:
- The tables are those of ITU-T G.711 on 16-bit samples, computed as in the ITU-T software tool library (G.191).
- Decoding looks up two bytes at a time (64 Ki entries of two samples: half the lookups); encoding takes the plain sum plus 32768.
- Law 0 is mu-law, law 1 is A-law; tables of both laws lie behind each other so that rows of both go through one lookup.
"""

import numpy as np

from media.arrays import I16, I32, U8, U16, U32

MU, A = 0, 1


def _decode_mu() -> I16:
    code = ~np.arange(256) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    level = (((mantissa << 3) + 132) << exponent) - 132
    return np.asarray(np.where(code & 0x80, -level, level), np.int16)


def _decode_a() -> I16:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    level = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.asarray(np.where(code & 0x80, level, -level), np.int16)


def _bits(values: I32) -> I32:
    """Number of binary digits of each value, 0 for 0."""
    return np.asarray(np.frexp(values.astype(np.float64))[1], np.int32)


def _encode_mu() -> U8:
    sample = np.arange(-32768, 32768, dtype=np.int32)
    level = np.minimum((np.where(sample < 0, ~sample, sample) >> 2) + 33, 0x1FFF)
    segment = _bits(level >> 6) + 1
    code = ((8 - segment) << 4) | (15 - ((level >> segment) & 15))
    return np.asarray(code | np.where(sample >= 0, 0x80, 0), np.uint8)


def _encode_a() -> U8:
    sample = np.arange(-32768, 32768, dtype=np.int32)
    level = np.where(sample < 0, ~sample, sample) >> 4
    exponent = np.maximum(_bits(level) - 4, 0)
    mantissa = (level >> np.maximum(exponent - 1, 0)) - np.where(exponent > 0, 16, 0)
    code = mantissa + (exponent << 4) + np.where(sample >= 0, 0x80, 0)
    return np.asarray(code ^ 0x55, np.uint8)


def _pairs(table: I16) -> U32:
    codes = np.arange(65536)
    return np.ascontiguousarray(np.stack([table[codes & 255], table[codes >> 8]], axis=1)).view(np.uint32).ravel()


DECODE: I16 = np.stack([_decode_mu(), _decode_a()])
"""int16[law, code]."""
ENCODE: U8 = np.concatenate([_encode_mu(), _encode_a()])
"""uint8[law * 65536 + sample + 32768]."""
DECODE_PAIRS: U32 = np.concatenate([_pairs(DECODE[0]), _pairs(DECODE[1])])
"""uint32[law * 65536 + two codes, little endian]: two samples."""
SILENCE: U8 = np.array([ENCODE[32768], ENCODE[65536 + 32768]], np.uint8)
"""uint8[law]: the code of 0."""


def _change() -> list[U8]:
    same = np.arange(256, dtype=np.uint8)
    mu_to_a = ENCODE[65536 + 32768 + DECODE[MU].astype(np.int32)]
    a_to_mu = ENCODE[32768 + DECODE[A].astype(np.int32)]
    return [same, mu_to_a, a_to_mu]


CHANGE = _change()
"""uint8[256] each: codes unchanged, mu-law to A-law, A-law to mu-law."""


def _change_pairs() -> U16:
    codes = np.arange(65536)
    return np.concatenate([(table[codes & 255] | (table[codes >> 8].astype(np.uint16) << 8)).astype(np.uint16) for table in CHANGE])


CHANGE_PAIRS: U16 = _change_pairs()
"""uint16[change * 65536 + two codes]: the same for two codes a lookup."""


def decode(payload: U8, law: int) -> I16:
    """Samples of a payload: int16 of the shape of ``payload``."""
    return np.asarray(DECODE[law].take(payload))


def encode(samples: I16 | I32, law: int) -> U8:
    """Payload of samples (saturated to 16 bits): uint8 of their shape."""
    return np.asarray(ENCODE.take(np.clip(samples, -32768, 32767).astype(np.int32) + (32768 + 65536 * law)))
