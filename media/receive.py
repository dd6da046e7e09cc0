"""What comes in by the sockets: sorted to legs, checked, counted; to the jitter rings, the relay, the events and the reports.

Rules:
- Whatever the bytes are, nothing raises: rows that are no packet of a leg are dropped and counted.
- The source of a leg is the address that the SDP names, or, on a socket of its own, the one that the first packet came from. A leg
  that was heard within `HOLD_SECONDS` keeps its source: a third party can't take the stream; who sends from where the SDP says can.
- On the shared pair, an unknown source becomes a leg's only if exactly one leg was never heard and differs from it in either host or
  port alone; at most `STRANGERS_MAX` are looked at in a tick.
- Packets of secured legs are opened before anything is believed of them: what is not authentic changes no source.
- One leg's packets of one batch are taken one after the other, in rounds. A flood may not cost others their time: further rounds than the
  first of a batch come out of an allowance, `ROUNDS_PER_SECOND` and `ROUNDS_MAX` after a pause; what is beyond it is refused.
- A tick takes at most `BATCHES_MAX` batches of a shared socket and `OWN_ROUNDS_MAX` datagrams of an own one; the kernel keeps the rest.
"""

from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media.addresses import Addresses, key, same, text
from media.arrays import F64, I64, U8, U64, Bool, Index
from media.codecs import CLOCKS, COMFORT, EVENT, OPUS
from media.coders import RATE, linear_samples, packet_samples
from media.datagrams import BATCH, DATAGRAM_BYTES_MAX, Inbox
from media.events import EventsIn
from media.jitter import PAYLOAD_SAMPLES_MAX, JitterRing, PacketRing, Playout
from media.legs import NOISE, Legs
from media.packets import Packets, Rows
from media.relay import Relay
from media.rtcp import ReportsIn
from media.sequence import Streams
from media.sockets import Sockets
from media.srtp.guard import Guard
from media.transcode import Transcoder
from media.webrtc.link import DTLS_MAX, Links

HOLD_SECONDS = 3.0
STRANGERS_MAX = 32
COMFORT_BYTES_MAX = 13
"""Of comfort noise: level and `media.comfort_noise.ORDER_MAX` coefficients."""
ROUNDS_MAX = 64
ROUNDS_PER_SECOND = 1600
BATCHES_MAX = 64
OWN_ROUNDS_MAX = 4
HEADER_BYTES = 12


class Ways(NamedTuple):
    """Where packets go."""

    playout: Playout
    ring: JitterRing
    packets: PacketRing
    transcoder: Transcoder
    relay: Relay
    events: EventsIn
    reports: ReportsIn
    guard: Guard
    links: Links


