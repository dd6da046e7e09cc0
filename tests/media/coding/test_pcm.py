"""G.711 and L16 as codecs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import g711
from media.coding.pcm import G711, L16
from tests.media.sounds import snr, speech

NONE = np.zeros((0, 0), np.uint8)


@pytest.mark.parametrize("law", [g711.MU, g711.A])
def test_g711_keeps_speech(law: int) -> None:
    codec = G711(law)
    samples = speech(8000, 1.0).reshape(50, 160)
    payload, lengths = codec.encode(NONE, np.arange(50), samples)
    assert payload.shape == (50, 160)
    assert lengths.tolist() == [160] * 50
    decoded, counts = codec.decode(NONE, np.arange(50), payload, lengths)
    assert counts.tolist() == [160] * 50
    assert snr(samples, decoded) > 34


def test_l16_is_big_endian_and_interleaved() -> None:
    codec = L16(44100, 2)
    payload, lengths = codec.encode(NONE, np.arange(1), np.array([[1, -2, 0x1234, -32768]], np.int16))
    assert payload.tobytes() == bytes.fromhex("0001fffe12348000")
    assert lengths.tolist() == [8]
    assert (codec.name, codec.clock_rate, codec.channels) == ("L16", 44100, 2)


@given(st.binary(max_size=50), st.sampled_from([1, 2]))
def test_l16_takes_any_bytes(data: bytes, channels: int) -> None:
    codec = L16(8000, channels)
    payload = np.frombuffer(data, np.uint8)[None]
    samples, counts = codec.decode(NONE, np.arange(1), payload, np.array([len(data)], np.int32))
    assert counts[0] == len(data) // (2 * channels) * channels
    assert counts[0] <= samples.shape[1]
    again, lengths = codec.encode(NONE, np.arange(1), samples[:, : counts[0]])
    assert again[0, : lengths[0]].tobytes() == data[: counts[0] * 2]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or 2 channels, got 8000 and 3"):
        L16(8000, 3)
