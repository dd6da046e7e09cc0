"""What the ticks send: RTP headers written as arrays, payloads from wherever they were made, one system call a batch.

Rules (RFC 3550 section 5.1, RFC 3551 section 4.1):
- Sequence numbers go up by one a packet. Timestamps go up by a frame where the last one was sent a tick ago, else by the time that passed,
  and then the packet has the marker bit: a talkspurt begins.
"""

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import I64, U8, U16, U32, U64, Index
from media.datagrams import BATCH, Outbox, Pages, pointers
from media.legs import FRAME_SECONDS, PACKET_BYTES_MAX, Legs
from media.sockets import Sockets
from media.srtp.guard import Guard
from media.srtp.suites import TRAILER_BYTES_MAX

PAUSE_SECONDS = 1.5 * FRAME_SECONDS


class Sender:
    """The way out of the ticks, for all legs."""

    def __init__(self, legs: Legs, sockets: Sockets, guard: Guard) -> None:
        self._legs, self._sockets, self._guard = legs, sockets, guard
        self._whole: U8 = np.zeros((BATCH, 12 + PACKET_BYTES_MAX + TRAILER_BYTES_MAX), np.uint8)
        """Packets of secured legs in one piece."""
        self._places = pointers(self._whole)
        self._iov = np.zeros((BATCH, 2), np.uint64)
        self._iov[:, 0] = self._places
        self._iovs = pointers(self._iov.view(np.uint8))
        self.outbox = Outbox(sockets.ring)
        self._pages = Pages(12)
        header = self._pages.header
        header[:, 0] = 0x80
        self._second: U8 = header[:, 1]
        self._sequence = header[:, 2:4].view(">u2")[:, 0]
        self._timestamp = header[:, 4:8].view(">u4")[:, 0]
        self._ssrc = header[:, 8:12].view(">u4")[:, 0]
        self._address: U64 = pointers(legs.address)

    def advance(self, leg: Index, now: float) -> None:
        """Move the clocks of legs, intp[n], to the frame of this tick: `Legs.timestamp_out` is then its timestamp."""
        legs = self._legs
        step = legs.clock[leg] * FRAME_SECONDS
        elapsed = now - legs.clock_out[leg]
        paused = elapsed > PAUSE_SECONDS
        if how_many(paused):
            frames = np.maximum(np.rint(elapsed / FRAME_SECONDS), 1.0)
            step = np.where(paused, step * frames, step)
            legs.marker[leg[paused]] = True
        legs.timestamp_out[leg] += step.astype(np.int64).astype(np.uint32)
        legs.clock_out[leg] = now

    def audio(self, leg: Index, payload: U8, size: int | I64, row: Index | None = None) -> None:
        """Send a frame to each of some legs: intp[n], uint8[n, bytes] (C-contiguous), of which ``size`` bytes count.

        With ``row``, intp[n], many legs may share a payload: each is sent ``payload[row]``.
        """
        legs = self._legs
        kind = legs.payload_type[leg] | legs.marker[leg].view(np.uint8) << np.uint8(7)
        legs.marker[leg] = False
        self.packets(leg, kind, legs.timestamp_out[leg], payload, size, row)

    def packets(self, leg: Index, second: U8, timestamp: U32, payload: U8, size: int | I64, shared: Index | None = None) -> None:
        """Send packets whose second byte (marker and payload type) and timestamp are given."""
        legs = self._legs
        for first in range(0, len(leg), BATCH):
            part = slice(first, first + BATCH)
            row = leg[part]
            count = len(row)
            sequence = legs.sequence_out[row]
            self._second[:count] = second[part]
            self._sequence[:count] = sequence
            self._timestamp[:count] = timestamp[part]
            self._ssrc[:count] = legs.ssrc_out[row]
            legs.sequence_out[row] = sequence + np.uint16(1)
            legs.packets_out[row] += 1
            bytes_each = size if isinstance(size, int) else size[part]
            legs.bytes_out[row] += bytes_each
            if shared is None:
                self._pages.lend(payload[part], bytes_each)
            else:
                self._pages.share(payload, shared[part], bytes_each)
            if self._guard.any:
                self._post_secured(row, payload[part] if shared is None else payload[shared[part]], bytes_each, sequence)
            else:
                self._post(row, self._pages.iov[:count], 2)

    def _post_secured(self, leg: Index, payload: U8, size: int | I64, sequence: U16) -> None:
        """Send rows of the pages, those of secured legs as whole packets, protected."""
        secured = self._legs.secured[leg]
        plain = np.flatnonzero(~secured)
        if len(plain):
            self._post(leg[plain], self._pages.iov[plain], 2)
        rows = np.flatnonzero(secured)
        count = len(rows)
        if not count:
            return
        header, whole = self._pages.header, self._whole
        width = min(payload.shape[1], PACKET_BYTES_MAX)
        whole[:count, :12] = header[rows]
        whole[:count, 12 : 12 + width] = payload[rows, :width]
        lengths = np.full(count, size, np.int64) if isinstance(size, int) else size[rows].astype(np.int64)
        closed = self._guard.seal(leg[rows], self._places[:count], lengths + 12, sequence[rows])
        self._iov[:count, 1] = closed
        sent = np.flatnonzero(closed)
        if len(sent):
            self._post(leg[rows[sent]], self._iovs[sent], 1)

    def _post(self, leg: Index, iov: U64, pieces: int) -> None:
        own = self._legs.own[leg]
        if how_many(own):
            mine = leg[own]
            self.outbox.load(self._address[mine], iov[own], pieces)
            self.outbox.send_each(self._sockets.own_rtp(mine))
            leg, iov = leg[~own], iov[~own]
        if len(leg):
            self.outbox.send(self._sockets.rtp, 0, self.outbox.load(self._address[leg], iov, pieces))
