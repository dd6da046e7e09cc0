"""RTCP (RFC 3550 section 6): reports in and out, for a batch at once.

Rules:
- A compound packet is walked `PARTS_MAX` parts deep; one that does not fit ends the walk. The block about our stream counts.
- Every leg reports on its own clock: `INTERVAL_SECONDS`, times 0.5 to 1.5 by chance (section 6.2), as SR where it sent since the last
  report, else as RR, each with SDES CNAME; with BYE when it ends.
- Who asked for extended reports has them in the same compound (`media.extended`).
- The CNAME is a leg's own, 16 characters by chance (RFC 7022): it has one stream.
- NTP times are the seconds of the engine's clock: uptime is allowed where there is no wall clock (section 6.4.1); only differences matter.
- Round trip = arrival - LSR - DLSR (section 6.4.1).
"""

from typing import Any

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import I64, U8, U64, Index
from media.datagrams import BATCH, Inbox, Outbox, pointers
from media.extended import ROUND_TRIP_SECONDS_MAX, XR, ExtendedIn, extend, middle, word
from media.legs import Legs
from media.sockets import Sockets
from media.srtp.guard import Guard
from media.srtp.suites import TRAILER_BYTES_MAX

INTERVAL_SECONDS = 5.0
PARTS_MAX = 8
BLOCKS_MAX = 8
"""Report blocks looked at in one part."""
CNAME_BYTES = 16
SR, RR, SDES, BYE = 200, 201, 202, 203

_Fields = list[tuple[str, str] | tuple[str, str, int]]
_HEAD: _Fields = [("first", "u1"), ("type", "u1"), ("words", ">u2"), ("ssrc", ">u4")]
_SENDER: _Fields = [("ntp_seconds", ">u4"), ("ntp_fraction", ">u4"), ("timestamp", ">u4"), ("packets", ">u4"), ("bytes", ">u4")]
_BLOCK: _Fields = [("of", ">u4"), ("lost", ">u4"), ("highest", ">u4"), ("jitter", ">u4"), ("lsr", ">u4"), ("dlsr", ">u4")]
_SDES: _Fields = [("s_first", "u1"), ("s_type", "u1"), ("s_words", ">u2"), ("s_ssrc", ">u4"), ("item", "u1"), ("size", "u1")]
_NAME: _Fields = [("cname", "u1", CNAME_BYTES), ("end", "u2")]
_BYE: _Fields = [("b_first", "u1"), ("b_type", "u1"), ("b_words", ">u2"), ("b_ssrc", ">u4")]


class ReportsIn:
    """What peers report."""

    def __init__(self, legs: Legs, inbox: Inbox) -> None:
        self._legs = legs
        self._inbox = inbox
        self._extended = ExtendedIn(legs, inbox)

    def take(self, row: Index, leg: Index, now: float) -> None:
        """Walk compound packets: rows of the inbox, and the leg of each."""
        legs, data = self._legs, self._inbox.data
        length = self._inbox.length[row].astype(np.int64)
        place = np.zeros(len(row), np.int64)
        for _ in range(PARTS_MAX):
            fits = place + 8 <= length
            row, leg, length, place = row[fits], leg[fits], length[fits], place[fits]
            if not len(row):
                return
            first, kind = data[row, place], data[row, place + 1]
            end = place + 4 + 4 * word(data, row, place + 2, 2)
            fits = (end <= length) & (first & 0xC0 == 0x80)
            row, leg, length, place, end, first, kind = (array[fits] for array in (row, leg, length, place, end, first, kind))
            sender = (kind == SR) & (end >= place + 28)
            if how_many(sender):
                some = leg[sender]
                legs.remote_ntp[some] = word(data, row[sender], place[sender] + 10, 4).astype(np.uint32)
                legs.remote_report[some] = now
            block = np.where(kind == SR, place + 28, place + 8)
            reports = sender | (kind == RR)
            for number in range(BLOCKS_MAX):
                here = np.flatnonzero(reports & ((first & 31) > number) & (block + 24 <= end))
                if not len(here):
                    break
                self._block(row[here], leg[here], block[here], now)
                block = block + 24
            leaves = (kind == BYE) & (end >= place + 8)
            if how_many(leaves):
                some = leg[leaves]
                legs.left[some] |= word(data, row[leaves], place[leaves] + 4, 4) == legs.ssrc_in[some]
            more = (kind == XR) & (end >= place + 8)
            if how_many(more):
                self._extended.take(row[more], leg[more], place[more] + 8, end[more], now)
            place = end

    def _block(self, row: Index, leg: Index, place: I64, now: float) -> None:
        legs, data = self._legs, self._inbox.data
        ours = word(data, row, place, 4) == legs.ssrc_out[leg]
        row, leg, place = row[ours], leg[ours], place[ours]
        legs.remote_fraction[leg] = data[row, place + 4]
        lost = word(data, row, place + 5, 3)
        legs.remote_lost[leg] = np.where(lost & 0x800000, lost - 0x1000000, lost)
        legs.remote_jitter[leg] = word(data, row, place + 12, 4)
        lsr = word(data, row, place + 16, 4)
        trip = ((middle(now) - lsr - word(data, row, place + 20, 4)) & 0xFFFFFFFF) / 65536.0
        valid = (lsr > 0) & (trip < ROUND_TRIP_SECONDS_MAX)
        legs.round_trip[leg[valid]] = trip[valid]


