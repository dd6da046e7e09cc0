"""Cutting a stream into messages (RFC 3261 section 18.3, RFC 5626 section 4.4.1)."""

import random

import pytest

from telephony.sip.errors import MessageError
from telephony.sip.framing import HEADERS_BYTES_MAX, StreamFramer

ONE = b"OPTIONS sip:b SIP/2.0\r\nSubject: one\r\nContent-Length: 5\r\n\r\nhello"
TWO = b"SIP/2.0 200 OK\r\nl : 0\r\n\r\n"
THREE = b"MESSAGE sip:c SIP/2.0\r\nCONTENT-LENGTH:\r\n 4\r\nX: y\r\n\r\n\r\n\r\n"


@pytest.mark.parametrize("seed", range(20))
def test_any_pieces_give_the_same_messages(seed: int) -> None:
    chance = random.Random(seed)
    stream = (ONE + b"\r\n\r\n" + TWO + b"\r\n" + THREE) * 4
    framer = StreamFramer()
    messages = []
    while stream:
        size = chance.choice([1, 2, 3, 7, 50, 500])
        messages += framer.feed(stream[:size])
        stream = stream[size:]
    assert messages == [ONE, TWO, THREE] * 4
    assert framer.waiting == 0
    assert framer.pings == 4


def test_a_ping_alone() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r") == []
    assert framer.pings == 0
    assert framer.feed(b"\n") == []
    assert framer.pings == 1
    assert framer.waiting == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:b SIP/2.0\r\nSubject: none\r\n\r\n", 400),
        (b"OPTIONS sip:b SIP/2.0\r\nContent-Length: 0\r\nl: 0\r\n\r\n", 400),
        (b"OPTIONS sip:b SIP/2.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"OPTIONS sip:b SIP/2.0\r\nContent-Length: 70000\r\n\r\n", 513),
        (b"OPTIONS sip:b SIP/2.0\r\nX: " + b"x" * HEADERS_BYTES_MAX, 513),
        (b"\nOPTIONS", 400),
    ],
)
def test_a_stream_that_breaks(data: bytes, status: int) -> None:
    with pytest.raises(MessageError) as error:
        StreamFramer().feed(data)
    assert error.value.status == status


def test_slow_senders_cost_no_second_search() -> None:
    framer = StreamFramer()
    for _ in range(HEADERS_BYTES_MAX // 2):
        framer.feed(b"x")
    assert framer._searched >= HEADERS_BYTES_MAX // 2 - 4
