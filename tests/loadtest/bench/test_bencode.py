"""Bencode, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.bencode import Value, decode, encode

VALUES = st.recursive(
    st.integers() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet=st.characters(codec="ascii")), inner),
    max_leaves=20,
)


def test_a_request_as_rtpengine_reads_it() -> None:
    assert encode({"sdp": "v=0", "codec": {"mask": ["all"]}, "n": 1}) == b"d5:codecd4:maskl3:allee1:ni1e3:sdp3:v=0e"


def test_an_answer() -> None:
    assert decode(b"d6:result4:ponge") == {"result": b"pong"}


@given(VALUES)
def test_round_trip(value: Value) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("data", [b"", b"i1", b"4:abc", b"i1ei2e", b"l", b"d1:ae", b"x"])
def test_what_is_no_bencode(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)
