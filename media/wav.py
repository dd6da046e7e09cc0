"""WAV files: read any common form, write 16-bit PCM.

Rules:
- Read: PCM of 8, 16, 24 and 32 bits, float of 32 and 64, A-law and mu-law, any rate and number of channels (mixed to one).
- A file that contradicts itself raises `WavError`; at most `SECONDS_MAX` are read.
"""

import struct
from typing import BinaryIO

import numpy as np

from media import g711
from media.arrays import F64
from media.resample import RATES, Resampler

SECONDS_MAX = 1200
RATE_MAX = 192_000
CHANNELS_MAX = 16
HEADER_BYTES = 44
FLOAT_MAX = 16.0
"""Of samples of floats, whose full scale is 1: what is beyond it is no sound."""
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE


class WavError(ValueError):
    """Not a WAV file that can be read."""


def read(file: BinaryIO) -> tuple[F64, int]:
    """Samples as float64[n] in the range of int16, and the rate in Hz.

    Raises:
        WavError: the file is no WAV file, or its coding is not known.
    """
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise WavError("expected RIFF ... WAVE")
    form: tuple[int, int, int, int, int, int] | None = None
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise WavError("no data chunk")
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            break
        body = file.read(min(size, 4096))
        file.seek(size - len(body) + (size & 1), 1)
        if name == b"fmt ":
            if len(body) < 16:
                raise WavError("fmt chunk too short")
            form = struct.unpack("<HHIIHH", body[:16])
            if form[0] == _EXTENSIBLE and len(body) >= 26:
                form = (int.from_bytes(body[24:26], "little"), *form[1:])
    if form is None:
        raise WavError("data before fmt")
    coding, channels, rate, _, _, bits = form
    if not (1 <= channels <= CHANNELS_MAX and 1000 <= rate <= RATE_MAX and bits in (8, 16, 24, 32, 64)):
        raise WavError(f"{channels} channels of {bits} bits at {rate} Hz")
    width = bits // 8 * channels
    raw = file.read(min(size, SECONDS_MAX * rate * width))
    raw = raw[: len(raw) // width * width]
    return _samples(raw, coding, bits).reshape(-1, channels).mean(axis=1), rate


def _samples(raw: bytes, coding: int, bits: int) -> F64:
    if coding == _PCM and bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128.0) * 256.0
    if coding == _PCM and bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0] / 65536.0
    if coding == _PCM and bits in (16, 32):
        return np.frombuffer(raw, f"<i{bits // 8}") / float(1 << (bits - 16))
    if coding == _FLOAT and bits in (32, 64):
        sound = np.nan_to_num(np.frombuffer(raw, f"<f{bits // 8}").astype(np.float64))
        return np.clip(sound, -FLOAT_MAX, FLOAT_MAX) * 32767.0
    if coding in (_A_LAW, _MU_LAW) and bits == 8:
        return g711.decode(np.frombuffer(raw, np.uint8), g711.A if coding == _A_LAW else g711.MU).astype(np.float64)
    raise WavError(f"coding {coding} of {bits} bits")


def header(rate: int, channels: int, data_bytes: int) -> bytes:
    """The `HEADER_BYTES` before 16-bit PCM data."""
    form = struct.pack("<HHIIHH", _PCM, channels, rate, rate * channels * 2, channels * 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + data_bytes) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data_bytes)
    )


def at_rate(samples: F64, rate_in: int, rate_out: int) -> F64:
    """A whole recording at another rate: float64[n] to float64[m], without delay."""
    if rate_in == rate_out or not len(samples):
        return samples
    if rate_in not in RATES:
        return _interpolated(samples, rate_in, rate_out)
    turn = Resampler(rate_in, rate_out, np.float32)
    late = round(turn.delay_seconds * rate_in)
    block = rate_in // 2
    padded = np.zeros((1, -(-(len(samples) + late) // block) * block), np.float32)
    padded[0, : len(samples)] = samples
    state = np.zeros(1, turn.state)
    parts = [turn(state, padded[:, first : first + block])[0] for first in range(0, padded.shape[1], block)]
    skip = round(turn.delay_seconds * rate_out)
    return np.concatenate(parts)[skip : skip + len(samples) * rate_out // rate_in].astype(np.float64)


def _interpolated(samples: F64, rate_in: int, rate_out: int) -> F64:
    """Any rate, slower: a windowed sinc around each sample that comes out."""
    cut = 0.92 * min(1.0, rate_out / rate_in)
    half = int(np.ceil(24 / cut))
    padded = np.concatenate([np.zeros(half), samples, np.zeros(half + 1)])
    count = len(samples) * rate_out // rate_in
    parts = []
    for first in range(0, count, 4096):
        time = np.arange(first, min(first + 4096, count)) * (rate_in / rate_out)
        whole = np.floor(time).astype(np.int64)
        distance = np.arange(-half, half + 1)[None, :] - (time - whole)[:, None]
        taps = cut * np.sinc(cut * distance) * np.cos(np.pi / 2 * np.clip(distance / (half + 1), -1, 1)) ** 2
        parts.append((padded[whole[:, None] + np.arange(2 * half + 1)] * taps).sum(axis=1))
    return np.concatenate(parts) if parts else np.zeros(0)
