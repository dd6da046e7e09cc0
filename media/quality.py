"""How a call sounds, by the E-model (ITU-T G.107 with the tables of G.113 appendix I).

Rules:
- R = 93.2 - Id - Ie,eff, the rest of the model at its defaults.
- Id follows G.107 appendix's common approximation: 0.024 d + 0.11 (d - 177.3) above 177.3 ms.
"""


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
