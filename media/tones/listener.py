"""All that listens for tones on a leg, behind one measure of its spectrum.

Rules:
- The spectrum is measured once; DTMF, fax and call progress each look at their own frequencies.
- Who answered and whether it is silent need the samples alone, and are asked for apart: `media.tones.answering`, `media.tones.activity`.

Cost of 20 ms at 8 kHz in batches of 64 to 512 legs that hear speech: 6-12 us a leg for all three, 3-4 us for DTMF alone.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.arrays import I16
from media.tones import dtmf, fax, progress
from media.tones.dtmf import DigitHeard
from media.tones.fax import FaxHeard
from media.tones.progress import ProgressHeard
from media.tones.spectrum import Spectrum

DETECTORS = {"dtmf": dtmf, "fax": fax, "progress": progress}

Heard = DigitHeard | FaxHeard | ProgressHeard


class Listener:
    """Listens for some kinds of tones.

    Args:
        kinds: of `DETECTORS`.
        rate: of the samples, Hz; a multiple of 200.

    Raises:
        KeyError: an unknown kind.
    """

    def __init__(self, kinds: Iterable[str] = ("dtmf",), rate: int = 8000) -> None:
        self.kinds = tuple(kinds)
        frequencies: list[float] = []
        self._columns = {}
        for kind in self.kinds:
            wanted = DETECTORS[kind].FREQUENCIES
            self._columns[kind] = slice(len(frequencies), len(frequencies) + len(wanted))
            frequencies += wanted
        self._spectrum = Spectrum(frequencies, rate)
        self.state = np.dtype([("spectrum", self._spectrum.state), *((kind, DETECTORS[kind].STATE) for kind in self.kinds)])
        """State of one leg, all zero at the start."""

    def __call__(self, state: NDArray[Any], samples: I16) -> list[Heard]:
        """What begins or ends in a frame.

        Args:
            state: `state`[legs], changed in place.
            samples: int16[legs, n], n a multiple of 5 ms.
        """
        sound = self._spectrum(state["spectrum"], samples)
        heard: list[Heard] = []
        for kind in self.kinds:
            heard += DETECTORS[kind].listen(state[kind], sound.at(self._columns[kind]))
        return heard