class ReportsOut:
    """What we report."""

    def __init__(self, legs: Legs, sockets: Sockets, guard: Guard, rng: np.random.Generator) -> None:
        self._legs, self._sockets, self._guard, self._rng = legs, sockets, guard, rng
        self._outbox = Outbox(sockets.ring)
        self._address: U64 = pointers(legs.address)
        self._address_rtcp: U64 = pointers(legs.address_rtcp)
        self._iov = np.zeros((BATCH, 2), np.uint64)
        self._iovs: U64 = pointers(self._iov.view(np.uint8))

    def schedule(self, leg: Index, now: float) -> None:
        """Set when the next report of some legs is due."""
        self._legs.report_due[leg] = now + INTERVAL_SECONDS * self._rng.uniform(0.5, 1.5, len(leg))

    def tick(self, now: float) -> None:
        """Send what is due."""
        legs = self._legs
        due = np.flatnonzero(legs.used & (legs.report_due <= now))
        if len(due):
            self.schedule(due, now)
            self.send(due[(legs.ssrc_in[due] >= 0) | (legs.packets_out[due] > 0)], now)

    def send(self, leg: Index, now: float, leaving: bool = False) -> None:
        """Report for some legs now; ``leaving`` adds BYE."""
        legs = self._legs
        leg = leg[legs.address_rtcp[leg, 0] != 0]
        sent = legs.packets_out[leg] > legs.report_sent[leg]
        heard = legs.ssrc_in[leg] >= 0
        for sender in (True, False):
            for block in (True, False):
                some = leg[(sent == sender) & (heard == block)]
                for first in range(0, len(some), BATCH):
                    part = some[first : first + BATCH]
                    packets = self.build(part, now, sender, block, leaving)
                    if not how_many(legs.extended[part]):
                        self._post(part, packets)
                        continue
                    for rows, whole in extend(legs, part, packets, leaving, now):
                        self._post(part[rows], whole)
        legs.report_sent[leg] = legs.packets_out[leg]

    def build(self, leg: Index, now: float, sender: bool, block: bool, leaving: bool) -> U8:
        """uint8[n, bytes]: compound packets of one form."""
        legs = self._legs
        kind = np.dtype(_HEAD + _SENDER * sender + _BLOCK * block + _SDES + _NAME + _BYE * leaving)
        packet: np.ndarray[Any, Any] = np.zeros(len(leg), kind)
        packet["first"] = 0x80 | block
        packet["type"] = SR if sender else RR
        packet["words"] = 1 + 5 * sender + 6 * block
        packet["ssrc"] = packet["s_ssrc"] = legs.ssrc_out[leg]
        if sender:
            packet["ntp_seconds"] = int(now) & 0xFFFFFFFF
            packet["ntp_fraction"] = int((now % 1.0) * 2**32)
            elapsed = ((now - legs.clock_out[leg]) * legs.clock[leg]).astype(np.int64)
            packet["timestamp"] = legs.timestamp_out[leg] + elapsed.astype(np.uint32)
            packet["packets"] = legs.packets_out[leg].astype(np.uint32)
            packet["bytes"] = legs.bytes_out[leg].astype(np.uint32)
        if block:
            self._describe(packet, leg, now)
        packet["s_first"], packet["s_type"], packet["s_words"] = 0x81, SDES, 6
        packet["item"], packet["size"], packet["cname"] = 1, CNAME_BYTES, legs.cname[leg]
        if leaving:
            packet["b_first"], packet["b_type"], packet["b_words"], packet["b_ssrc"] = 0x81, BYE, 1, legs.ssrc_out[leg]
        return packet.view(np.uint8).reshape(len(leg), kind.itemsize)

    def _describe(self, packet: np.ndarray[Any, Any], leg: Index, now: float) -> None:
        """The report block about what the peer sends (RFC 3550 A.3)."""
        legs = self._legs
        expected = legs.sequence_max[leg] - legs.sequence_first[leg] + 1
        lost = np.clip(expected - legs.received[leg], -0x800000, 0x7FFFFF)
        interval = expected - legs.expected_prior[leg]
        missing = interval - (legs.received[leg] - legs.received_prior[leg])
        fraction = np.where((interval > 0) & (missing > 0), (missing << 8) // np.maximum(interval, 1), 0)
        legs.expected_prior[leg], legs.received_prior[leg] = expected, legs.received[leg]
        packet["of"] = legs.ssrc_in[leg].astype(np.uint32)
        packet["lost"] = np.minimum(fraction, 255) << 24 | (lost & 0xFFFFFF)
        packet["highest"] = (legs.sequence_max[leg] & 0xFFFFFFFF).astype(np.uint32)
        packet["jitter"] = legs.jitter[leg].astype(np.uint32)
        reported = legs.remote_report[leg] > 0
        packet["lsr"] = np.where(reported, legs.remote_ntp[leg], 0)
        since = np.clip(now - legs.remote_report[leg], 0, 65535)
        packet["dlsr"] = np.where(reported, since * 65536, 0).astype(np.uint32)

    def _seal(self, leg: Index, packet: U8) -> tuple[U8, I64]:
        """Packets of which those of secured legs are protected, and the length of each; 0: must not be sent."""
        legs = self._legs
        size = np.full(len(leg), packet.shape[1], np.int64)
        closed = np.zeros((len(leg), packet.shape[1] + TRAILER_BYTES_MAX), np.uint8)
        closed[:, : packet.shape[1]] = packet
        for row in np.flatnonzero(legs.secured[leg]).tolist():
            data = self._guard.seal_report(int(leg[row]), packet[row].tobytes())
            size[row] = len(data)
            closed[row, : len(data)] = np.frombuffer(data, np.uint8)
        return closed, size

    def _post(self, leg: Index, packet: U8) -> None:
        if not len(leg):
            return
        legs, sockets = self._legs, self._sockets
        size = np.full(len(leg), packet.shape[1])
        if self._guard.any:
            packet, size = self._seal(leg, packet)
            leg, packet, size = leg[size > 0], np.ascontiguousarray(packet[size > 0]), size[size > 0]
            if not len(leg):
                return
        self._iov[: len(leg), 0] = pointers(packet)
        self._iov[: len(leg), 1] = size
        mux = legs.mux[leg]
        self._outbox.load(np.where(mux, self._address[leg], self._address_rtcp[leg]), self._iovs[: len(leg)], 1)
        fds = [sockets.rtp_of(row) if together else sockets.rtcp_of(row) for row, together in zip(leg.tolist(), mux.tolist(), strict=True)]
        if len(set(fds)) == 1:
            self._outbox.send(fds[0], 0, len(fds))
        else:
            self._outbox.send_each(np.array(fds, np.int32))
