"""STUN against the vectors of RFC 5769, and any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.webrtc import stun

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
"""RFC 5769 section 2.2."""
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")


def test_the_response_of_the_rfc() -> None:
    message = stun.parse(RESPONSE)
    assert (message.kind, message.transaction) == (stun.SUCCESS, TRANSACTION)
    assert message.authentic(PASSWORD) and not message.authentic(PASSWORD + "x")
    assert stun.mapped_address(message) == ("192.0.2.1", 32853)
    assert stun.mapped(("192.0.2.1", 32853), TRANSACTION)[1] == message.attributes[stun.XOR_MAPPED_ADDRESS]


def test_addresses_of_version_6_as_in_the_rfc() -> None:
    # RFC 5769 section 2.3.
    value = bytes.fromhex("0002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
    assert stun.mapped(("2001:db8:1234:5678:11:2233:4455:6677", 32853), TRANSACTION) == (stun.XOR_MAPPED_ADDRESS, value)
    message = stun.parse(stun.write(stun.SUCCESS, TRANSACTION, [(stun.XOR_MAPPED_ADDRESS, value)]))
    assert stun.mapped_address(message) == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


def test_what_is_written_is_read() -> None:
    attributes = [(stun.USERNAME, b"abcd:efgh1"), (stun.PRIORITY, b"\x6e\x00\x01\xff"), (stun.USE_CANDIDATE, b"")]
    message = stun.parse(stun.write(stun.REQUEST, TRANSACTION, attributes, PASSWORD))
    assert message.attributes == dict(attributes)
    assert message.authentic(PASSWORD)
    assert (message.number(stun.PRIORITY, 4), message.number(stun.PRIORITY, 8), message.unknown()) == (0x6E0001FF, None, [])
    error = stun.parse(stun.write(stun.ERROR, TRANSACTION, [stun.error(487, "Role Conflict")], PASSWORD))
    assert error.code() == 487
    assert stun.parse(stun.write(stun.REQUEST, TRANSACTION, [(0x7FFF, b"1")])).unknown() == [0x7FFF]
    assert not stun.parse(stun.write(stun.REQUEST, TRANSACTION, [])).authentic("")


def test_what_follows_the_integrity_does_not_count() -> None:
    signed = stun.write(stun.REQUEST, TRANSACTION, [(stun.USERNAME, b"a:b")], PASSWORD)
    body = signed[20:-8] + bytes.fromhex("00250000")
    again = stun.write(stun.REQUEST, TRANSACTION, [])[:2] + (len(body) + 8).to_bytes(2, "big") + signed[4:20] + body
    import zlib

    again += bytes.fromhex("80280004") + (zlib.crc32(again) ^ 0x5354554E).to_bytes(4, "big")
    message = stun.parse(again)
    assert message.authentic(PASSWORD)
    assert stun.USE_CANDIDATE not in message.attributes


@pytest.mark.parametrize("place", range(0, len(RESPONSE), 3))
def test_a_message_that_was_changed_is_none(place: int) -> None:
    with pytest.raises(stun.StunError):
        stun.parse(RESPONSE[:place] + bytes([RESPONSE[place] ^ 4]) + RESPONSE[place + 1 :])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.parse(data)


@given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=40), st.binary(max_size=8))
def test_nearly_right_messages_too(attributes: list[tuple[int, bytes]], rest: bytes) -> None:
    data = stun.write(stun.REQUEST, TRANSACTION, attributes)
    for each in (data, data + rest, data[: len(data) - len(rest)]):
        try:
            message = stun.parse(each)
        except stun.StunError:
            continue
        message.unknown()
        message.code()
        message.authentic(PASSWORD)
        stun.mapped_address(message)
