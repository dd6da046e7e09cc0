"""Who speaks in a room, by level: a list that does not flicker.

Rules:
- A frame above `media.levels.SPEECH` counts `ATTACK` up, any other one down. Who reaches `TALK_ON` speaks, until it is back at zero:
  three frames in a row begin it, `TALK_MAX` frames without speech end it.
- Who is muted does not speak. The loudest come first, by levels smoothed over about `SMOOTH_FRAMES`.
- Levels are those of the codes: nothing is decoded for it. Only rooms that somebody watches are followed.
"""

import numpy as np
from numpy import count_nonzero as how_many

from media import levels
from media.arrays import I32, U8, Index
from media.legs import Legs

ATTACK = 15
TALK_ON = 45
TALK_MAX = 60
"""1.2 s."""
SMOOTH_FRAMES = 16
SPEAKERS_MAX = 16
"""Who is named at most."""


class Speakers:
    """Who speaks, in all watched rooms."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self.watched: set[int] = set()
        """Rooms by number."""
        self.changed: set[int] = set()
        """Watched rooms where somebody began or ended speaking; who fetches them clears it."""

    def follow(self, leg: Index, room: I32, level: U8) -> None:
        """A frame of each leg of rooms: intp[n], int32[rooms], uint8[n]."""
        if self.watched.isdisjoint(room.tolist()):
            return
        legs = self._legs
        talk = legs.talk.take(leg)
        loud = (level > levels.SPEECH) & ~legs.muted.take(leg)
        some = np.flatnonzero(loud | (talk > 0))
        if not len(some):
            return
        row, loud, level = leg[some], loud[some], level[some]
        talk = np.where(loud, np.minimum(talk[some] + ATTACK, TALK_MAX), talk[some] - 1)
        legs.talk[row] = talk
        before = legs.speaking[row]
        strength = np.where(before | (legs.strength[row] < 0), legs.strength[row], levels.DECIBELS[level])
        legs.strength[row] = strength + np.where(loud, (levels.DECIBELS[level] - strength) / SMOOTH_FRAMES, 0)
        after = np.where(before, talk > 0, talk >= TALK_ON)
        if how_many(after != before):
            legs.speaking[row] = after
            self.changed.update(legs.room[row[after != before]].tolist())
            self.changed &= self.watched

    def of(self, room: int) -> list[int]:
        """Legs that speak in a room, the loudest first."""
        legs = self._legs
        found = np.flatnonzero(legs.used & legs.speaking & (legs.room == room))
        order = np.argsort(-legs.strength[found], kind="stable")
        return [int(leg) for leg in found[order[:SPEAKERS_MAX]]]
