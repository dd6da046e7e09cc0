"""Jitter ring: from packets as they come to a frame a tick, for all legs at once.

Rules:
- A payload of 8 bits a sample at a clock of 8 kHz is put where its timestamp says, so order, duplicates and packets of 10 to 60 ms
  need no thought; what its slot held before is known to be old by its stamp.
- Playing starts 10 to 30 ms after the first packet (RFC 3550 asks for none; this is what a tick every 20 ms needs at least).
- A packet that came too late makes the buffer one frame deeper, up to `DEPTH_FRAMES_MAX`; a window of `WINDOW_FRAMES` in which every
  packet was earlier than `SPARE_SECONDS` makes it shallower, at most `DROP_FRAMES_MAX`. That also follows a peer's clock that drifts.
- A stream that jumps, or pauses for `PAUSE_FRAMES`, starts anew.
"""

from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import F64, I64, U8, Bool, Index
from media.legs import FRAME_SAMPLES, FRAME_SECONDS, RING_FRAMES, Legs

DEPTH_FRAMES_MAX = 10
WINDOW_FRAMES = 100
SPARE_SECONDS = 0.032
PAUSE_FRAMES = 50
DROP_FRAMES_MAX = 4
PAYLOAD_SAMPLES_MAX = 8 * FRAME_SAMPLES
"""Packets of more than 160 ms are refused."""
_HALF = FRAME_SAMPLES // 2


class Frames(NamedTuple):
    """What is due of some legs."""

    payload: U8
    """uint8[n, 160]; lent until the next call."""
    whole: Bool
    """bool[n]: the frame is there."""
    halves: Bool
    """bool[n, 2]: which halves of it are there."""


