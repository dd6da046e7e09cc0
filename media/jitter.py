"""Jitter buffer: from packets as they come to a frame a tick, for all legs at once.

Rules:
- Positions are samples at 8 kHz since a stream began, whatever its codec. A frame is `FRAME_SAMPLES` of them.
- A packet is put where its timestamp says, so order, duplicates and packets of 10 to 60 ms need no thought; what its slot held before is
  known to be old by its stamp.
- Playing starts 10 to 30 ms after the first packet (RFC 3550 asks for none; this is what a tick every 20 ms needs at least).
- A packet that came too late makes the buffer so much deeper that it would have been in time, at most `GROWTH_FRAMES_MAX`; a window of
  `WINDOW_FRAMES` in which every packet was earlier than `SPARE_SECONDS` makes it shallower, at most `DROP_FRAMES_MAX`. That also follows
  a peer's clock that drifts.
- A stream that jumps, or pauses for `PAUSE_FRAMES`, starts anew.
"""

from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media import levels
from media.arrays import F64, I64, U8, Bool, Index
from media.legs import FRAME_SAMPLES, FRAME_SECONDS, HALF_SAMPLES, RING_FRAMES, Legs

GROWTH_FRAMES_MAX = 8
WINDOW_FRAMES = 100
SPARE_SECONDS = 0.032
PAUSE_FRAMES = 50
DROP_FRAMES_MAX = 4
PAYLOAD_SAMPLES_MAX = 8 * FRAME_SAMPLES
"""Packets of more than 160 ms are refused."""
_STAMP = 0x7FFFFFFF
"""Frame numbers are stamped with so many of their bits."""
_TWICE = 0x1_0000_0001
_HALVES = 2 * RING_FRAMES


class Frames(NamedTuple):
    """What is due of some legs."""

    slot: Index
    """intp[n]: where it lies, for `JitterRing.read`."""
    level: U8
    """uint8[n]: `media.levels`; where the frame is not there, that of the one before."""
    whole: Bool
    """bool[n]: the frame is there."""
    halves: Bool
    """bool[n, 2]: which halves of it are there."""


