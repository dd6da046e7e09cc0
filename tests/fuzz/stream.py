"""The framer of a byte stream: however the bytes arrive, the same messages come out, or the same break; what waits is bounded."""

from telephony.sip.errors import MessageError
from telephony.sip.framing import STREAM_BYTES_MAX, StreamFramer
from tests.fuzz.vectors import messages


def seeds() -> list[bytes]:
    """Streams of several messages; the first byte says into which pieces they are cut."""
    found = messages()
    return [bytes([number % 251]) + b"".join(found[number : number + 3]) for number in range(len(found))] + [b"\x05\r\n\r\n\r\n"]


def _feed(pieces: list[bytes]) -> tuple[list[bytes], int, bool]:
    """Messages, pings, and whether the stream broke."""
    framer = StreamFramer()
    found: list[bytes] = []
    for piece in pieces:
        try:
            found += framer.feed(piece)
        except MessageError as error:
            assert error.status in (400, 513)
            return found, framer.pings, True
        assert framer.waiting <= STREAM_BYTES_MAX
    return found, framer.pings, False


def check(data: bytes) -> None:
    size, stream = (data[0] if data else 0) + 1, data[1:]
    found, pings, broken = _feed([stream[at : at + size] for at in range(0, len(stream), size)])
    slowly, slow_pings, slow_broken = _feed([stream[at : at + 1] for at in range(len(stream))])
    assert (pings, broken) == (slow_pings, slow_broken) or broken
    assert found == slowly[: len(found)]
    if not broken:
        assert found == slowly
    for message in found:
        assert message in stream
        assert b"\r\n\r\n" in message
