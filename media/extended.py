"""Extended reports of RTCP (XR, RFC 3611): VoIP metrics, what was lost, round-trip times of who only listens; for legs that asked.

Rules:
- A peer asks in its description (``a=rtcp-xr``, section 5.1); it is then told with each report of ours. Its own blocks are read in any
  case: at most `BLOCKS_MAX` of a packet, each within its bounds, and only those about our stream.
- A burst is a stretch that begins and ends with a loss, in which fewer than `GMIN` packets in a row came (section 4.7.2); a loss alone
  belongs to the gap around it. Losses are told from sequence numbers; what came too late for playing is said as discarded.
- Nobody asks: one flag is looked at for a batch of packets, nothing else.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media.arrays import I64, U8, Bool, Index
from media.control import VoipMetrics
from media.datagrams import Inbox
from media.legs import FRAME_SECONDS, POSITION_FIRST, RING_FRAMES, Legs
from media.quality import opinion, rate

XR = 207
VOIP_METRICS, SUMMARY, ROUND_TRIP = 1, 2, 4
"""What a peer may ask for: bits of `Legs.extended`."""
_WORDS = {"voip-metrics": VOIP_METRICS, "stat-summary": SUMMARY, "rcvr-rtt": ROUND_TRIP}
BLOCKS_MAX = 8
"""Blocks of a packet, and parts of a block, that are looked at."""
ROUND_TRIP_SECONDS_MAX = 30.0
GMIN = 16
UNKNOWN = 127
"""A level, echo loss or rating that is not available (section 4.7.3 to 4.7.5)."""
METRICS_BYTES = 28
"""Of the VoIP metrics block, behind its header and SSRC."""
RECEIVER = 0xF0
"""Standard concealment, adaptive jitter buffer (section 4.7.6)."""
_REFERENCE, _DELAY, _SUMMARY_BLOCK, _METRICS_BLOCK = 4, 5, 6, 7
_METRICS = struct.Struct(">BBBBHHHHbbBBBBBBBxHHH")
_SUMMARY = struct.Struct(">BBHIHHII4I4x")


def wanted(attribute: Sequence[str]) -> int:
    """What the words of ``a=rtcp-xr`` ask for, of `_WORDS`."""
    bits = 0
    for word in attribute:
        bits |= _WORDS.get(word.partition("=")[0].lower(), 0)
    return bits


def attribute(bits: int) -> list[str]:
    """What we ask a peer for who asked for this: nothing of who does not know of it."""
    if not bits:
        return []
    return ["rtcp-xr:voip-metrics" + (" rcvr-rtt=all" if bits & ROUND_TRIP else "")]


def middle(now: float) -> int:
    """Middle 32 bits of the NTP time stamp, units of 1/65536 s."""
    return int(now * 65536) & 0xFFFFFFFF


def word(data: U8, row: Index, place: I64, size: int) -> I64:
    """int64[n]: big-endian number of ``size`` bytes at a place of each row."""
    value = data[row, place].astype(np.int64)
    for byte in range(1, size):
        value = value << 8 | data[row, place + byte]
    return value


class Losses(NamedTuple):
    """How the losses of a stream are spread."""

    burst_density: float
    """Part of the packets of bursts that were lost."""
    gap_density: float
    burst_seconds: float
    """Mean of all bursts; 0: there was none."""
    gap_seconds: float


class Bursts:
    """Losses of legs that asked, as they happen."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self.any = False
        """Somebody asked for extended reports."""

    def recount(self) -> None:
        """A leg came, went, or asks for something else."""
        self.any = bool(how_many(self._legs.used & (self._legs.extended > 0)))

    def note(self, leg: Index, highest: I64, ahead: I64) -> None:
        """Packets came, at most one a leg, so many numbers ahead (int64[n]) of the highest before (int64[n])."""
        lost = np.flatnonzero((ahead > 1) & (self._legs.extended.take(leg) > 0))
        if not len(lost):
            return
        leg, first, last = leg[lost], highest[lost] + 1, highest[lost] + ahead[lost] - 1
        state = self._legs.losses[leg]
        goes_on = (state["lost"] > 0) & (first - state["last"] - 1 < GMIN)
        ends = ~goes_on & (state["lost"] > 1)
        state["bursts"] += ends
        state["packets"] += np.where(ends, state["last"] - state["first"] + 1, 0)
        state["within"] += np.where(ends, state["lost"], 0)
        state["first"] = np.where(goes_on, state["first"], first)
        state["lost"] = np.where(goes_on, state["lost"], 0) + last - first + 1
        state["last"] = last
        self._legs.losses[leg] = state


