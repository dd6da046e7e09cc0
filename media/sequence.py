"""RTP of streams that come in: source, sequence number, interarrival jitter; for a batch at once.

Rules (RFC 3550):
- A source is a leg's SSRC. Another one takes over at once where the old one was silent for `SILENCE_SECONDS`, else by two packets in a row.
- A jump of `DROPOUT_MAX` ahead or `MISORDER_MAX` back is believed when the next number follows (A.1).
- Lost = expected - received, over all sources (A.3). Jitter is A.8, in units of the RTP clock, of audio packets only: the packets of one
  telephone event share a timestamp.
"""

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import F64, I64, U16, U32, Bool, Index
from media.extended import Bursts
from media.legs import LOSSES, POSITION_FIRST, Legs

DROPOUT_MAX = 3000
MISORDER_MAX = 100
SILENCE_SECONDS = 0.1
_ONE, _AHEAD_MAX = np.uint16(1), np.uint16(DROPOUT_MAX)


class Streams:
    """The incoming streams of all legs."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self.bursts = Bursts(legs)

    def check(self, leg: Index, ssrc: U32, sequence: U16, timestamp: U32, now: float) -> Bool | None:
        """Take packets (at most one a leg) into account: which of them count; None: all, and each is newer than those before.

        Args:
            leg: intp[n]; ssrc: uint32[n], in any byte order; sequence: uint16[n]; timestamp: uint32[n].
            now: seconds.
        """
        legs = self._legs
        highest = legs.sequence_max[leg]
        # Distance from the highest number, in 16 bits.
        ahead = sequence - highest.astype(np.uint16)
        if how_many(legs.ssrc_in[leg] != ssrc) == 0 and how_many(ahead - _ONE < _AHEAD_MAX) == len(leg):
            if self.bursts.any:
                self.bursts.note(leg, highest, ahead.astype(np.int64))
            highest += ahead
            legs.sequence_max[leg] = highest
            legs.received[leg] += 1
            legs.heard[leg] = now
            return None
        ssrc = ssrc.astype(np.uint32)
        good = self._sources(leg, ssrc, now)
        begins = good & (legs.ssrc_in[leg] != ssrc)
        delta = ahead.view(np.int16).astype(np.int64)
        jump = ((delta > DROPOUT_MAX) | (delta < -MISORDER_MAX)) & good & ~begins
        if how_many(jump):
            proven = jump & (legs.sequence_bad[leg] == sequence)
            begins |= proven
            wait = jump & ~proven
            good &= ~wait
            row = leg[wait]
            legs.sequence_bad[row] = sequence[wait] + np.uint16(1)
            legs.refused[row] += 1
        if how_many(begins):
            self._begin(leg[begins], ssrc[begins], sequence[begins], timestamp[begins], now)
            delta[begins] = 0
        row = leg[good]
        if self.bursts.any:
            self.bursts.note(row, legs.sequence_max[row], delta[good])
        legs.sequence_max[row] += np.maximum(delta[good], 0)
        legs.received[row] += 1
        legs.heard[row] = now
        return good

    def _sources(self, leg: Index, ssrc: U32, now: float) -> Bool:
        """Which packets are of the source that a leg has, or of one that takes over."""
        legs = self._legs
        other = (legs.ssrc_in[leg] != ssrc) & (legs.ssrc_in[leg] >= 0)
        silent = now - legs.heard[leg] >= SILENCE_SECONDS
        again = (legs.ssrc_next[leg] == ssrc) & (legs.ssrc_next_after[leg] == legs.received[leg])
        wait = other & ~silent & ~again
        row = leg[wait]
        legs.ssrc_next[row], legs.ssrc_next_after[row] = ssrc[wait], legs.received[row]
        legs.refused[row] += 1
        return np.asarray(~wait)

    def _begin(self, leg: Index, ssrc: U32, sequence: U16, timestamp: U32, now: float) -> None:
        legs = self._legs
        legs.lost_before[leg] += self.lost_now(leg)
        legs.received_before[leg] += legs.received[leg]
        # What was relayed of the source before joins on anew.
        target = legs.target[leg]
        legs.relay_source[target[target >= 0]] = -1
        legs.ssrc_in[leg] = ssrc
        legs.ssrc_next[leg] = legs.sequence_bad[leg] = -1
        legs.sequence_max[leg] = legs.sequence_first[leg] = sequence.astype(np.int64) + 65536
        legs.received[leg] = legs.expected_prior[leg] = legs.received_prior[leg] = 0
        legs.position[leg] = POSITION_FIRST
        legs.position_base[leg] = timestamp - np.uint32(POSITION_FIRST)
        legs.transit[leg] = now * legs.rate[leg] - POSITION_FIRST
        legs.remote_report[leg] = 0.0
        legs.playing[leg] = False
        legs.losses[leg] = np.zeros(1, LOSSES)[0]
        legs.stamp[leg] = -1

    def change(self, leg: Index, timestamp: U32, clock: F64, now: float) -> None:
        """Legs receive a codec of perhaps another clock, float64[n] Hz, from this packet on: count positions anew."""
        legs = self._legs
        legs.rate[leg] = clock
        legs.position[leg] = POSITION_FIRST
        legs.position_base[leg] = timestamp - np.uint32(POSITION_FIRST)
        legs.transit[leg] = now * clock - POSITION_FIRST

    def lost_now(self, leg: Index) -> I64:
        """int64[n]: lost of the source that sends now."""
        legs = self._legs
        expected = np.where(legs.ssrc_in[leg] >= 0, legs.sequence_max[leg] - legs.sequence_first[leg] + 1, 0)
        return np.asarray(np.maximum(expected - legs.received[leg], 0))

    def place(self, leg: Index, timestamp: U32, arrived: F64) -> I64:
        """Where audio packets lie in their streams, int64[n] samples; their arrival, float64[n] seconds, tells of jitter."""
        legs = self._legs
        newest = legs.position[leg]
        step = (timestamp - legs.position_base[leg] - newest.astype(np.uint32)).view(np.int32)
        position = newest + step
        np.maximum(position, newest, out=newest)
        legs.position[leg] = newest
        rate = legs.rate[leg]
        transit = arrived * rate
        transit -= position
        deviation = transit - legs.transit[leg]
        legs.transit[leg] = transit
        np.abs(deviation, out=deviation)
        # A clock that was set is no jitter: a second is the most that counts.
        np.minimum(deviation, rate, out=deviation)
        jitter = legs.jitter[leg]
        deviation -= jitter
        deviation *= 0.0625
        deviation += jitter
        legs.jitter[leg] = deviation
        return position
