"""RTP of streams that come in: source, sequence number, interarrival jitter; for a batch at once.

Rules (RFC 3550):
- A source is a leg's SSRC. Another one takes over at once where the old one was silent for `SILENCE_SECONDS`, else by two packets in a row.
- A jump of `DROPOUT_MAX` ahead or `MISORDER_MAX` back is believed when the next number follows (A.1).
- Lost = expected - received, over all sources (A.3). Jitter is A.8, in units of the RTP clock, of audio packets only: the packets of one
  telephone event share a timestamp.
"""

import numpy as np

from media.arrays import I32, I64, U16, U32, Bool
from media.jitter import POSITION_FIRST
from media.legs import Legs

DROPOUT_MAX = 3000
MISORDER_MAX = 100
SILENCE_SECONDS = 0.1


class Streams:
    """The incoming streams of all legs."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def check(self, leg: I32, ssrc: U32, sequence: U16, timestamp: U32, now: float) -> Bool:
        """Take packets (at most one a leg) into account: which of them count.

        Args:
            leg: int32[n]; ssrc: uint32[n]; sequence: uint16[n]; timestamp: uint32[n], all in host order.
            now: seconds.
        """
        legs = self._legs
        good = np.ones(len(leg), np.bool_)
        begins = ~legs.started[leg]
        other = (legs.ssrc_in[leg] != ssrc) & ~begins
        if other.any():
            silent = now - legs.heard[leg] >= SILENCE_SECONDS
            again = legs.ssrc_next_valid[leg] & (legs.ssrc_next[leg] == ssrc)
            take = other & (silent | again)
            wait = other & ~take
            begins |= take
            good &= ~wait
            row = leg[wait]
            legs.ssrc_next[row], legs.ssrc_next_valid[row] = ssrc[wait], True
            legs.refused[row] += 1
        # Signed distance from the highest number, in 16 bits.
        delta = (sequence - legs.sequence_max[leg].astype(np.uint16)).view(np.int16).astype(np.int64)
        jump = ((delta > DROPOUT_MAX) | (delta < -MISORDER_MAX)) & good & ~begins
        if jump.any():
            proven = jump & (legs.sequence_bad[leg] == sequence)
            begins |= proven
            wait = jump & ~proven
            good &= ~wait
            row = leg[wait]
            legs.sequence_bad[row] = (sequence[wait] + np.uint16(1)).astype(np.int32)
            legs.refused[row] += 1
        if begins.any():
            self._begin(leg[begins], ssrc[begins], sequence[begins], timestamp[begins])
            delta[begins] = 0
        if good.all():
            row, step = leg, delta
        else:
            row, step = leg[good], delta[good]
        legs.sequence_max[row] += np.maximum(step, 0)
        legs.received[row] += 1
        legs.packets_in[row] += 1
        legs.ssrc_next_valid[row] = False
        legs.heard[row] = now
        return good

    def _begin(self, leg: I32, ssrc: U32, sequence: U16, timestamp: U32) -> None:
        legs = self._legs
        legs.lost_before[leg] += self.lost_now(leg)
        legs.started[leg] = True
        legs.ssrc_in[leg] = ssrc
        legs.sequence_max[leg] = legs.sequence_first[leg] = sequence.astype(np.int64) + 65536
        legs.sequence_bad[leg] = -1
        legs.received[leg] = legs.expected_prior[leg] = legs.received_prior[leg] = 0
        legs.position[leg] = POSITION_FIRST
        legs.timestamp_in[leg] = timestamp
        legs.transit[leg] = np.nan
        legs.remote_report[leg] = 0.0
        legs.playing[leg] = False
        legs.stamp[leg] = -1

    def lost_now(self, leg: I32) -> I64:
        """int64[n]: lost of the source that sends now."""
        legs = self._legs
        expected = np.where(legs.started[leg], legs.sequence_max[leg] - legs.sequence_first[leg] + 1, 0)
        return np.asarray(np.maximum(expected - legs.received[leg], 0))

    def place(self, leg: I32, timestamp: U32, now: float) -> I64:
        """Where audio packets lie in their streams, int64[n] samples; and what their arrival says about jitter."""
        legs = self._legs
        step = (timestamp - legs.timestamp_in[leg]).view(np.int32).astype(np.int64)
        position = legs.position[leg] + step
        transit = now * legs.rate[leg] - position
        deviation = np.abs(transit - legs.transit[leg])
        # The first packet of a stream has nothing to compare with: its transit is NaN; and a clock that was set is no jitter.
        jitter = legs.jitter[leg]
        known = deviation < legs.rate[leg]
        legs.jitter[leg] = np.where(known, jitter + (np.where(known, deviation, 0.0) - jitter) / 16.0, jitter)
        legs.transit[leg] = transit
        ahead = step > 0
        legs.position[leg] = np.where(ahead, position, legs.position[leg])
        legs.timestamp_in[leg] = np.where(ahead, timestamp, legs.timestamp_in[leg])
        return position