def losses(legs: Legs, leg: int) -> Losses:
    """How the losses of a leg's stream are spread."""
    state = legs.losses[leg]
    expected = int(legs.sequence_max[leg] - legs.sequence_first[leg]) + 1
    lost = max(expected - int(legs.received[leg]), 0)
    open_burst = int(state["lost"]) > 1
    bursts = int(state["bursts"]) + open_burst
    packets = int(state["packets"]) + (int(state["last"] - state["first"]) + 1 if open_burst else 0)
    within = int(state["within"]) + (int(state["lost"]) if open_burst else 0)
    spoken = float(legs.position[leg] - POSITION_FIRST) / max(float(legs.rate[leg]), 1.0)
    each = spoken / (expected - 1) if expected > 1 and spoken > 0 else FRAME_SECONDS
    rest = max(expected - packets, 0)
    return Losses(
        within / packets if packets else 0.0,
        max(lost - within, 0) / rest if rest else 0.0,
        each * packets / bursts if bursts else 0.0,
        each * rest / (bursts + 1),
    )


def metrics(legs: Legs, leg: int) -> VoipMetrics | None:
    """What the peer of a leg said of our stream last; None: nothing."""
    if not legs.remote_metrics_told[leg]:
        return None
    loss, discard, burst, gap, burst_ms, gap_ms, trip, system, _, _, _, _, factor, _, listening, talking, _, nominal, _, _ = (
        _METRICS.unpack(legs.remote_metrics[leg].tobytes())
    )
    return VoipMetrics(
        lost=loss / 256,
        discarded=discard / 256,
        burst_density=burst / 256,
        gap_density=gap / 256,
        burst_ms=burst_ms,
        gap_ms=gap_ms,
        round_trip_ms=trip,
        end_system_ms=system,
        r_factor=factor if factor <= 100 else -1,
        mos_listening=listening / 10 if 10 <= listening <= 50 else -1.0,
        mos_conversation=talking / 10 if 10 <= talking <= 50 else -1.0,
        buffer_ms=nominal,
    )


class ExtendedIn:
    """What peers report besides."""

    def __init__(self, legs: Legs, inbox: Inbox) -> None:
        self._legs = legs
        self._data = inbox.data

    def take(self, row: Index, leg: Index, place: I64, end: I64, now: float) -> None:
        """Walk the blocks of XR packets: rows of the inbox, their legs, first block and end (int64[n], bytes)."""
        data = self._data
        for _ in range(BLOCKS_MAX):
            fits = place + 4 <= end
            row, leg, place, end = row[fits], leg[fits], place[fits], end[fits]
            kind, size = data[row, place], 4 + 4 * word(data, row, place + 2, 2)
            fits = place + size <= end
            row, leg, place, end, kind, size = row[fits], leg[fits], place[fits], end[fits], kind[fits], size[fits]
            if not len(row):
                return
            self._metrics(*self._of((kind == _METRICS_BLOCK) & (size == 8 + METRICS_BYTES), row, leg, place))
            self._reference(*self._of((kind == _REFERENCE) & (size == 12), row, leg, place), now)
            delays = kind == _DELAY
            for part in range(BLOCKS_MAX):
                here = delays & (4 + 12 * (part + 1) <= size)
                if not how_many(here):
                    break
                self._delay(*self._of(here, row, leg, place + 4 + 12 * part), now)
            place = place + size

    @staticmethod
    def _of(which: Bool, row: Index, leg: Index, place: I64) -> tuple[Index, Index, I64]:
        return row[which], leg[which], place[which]

    def _metrics(self, row: Index, leg: Index, place: I64) -> None:
        if len(row):
            legs = self._legs
            ours = word(self._data, row, place + 4, 4) == legs.ssrc_out[leg]
            row, leg, place = row[ours], leg[ours], place[ours]
            legs.remote_metrics[leg] = self._data[row[:, None], place[:, None] + np.arange(8, 8 + METRICS_BYTES)]
            legs.remote_metrics_told[leg] = True

    def _reference(self, row: Index, leg: Index, place: I64, now: float) -> None:
        if len(row):
            self._legs.remote_reference[leg] = word(self._data, row, place + 6, 4).astype(np.uint32)
            self._legs.remote_reference_at[leg] = now

    def _delay(self, row: Index, leg: Index, place: I64, now: float) -> None:
        legs, data = self._legs, self._data
        reference = word(data, row, place + 4, 4)
        trip = ((middle(now) - reference - word(data, row, place + 8, 4)) & 0xFFFFFFFF) / 65536.0
        valid = (word(data, row, place, 4) == legs.ssrc_out[leg]) & (reference > 0) & (trip < ROUND_TRIP_SECONDS_MAX)
        legs.round_trip[leg[valid]] = trip[valid]


