"""SIP on a WebSocket (RFC 7118; RFC 6455), server side.

Rules:
- The client has to offer the subprotocol ``sip`` (RFC 7118 section 5). What is no such handshake is answered in HTTP and closed. Any
  path and any Origin will do: nothing here rests on a browser's cookies, users prove themselves by digest.
- One SIP message is one WebSocket message, text or binary; ours are text wherever they are UTF-8. No extensions: compression would
  cost memory for each connection.
- CRLFs alone are a keepalive and get CRLF; pings get pongs.

Bounds: `MESSAGE_BYTES_MAX` a message (close code 1009), 16 KiB for the handshake (h11), `CONTROLS_MAX` control frames and empty
fragments in one read.
"""

from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from telephony.service.channel import PONG
from telephony.sip.errors import MessageError
from telephony.sip.parsing import MESSAGE_BYTES_MAX

SUBPROTOCOL = "sip"
CONTROLS_MAX = 100
_REASONS = {400: "Bad Request", 426: "Upgrade Required"}
_HINT = "This is the WebSocket of a SIP server (RFC 7118): connect with the subprotocol 'sip'.\n"


class WebSocketChannel:
    """One WebSocket."""

    __slots__ = ("_controls", "_outgoing", "_parts", "_socket", "_unfinished", "ended", "opened")

    def __init__(self) -> None:
        self._socket = WSConnection(ConnectionType.SERVER)
        self._outgoing = bytearray()
        self._parts = bytearray()
        self._unfinished = False
        self._controls = 0
        self.opened = False
        self.ended = False

    @property
    def waiting(self) -> bool:
        return self._unfinished

    def receive(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        self._controls = 0
        try:
            self._socket.receive_data(data)
            for event in self._socket.events():
                if isinstance(event, Message):
                    self._message(event, messages)
                elif isinstance(event, Ping):
                    self._control()
                    self._outgoing += self._socket.send(event.response())
                elif isinstance(event, CloseConnection):
                    self._outgoing += self._socket.send(event.response())
                    self.ended = True
                elif isinstance(event, Request):
                    self._accept(event)
                else:
                    self._control()
                if self.ended:
                    break
        except (RemoteProtocolError, UnicodeError) as error:  # the latter: header values that are no ASCII
            self._refuse(getattr(getattr(error, "event_hint", None), "status_code", 400))
        except LocalProtocolError as error:  # it was closed already
            raise MessageError(f"WebSocket: {error}") from None
        return messages

    def wrap(self, message: bytes) -> bytes:
        if not self.opened or self.ended:
            raise MessageError("WebSocket: it is not open")
        event: Message[Any]
        try:
            event = TextMessage(data=message.decode())
        except UnicodeDecodeError:
            event = BytesMessage(data=message)
        return self._socket.send(event)

    def outgoing(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def ping(self) -> None:
        if self.opened and not self.ended:
            self._outgoing += self._socket.send(Ping())

    def leave(self) -> None:
        self._close(CloseReason.GOING_AWAY)

    def _accept(self, event: Request) -> None:
        if SUBPROTOCOL not in event.subprotocols:
            self._refuse(400)
            return
        self._outgoing += self._socket.send(AcceptConnection(subprotocol=SUBPROTOCOL))
        self.opened = True

    def _message(self, event: Message[Any], messages: list[bytes]) -> None:
        data = event.data
        if not data:
            self._control()  # an empty fragment costs as much and brings nothing
        self._parts += data.encode() if isinstance(data, str) else data
        if len(self._parts) > MESSAGE_BYTES_MAX:
            self._close(CloseReason.MESSAGE_TOO_BIG)
            raise MessageError(f"message of more than {MESSAGE_BYTES_MAX} bytes", 513)
        self._unfinished = not event.message_finished
        if self._unfinished:
            return
        message = bytes(self._parts)
        self._parts.clear()
        if message.strip(b"\r\n"):
            messages.append(message)
        else:
            self._control()
            self._outgoing += self._socket.send(TextMessage(data=PONG.decode()))

    def _control(self) -> None:
        self._controls += 1
        if self._controls > CONTROLS_MAX:
            self._close(CloseReason.POLICY_VIOLATION)
            raise MessageError(f"more than {CONTROLS_MAX} control frames at once")

    def _close(self, code: CloseReason) -> None:
        if self.opened and not self.ended:
            self.ended = True
            self._outgoing += self._socket.send(CloseConnection(code=code))

    def _refuse(self, status: int) -> None:
        """Answer in HTTP. What asks for no upgrade at all, a person's browser, is told what this is."""
        self.ended = True
        version = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n" if status == 426 else ""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(_HINT)}\r\n{version}"
        self._outgoing += f"{head}Connection: close\r\n\r\n{_HINT}".encode()
