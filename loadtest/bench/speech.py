"""Something like speech, as payloads of 20 ms: harmonics of a gliding pitch under moving formants, in syllables, with a little noise."""

import ctypes
import ctypes.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.bench.process import NotRunnableError
from media import g711

SECONDS = 10
RATE = 8000
FRAME_SAMPLES = 160
PEAK = 16000
LAWS = {"pcmu": g711.MU, "pcma": g711.A}


def samples() -> NDArray[np.int16]:
    """int16[RATE * SECONDS]: always the same."""
    noise = np.random.default_rng(1)
    t = np.arange(RATE * SECONDS) / RATE
    pitch = 130 + 25 * np.sin(4.4 * t) + 10 * np.sin(14.5 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = (500 + 250 * np.sin(11.9 * t), 1500 + 600 * np.sin(8.2 * t + 1))
    voice = np.zeros_like(t)
    for harmonic in range(1, 24):
        place = harmonic * pitch
        level = np.exp(-(((place - formants[0]) / 180) ** 2)) + 0.5 * np.exp(-(((place - formants[1]) / 260) ** 2))
        voice += (level + 0.01) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(23.2 * t) + 0.4 * np.sin(3.1 * t), 0, None)
    sound = voice * syllables + 0.01 * noise.standard_normal(len(t))
    return np.asarray(sound / np.abs(sound).max() * PEAK, np.int16)


OPUS_RATE = 48000
OPUS_APPLICATION_VOIP = 2048
OPUS_BYTES_MAX = 1500


def write(path: Path, codec: str) -> None:
    """Payloads for rtpload: (u16 length, little endian; bytes) each.

    Raises:
        NotRunnableError: Opus without libopus.
    """
    if codec == "opus":
        path.write_bytes(b"".join(len(frame).to_bytes(2, "little") + frame for frame in _opus()))
        return
    frames = np.asarray(g711.encode(samples(), LAWS[codec])).reshape(-1, FRAME_SAMPLES)
    path.write_bytes(b"".join(FRAME_SAMPLES.to_bytes(2, "little") + frame.tobytes() for frame in frames))


def _opus() -> list[bytes]:
    """The same as Opus at 48 kHz, mono, libopus' own settings otherwise."""
    name = ctypes.util.find_library("opus")
    if name is None:
        raise NotRunnableError("libopus is missing; run: sudo apt-get install libopus0")
    library = ctypes.CDLL(name)
    library.opus_encoder_create.restype = ctypes.c_void_p
    encoder = ctypes.c_void_p(library.opus_encoder_create(OPUS_RATE, 1, OPUS_APPLICATION_VOIP, None))
    if not encoder:
        raise NotRunnableError("libopus makes no encoder")
    sound = np.repeat(samples(), OPUS_RATE // RATE)
    size, out, frames = OPUS_RATE // 50, ctypes.create_string_buffer(OPUS_BYTES_MAX), []
    for at in range(0, len(sound) - size + 1, size):
        count = library.opus_encode(encoder, ctypes.c_void_p(sound.ctypes.data + 2 * at), size, out, OPUS_BYTES_MAX)
        if count > 0:
            frames.append(out.raw[:count])
    library.opus_encoder_destroy(encoder)
    return frames
