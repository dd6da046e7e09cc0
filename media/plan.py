"""Who is served by which tick, and in what order, so that mixing is a reshape and a sum.

Rules:
- A frame lasts 20 ms, a tick 5 ms: legs and rooms are spread over four phases. All legs of a room are in its phase. A phase costs much the
  same for ten legs as for a hundred, so phases are filled one after the other up to `PHASE_LEGS`; beyond that, the emptiest first.
- Within a phase, rooms lie behind each other by rate and size; a block is some rooms of one rate and size, about `BLOCK_ROWS` legs.
- A plan holds until somebody comes, goes or is connected otherwise.
"""

from typing import NamedTuple

import numpy as np

from media import levels
from media.arrays import I32, Index
from media.hearing import Special, special
from media.legs import Legs

PHASES = 4
PHASE_LEGS = 256
BLOCK_ROWS = 512
EXACT_SIZE_MAX = 12
"""Rooms up to this size are summed to the sample; of larger ones, frames up to `levels.QUIET` are left out."""
FEED_NOTHING, FEED_MIX, FEED_PLAY = 0, 1, 2
"""`Legs.feed`: the tick sends a leg nothing, the mix of its room without itself, or a source of the bank."""


class Block(NamedTuple):
    """Rooms of one size and rate."""

    leg: Index
    """intp[rooms * size], room by room."""
    room: I32
    """int32[rooms]."""
    size: int
    common: Index
    """intp[rooms * size]: which of the block's rooms each leg is in."""
    sends: Index | None
    """intp[n]: rows of the legs that are sent the mix; None: all."""
    quiet: int
    """Level up to which a frame is left out; -1: none is."""
    special: Special | None
    """Who does not simply hear all others."""
    rate: int
    """That the rooms are mixed at, Hz."""


class Phase(NamedTuple):
    """What one tick in four does."""

    clocked: Index
    """intp[n]: every leg whose clock goes on by this tick."""
    blocks: list[Block]
    players: Index
    """intp[n]: legs that hear a source."""


def plan(legs: Legs) -> list[Phase]:
    """The order of all phases."""
    ticking = np.flatnonzero(legs.used & ((legs.feed != FEED_NOTHING) | (legs.room >= 0) | (legs.digits_waiting > 0)))
    phase = legs.phase[ticking]
    return [_phase(legs, ticking[phase == number]) for number in range(PHASES)]


def _phase(legs: Legs, leg: Index) -> Phase:
    room = legs.room[leg]
    mixed = leg[room >= 0]
    room = room[room >= 0]
    blocks: list[Block] = []
    if len(mixed):
        size = np.bincount(room)[room]
        rate = legs.room_rate[mixed]
        order = np.lexsort((room, size, rate))
        mixed, room, size, rate = mixed[order], room[order], size[order], rate[order]
        for hertz, each in sorted(set(zip(rate.tolist(), size.tolist(), strict=True))):
            mine = (size == each) & (rate == hertz)
            some = mixed[mine]
            rooms = room[mine][::each]
            per_block = max(1, BLOCK_ROWS // each)
            for first in range(0, len(rooms), per_block):
                part = slice(first * each, (first + per_block) * each)
                blocks.append(_block(legs, some[part], rooms[first : first + per_block], each, hertz))
    return Phase(leg, blocks, leg[legs.feed[leg] == FEED_PLAY])


def _block(legs: Legs, leg: Index, room: I32, size: int, rate: int) -> Block:
    sends = legs.sends[leg] & (legs.feed[leg] == FEED_MIX)
    quiet = -1 if size == 1 else 0 if size <= EXACT_SIZE_MAX else levels.QUIET
    common = np.repeat(np.arange(len(room)), size)
    return Block(leg, room, size, common, None if sends.all() else np.flatnonzero(sends), quiet, special(legs, leg), rate)


def best(legs: Legs) -> int:
    """The phase for who comes next: one that is begun and has less than `PHASE_LEGS`, else the emptiest."""
    served = np.bincount(legs.phase[legs.used], minlength=PHASES)
    begun = np.where(served < PHASE_LEGS, served, -1)
    return int(begun.argmax() if begun.max() >= 0 else served.argmin())
