"""Who hears whom in a room, and how loud: what differs from everybody hearing everybody else.

Rules:
- Muted: others do not hear it. Deaf: it hears silence. Whispering: some legs of its room alone hear it. Ignoring: it does not hear some.
  A coach whispers to whom it coaches; to barge in is to whisper no longer; to listen in is to be muted.
- First its gain and its automatic gain, then what it says goes to the room or to whom it whispers; at the far end the gain of who hears.
- All of it is in the legs' arrays; blocks without any of it cost nothing.
"""

from typing import NamedTuple

import numpy as np

from media import gain
from media.arrays import I16, I32, Index
from media.legs import Legs
from media.rates import FRAMES_PER_SECOND


class Special(NamedTuple):
    """Legs of a block that do not simply hear all and are heard by all."""

    voices: Index
    """intp[n]: rows of those that are heard otherwise, ascending."""
    ears: Index
    """intp[n]: rows of those that hear otherwise, ascending."""
    row: dict[int, int]
    """Leg to its row."""


class Whisper(NamedTuple):
    """What a leg says to some alone."""

    leg: int
    samples: I16
    """int16[n]."""


class Mix(NamedTuple):
    """A block that was summed up."""

    leg: Index
    """intp[n]: the legs."""
    said: Index | None
    """intp[k]: rows of those that said something; None: all."""
    samples: I16
    """int16[k, any]: what."""
    total: I32
    """int32[rooms, any]: the sum of each room."""
    hears: I32
    """int32[m, any]."""
    place: Index | None
    """intp[n]: row of ``hears`` for each leg; None: its own."""

    def of(self, row: int) -> I32:
        """What one leg said: int32[any]."""
        rows = self.samples[[row]] if self.said is None else self.samples[self.said == row]
        return np.asarray(rows.sum(axis=0, dtype=np.int32))


def special(legs: Legs, leg: Index) -> Special | None:
    """Of the legs of a block, intp[n]; None: they are all alike."""
    whispers, ignores = legs.whispers[leg], legs.ignores[leg]
    voices = legs.muted[leg] | (legs.gain_in[leg] != 0) | legs.leveled[leg] | (whispers >= 0).any(axis=1)
    ears = legs.deaf[leg] | (legs.gain_out[leg] != 0) | (ignores >= 0).any(axis=1) | np.isin(leg, whispers[whispers >= 0])
    if not (voices.any() or ears.any()):
        return None
    return Special(np.flatnonzero(voices), np.flatnonzero(ears), {each: row for row, each in enumerate(leg.tolist())})


class Hearing:
    """The steps before and after a room is summed up."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def speak(self, leg: Index, voices: Index, said: Index | None, samples: I16) -> list[Whisper]:
        """Make samples what the room hears of them; what it is not to hear is zero then.

        Args:
            leg: intp[n]: of the block.
            voices: as in `Special`.
            said: intp[k]: rows of the block that ``samples`` are of; None: all.
            samples: int16[k, 20 ms], changed in place.

        Returns:
            what is whispered.
        """
        legs, rate = self._legs, samples.shape[1] * FRAMES_PER_SECOND
        place = voices
        if said is not None:
            place = np.flatnonzero(np.isin(said, voices))
            pauses = leg[np.setdiff1d(voices, said)]
            pauses = pauses[legs.leveled[pauses]]
            if len(pauses):
                state = legs.loudness[pauses]
                gain.level(state, np.zeros((len(pauses), samples.shape[1]), np.int16), rate)
                legs.loudness[pauses] = state
        if not len(place):
            return []
        who = leg[place if said is None else said[place]]
        leveled = np.flatnonzero(legs.leveled[who])
        if len(leveled):
            state = legs.loudness[who[leveled]]
            samples[place[leveled]] = gain.level(state, samples[place[leveled]], rate)
            legs.loudness[who[leveled]] = state
        louder = np.flatnonzero(legs.gain_in[who] != 0)
        if len(louder):
            samples[place[louder]] = gain.amplify(samples[place[louder]], legs.gain_in[who[louder]])
        muted, whispers = legs.muted[who], legs.whispers[who].max(axis=1) >= 0
        aside = np.flatnonzero(whispers & ~muted)
        found = [Whisper(int(who[row]), samples[place[row]].copy()) for row in aside.tolist()]
        samples[place[muted | whispers]] = 0
        return found

    def listen(self, what: Special, mix: Mix, told: list[Whisper]) -> None:
        """Change what legs with ears of their own hear, after `speak`; each has a row of ``mix.hears`` to itself."""
        legs = self._legs
        for row in what.ears.tolist():
            who, at = int(mix.leg[row]), row if mix.place is None else int(mix.place[row])
            if legs.deaf[who]:
                mix.hears[at] = 0
                continue
            for ignored in legs.ignores[who].tolist():
                other = what.row.get(ignored, -1)
                if other < 0 or legs.room[ignored] != legs.room[who]:
                    continue
                mix.hears[at] -= mix.of(other)
            for whisper in told:
                if who in legs.whispers[whisper.leg] and legs.room[whisper.leg] == legs.room[who]:
                    mix.hears[at] += whisper.samples
            if legs.gain_out[who]:
                mix.hears[at] = np.rint(mix.hears[at] * 10 ** (float(legs.gain_out[who]) / 20))
