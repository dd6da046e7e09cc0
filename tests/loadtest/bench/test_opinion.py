"""A clean call sounds good, and trouble is heard (ITU-T P.862)."""

import pytest

from loadtest.bench import opinion
from media import coders


@pytest.mark.parametrize(("codec", "least"), [("pcmu", 4.2), ("opus", 4.0)])
def test_a_clean_call(codec: str, least: float) -> None:
    if codec == "opus" and coders.OPUS is None:
        pytest.skip("waits for libopus (Debian: libopus0)")
    assert opinion.mos(codec) >= least


def test_loss_is_concealed_and_jitter_is_buffered() -> None:
    clean, lossy, late = opinion.mos("pcmu"), opinion.mos("pcmu", loss_percent=3.0), opinion.mos("pcmu", jitter_ms=40.0)
    assert 2.5 < lossy < clean
    assert late > 3.5
