"""What rooms cost at their rates: that the part measures what it says."""

import pytest

from loadtest.bench import rates
from media import coders


def test_a_room_of_each_kind_is_measured() -> None:
    for rate_max, kinds in rates.CASES[:3]:
        assert rates.cost(rate_max, kinds, 2) > 0


@pytest.mark.skipif(coders.OPUS is None, reason="waits for libopus (Debian: libopus0)")
def test_speech_is_coded_as_opus() -> None:
    assert 20 < len(rates.payloads(rates.OPUS)[30]) < 400