def extend(legs: Legs, leg: Index, packets: U8, leaving: bool, now: float) -> list[tuple[Index, U8]]:
    """Compound packets of some legs, uint8[n, bytes], with what each asked for: rows (intp[m]) and packets (uint8[m, bytes]) of one length.

    ``leaving``: they end with BYE, which stays last.
    """
    tail = 8 if leaving else 0
    cut = packets.shape[1] - tail
    plain = np.flatnonzero(legs.extended[leg] == 0)
    groups: dict[int, tuple[list[int], list[bytes]]] = {}
    for row in np.flatnonzero(legs.extended[leg]).tolist():
        more = build(legs, int(leg[row]), now)
        rows, whole = groups.setdefault(len(more), ([], []))
        rows.append(row)
        whole.append(packets[row, :cut].tobytes() + more + packets[row, cut:].tobytes())
    found: list[tuple[Index, U8]] = [(plain, packets[plain])] if len(plain) else []
    for rows, whole in groups.values():
        data = np.frombuffer(b"".join(whole), np.uint8).reshape(len(rows), -1).copy()
        found.append((np.array(rows, np.intp), data))
    return found


def build(legs: Legs, leg: int, now: float) -> bytes:
    """The XR packet of a leg; empty: there is nothing to say yet."""
    bits, blocks = int(legs.extended[leg]), b""
    if bits & ROUND_TRIP:
        blocks += struct.pack(">BBHII", _REFERENCE, 0, 2, int(now) & 0xFFFFFFFF, int((now % 1.0) * 2**32))
        if legs.remote_reference_at[leg] > 0 and legs.ssrc_in[leg] >= 0:
            since = int(min(max(now - float(legs.remote_reference_at[leg]), 0.0), 65535.0) * 65536)
            blocks += struct.pack(">BBHIII", _DELAY, 0, 3, int(legs.ssrc_in[leg]), int(legs.remote_reference[leg]), since)
    if legs.ssrc_in[leg] >= 0:
        if bits & SUMMARY:
            blocks += _summary(legs, leg)
        if bits & VOIP_METRICS:
            blocks += struct.pack(">BBHI", _METRICS_BLOCK, 0, 8, int(legs.ssrc_in[leg])) + _measure(legs, leg)
    if not blocks:
        return b""
    return struct.pack(">BBHI", 0x80, XR, 1 + len(blocks) // 4, int(legs.ssrc_out[leg])) + blocks


def _summary(legs: Legs, leg: int) -> bytes:
    """What was lost since the last one (section 4.6); of duplicates and jitter nothing is said."""
    first, last = int(legs.summary_next[leg]), int(legs.sequence_max[leg])
    if not int(legs.sequence_first[leg]) <= first <= last + 1:
        first, legs.summary_received[leg] = int(legs.sequence_first[leg]), 0
    lost = max(last + 1 - first - int(legs.received[leg] - legs.summary_received[leg]), 0)
    legs.summary_next[leg], legs.summary_received[leg] = last + 1, legs.received[leg]
    return _SUMMARY.pack(_SUMMARY_BLOCK, 0x80, 9, int(legs.ssrc_in[leg]), first & 0xFFFF, (last + 1) & 0xFFFF, lost, 0, 0, 0, 0, 0)


def _measure(legs: Legs, leg: int) -> bytes:
    """The VoIP metrics of what comes from a peer (section 4.7)."""
    rated, spread = rate(legs, leg), losses(legs, leg)
    trip = max(float(legs.round_trip[leg]), 0.0)
    plays = bool(legs.ring_wanted[leg])
    factor = round(rated.conversation) if rated.known else UNKNOWN
    talking, listening = (round(10 * opinion(part)) if rated.known else UNKNOWN for part in (rated.conversation, rated.listening))
    deepest = _ms(RING_FRAMES * FRAME_SECONDS) if plays else 0
    return _METRICS.pack(
        _part(rated.lost), _part(rated.discarded), _part(spread.burst_density), _part(spread.gap_density), _ms(spread.burst_seconds),
        _ms(spread.gap_seconds), _ms(trip), _ms(rated.buffer_seconds + 2 * FRAME_SECONDS), UNKNOWN, UNKNOWN, UNKNOWN, GMIN, factor, UNKNOWN,
        listening, talking, RECEIVER * plays, _ms(rated.buffer_seconds), deepest, deepest,
    )  # fmt: skip


def _part(value: float) -> int:
    return min(int(value * 256), 255)


def _ms(seconds: float) -> int:
    return min(round(seconds * 1000), 0xFFFF)
