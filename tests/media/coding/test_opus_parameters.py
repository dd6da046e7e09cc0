"""Parameters of Opus in SDP: RFC 7587 sections 6.1 and 7.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.coding.opus_parameters import EncoderSettings, OpusParameters

FLAGS = st.booleans()
PARAMETERS = st.builds(
    OpusParameters,
    maxplaybackrate=st.integers(8000, 48000),
    sprop_maxcapturerate=st.integers(8000, 48000),
    maxaveragebitrate=st.none() | st.integers(6000, 510000),
    stereo=FLAGS,
    sprop_stereo=FLAGS,
    cbr=FLAGS,
    useinbandfec=FLAGS,
    usedtx=FLAGS,
    minptime=st.integers(3, 120),
    maxptime=st.integers(3, 120),
)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", OpusParameters()),
        ("maxplaybackrate=16000; sprop-maxcapturerate=16000; maxaveragebitrate=20000; stereo=1; useinbandfec=1; usedtx=0",
         OpusParameters(maxplaybackrate=16000, sprop_maxcapturerate=16000, maxaveragebitrate=20000, stereo=True, useinbandfec=True)),
        ("minptime=10;useinbandfec=1", OpusParameters(minptime=10, useinbandfec=True)),
        ("CBR=1;UseDTX=1 ; sprop-stereo=1", OpusParameters(cbr=True, usedtx=True, sprop_stereo=True)),
        ("maxaveragebitrate=999999", OpusParameters(maxaveragebitrate=510000)),
        ("maxaveragebitrate=5999;maxplaybackrate=7999;stereo=2;cbr=yes;minptime=-3;;=;x", OpusParameters()),
    ],
)  # fmt: skip
def test_parse(text: str, parameters: OpusParameters) -> None:
    assert OpusParameters.parse(text) == parameters


@given(PARAMETERS)
def test_round_trip(parameters: OpusParameters) -> None:
    assert OpusParameters.parse(str(parameters)) == parameters


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    parameters = OpusParameters.parse(text)
    assert OpusParameters.parse(str(parameters)) == parameters


def test_what_the_peer_wants_steers_our_encoder() -> None:
    peer = OpusParameters.parse("maxplaybackrate=16000;maxaveragebitrate=20000;useinbandfec=1;usedtx=1;cbr=1")
    assert EncoderSettings.towards(peer, complexity=3, expected_loss_percent=7) == EncoderSettings(
        bit_rate=20000, complexity=3, fec=True, expected_loss_percent=7, dtx=True, constant=True, bandwidth_rate=16000
    )
    assert EncoderSettings.towards(OpusParameters()) == EncoderSettings()
