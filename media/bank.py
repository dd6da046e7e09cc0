"""The bank of sources: what legs and rooms can be played, cut into frames and encoded once for all who hear it.

Rules:
- A source is a range of frames of 20 ms; who plays it holds a position, nothing else.
- Built-in sources come first, always at the same place. A file (WAV, or what PyAV reads) is read by a thread of its own; it is
  played once it is there.
- The bank holds at most `FRAMES_MAX`; what nobody asked for longest is not thrown out: the bank is full, and says so.
"""

import os
import threading
from typing import NamedTuple

import numpy as np

from media import compressed, g711, sources, wav
from media.arrays import F64, I16, I64, U8
from media.events import DIGITS
from media.legs import FRAME_SAMPLES
from media.resample import resampler

FRAMES_MAX = 90_000
"""30 minutes of sources."""
FILE_BYTES_MAX = 256 << 20
_GROW_FRAMES = 4096


class Source(NamedTuple):
    """A range of frames of the bank."""

    first: int
    end: int


class BankError(Exception):
    """The source is not there or can't be read."""


class Bank:
    """All sources of a process."""

    def __init__(self) -> None:
        self.samples: I16 = np.zeros((_GROW_FRAMES, FRAME_SAMPLES), np.int16)
        """int16[frame, sample] at 8 kHz."""
        self.coded: U8 = np.zeros((2, _GROW_FRAMES, FRAME_SAMPLES), np.uint8)
        """uint8[law, frame, sample]."""
        self._used = 0
        self._sources: dict[str, Source] = {}
        self._loading: dict[str, threading.Thread] = {}
        self._loaded: dict[str, F64 | BankError] = {}
        for name, samples in sources.built_in().items():
            self._add(name, samples.astype(np.float64))
        for digit in DIGITS:
            self._add(f"dtmf-{digit}", sources.dtmf(digit).astype(np.float64))
        self.digits = [self._sources[f"dtmf-{digit}"].first for digit in DIGITS]
        """First frame of each DTMF digit's tone, `sources.DTMF_FRAMES` long."""
        self.silence = self._sources["silence"].first
        """A frame of silence."""

    def _add(self, name: str, samples: F64) -> Source:
        count = -(-len(samples) // FRAME_SAMPLES)
        first, end = self._used, self._used + count
        if not count or end > FRAMES_MAX:
            raise BankError("the source is empty" if not count else f"the bank of {FRAMES_MAX} frames is full")
        if end > len(self.samples):
            rows = min(max(end + _GROW_FRAMES, 2 * len(self.samples)), FRAMES_MAX)
            grown = np.zeros((rows, FRAME_SAMPLES), np.int16)
            grown[:first] = self.samples[:first]
            coded = np.zeros((2, rows, FRAME_SAMPLES), np.uint8)
            coded[:, :first] = self.coded[:, :first]
            self.samples, self.coded = grown, coded
        frames = np.zeros(count * FRAME_SAMPLES)
        frames[: len(samples)] = np.clip(np.rint(samples), -32768, 32767)
        self.samples[first:end] = frames.reshape(count, FRAME_SAMPLES)
        for law in (g711.MU, g711.A):
            self.coded[law, first:end] = g711.encode(self.samples[first:end], law)
        self._used = end
        self._sources[name] = Source(first, end)
        return self._sources[name]

    def at_rate(self, at: I64, first: I64, rate: int) -> I16:
        """Frames of sources that begin at ``first``, int64[n], at a room's rate, int16[n, 20 ms]. The frame before one still rings."""
        samples = self.samples[at]
        if rate == sources.RATE:
            return samples
        convert = resampler(sources.RATE, rate)
        state = np.zeros(len(at), convert.state)
        width = state["history"].shape[1]
        state["history"] = np.where((at > first)[:, None], self.samples[at - 1, -width:], 0)
        converted: I16 = convert(state, samples)
        return converted

    def find(self, name: str) -> Source | None:
        """A source by name or path; None: it is being read, ask again.

        Raises:
            BankError: there is none, or it can't be read.
        """
        source = self._sources.get(name)
        if source is not None:
            return source
        if name in self._loaded:
            found = self._loaded.pop(name)
            self._loading.pop(name).join()
            if isinstance(found, BankError):
                raise found
            return self._add(name, found)
        if name not in self._loading:
            if not os.path.isfile(name):
                raise BankError(f"no source and no file: {name!r}")
            if name.lower().endswith(compressed.SUFFIXES) and not compressed.available():
                raise BankError(f"{name!r}: the package av (PyAV), which reads such files, is not installed")
            self._loading[name] = threading.Thread(target=self._load, args=(name,), daemon=True)
            self._loading[name].start()
        return None

    def _load(self, name: str) -> None:
        """Runs in its own thread."""
        try:
            if os.path.getsize(name) > FILE_BYTES_MAX:
                raise BankError(f"{name!r} is larger than {FILE_BYTES_MAX} bytes")
            try:
                with open(name, "rb") as file:
                    samples, rate = wav.read(file)
            except wav.WavError:
                samples, rate = compressed.read(name)
            self._loaded[name] = wav.at_rate(samples, rate, sources.RATE)
        except (OSError, ValueError, MemoryError) as error:
            self._loaded[name] = BankError(f"{name!r}: {error}")
        except BankError as error:
            self._loaded[name] = error

    def close(self) -> None:
        """Wait for files that are being read."""
        for thread in self._loading.values():
            thread.join()
