"""Relay: packets go on to another leg (or back) as they come, without decoding.

Rules:
- The stream that goes out is the leg's own: its SSRC, and sequence numbers and timestamps that go on from what it sent before, whatever
  it was. Gaps and order of the stream that comes in are kept, so the far side sees loss and jitter as they are.
- What can't be relayed (an event that the far side did not agree on) leaves no gap.
- PCMU and PCMA are changed into each other on the way, two codes a lookup.
"""

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import I64, U8, U16, U64, Bool, Index
from media.codecs import COMFORT, EVENT, PCMA
from media.datagrams import BATCH, Inbox, Outbox, pointers
from media.g711 import CHANGE_PAIRS
from media.legs import FRAME_SECONDS, Legs
from media.packets import Packets
from media.sockets import Sockets
from media.srtp.guard import PACKET_BYTES_MAX, Guard

_PAIRS = np.intp(65536)
_ONE, _BEHIND = np.uint16(1), np.uint16(0x8000)
"""A distance of sequence numbers from `_BEHIND` on is one back."""


class Relay:
    """Sends rows of the inbox on."""

    def __init__(self, legs: Legs, inbox: Inbox, sockets: Sockets, guard: Guard) -> None:
        self._legs = legs
        self._inbox = inbox
        self._sockets = sockets
        self._guard = guard
        self.outbox = Outbox(sockets.ring)
        self._straight = Outbox()
        iov = np.zeros((BATCH, 2), np.uint64)
        iov[:, 0] = pointers(inbox.data)
        self._size: U64 = iov[:, 1]
        self._iov = iov
        self._straight.point(pointers(iov.view(np.uint8)))
        self._address: U64 = pointers(legs.address)
        data = inbox.data
        self._place: U64 = pointers(data)
        self._pairs = data.view(np.uint16)
        self._second: U8 = data[:, 1]
        self._sequence = data[:, 2:4].view(">u2")[:, 0]
        self._timestamp = data[:, 4:8].view(">u4")[:, 0]
        self._ssrc = data[:, 8:12].view(">u4")[:, 0]

    def send(self, packets: Packets, target: Index, now: float) -> None:
        """Send packets on to ``target``, intp[n]; their rows of the inbox are written over."""
        legs = self._legs
        # Another SSRC of the same leg has cleared it (`media.sequence`).
        changed = legs.relay_source[target] >> 32 != packets.leg
        if how_many(changed):
            self._join(packets.pick(changed), target[changed], now)
        codec = legs.codec[target]
        kind_out = legs.payload_type[target]
        differs = packets.kind != codec
        if how_many(differs):
            if how_many(np.maximum(packets.kind, codec) > PCMA) == 0:
                self._change(packets, differs)
            else:
                packets, target, kind_out = self._translate(packets, target, codec, kind_out)
                if not len(target):
                    return
        row, where, _, size, sequence, timestamp, _, _ = packets
        sequence = sequence + legs.relay_sequence[target]
        timestamp = timestamp + legs.relay_timestamp[target]
        last = legs.sequence_out[target]
        if how_many(sequence - last >= _BEHIND) == 0:
            legs.sequence_out[target] = sequence + _ONE
            legs.timestamp_out[target] = timestamp
        else:
            newest = sequence - last < _BEHIND
            ahead = target[newest]
            legs.sequence_out[ahead] = sequence[newest] + _ONE
            legs.timestamp_out[ahead] = timestamp[newest]
        legs.clock_out[target] = now
        marker = legs.marker[target]
        if how_many(marker):
            kind_out = kind_out | marker.view(np.uint8) << np.uint8(7)
            legs.marker[target] = False
        self._second[where] = kind_out | (self._second[where] & 0x80)
        self._sequence[where] = sequence
        self._timestamp[where] = timestamp
        self._ssrc[where] = legs.ssrc_out[target]
        legs.packets_out[target] += 1
        legs.bytes_out[target] += size
        if self._guard.any:
            row, target, size = self._seal(row, target, size + 12, sequence)
            if len(row):
                self._inbox.size[row] = size
                self._post(row, row, target)
                self._inbox.rewind()
        elif isinstance(where, slice) and where.start == 0 and not self._sockets.any_own:
            # Rows 0 to n, by the shared socket.
            np.add(size, 12, out=self._size[: len(size)], casting="unsafe")
            self._straight.send(self._sockets.rtp, 0, self._straight.address(self._address[target]))
        else:
            self._inbox.size[where] = size + 12
            self._post(row, where, target)
            self._inbox.rewind()

    def _translate(self, packets: Packets, target: Index, codec: U8, kind_out: U8) -> tuple[Packets, Index, U8]:
        """Where what comes is not what goes: the other law, events, comfort noise, or nothing that could go on."""
        legs, kind = self._legs, packets.kind
        kind_out = np.where(kind == EVENT, legs.event_type[target], np.where(kind == COMFORT, legs.comfort_type[target], kind_out))
        can = (kind == codec) | ((kind <= PCMA) & (codec <= PCMA)) | ((kind >= EVENT) & (kind_out > 0))
        if how_many(can) < len(can):
            legs.relay_sequence[target[~can]] -= np.uint16(1)
            packets, target, codec, kind_out = packets.pick(can), target[can], codec[can], kind_out[can]
        differs = (packets.kind != codec) & (packets.kind <= PCMA)
        if how_many(differs):
            self._change(packets, differs)
        return packets, target, kind_out

    def _join(self, packets: Packets, target: Index, now: float) -> None:
        """Another source for some legs: let its numbers go on from what they sent last."""
        legs = self._legs
        legs.relay_source[target] = packets.leg << 32 | legs.ssrc_in[packets.leg]
        legs.relay_sequence[target] = legs.sequence_out[target] - packets.sequence
        elapsed = np.maximum((now - legs.clock_out[target]) * legs.clock[target], legs.clock[target] * FRAME_SECONDS)
        legs.relay_timestamp[target] = legs.timestamp_out[target] + elapsed.astype(np.int64).astype(np.uint32) - packets.timestamp
        legs.marker[target] = True

    def _change(self, packets: Packets, differs: Bool) -> None:
        """Change the payloads for which ``differs`` holds to the other law, two codes a lookup."""
        where, end = packets.where, (int(packets.size.max()) + 13) // 2
        codes = self._pairs[where, 6:end]
        # The law that it is of is the number of its change, 0 of none (`media.g711.CHANGE`).
        place = np.add(codes, (packets.kind * differs * _PAIRS)[:, None], dtype=np.intp)
        self._pairs[where, 6:end] = CHANGE_PAIRS.take(place, mode="clip")

    def _seal(self, row: Index, target: Index, size: I64, sequence: U16) -> tuple[Index, Index, I64]:
        """Protect packets to secured legs in their rows; those that can't be are dropped."""
        secured = np.flatnonzero(self._legs.secured.take(target))
        if not len(secured):
            return row, target, size
        size[secured[size[secured] > PACKET_BYTES_MAX]] = 0
        secured = secured[size[secured] > 0]
        size[secured] = self._guard.seal(target[secured], self._place[row[secured]], size[secured], sequence[secured])
        sent = size > 0
        return row[sent], target[sent], size[sent]

    def _post(self, row: Index, where: Index | slice, target: Index) -> None:
        if self._sockets.any_own:
            own = self._legs.own[target]
            some = how_many(own)
            if some == len(own):
                self.outbox.load(self._address[target], self._inbox.iov[where], 1)
                self.outbox.send_each(self._sockets.own_rtp(target))
                return
            if some:
                mine, to = row[own], target[own]
                self.outbox.load(self._address[to], self._inbox.iov[mine], 1)
                self.outbox.send_each(self._sockets.own_rtp(to))
                where, target = row[~own], target[~own]
        self.outbox.send(self._sockets.rtp, 0, self.outbox.load(self._address[target], self._inbox.iov[where], 1))
