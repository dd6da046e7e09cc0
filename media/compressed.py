"""Sound files that are no WAV (MP3, Ogg, FLAC, ...), read by PyAV where it is installed.

Rules:
- PyAV is large: it is loaded in the thread that reads, when the first such file is asked for.
- A file is taken as the sound that it holds: what names other files or addresses (playlists) is refused.
- At most `wav.SECONDS_MAX` are read; channels are mixed to one.
"""

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np

from media import wav
from media.arrays import F64

SUFFIXES = (".mp3", ".ogg", ".oga", ".opus", ".flac", ".m4a", ".webm", ".aac")
_FORMATS = "mp3,ogg,flac,mov,matroska,aac,aiff,amr,wav,au"
_LIMITS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


class CompressedError(ValueError):
    """No sound that can be read, or nothing to read it with."""


def available() -> bool:
    """PyAV is installed."""
    return find_spec("av") is not None


def read(path: str) -> tuple[F64, int]:
    """Samples as float64[n] in the range of int16, and the rate in Hz.

    Raises:
        CompressedError: PyAV is missing, or can't read it.
    """
    try:
        av: Any = importlib.import_module("av")
    except ImportError:
        raise CompressedError("no WAV file, and the package av (PyAV), which reads others, is not installed") from None
    try:
        with av.open(path, options=_LIMITS) as container:
            if not container.streams.audio:
                raise CompressedError("there is no sound in it")
            rate = int(container.streams.audio[0].codec_context.sample_rate)
            if not 1000 <= rate <= wav.RATE_MAX:
                raise CompressedError(f"{rate} Hz")
            return _samples(container, av.AudioResampler("s16", "mono", rate), wav.SECONDS_MAX * rate), rate
    except av.FFmpegError as error:
        raise CompressedError(str(error)) from None


def _samples(container: Any, mono: Any, most: int) -> F64:
    parts: list[Any] = []
    count = 0
    for frame in container.decode(audio=0):
        for part in mono.resample(frame):
            parts.append(part.to_ndarray()[0])
            count += len(parts[-1])
        if count >= most:
            break
    parts += [part.to_ndarray()[0] for part in mono.resample(None)]
    return np.concatenate(parts or [np.zeros(0, np.int16)])[:most].astype(np.float64)
