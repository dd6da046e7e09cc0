"""Parse and forward: what one INVITE of 12 headers costs, read, retargeted, stamped and written again. No sockets, no transactions.

The floor reads the same and checks nothing. Rounds take turns in one process; a round's cost is CPU time (``process_time``).
"""

import time
from collections.abc import Callable

from loadtest.bench.figure import Figure, Round
from loadtest.bench.floor_message import FloorMessage, parameter
from loadtest.bench.options import Options
from loadtest.bench.turns import take
from telephony.sip.message import Message

UNIT = "us/message"
TURNS = 7
"""Short turns for each round asked for: noise is long beside them."""
SDP = (
    b"v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 49172 RTP/AVP 0 8 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK74bf9a1c33;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n'
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.10:5060;transport=udp>\r\n"
    b"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, UPDATE\r\n"
    b"Supported: replaces, timer, 100rel\r\n"
    b"User-Agent: ExamplePhone/4.2.1\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SDP)
) + SDP
TARGET = "sip:bob@198.51.100.7:5060"
VIA = "SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKproxy0001"
KEYS = ("z9hG4bK74bf9a1c33", "9fxced76sl", "3848276298220188511@atlanta.example.com", 1)

Forward = Callable[[bytes], tuple[tuple[str, str, str, int], bytes]]
"""A datagram to (branch, From tag, Call-ID, CSeq number) and the datagram that goes on."""


def ours(data: bytes) -> tuple[tuple[str, str, str, int], bytes]:
    """With `telephony.sip.message`."""
    message = Message.parse(data)
    keys = (message.branch, message.from_tag, message.call_id, message.cseq)
    hops = message.number("max-forwards", 255)
    message.set("max-forwards", str((70 if hops is None else hops) - 1))
    message.retarget(TARGET)
    message.prepend("via", VIA)
    return keys, message.serialize()


def floor(data: bytes) -> tuple[tuple[str, str, str, int], bytes]:
    """With `loadtest.bench.floor_message`."""
    message = FloorMessage(data)
    get, lines, index = message.get, message.lines, message.index
    keys = (parameter(get("via"), "branch"), parameter(get("from"), "tag"), get("call-id"), int(get("cseq").split()[0]))
    lines[0] = f"{message.method} {TARGET} SIP/2.0"
    lines[index["max-forwards"]] = f"Max-Forwards: {int(get('max-forwards')) - 1}"
    lines[index["via"]] = f"Via: {VIA}\r\n{lines[index['via']]}"
    return keys, message.serialize()


def forwarded() -> bytes:
    """What must come out."""
    text = INVITE.replace(b"sip:bob@biloxi.example.com SIP", TARGET.encode() + b" SIP", 1)
    return text.replace(b"Via: ", b"Via: " + VIA.encode() + b"\r\nVia: ", 1).replace(b"Max-Forwards: 70", b"Max-Forwards: 69")


def parse(options: Options) -> list[Figure]:
    """Ours beside the floor."""
    count = 2_000 if options.quick else 5_000
    contenders: list[tuple[str, str, Forward]] = [("hotswitch", "ours", ours), ("floor", "floor", floor)]

    def turn(contender: tuple[str, str, Forward]) -> Round:
        _, _, forward = contender
        wrong = () if forward(INVITE) == (KEYS, forwarded()) else ("wrong result",)
        first = time.process_time()
        for _ in range(count):
            forward(INVITE)
        return Round((time.process_time() - first) / count * 1e6, wrong)

    for _, _, forward in contenders:
        for _ in range(count // 4):
            forward(INVITE)
    played = take(contenders, turn, options.rounds * TURNS, pause=0.0)
    return [Figure("parse and forward", name, UNIT, turns, role=role) for (name, role, _), turns in zip(contenders, played, strict=True)]