class JitterRing:
    """The rings of all legs.

    Args:
        legs: state.
        rows_max: most legs of one `take`.
    """

    def __init__(self, legs: Legs, rows_max: int) -> None:
        self._legs = legs
        self._ring = legs.ring.reshape(-1, FRAME_SAMPLES)
        self._samples = legs.ring.reshape(-1)
        self._stamp = legs.stamp.reshape(-1, 2)
        self._stamp_both = legs.stamp.reshape(-1).view(np.int64)
        self._payload: U8 = np.zeros((rows_max, FRAME_SAMPLES), np.uint8)

    def put(self, leg: Index, position: I64, length: I64, payload: U8, wait: F64) -> None:
        """Store packets, at most one a leg.

        Args:
            leg: intp[n].
            position: int64[n]: of the first sample.
            length: int64[n]: bytes, that is samples; at most `PAYLOAD_SAMPLES_MAX`.
            payload: uint8[n, any]: at least the longest of them.
            wait: float64[n]: seconds until the leg's next tick.
        """
        legs = self._legs
        frame = position // FRAME_SAMPLES
        playing = legs.playing[leg]
        if how_many(playing) < len(playing):
            fresh = np.flatnonzero(~playing)
            row = leg[fresh]
            legs.play[row] = frame[fresh] - (wait[fresh] < 0.5 * FRAME_SECONDS)
            legs.playing[row] = True
            legs.margin[row] = RING_FRAMES * FRAME_SECONDS
            legs.window[row] = legs.hold[row] = legs.drop[row] = 0
            legs.missing[row] = -1  # the frame that the delay begins with is not missed
        ahead = frame - legs.play[leg]
        wild = (ahead >= RING_FRAMES - 1) | (ahead < -RING_FRAMES)
        if how_many(wild):
            row = leg[wild]
            legs.play[row] = frame[wild] - 1
            ahead[wild] = 1
        legs.margin[leg] = np.minimum(legs.margin[leg], ahead * FRAME_SECONDS + wait)
        ends = (position + length - 1) // FRAME_SAMPLES - legs.play[leg]
        late = ends < 0
        if how_many(late):
            row = leg[late]
            legs.late[row] += 1
            depth = legs.hold[row] + (legs.missing[row] == 0)
            legs.hold[row] = np.where(-ahead[late] < DEPTH_FRAMES_MAX, np.minimum(depth, 2), legs.hold[row])
            keep = np.flatnonzero(~late)
            leg, position, length, frame, payload = leg[keep], position[keep], length[keep], frame[keep], payload[keep]
            if not len(leg):
                return
        plain = (length == FRAME_SAMPLES) & (position % FRAME_SAMPLES == 0)
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
        slot = leg * RING_FRAMES + (frame & (RING_FRAMES - 1))
        want = (frame & 0x7FFFFFFF) * 0x1_0000_0001
        again = self._stamp_both[slot] == want
        if how_many(again):
            self._legs.late[leg[again]] += 1
        self._ring[slot] = payload[:, :FRAME_SAMPLES]
        self._stamp_both[slot] = want

    def _put_pieces(self, leg: Index, position: I64, length: I64, payload: U8) -> None:
        """Packets of any length and place: sample by sample; a half slot counts once its end was written."""
        longest = int(length.max())
        step = np.arange(longest)
        place = (position[:, None] + step) % (RING_FRAMES * FRAME_SAMPLES) + leg[:, None] * np.int64(RING_FRAMES * FRAME_SAMPLES)
        inside = step < length[:, None]
        self._samples[place[inside]] = payload[:, :longest][inside]
        first = -(-position // _HALF)
        end = (position + length + _HALF // 2) // _HALF
        for piece in range(longest // _HALF + 2):
            half = first + piece
            row = np.flatnonzero(half < end)
            if not len(row):
                return
            frame = half[row] >> 1
            self._stamp[leg[row] * np.int64(RING_FRAMES) + (frame & (RING_FRAMES - 1)), half[row] & 1] = frame & 0x7FFFFFFF

    def take(self, leg: Index) -> Frames:
        """The frames that are due now, and one step on; ``leg`` intp[n], all different."""
        legs = self._legs
        play = legs.play[leg]
        playing = legs.playing[leg]
        drop, hold = legs.drop[leg], legs.hold[leg]
        if how_many(drop):
            play += drop
            legs.drop[leg] = 0
        slot = leg * RING_FRAMES + (play & (RING_FRAMES - 1))
        want = play & 0x7FFFFFFF
        whole = (self._stamp_both[slot] == want * 0x1_0000_0001) & playing
        if how_many(hold):
            held = hold > 0
            whole &= ~held
            play -= held
            legs.hold[leg] = hold - held
        payload = self._payload[: len(leg)]
        self._ring.take(slot, axis=0, out=payload, mode="clip")
        legs.play[leg] = play + 1
        if how_many(whole) == len(whole):
            halves = np.broadcast_to(True, (len(leg), 2))
            legs.missing[leg] = 0
        else:
            halves = (self._stamp[slot] == want[:, None]) & playing[:, None] & (hold <= 0)[:, None]
            missing = np.where(halves.any(axis=1), 0, legs.missing[leg] + playing)
            legs.missing[leg] = missing
            legs.concealed[leg] += (missing > 0) & (missing <= PAUSE_FRAMES)
            paused = missing > PAUSE_FRAMES
            if how_many(paused):
                legs.playing[leg[paused]] = False
                legs.missing[leg[paused]] = 0
        self._adapt(leg)
        return Frames(payload, whole, halves)

    def _adapt(self, leg: Index) -> None:
        legs = self._legs
        window = legs.window[leg] + np.int16(1)
        over = window >= WINDOW_FRAMES
        if how_many(over):
            row: Index = leg[over].astype(np.intp)
            spare = np.maximum((legs.margin[row] - SPARE_SECONDS) / FRAME_SECONDS + 1.0, 0.0)
            legs.drop[row] = np.minimum(spare, DROP_FRAMES_MAX).astype(np.int16)
            legs.margin[row] = np.float32(RING_FRAMES * FRAME_SECONDS)
            window[over] = 0
        legs.window[leg] = window

    def restart(self, leg: Index) -> None:
        """Forget what is stored: another source, another codec, or nobody listened."""
        self._legs.playing[leg] = False
        self._legs.stamp[leg] = -1