class Receiver:
    """The way in, for all legs.

    Args:
        legs: state.
        sockets: where from.
        rtp, rtcp: sources of the shared pair.
        ways: where to.
    """

    def __init__(
        self,
        legs: Legs,
        sockets: Sockets,
        inbox: Inbox,
        rtp: Addresses,
        rtcp: Addresses,
        ways: "Ways",
    ) -> None:
        self._legs, self._sockets, self._inbox = legs, sockets, inbox
        self._rtp, self._rtcp = rtp, rtcp
        (
            self._playout,
            self._ring,
            self._packet_ring,
            self._transcoder,
            self._relay,
            self._events,
            self._reports,
            self._guard,
            self._links,
        ) = ways
        self._streams = Streams(legs)
        self.bursts = self._streams.bursts
        self._kinds = legs.kinds.reshape(-1)
        self._mark: Index = np.zeros(legs.capacity, np.intp)
        self._order: Index = np.arange(BATCH)
        self._owner: Index = np.zeros(BATCH, np.intp)
        self._source: U64 = legs.address.view(np.uint64)[:, 0]
        self._hosts: U64 = legs.address.view(np.uint64)[:, 1:3]
        data = inbox.data
        self._first: U8 = data[:, 0]
        self._second: U8 = data[:, 1]
        self._sequence = data[:, 2:4].view(">u2")[:, 0]
        self._timestamp = data[:, 4:8].view(">u4")[:, 0]
        self._ssrc = data[:, 8:12].view(">u4")[:, 0]
        self._strangers = 0
        self._came: F64 = np.zeros(BATCH)
        self._since = self._before = 0.0
        self._rounds = ROUNDS_MAX
        """Rounds that may be taken now besides the first of each batch."""
        self._hushed = True
        """Some peer may have said that it is silent."""
        self.relays = self.rings = self.pressing = True
        """Some leg may be relayed, be wanted by ticks, press keys: what nobody needs is not looked for."""
        self.stray = 0
        """Datagrams that no leg claimed."""
        self.tick = 0
        """Number of the tick that is served after receiving."""

    def drain(self, now: float) -> int:
        """Take what waits at all sockets; how many packets that were."""
        self._strangers = STRANGERS_MAX
        self._since, self._before = now - self._before, now
        self._rounds = min(self._rounds + int(self._since * ROUNDS_PER_SECOND), ROUNDS_MAX)
        inbox = self._inbox
        taken = 0
        for _ in range(BATCHES_MAX):
            count = inbox.receive(self._sockets.rtp, 0)
            if count:
                taken += count
                if self._guard.any:
                    self._guard.opened.fill(False)
                leg = self._rtp.find(inbox.key[:count])
                known = how_many(leg < 0) == 0
                if not known:
                    self._meet(leg, count)
                self._take(leg, known, count, now)
            if count < BATCH:
                break
        for _ in range(BATCHES_MAX):
            count = inbox.receive(self._sockets.rtcp, 0)
            if count:
                inbox.arrivals(count, now, 0.0)
                self._take_reports(self._rtcp.find(inbox.key[:count]), self._order[:count], now)
            if count < BATCH:
                break
        return taken + self._drain_own(now) if self._sockets.any_own else taken

    def _drain_own(self, now: float) -> int:
        """Own sockets, one datagram of each in a round, so that a batch holds many legs; how many that were."""
        inbox, sockets = self._inbox, self._sockets
        filled = taken = 0
        if sockets.six:
            inbox.widen()
        for _ in range(OWN_ROUNDS_MAX):
            readable = sockets.readable()
            if not len(readable):
                break
            while len(readable):
                if filled == BATCH:
                    self._take_own(filled, now)
                    taken += filled
                    filled = 0
                    inbox.widen()
                part, readable = readable[: BATCH - filled], readable[BATCH - filled :]
                served = inbox.receive_each(part, filled)
                self._owner[filled : filled + len(served)] = sockets.owner(served)
                filled += len(served)
        if filled:
            self._take_own(filled, now)
        return taken + filled

    def _take_own(self, count: int, now: float) -> None:
        """Rows of own sockets: a leg's source must be the one that it holds, or it is latched onto now."""
        legs = self._legs
        if self._guard.any:
            self._guard.opened.fill(False)
        owner = self._owner[:count]
        leg = owner >> 1
        plain = how_many(owner & 1) == how_many(self._source[leg] != self._inbox.key[:count]) == 0
        if plain and not self._links and not self._sockets.six:
            self._take(leg, True, count, now)
            return
        is_rtcp = (owner & 1) > 0
        if self._links:
            self._reach(leg, is_rtcp, count, now)
        foreign = self._foreign(leg, is_rtcp, count)
        if how_many(foreign):
            for place in np.flatnonzero(foreign & ~is_rtcp).tolist():
                self._latch(int(leg[place]), place, now)
            foreign = self._foreign(leg, is_rtcp, count)
            np.add.at(legs.refused, leg[foreign], 1)
            leg[foreign] = -1
        if how_many(is_rtcp):
            row = np.flatnonzero(is_rtcp)
            self._take_reports(leg[row], row, now)
            leg[row] = -1
        self._take(leg, False, count, now)

    def _reach(self, leg: Index, is_rtcp: Bool, count: int, now: float) -> None:
        """Take STUN and DTLS out: their rows are no leg's then."""
        for row in np.flatnonzero((self._first[:count] <= DTLS_MAX) & ~is_rtcp).tolist():
            data = self._inbox.data[row, : self._inbox.length[row]].tobytes()
            self._links.receive(int(leg[row]), data, text(self._inbox.address[row]), now)
            leg[row] = -1
            self.stray -= 1

    def _foreign(self, leg: Index, is_rtcp: Bool, count: int) -> Bool:
        """bool[count]: not from where the leg is; of RTCP the host alone is looked at (the upper half of the key)."""
        differs = self._source[leg] ^ self._inbox.key[:count]
        foreign = np.where(is_rtcp, differs >> np.uint64(32), differs) != 0
        if self._sockets.six:
            foreign |= self._legs.six[leg] & (self._hosts[leg] != self._inbox.words[:count, 1:3]).any(axis=1)
        return np.asarray(foreign & (leg >= 0) & ~(self._legs.ice[leg] & self._legs.secured[leg]))

    def _latch(self, leg: int, row: int, now: float) -> None:
        legs = self._legs
        source = self._inbox.address[row]
        if legs.ice[leg] or not self._plausible(row) or int(source[2]) + int(source[3]) == 0 or not self._authentic(leg, row):
            return
        from_told = same(source, legs.told[leg])
        if not from_told and legs.ssrc_in[leg] >= 0 and now - legs.heard[leg] < HOLD_SECONDS:
            return
        legs.address[leg] = source
        legs.latched[leg] = True
        if legs.mux[leg]:
            legs.address_rtcp[leg] = source

    def _authentic(self, leg: int, row: int) -> bool:
        """It is the leg's, as far as that can be proven; a packet of a secured leg is then open."""
        guard = self._guard
        if self._legs.secured[leg]:
            guard.opened[row] = guard.open(np.array([row]), np.array([leg]))[0]
            return bool(guard.opened[row])
        return True

    def _plausible(self, row: int) -> bool:
        """It looks like RTP at least."""
        return bool(self._inbox.length[row] >= HEADER_BYTES and self._first[row] & 0xC0 == 0x80)

    def _meet(self, leg: Index, count: int) -> None:
        """Unknown sources at the shared socket: see whether one leg's address was told wrongly."""
        legs, inbox = self._legs, self._inbox
        for row in np.flatnonzero(leg < 0).tolist():
            if self._strangers == 0:
                return
            self._strangers -= 1
            if not self._plausible(row):
                continue
            known = self._rtp.get(key(inbox.address[row]))
            if known < 0:
                waiting = self._awaited(row)
                if len(waiting) != 1 or not self._authentic(int(waiting[0]), row):
                    continue
                known = int(waiting[0])
                self._rtp.remove(known)
                self._rtp.add(key(inbox.address[row]), known)
                legs.address[known] = inbox.address[row]
                legs.latched[known] = True
                if legs.mux[known]:
                    legs.address_rtcp[known] = inbox.address[row]
            leg[row] = known

    def _awaited(self, row: int) -> Index:
        """Legs of the shared pair that an unknown source may be.

        The one whose description names it, though another source was believed to be it meanwhile; else those that were never heard and
        differ from it in either host or port alone.
        """
        legs = self._legs
        shared = np.flatnonzero(legs.used & ~legs.own & legs.receives & (legs.told[:, 0] != 0))
        same = legs.told[shared, 2:8] == self._inbox.address[row, 2:8]
        exact = shared[same.all(axis=1)]
        if len(exact):
            return np.asarray(exact)
        waiting = (legs.ssrc_in[shared] < 0) & ~legs.latched[shared]
        return np.asarray(shared[waiting & (same[:, :2].all(axis=1) | same[:, 2:].all(axis=1))])

    def _take_reports(self, leg: Index, row: Index, now: float) -> None:
        """RTCP in rows of the inbox, each of a leg or -1."""
        inbox = self._inbox
        control = (self._first[row] & 0xC0 == 0x80) & (self._second[row] & 0xE0 == 0xC0) & (inbox.length[row] < DATAGRAM_BYTES_MAX)
        good = control & (leg >= 0)
        if self._guard.any:
            secured = np.flatnonzero(good & self._legs.secured[leg])
            good[secured] = self._guard.open_reports(row[secured], leg[secured])
        self._refuse(leg[~good])
        if how_many(good):
            self._reports.take(row[good], leg[good], now)

    def _refuse(self, leg: Index) -> None:
        known = leg >= 0
        np.add.at(self._legs.refused, leg[known], 1)
        self.stray += len(leg) - int(how_many(known))

    def _take(self, leg: Index, known: bool, count: int, now: float) -> None:
        """Rows ``0 .. count`` of the inbox, each of a leg or -1 (``known``: none is); RTP, or RTCP on the same port."""
        self._came = self._inbox.arrivals(count, now, self._since)
        row = self._order[:count]
        size: I64 = self._inbox.length[:count].astype(np.int64)
        size -= HEADER_BYTES
        kind = self._kinds[leg * 128 + (self._second[:count] & 0x7F)]
        # What fills the whole row was cut.
        sized = size.view(np.uint64) < DATAGRAM_BYTES_MAX - HEADER_BYTES
        bare = self._first[:count] == 0x80
        if known and not self._guard.any and how_many(kind) == how_many(bare & sized) == count:
            self._mark[leg] = row
            if how_many(self._mark[leg] == row) == count:
                self._packets(Rows(row, slice(0, count), leg, size, kind), now)
                return
        else:
            row, leg = self._sort(leg, row, sized, now)
            if not len(row):
                return
            self._mark[leg] = row
            if how_many(self._mark[leg] == row) == len(row):
                self._rows(row, leg, now)
                return
        while True:
            self._mark[leg[::-1]] = row[::-1]
            first = self._mark[leg] == row
            self._rows(row[first], leg[first], now)
            row, leg = row[~first], leg[~first]
            if not len(row):
                return
            if not self._rounds:
                break
            self._rounds -= 1
        self._refuse(leg)

    def _sort(self, leg: Index, row: Index, sized: Bool, now: float) -> tuple[Index, Index]:
        """Take what is no RTP of a leg out of a batch: refused, or a report, or not authentic."""
        count = len(row)
        # Packet types 192 to 223 are RTCP (RFC 5761 section 4).
        control = (self._second[:count] & 0xE0) == 0xC0
        good = sized & (leg >= 0) & (self._first[:count] & 0xC0 == 0x80) & ~control
        if how_many(good) < count:
            reports = np.flatnonzero(control & (leg >= 0))
            if len(reports):
                self._take_reports(leg[reports], reports, now)
            rest = ~good
            rest[reports] = False
            self._refuse(leg[rest])
            row, leg = row[good], leg[good]
        return self._admit(row, leg) if self._guard.any and len(row) else (row, leg)

    def _rows(self, row: Index, leg: Index, now: float) -> None:
        """Rows of RTP, at most one a leg, whatever their headers hold."""
        size: I64 = self._inbox.length[row].astype(np.int64) - HEADER_BYTES
        if how_many(self._first[row] != 0x80):
            row, leg, size = self._bare(row, leg, size)
        kind = self._kinds[leg * 128 + (self._second[row] & 0x7F)]
        if how_many(kind) < len(kind):
            self._legs.refused[leg[kind == 0]] += 1
            known = kind > 0
            row, leg, size, kind = row[known], leg[known], size[known], kind[known]
        if len(row):
            together = row[-1] - row[0] + 1 == len(row)
            self._packets(Rows(row, slice(int(row[0]), int(row[-1]) + 1) if together else row, leg, size, kind), now)

    def _admit(self, row: Index, leg: Index) -> tuple[Index, Index]:
        """Open packets of secured legs; what is not authentic is refused."""
        closed = np.flatnonzero(self._legs.secured[leg] & ~self._guard.opened[row])
        if not len(closed):
            return row, leg
        good = np.ones(len(row), np.bool_)
        good[closed] = self._guard.open(row[closed], leg[closed])
        self._refuse(leg[~good])
        return row[good], leg[good]

    def _packets(self, rows: Rows, now: float) -> None:
        """RTP of kinds that are known, at most one packet a leg."""
        legs = self._legs
        row, where, leg, size, kind = rows
        sequence, timestamp = self._sequence[where].astype(np.uint16), self._timestamp[where].astype(np.uint32)
        packets = Packets(row, where, leg, size, sequence, timestamp, kind, self._came[where])
        good = self._streams.check(leg, self._ssrc[where], sequence, timestamp, now)
        if good is not None:
            packets = packets.pick(good)
        leg, kind = packets.leg, packets.kind
        legs.bytes_in[leg] += packets.size
        changed = kind != legs.codec_in[leg]
        if not how_many(changed):
            self._audio(packets, now)
        else:
            self._others(packets, changed, now)
        if not self.relays:
            return
        target = legs.target[leg]
        on = target >= 0
        if how_many(on):
            on &= legs.sends[target]
            if self.pressing:
                on &= legs.digits_waiting[target] == 0
            if how_many(on) == len(on):
                self._relay.send(packets, target, now)
            elif how_many(on):
                self._relay.send(packets.pick(on), target[on], now)

    def _others(self, packets: Packets, changed: Bool, now: float) -> None:
        """A batch that is not all of the codecs that came before: other codecs, events, comfort noise."""
        audio = packets.kind < EVENT
        changed &= audio
        if how_many(changed):
            some = packets.pick(changed)
            self._legs.codec_in[some.leg] = some.kind
            self._streams.change(some.leg, some.timestamp, CLOCKS[some.kind], now)
            self._playout.restart(some.leg)
            self._transcoder.listen(some.leg, some.kind)
        self._audio(packets.pick(audio), now)
        self._quiet(packets.pick(packets.kind == COMFORT))
        event = packets.pick((packets.kind == EVENT) & (packets.size >= 4))
        self._events.put(event.leg, event.timestamp, self._inbox.data[event.row, HEADER_BYTES : HEADER_BYTES + 4], now)

    def _quiet(self, packets: Packets) -> None:
        """Peers that are silent from now on, and what that sounds like (RFC 3389)."""
        leg, size = packets.leg, packets.size
        if len(leg):
            self._legs.quiet[leg] = self._hushed = True
            payload = self._inbox.data[packets.row, HEADER_BYTES : HEADER_BYTES + COMFORT_BYTES_MAX]
            state = self._legs.noise[leg]
            NOISE.tell(state, payload, np.minimum(size, COMFORT_BYTES_MAX).astype(np.int32))
            self._legs.noise[leg] = state

    def _audio(self, packets: Packets, now: float) -> None:
        """Times of audio packets, and their way into the ring where ticks want them."""
        legs = self._legs
        row, _, leg, size, _, timestamp, _, came = packets
        position = self._streams.place(leg, timestamp, came)
        if self._hushed:
            legs.quiet[leg] = False
        if not self.rings:
            return
        wanted = legs.ring_wanted[leg]
        if not how_many(wanted):
            return
        wait = self._wait(leg) + (now - came)
        wanted &= (size - 1).view(np.uint64) < PAYLOAD_SAMPLES_MAX
        if how_many(wanted) < len(wanted):
            row, leg, size, position, wait = row[wanted], leg[wanted], size[wanted], position[wanted], wait[wanted]
            if not len(row):
                return
        coded = legs.codec_in[leg] >= OPUS
        if not how_many(coded):
            self._store(row, leg, size, position, wait)
            return
        self._store_packets(row[coded], leg[coded], size[coded], position[coded], wait[coded])
        if how_many(coded) < len(coded):
            self._store(row[~coded], leg[~coded], size[~coded], position[~coded], wait[~coded])

    def _payload(self, row: Index, longest: int) -> U8:
        """uint8[n, longest - header]: payloads of rows."""
        data = self._inbox.data
        return data[row[0] : row[-1] + 1, HEADER_BYTES:longest] if len(row) == row[-1] - row[0] + 1 else data[row, HEADER_BYTES:longest]

    def _store(self, row: Index, leg: Index, size: I64, position: I64, wait: F64) -> None:
        """Codecs of 8 bits a sample: a byte is a sample."""
        wanted = self._playout.arrive(leg, position, size, wait)
        if wanted is not None:
            row, leg, size, position = row[wanted], leg[wanted], size[wanted], position[wanted]
            if not len(row):
                return
        self._ring.put(leg, position, size, self._payload(row, int(size.max()) + HEADER_BYTES))

    def _store_packets(self, row: Index, leg: Index, size: I64, position: I64, wait: F64) -> None:
        """Opus, whose packets say their duration themselves, and L16, of which whole 10 ms are taken."""
        codec = self._legs.codec_in.take(leg)
        scale = CLOCKS[codec].astype(np.int64) // RATE
        position = position // scale
        length = np.zeros(len(row), np.int64)
        linear = codec != OPUS
        if how_many(linear):
            length[linear] = linear_samples(size[linear], scale[linear] * RATE)
            size = np.where(linear, 2 * length * scale, size)
        said = np.flatnonzero(~linear)
        length[said] = [packet_samples(data) for data in map(bytes, self._inbox.data[row[said], HEADER_BYTES : HEADER_BYTES + 2])]
        valid = length > 0
        row, leg, size, position, length, wait = row[valid], leg[valid], size[valid], position[valid], length[valid], wait[valid]
        wanted = self._playout.arrive(leg, position, length, wait)
        if wanted is not None:
            row, leg, size, position = row[wanted], leg[wanted], size[wanted], position[wanted]
        if len(row):
            self._packet_ring.put(leg, position, size, self._payload(row, int(size.max()) + HEADER_BYTES))

    def _wait(self, leg: Index) -> F64:
        """float64[n]: seconds until the next tick of each leg."""
        return ((self._legs.phase.take(leg) - np.uint8(self.tick & 3)) & np.uint8(3)) * np.float64(0.005)

    def _bare(self, row: Index, leg: Index, size: I64) -> tuple[Index, Index, I64]:
        """Take CSRCs, header extension and padding off (RFC 3550 section 5.1); rows that contradict themselves are refused."""
        data = self._inbox.data
        first, size = self._first[row], size + HEADER_BYTES
        begin = HEADER_BYTES + 4 * (first & 0x0F).astype(np.int64)
        extended = (first & 0x10) > 0
        place = np.minimum(begin, DATAGRAM_BYTES_MAX - 4)
        words = data[row, place + 2].astype(np.int64) << 8 | data[row, place + 3]
        begin += np.where(extended, 4 + 4 * words, 0)
        padded = (first & 0x20) > 0
        end = size - np.where(padded, data[row, np.maximum(size - 1, 0)], 0)
        bad = (begin > end) | (extended & (place + 4 > size)) | (padded & (end == size))
        if how_many(bad):
            self._legs.refused[leg[bad]] += 1
            keep = ~bad
            row, leg, begin, end = row[keep], leg[keep], begin[keep], end[keep]
        moved = np.flatnonzero(begin > HEADER_BYTES)
        if len(moved):
            length = end[moved] - begin[moved]
            column = begin[moved][:, None] + np.arange(int(length.max()))
            np.minimum(column, DATAGRAM_BYTES_MAX - 1, out=column)
            data[row[moved], HEADER_BYTES : HEADER_BYTES + column.shape[1]] = data[row[moved][:, None], column]
        self._first[row] = 0x80
        return row, leg, end - begin
