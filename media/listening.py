"""What legs say besides speech, where somebody wants to know: keys in the audio, fax and line tones, silence, who answered.

Rules:
- Each kind has its own ear, and its state lives with the leg: a process that takes over goes on listening.
- A leg that is listened to is decoded, whatever it is connected to (`media.switchboard`).
- Ears hear at 8 kHz: what a room has at another rate is converted for them.
- A key that came as an event (RFC 4733) a moment ago is not told again for its tone, which some gateways leave in the audio.
"""

from collections.abc import Iterable

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import I16, Index
from media.legs import DIGIT_EAR, LINE_EAR, Legs
from media.rates import FRAMES_PER_SECOND, RATES, Converter
from media.tones import activity, answering
from media.tones.activity import SilenceHeard
from media.tones.answering import AnswerHeard
from media.tones.dtmf import DigitHeard
from media.tones.fax import FaxHeard
from media.tones.progress import ProgressHeard
from media.transcode import Heard

DTMF, FAX, PROGRESS, SILENCE, ANSWER = 1, 2, 4, 8, 16
KINDS = {"dtmf": DTMF, "fax": FAX, "progress": PROGRESS, "silence": SILENCE, "answer": ANSWER}
"""By name, what `Legs.listens` is made of."""
EVENT_SECONDS = 1.0
PENDING_MAX = 10_000
"""What waits to be fetched; more is dropped."""

Sound = DigitHeard | FaxHeard | ProgressHeard | SilenceHeard | AnswerHeard
"""``leg`` is the leg's row here."""


class Listening:
    """The ears of one process."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self._lower = Converter(legs.history_ear)
        self._sounds: list[Sound] = []
        self.any = False
        """Somebody is listened to."""

    def want(self, leg: int, kinds: Iterable[str]) -> None:
        """Listen to a leg for these kinds from now on, for none to stop."""
        legs = self._legs
        wanted = sum(KINDS[kind] for kind in set(kinds))
        fresh = wanted & ~int(legs.listens[leg])
        for bits, ear in (
            (DTMF, legs.digit_ear),
            (FAX | PROGRESS, legs.line_ear),
            (SILENCE, legs.silence_ear),
            (ANSWER, legs.answer_ear),
        ):
            if fresh & bits:
                ear[leg] = np.zeros(1, ear.dtype)[0]
        legs.listens[leg] = wanted
        self.recount()

    def recount(self) -> None:
        """A leg came, went or is listened to otherwise."""
        self.any = bool(how_many(self._legs.used & (self._legs.listens > 0)))

    def hear(self, leg: Index, heard: Heard, now: float) -> None:
        """The frames of some legs, intp[n]."""
        wanted = self._legs.listens.take(leg)
        row = np.flatnonzero(wanted)
        if not len(row):
            return
        width = heard.samples.shape[1]
        samples: I16 = np.zeros((len(row), width), np.int16)
        if heard.row is None:
            samples[:] = heard.samples[row]
        else:
            _, mine, said = np.intersect1d(row, heard.row, assume_unique=True, return_indices=True)
            samples[mine] = heard.samples[said]
        self._listen(leg[row], self._lower(leg[row], samples, width * FRAMES_PER_SECOND, RATES[0]), now)

    def _listen(self, leg: Index, samples: I16, now: float) -> None:
        legs = self._legs
        wanted = legs.listens.take(leg)
        for bits in (DTMF, FAX | PROGRESS, SILENCE, ANSWER):
            row = np.flatnonzero(wanted & bits)
            if not len(row):
                continue
            mine, part = leg[row], samples[row]
            sounds: list[Sound] = []
            if bits == DTMF:
                state = legs.digit_ear[mine]
                sounds += DIGIT_EAR(state, part)
                legs.digit_ear[mine] = state
            elif bits == SILENCE:
                state = legs.silence_ear[mine]
                sounds += activity.listen(state, part)
                legs.silence_ear[mine] = state
            elif bits == ANSWER:
                state = legs.answer_ear[mine]
                sounds += answering.listen(state, part)
                legs.answer_ear[mine] = state
            else:
                state = legs.line_ear[mine]
                sounds += LINE_EAR(state, part)
                legs.line_ear[mine] = state
            self._keep(sounds, mine, now)

    def _keep(self, sounds: list[Sound], leg: Index, now: float) -> None:
        legs = self._legs
        for sound in sounds:
            row = int(leg[sound.leg])
            if isinstance(sound, DigitHeard) and (not sound.duration_ms or now - legs.event_heard[row] < EVENT_SECONDS):
                continue
            if isinstance(sound, FaxHeard | ProgressHeard):
                kind = FAX if isinstance(sound, FaxHeard) else PROGRESS
                if not legs.listens[row] & kind:
                    continue
            if len(self._sounds) < PENDING_MAX:
                self._sounds.append(sound._replace(leg=row))

    def take(self) -> list[Sound]:
        """What was heard since the last call."""
        sounds, self._sounds = self._sounds, []
        return sounds
