"""A phone of ours over TLS or a WebSocket: our SIP endpoint, a blocking socket, one RTP socket; what a softphone in an app would be."""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Request, TextMessage

from telephony.sip.digest import Credentials
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, Ended, Event, InviteReceived, RequestReceived, ResponseReceived
from telephony.sip.flow import Flow, Send
from telephony.sip.framing import StreamFramer
from telephony.sip.session import Session

WAIT_SECONDS_MAX = 10.0
REALM = "hotswitch"
_Found = TypeVar("_Found", bound=Event)


class WebPhone:
    """One phone, registered when it is entered.

    Args:
        where: ``wss://127.0.0.1:7443``, ``ws://...``, or ``tls://...``.
        certificate: what it trusts.
    """

    def __init__(self, user: str, password: str, where: str, certificate: Path, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.user = user
        url = urlsplit(where)
        assert url.hostname is not None and url.port is not None
        self.transport, self.host, self.port = url.scheme, url.hostname, url.port
        self.flow = Flow(self.transport, "web", self.host, self.port, 1)
        self.credentials = Credentials(user, password)
        self.endpoint = Endpoint("df7jal23ls0d.invalid", user=user, next_hop=lambda uri, flow: flow)
        self.events: list[Event] = []
        self.sent: list[bytes] = []
        self._headers = headers
        self._certificate = certificate
        self._framer = StreamFramer()
        self._web: WSConnection | None = None
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.rtp = socket.socket(family, socket.SOCK_DGRAM)
        self.rtp.bind((self.host, 0))

    def __enter__(self) -> "WebPhone":
        self._socket: socket.socket = socket.create_connection((self.host, self.port), WAIT_SECONDS_MAX)
        if self.transport in ("tls", "wss"):
            context = ssl.create_default_context(cafile=str(self._certificate))
            self._socket = context.wrap_socket(self._socket, server_hostname=self.host)
        self._socket.setblocking(False)
        if self.transport in ("ws", "wss"):
            self._web = WSConnection(ConnectionType.CLIENT)
            self._send_bytes(self._web.send(Request(host=self.host, target="/", subprotocols=["sip"])))
            self._until(lambda: bool(self._web and self._web.connection))
        assert self.register().status == 200
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self.rtp.close()

    @property
    def aor(self) -> str:
        return f"<sip:{self.user}@{REALM}>"

    def register(self, **options: object) -> ResponseReceived:
        self.endpoint.request(
            "REGISTER", f"sip:{REALM}", self.aor, self.aor, self.flow, now=time.monotonic(), credentials=self.credentials,
            contact=True, headers=[("Expires", "600"), *self._headers],
        )  # fmt: skip
        return self.wait(ResponseReceived)

    def message(self, user: str, text: str) -> int:
        """Send a MESSAGE; the status of its answer."""
        uri = f"sip:{user}@{REALM}"
        self.endpoint.request(
            "MESSAGE", uri, self.aor, f"<{uri}>", self.flow, now=time.monotonic(), credentials=self.credentials,
            body=text.encode(), content_type="text/plain",
        )  # fmt: skip
        return self.wait(ResponseReceived).status

    def messaged(self) -> str:
        """The text of the next MESSAGE that comes; it is answered 200."""
        event = self.wait(RequestReceived)
        event.request.respond(200, now=time.monotonic())
        self._flush()
        return event.message.body.decode()

    def offer(self) -> bytes:
        host, port = self.rtp.getsockname()[:2]
        address = f"IP6 {host}" if ":" in host else f"IP4 {host}"
        lines = ["v=0", f"o=- 1 1 IN {address}", "s=-", f"c=IN {address}", "t=0 0", f"m=audio {port} RTP/AVP 0", "a=ptime:20"]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def call(self, user: str) -> Session:
        """Call somebody, until it is answered."""
        uri = f"sip:{user}@{REALM}"
        self.endpoint.invite(uri, self.aor, f"<{uri}>", self.flow, now=time.monotonic(), body=self.offer(), credentials=self.credentials)
        return self.wait(Answered).session

    def answer(self) -> Session:
        """Answer the next call."""
        event = self.wait(InviteReceived)
        event.session.accept(self.offer(), now=time.monotonic())
        self.wait(Acknowledged)
        return event.session

    def hang_up(self, session: Session) -> None:
        session.bye(now=time.monotonic())
        self._flush()

    def hung_up(self) -> None:
        """Wait until the other side has ended the call."""
        self.wait(Ended)

    def hears(self, packets: int) -> int:
        """Wait for so many RTP packets; how many of them were PCMU."""
        found = 0
        self.rtp.settimeout(WAIT_SECONDS_MAX)
        for _ in range(packets):
            found += self.rtp.recv(2048)[1] & 0x7F == 0
        return found

    def wait(self, kind: type[_Found]) -> _Found:
        """The next event of a kind; those before it are forgotten."""
        found: list[_Found] = []

        def look() -> bool:
            while self.events and not found:
                event = self.events.pop(0)
                if isinstance(event, kind):
                    found.append(event)
            return bool(found)

        self._until(look)
        return found[0]

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        self._flush()
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"phone {self.user} waited in vain; last sent: {self.sent[-1:]!r}")
            due = self.endpoint.deadline()
            pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
            if not pending:
                select.select([self._socket], [], [], left if due is None else max(0.0, min(left, due - time.monotonic())))
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                self._take(self._socket.recv(65536))
            self.endpoint.timeout(time.monotonic())
            self._flush()

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionError(f"phone {self.user}: the server has closed the connection")
        if self._web is None:
            messages = self._framer.feed(data)
        else:
            self._web.receive_data(data)
            messages = []
            for event in self._web.events():
                if isinstance(event, Message):
                    messages.append(event.data.encode() if isinstance(event.data, str) else bytes(event.data))
                else:
                    assert isinstance(event, AcceptConnection), event
        for message in messages:
            self.endpoint.receive(message, self.flow, time.monotonic())

    def _flush(self) -> None:
        for effect in self.endpoint.take():
            if isinstance(effect, Send):
                self.sent.append(effect.data)
                self._send_bytes(effect.data if self._web is None else self._web.send(TextMessage(data=effect.data.decode())))
            else:
                self.events.append(effect)

    def _send_bytes(self, data: bytes) -> None:
        sent = self._socket.send(data)
        assert sent == len(data)
