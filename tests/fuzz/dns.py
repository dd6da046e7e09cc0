"""DNS replies: read, or refused as strange; what is read is bounded."""

import struct

from telephony.dns.codec import query, read
from telephony.dns.reply import RECORDS_MAX, StrangeError
from telephony.sip.resolution import Question

ID = 0x1234
QUESTIONS = [Question("example.com", "NAPTR"), Question("_sip._udp.example.com", "SRV"), Question("sip.example.com", "A")]
QUESTIONS.append(Question("sip.example.com", "AAAA"))
DATA = [
    struct.pack(">HH", 10, 20) + b"\x01s\x07SIP+D2U\x00\x04_sip\x04_udp\xc0\x0c",
    struct.pack(">HHH", 1, 2, 5060) + b"\x03sip\x07example\x03com\x00",
    bytes((192, 0, 2, 1)),
    bytes.fromhex("20010db8000000000000000000000001"),
]
KINDS = [35, 33, 1, 28]


def _reply(number: int, records: list[tuple[int, bytes]], code: int = 0) -> bytes:
    """A number for the question, then a reply to it."""
    asked = query(ID, QUESTIONS[number], False)[12:]
    head = struct.pack(">HHHHHH", ID, 0x8180 | code, 1, len(records), 0, 0)
    return (
        bytes([number])
        + head
        + asked
        + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    )


def seeds() -> list[bytes]:
    """A good reply of each kind, an alias, a refusal, and none."""
    good = [_reply(number, [(KINDS[number], DATA[number])] * 2) for number in range(len(QUESTIONS))]
    return [*good, _reply(2, [(5, b"\x05other\xc0\x10")]), _reply(2, [(5, b"\xc0\x0c")]), _reply(1, [], 3), _reply(0, [], 2)]


def check(data: bytes) -> None:
    question = QUESTIONS[(data[0] if data else 0) % len(QUESTIONS)]
    try:
        reply = read(data[1:], ID, question)
    except StrangeError:
        return
    assert len(reply.records) <= RECORDS_MAX
    assert reply.seconds is None or 0 <= reply.seconds < 2**32
