"""How a call sounds, by the E-model (ITU-T G.107 with the tables of G.113 appendix I).

Rules:
- R = 93.2 - Id - Ie,eff, the rest of the model at its defaults.
- Id follows G.107 appendix's common approximation: 0.024 d + 0.11 (d - 177.3) above 177.3 ms.
"""

from typing import NamedTuple

from media.codecs import CODECS
from media.legs import FRAME_SAMPLES, FRAME_SECONDS, Legs


class Rated(NamedTuple):
    """How what comes from a leg's peer sounds."""

    known: bool
    """Something came, of a codec that was agreed on."""
    lost: float
    """Part of the packets that did not come."""
    discarded: float
    """Part that came too late, or twice."""
    buffer_seconds: float
    """Delay that the jitter buffer adds now."""
    conversation: float
    """R factor."""
    listening: float
    """The same without what delay does to a conversation."""


def rate(legs: Legs, leg: int) -> Rated:
    """Of a leg, now."""
    lost, packets, late = lost_of(legs, leg), int(legs.received_before[leg] + legs.received[leg]), int(legs.late[leg])
    buffered = 0.0
    if legs.playing[leg]:
        newest = float(legs.position[leg]) * 8000.0 / max(float(legs.rate[leg]), 1.0) / FRAME_SAMPLES
        buffered = max(newest - float(legs.play[leg]) + 1.0, 0.0) * FRAME_SECONDS
    codec = CODECS.get(int(legs.codec[leg]))
    every = max(packets + lost, 1)
    if codec is None or not packets:
        return Rated(False, lost / every, 0.0, buffered, 0.0, 0.0)
    missing = min(lost + late, packets + lost) / every
    delay = max(float(legs.round_trip[leg]), 0.0) / 2 + buffered + FRAME_SECONDS
    factors = (rating(missing, seconds, codec.impairment, codec.robustness) for seconds in (delay, 0.0))
    return Rated(True, lost / every, min(late, packets) / every, buffered, *factors)


def lost_of(legs: Legs, leg: int) -> int:
    """Expected - received (RFC 3550 A.3), of all sources of a leg."""
    expected = int(legs.sequence_max[leg] - legs.sequence_first[leg]) + 1 if legs.ssrc_in[leg] >= 0 else 0
    return int(legs.lost_before[leg]) + max(expected - int(legs.received[leg]), 0)


def rating(loss: float, delay_seconds: float, impairment: float, robustness: float, burst_ratio: float = 1.0) -> float:
    """R factor, 0..100.

    Args:
        loss: part of the packets that were not there in time, 0..1.
        delay_seconds: mouth to ear.
        impairment, robustness: Ie and Bpl of the codec.
        burst_ratio: 1 for random loss, more for bursts.
    """
    delay = delay_seconds * 1000.0
    by_delay = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0.0)
    percent = 100.0 * loss
    by_loss = impairment + (95.0 - impairment) * percent / (percent / burst_ratio + robustness)
    return min(max(93.2 - by_delay - by_loss, 0.0), 100.0)


def opinion(r_factor: float) -> float:
    """Mean opinion score of an R factor, 1..4.5 (G.107 annex B)."""
    if r_factor <= 0:
        return 1.0
    if r_factor >= 100:
        return 4.5
    return max(1.0, 1.0 + 0.035 * r_factor + r_factor * (r_factor - 60.0) * (100.0 - r_factor) * 7e-6)
