"""Messages out of a byte stream (RFC 3261 sections 7.5 and 18.3).

Rules:
- A message ends where its Content-Length says; without one there is no message boundary: the stream is broken.
- CRLFs between messages are keepalives: two of them are a ping (RFC 5626 section 4.4.1), counted in `pings`.
- What arrives in pieces costs nothing twice: the search goes on where it stopped.
- A stream that breaks a bound is broken for good: its connection is to be closed.
"""

import re

from telephony.sip.errors import MessageError
from telephony.sip.message import MESSAGE_BYTES_MAX

HEADERS_BYTES_MAX = 16384
"""Start line and headers of one message."""
STREAM_BYTES_MAX = 4 * MESSAGE_BYTES_MAX
"""Bytes that one `feed` may leave waiting, whole messages included."""

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t\r\n]*([0-9]{1,7})[ \t]*(?=\r\n)", re.IGNORECASE)


class StreamFramer:
    """Cuts one connection's bytes into messages."""

    __slots__ = ("_buffer", "_searched", "pings")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self.pings = 0
        """Pings that wait for a pong (CRLF); the owner sends them and sets this to 0."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that are whole now.

        Raises:
            MessageError: the stream cannot be cut any further; messages before the break are lost with it.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) > STREAM_BYTES_MAX:
            raise MessageError(f"more than {STREAM_BYTES_MAX} bytes wait", 513)
        messages: list[bytes] = []
        while buffer:
            if buffer[0] in b"\r\n":
                if not self._skip():
                    break
                continue
            end = buffer.find(b"\r\n\r\n", self._searched)
            if end < 0:
                if len(buffer) > HEADERS_BYTES_MAX:
                    raise MessageError(f"headers of more than {HEADERS_BYTES_MAX} bytes", 513)
                self._searched = max(0, len(buffer) - 3)
                break
            if end > HEADERS_BYTES_MAX:
                raise MessageError(f"headers of more than {HEADERS_BYTES_MAX} bytes", 513)
            self._searched = end
            lengths = _LENGTH.findall(bytes(buffer[: end + 2]))
            if len(lengths) != 1:
                raise MessageError("expected one Content-Length in a stream")
            size = end + 4 + int(lengths[0])
            if size > MESSAGE_BYTES_MAX:
                raise MessageError(f"message of more than {MESSAGE_BYTES_MAX} bytes", 513)
            if len(buffer) < size:
                break
            messages.append(bytes(buffer[:size]))
            del buffer[:size]
            self._searched = 0
        return messages

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._buffer)

    def _skip(self) -> bool:
        """Skip line ends in front of a message; False: more bytes are needed to know what they are."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n\r\n"):
            self.pings += 1
            del buffer[:4]
        elif buffer.startswith(b"\r\n"):
            if len(buffer) < 4 and b"\r\n\r\n".startswith(bytes(buffer)):
                return False
            del buffer[:2]
        elif bytes(buffer) == b"\r":
            return False
        else:
            raise MessageError("stray line end in a stream")
        return True
