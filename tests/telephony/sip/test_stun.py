"""STUN as a keepalive (RFC 5626 section 4.4.2, RFC 8489; test vectors of RFC 5769)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.stun import COOKIE, UNKNOWN_MAX, answer_binding

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
"""Of the sample messages of RFC 5769."""


def request(*attributes: tuple[int, bytes], kind: int = 1, cookie: int = COOKIE) -> bytes:
    body = b"".join(struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in attributes)
    return struct.pack("!HHI", kind, len(body), cookie) + TRANSACTION + body


@pytest.mark.parametrize(
    ("host", "port", "mapped"),
    [
        ("192.0.2.1", 32853, "002000080001a147e112a643"),  # RFC 5769 section 2.2
        ("2001:db8:1234:5678:11:2233:4455:6677", 32853, "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),  # section 2.3
    ],
)
def test_the_address_as_in_the_sample_responses(host: str, port: int, mapped: str) -> None:
    answer = answer_binding(request(), host, port)
    value = bytes.fromhex(mapped)
    assert answer == struct.pack("!HHI", 0x0101, len(value), COOKIE) + TRANSACTION + value


def test_attributes_that_need_not_be_understood() -> None:
    answer = answer_binding(request((0x8022, b"a client"), (0x0006, b"user")), "192.0.2.1", 5060)
    assert answer is not None
    assert answer[:2] == b"\x01\x01"


def test_attributes_that_are_not_understood() -> None:
    answer = answer_binding(request((0x0003, b"\0\0\0\6"), (0x0024, b"\0\0\0\1")), "192.0.2.1", 5060)
    assert answer is not None
    assert answer[:2] == b"\x01\x11"
    assert struct.pack("!HHHBB", 0x0009, 21, 0, 4, 20) in answer
    assert answer.endswith(struct.pack("!HHHH", 0x000A, 4, 0x0003, 0x0024))
    many = answer_binding(request(*((number, b"") for number in range(0x30, 0x100))), "192.0.2.1", 5060)
    assert many is not None
    assert len(many) < 100 + 2 * UNKNOWN_MAX


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\1",
     request()[:-1], request() + b"\0", request(kind=0x0011), request(kind=0x0101), request(cookie=1), request((6, b"user"))[:-4],
     struct.pack("!HHI", 1, 4, COOKIE) + TRANSACTION + struct.pack("!HH", 0x8022, 60)],
)  # fmt: skip
def test_what_gets_no_answer(data: bytes) -> None:
    assert answer_binding(data, "192.0.2.1", 5060) is None


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes(data: bytes, framed: bool) -> None:
    if framed:
        data = struct.pack("!HHI", 1, len(data), COOKIE) + TRANSACTION + data
    answer = answer_binding(data, "2001:db8::1", 5060)
    assert answer is None or answer[8:20] == data[8:20]
