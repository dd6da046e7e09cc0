"""WAV files: read or refused; what is read is finite, at a rate that was promised, and no more than the file held."""

import io
import struct

import numpy as np

from media import wav


def _file(coding: int, channels: int, rate: int, bits: int, data: bytes, more: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", coding, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits) + more
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"LIST\x04\0\0\0abcd" + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def seeds() -> list[bytes]:
    """Every form that is read, an extensible one, and one that is cut."""
    sound = bytes(range(240))
    forms = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8)]
    extensible = _file(0xFFFE, 2, 48000, 16, sound, struct.pack("<HHI", 22, 16, 3) + b"\x01\0" + bytes(14))
    return [*(_file(coding, 1 + bits % 3, 8000, bits, sound) for coding, bits in forms), extensible, _file(1, 1, 8000, 16, sound)[:-7]]


def check(data: bytes) -> None:
    try:
        samples, rate = wav.read(io.BytesIO(data))
    except wav.WavError:
        return
    assert 1000 <= rate <= wav.RATE_MAX
    assert len(samples) <= len(data)
    assert np.isfinite(samples).all()
    there = wav.at_rate(np.clip(samples[:2000], -32768, 32767), rate, 8000)
    assert np.isfinite(there).all()
    assert abs(len(there) - min(len(samples), 2000) * 8000 // rate) <= 1