class Playout:
    """When the frames of all legs are due."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def arrive(self, leg: Index, position: I64, length: I64, wait: F64) -> Bool | None:
        """Packets came, at most one a leg: which of them are still wanted; None: all.

        Args:
            leg: intp[n].
            position, length: int64[n]: first sample and number of samples, at 8 kHz.
            wait: float64[n]: seconds until the leg's next tick.
        """
        legs = self._legs
        frame = position // FRAME_SAMPLES
        playing = legs.playing.take(leg)
        if how_many(playing) < len(playing):
            fresh = np.flatnonzero(~playing)
            row = leg[fresh]
            legs.play[row] = frame[fresh] - (wait[fresh] < 0.5 * FRAME_SECONDS)
            legs.playing[row] = True
            legs.margin[row] = RING_FRAMES * FRAME_SECONDS
            legs.window[row] = legs.hold[row] = legs.drop[row] = 0
            legs.missing[row] = -1  # the frame that the delay begins with is not missed
        ahead = frame - legs.play.take(leg)
        if how_many((ahead + RING_FRAMES).view(np.uint64) >= 2 * RING_FRAMES - 1):
            wild = (ahead >= RING_FRAMES - 1) | (ahead < -RING_FRAMES)
            row = leg[wild]
            legs.play[row] = frame[wild] - 1
            ahead[wild] = 1
        margin = ahead * FRAME_SECONDS + wait
        legs.margin[leg] = np.minimum(legs.margin.take(leg), margin)
        if how_many(ahead < 0) == 0:
            return None
        late = (position + length - 1) // FRAME_SAMPLES < legs.play[leg]
        row = leg[late]
        legs.late[row] += 1
        deeper = np.ceil(-margin[late] / FRAME_SECONDS)
        deeper[deeper > GROWTH_FRAMES_MAX] = 0
        legs.hold[row] = np.maximum(legs.hold[row], deeper.astype(np.int16))
        return np.asarray(~late)

    def due(self, leg: Index) -> tuple[I64, Bool]:
        """The frames that are due now, one step on; and whether each leg plays (it may be waiting to grow its buffer)."""
        legs = self._legs
        play = legs.play.take(leg)
        live = legs.playing.take(leg)
        drop = legs.drop.take(leg)
        if how_many(drop):
            play += drop
            legs.drop[leg] = 0
        hold = legs.hold.take(leg)
        if how_many(hold):
            held = hold > 0
            live &= ~held
            legs.hold[leg] = hold - held
            legs.play[leg] = play + ~held
        else:
            legs.play[leg] = play + 1
        window = legs.window.take(leg) + np.int16(1)
        legs.window[leg] = window
        if how_many(window >= WINDOW_FRAMES):
            self._adapt(leg[window >= WINDOW_FRAMES])
        return play, live

    def settle(self, leg: Index, present: Bool | None) -> None:
        """Whether the frames that were due were there; None: all."""
        legs = self._legs
        if present is None:
            legs.missing[leg] = 0
            return
        missing = np.where(present, 0, legs.missing[leg] + legs.playing[leg])
        legs.missing[leg] = missing
        legs.concealed[leg] += (missing > 0) & (missing <= PAUSE_FRAMES) & ~legs.quiet[leg]
        paused = leg[missing > PAUSE_FRAMES]
        legs.playing[paused] = False
        legs.missing[paused] = 0

    def _adapt(self, leg: Index) -> None:
        legs = self._legs
        spare = np.maximum((legs.margin[leg] - SPARE_SECONDS) / FRAME_SECONDS + 1.0, 0.0)
        legs.drop[leg] = np.minimum(spare, DROP_FRAMES_MAX).astype(np.int16)
        legs.margin[leg] = RING_FRAMES * FRAME_SECONDS
        legs.window[leg] = 0

    def restart(self, leg: Index) -> None:
        """Forget what is stored: another source, another codec, or nobody listened."""
        self._legs.playing[leg] = False
        self._legs.stamp[leg] = -1


class JitterRing:
    """The rings of codecs of 8 bits a sample at a clock of 8 kHz.

    Args:
        legs: state.
        rows_max: most legs of one `take`.
    """

    def __init__(self, legs: Legs, playout: Playout, rows_max: int) -> None:
        self._legs, self._playout = legs, playout
        self._ring = legs.ring.reshape(-1, FRAME_SAMPLES)
        self._samples = legs.ring.reshape(-1)
        self._level = legs.level.reshape(-1)
        self._stamp = legs.stamp.reshape(-1, 2)
        self._stamp_both = legs.stamp.reshape(-1).view(np.int64)
        self._payload: U8 = np.zeros((rows_max, FRAME_SAMPLES), np.uint8)
        self._there: Bool = np.ones((rows_max, 2), np.bool_)

    def put(self, leg: Index, position: I64, length: I64, payload: U8) -> None:
        """Store packets, at most one a leg.

        Args:
            leg: intp[n].
            position: int64[n]: of the first sample.
            length: int64[n]: bytes, that is samples; at most `PAYLOAD_SAMPLES_MAX`.
            payload: uint8[n, any]: at least the longest of them.
        """
        frame = position // FRAME_SAMPLES
        plain = (length == FRAME_SAMPLES) & (position == frame * FRAME_SAMPLES)
        if how_many(plain) == len(plain):
            self._put_whole(leg, frame, payload)
            return
        some = np.flatnonzero(plain)
        if len(some):
            self._put_whole(leg[some], frame[some], payload[some])
        odd = np.flatnonzero(~plain & (length > 0))
        if len(odd):
            self._put_pieces(leg[odd], position[odd], length[odd], payload[odd])

    def _put_whole(self, leg: Index, frame: I64, payload: U8) -> None:
        if not len(leg):
            return
        slot = leg * RING_FRAMES + (frame & (RING_FRAMES - 1))
        want = (frame & _STAMP) * _TWICE
        again = self._stamp_both.take(slot) == want
        if how_many(again):
            self._legs.late[leg[again]] += 1
        codes = payload[:, :FRAME_SAMPLES]
        self._ring[slot] = codes
        self._stamp_both[slot] = want
        self._level[slot] = levels.of_codes(codes, self._legs.codec_in.take(leg))

    def _put_pieces(self, leg: Index, position: I64, length: I64, payload: U8) -> None:
        """Packets of any length and place: sample by sample; a half slot counts once its end was written."""
        longest = int(length.max())
        step = np.arange(longest)
        place = (position[:, None] + step) % (RING_FRAMES * FRAME_SAMPLES) + leg[:, None] * (RING_FRAMES * FRAME_SAMPLES)
        inside = step < length[:, None]
        self._samples[place[inside]] = payload[:, :longest][inside]
        first = -(-position // HALF_SAMPLES)
        end = (position + length + HALF_SAMPLES // 2) // HALF_SAMPLES
        for piece in range(longest // HALF_SAMPLES + 2):
            half = first + piece
            row = np.flatnonzero(half < end)
            if not len(row):
                return
            frame = half[row] >> 1
            slot = leg[row] * RING_FRAMES + (frame & (RING_FRAMES - 1))
            self._stamp[slot, half[row] & 1] = frame & _STAMP
            self._level[slot] = levels.LEVEL_MAX

    def take(self, leg: Index) -> Frames:
        """The frames that are due now, and one step on; ``leg`` intp[n], all different."""
        play, live = self._playout.due(leg)
        slot = leg * RING_FRAMES + (play & (RING_FRAMES - 1))
        want = play & _STAMP
        whole = self._stamp_both.take(slot) == want * _TWICE
        whole &= live
        level = self._level.take(slot)
        if how_many(whole) == len(whole):
            self._playout.settle(leg, None)
            return Frames(slot, level, whole, self._there[: len(leg)])
        halves = (self._stamp[slot] == want[:, None]) & live[:, None]
        present = halves[:, 0] | halves[:, 1]
        self._playout.settle(leg, present)
        gone = np.flatnonzero(~present)
        if len(gone):
            level[gone] = self._level[leg[gone] * RING_FRAMES + ((play[gone] - 1) & (RING_FRAMES - 1))]
            self._level[slot[gone]] = level[gone]
        return Frames(slot, level, whole, halves)

    def read(self, slot: Index) -> U8:
        """uint8[n, 160]: what lies in slots; lent until the next call."""
        payload = self._payload[: len(slot)]
        self._ring.take(slot, axis=0, out=payload, mode="clip")
        return payload

    def before(self, leg: Index, frames: int) -> U8:
        """uint8[n, frames, 160]: what was played before the frame that was taken last, as far as the ring still holds it."""
        legs = self._legs
        play = legs.play[leg][:, None] - np.arange(frames + 1, 1, -1)
        slot = leg[:, None] * RING_FRAMES + (play & (RING_FRAMES - 1))
        return np.asarray(self._ring[slot])

    def keep(self, leg: Index, payload: U8) -> None:
        """What was heard in place of the frame that was taken last, uint8[n, 160]: a gap that follows is filled after it."""
        self._ring[leg * RING_FRAMES + ((self._legs.play[leg] - 1) & (RING_FRAMES - 1))] = payload


class PacketRing:
    """The rings of codecs whose packets are only understood one after the other: slots of 10 ms, one packet each."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self.data: U8 = legs.packets.reshape(-1, legs.packets.shape[2])
        """uint8[slot, byte]."""
        self.size = legs.packet_size.reshape(-1)
        """int16[slot]."""
        self._stamp = legs.packet_stamp.reshape(-1)

    def put(self, leg: Index, position: I64, length: I64, payload: U8) -> None:
        """Store packets, at most one a leg: where they begin, their bytes, uint8[n, any]."""
        half = (position + HALF_SAMPLES // 2) // HALF_SAMPLES
        slot = leg * _HALVES + half % _HALVES
        again = self._stamp[slot] == half & _STAMP
        self._legs.late[leg[again]] += 1
        width = min(payload.shape[1], self.data.shape[1])
        fits = length <= width
        slot, half, leg = slot[fits], half[fits], leg[fits]
        self.data[slot, :width] = payload[fits, :width]
        self.size[slot] = length[fits]
        self._stamp[slot] = half & _STAMP

    def find(self, leg: Index, half: I64) -> tuple[Index, Bool]:
        """The slots of these numbers of 10 ms, and whether the packets are there."""
        slot = leg * _HALVES + half % _HALVES
        return slot, np.asarray(self._stamp[slot] == half & _STAMP)

    def restart(self, leg: Index) -> None:
        """Forget what is stored."""
        self._legs.packet_stamp[leg] = -1
