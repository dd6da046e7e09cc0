"""One RTP stream each way, as a phone sees it (RFC 3550): packets out on a clock, packets in with their statistics.

Rules:
- Time is an argument (seconds); the owner sends and receives the bytes.
- What comes in may be anything; a packet that is not ours to play is counted and dropped.
"""

import struct

import numpy as np

from loadtest.sound import RATE, Samples
from media.g711 import DECODE, ENCODE, MU, A

PTIME_SECONDS = 0.02
FRAME = round(RATE * PTIME_SECONDS)
"""Samples a packet; G.711 has one byte a sample."""
HEADER = struct.Struct("!BBHII")
LAW = {0: MU, 8: A}
"""Payload type to law (RFC 3551 section 6)."""
JUMP_SECONDS_MAX = 30.0
"""A timestamp further from where it should be than this starts a new stretch."""
HEARD_SECONDS_MAX = 3600.0
"""More than this is received and counted, but not kept."""


def encode(samples: Samples, payload_type: int) -> bytes:
    """G.711 of float samples, a whole number of frames (the last one filled with silence)."""
    linear = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int32)
    linear = np.pad(linear, (0, -len(linear) % FRAME))
    return ENCODE[LAW[payload_type] * 65536 + linear + 32768].tobytes()


class Outgoing:
    """What we say: one packet every `PTIME_SECONDS`, from the first to the last sample, then again from the first."""

    sent = 0
    """Packets."""

    def __init__(self, samples: Samples, payload_type: int, *, ssrc: int, sequence: int, timestamp: int) -> None:
        self._payload = encode(samples, payload_type)
        self._frames = max(len(self._payload) // FRAME, 1)
        self._type = payload_type
        self._ssrc, self._sequence, self._timestamp = ssrc, sequence, timestamp

    def packet(self) -> bytes:
        """The next packet."""
        at = self.sent % self._frames * FRAME
        marker = 0x80 if self.sent == 0 else 0
        header = HEADER.pack(
            0x80,
            marker | self._type,
            (self._sequence + self.sent) & 0xFFFF,
            (self._timestamp + self.sent * FRAME) & 0xFFFFFFFF,
            self._ssrc,
        )
        self.sent += 1
        return header + self._payload[at : at + FRAME]


class Incoming:
    """What we hear, and how well it came (RFC 3550 A.1, A.3, A.8)."""

    received = 0
    """Packets of the stream, without duplicates."""
    duplicates = 0
    foreign = 0
    """Datagrams that are no packet of this stream: broken, or another payload type."""
    late = 0
    """Packets that came after a later one."""
    jitter = 0.0
    """Interarrival jitter, seconds."""
    jitter_max = 0.0
    first_at: float | None = None
    """Arrival of the first packet."""
    gap_max = 0.0
    """Longest time between two packets, seconds."""

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self._expected_before = 0
        self._first = 0
        self._highest = 0
        self._seen: set[int] = set()
        self._transit: float | None = None
        self.last_at = 0.0
        """When the last packet came."""
        self._stretch_at = 0.0
        self._stretch_timestamp = 0
        self._pieces: list[tuple[int, bytes, int]] = []
        self._leads: list[float] = []

    def receive(self, data: bytes, now: float) -> None:
        """One datagram that came at ``now``."""
        if len(data) < 12 or data[0] >> 6 != 2:
            self.foreign += 1
            return
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        kind = second & 0x7F
        start = 12 + 4 * (first & 0x0F)
        if first & 0x10 and len(data) >= start + 4:
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if kind not in LAW or start >= end:
            self.foreign += 1
            return
        if ssrc != self._ssrc:
            self._begin(ssrc, sequence, timestamp, now)
        elif not self._count(sequence):
            self.duplicates += 1
            return
        self.received += 1
        if self.first_at is None:
            self.first_at = now
        else:
            self.gap_max = max(self.gap_max, now - self.last_at)
        self.last_at = now
        self._measure(timestamp, now)
        self._keep(data[start:end], LAW[kind], timestamp, now)

    @property
    def expected(self) -> int:
        """Packets that the sender has sent by its sequence numbers."""
        return self._expected_before + (self._highest - self._first + 1 if self._ssrc is not None else 0)

    @property
    def lost(self) -> int:
        return max(self.expected - self.received, 0)

    def heard(self) -> tuple[Samples, float]:
        """All samples on one time line, and the time at which its first one was heard; silence where nothing came."""
        if not self._pieces:
            return np.zeros(0), 0.0
        length = max(at + len(payload) for at, payload, _ in self._pieces)
        samples = np.zeros(max(length, 0))
        for at, payload, law in self._pieces:
            if at >= 0:
                samples[at : at + len(payload)] = DECODE[law][np.frombuffer(payload, np.uint8)] / 32768
        assert self.first_at is not None
        return samples, self.first_at + float(np.median(self._leads))

    def _begin(self, ssrc: int, sequence: int, timestamp: int, now: float) -> None:
        self._expected_before = self.expected
        self._ssrc = ssrc
        self._first = self._highest = sequence
        self._seen = {sequence}
        self._transit = None
        self._stretch_at, self._stretch_timestamp = now, timestamp

    def _count(self, sequence: int) -> bool:
        """Extend the sequence number; False for a duplicate."""
        step = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        extended = self._highest + step
        if extended in self._seen:
            return False
        self._seen.add(extended)
        if step > 0:
            self._highest = extended
        else:
            self.late += 1
            self._first = min(self._first, extended)
        return True

    def _measure(self, timestamp: int, now: float) -> None:
        transit = now - timestamp / RATE
        if self._transit is not None:
            difference = abs(transit - self._transit)
            if difference < JUMP_SECONDS_MAX:
                self.jitter += (difference - self.jitter) / 16
                self.jitter_max = max(self.jitter_max, self.jitter)
        self._transit = transit

    def _keep(self, payload: bytes, law: int, timestamp: int, now: float) -> None:
        assert self.first_at is not None
        offset = (timestamp - self._stretch_timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        due = self._stretch_at + offset / RATE
        if abs(now - due) > JUMP_SECONDS_MAX:
            self._stretch_at, self._stretch_timestamp, offset, due = now, timestamp, 0, now
        if due - self.first_at > HEARD_SECONDS_MAX:
            return
        self._pieces.append((round((self._stretch_at - self.first_at) * RATE) + offset, payload, law))
        self._leads.append(now - due)
