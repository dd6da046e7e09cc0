"""A user agent's line to one server: the SIP endpoint (a core) on one socket, UDP or TCP.

Rules:
- The caller owns the loop: it waits on `fileno` until `deadline`, then calls `run`, and takes the events.
- Sending never blocks longer than the kernel's buffer of a TCP connection lets it.
"""

import socket
import time
from types import TracebackType

from telephony.effects import Send
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event
from telephony.sip.flow import Flow
from telephony.sip.framing import StreamFramer

DATAGRAM_BYTES_MAX = 65535
DATAGRAMS_AT_ONCE_MAX = 256
"""So many datagrams are read before timers and RTP get their turn."""
CONNECT_SECONDS_MAX = 5.0
SOCKET_BUFFER_BYTES = 4 << 20


class Line:
    """An endpoint, its socket, and the flow to the server."""

    endpoint: Endpoint
    flow: Flow
    """To the server that the line was opened to."""
    host: str
    """Own address on the way to the server."""
    port: int

    def __init__(self, server: tuple[str, int], *, transport: str = "udp", user: str = "", user_agent: str = "Hotswitch call") -> None:
        """Open a line to ``server`` (host, port).

        Raises:
            OSError: no route, or the connection is refused.
        """
        if transport not in ("udp", "tcp"):
            raise ValueError(f"transport {transport!r}: expected udp or tcp")
        address = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)[0]
        host, port = str(address[4][0]), server[1]
        self._framer = StreamFramer() if transport == "tcp" else None
        if transport == "tcp":
            self._socket = socket.create_connection((host, port), timeout=CONNECT_SECONDS_MAX)
            self._socket.settimeout(None)  # or reading without waiting would wait that long all the same
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self._socket = socket.socket(address[0], socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            self._socket.connect((host, port))
            own = self._socket.getsockname()[0]
            self._socket.close()
            self._socket = socket.socket(address[0], socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            self._socket.bind((own, 0))
            self._socket.setblocking(False)
        self.host, self.port = self._socket.getsockname()[:2]
        self.flow = Flow(transport, "line", host, port, 1 if transport == "tcp" else 0)
        contact = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self.endpoint = Endpoint(contact, user=user, user_agent=user_agent)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def deadline(self) -> float | None:
        """When `run` is wanted at the latest (`time.monotonic`); None: only when something comes."""
        return self.endpoint.deadline()

    def run(self) -> list[Event]:
        """Read what is there, run the timers that are due, send what is to be sent; what happened, in order."""
        for _ in range(DATAGRAMS_AT_ONCE_MAX):
            if not self._read():
                break
        now = time.monotonic()
        due = self.endpoint.deadline()
        if due is not None and due <= now:
            self.endpoint.timeout(now)
        return self.flush()

    def flush(self) -> list[Event]:
        """Send what the endpoint wants sent; its events, in order."""
        events: list[Event] = []
        for effect in self.endpoint.take():
            if isinstance(effect, Send):
                self._send(effect.data, effect.flow)
            else:
                events.append(effect)
        return events

    def _read(self) -> bool:
        now = time.monotonic()
        if self._framer is None:
            try:
                data, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            self.endpoint.receive(data, Flow("udp", "line", address[0], address[1]), now)
            return True
        try:
            data = self._socket.recv(DATAGRAM_BYTES_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.endpoint.closed(self.flow, now)
            return False
        for message in self._framer.feed(data):
            self.endpoint.receive(message, self.flow, now)
        return True

    def _send(self, data: bytes, flow: Flow) -> None:
        try:
            if flow.transport == "udp":
                self._socket.sendto(data, (flow.host, flow.port))
            else:
                self._socket.sendall(data)
        except BlockingIOError:
            pass  # as on the network: a datagram that finds no room is lost, and repeated
        except OSError:
            self.endpoint.closed(flow, time.monotonic())
