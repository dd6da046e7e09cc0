"""SIP over TCP: listeners, connections both ways, framing, bounds (RFC 3261 section 18).

Rules:
- A message to a flow leaves through its connection; where that is gone the flow is reported as closed. A flow without a
  connection gets the one that was opened to that address before, or a new one, from the listener's own address.
- A connection that sends nothing for `IDLE_SECONDS`, no whole message for `PARTIAL_SECONDS` after its first byte (or
  after it was accepted), or what cannot be framed, is closed. So is one that does not read what it is sent.

Bounds: `CONNECTIONS_MAX`, `WRITE_BYTES_MAX` a connection, and what `StreamFramer` allows to be unfinished.
"""

import socket
from collections.abc import Callable

from telephony.service import clock
from telephony.service.loop import ERROR, HANG_UP, READ, WRITE, Loop
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.framing import StreamFramer

CONNECTIONS_MAX = 4000
ACCEPTS_PER_TURN = 32
READ_BYTES = 65536
PONG = b"\r\n"
"""Answer to a keepalive ping (RFC 5626 section 4.4.1)."""
WRITE_BYTES_MAX = 512 * 1024
IDLE_SECONDS = 900.0
PARTIAL_SECONDS = 30.0
CONNECT_SECONDS = 4.0
SWEEP_SECONDS = 2.0


class _Connection:
    __slots__ = ("connecting", "flow", "framer", "heard_at", "out", "partial_since", "tcp")

    def __init__(self, tcp: socket.socket, flow: Flow, connecting: bool, now: float) -> None:
        self.tcp = tcp
        self.flow = flow
        self.connecting = connecting
        self.framer = StreamFramer()
        self.out = bytearray()
        self.heard_at = now
        self.partial_since: float | None = now
        """Since when a message is unfinished."""


class Streams:
    """All TCP sockets of a service.

    Args:
        receive: called with each framed message and its flow.
        closed: called with the flow of a connection that ended, or could not be opened.
    """

    def __init__(self, loop: Loop, receive: Callable[[bytes, Flow], None], closed: Callable[[Flow], None]) -> None:
        self._loop = loop
        self._receive = receive
        self._closed = closed
        self._listeners: dict[str, socket.socket] = {}
        self._accepting: set[str] = set()
        self._connections: dict[int, _Connection] = {}
        self._outbound: dict[tuple[str, str, int], int] = {}
        """Connections that we opened, by (socket, host, port)."""
        self._number = 0
        self._sweep_at: float | None = None

    def add(self, name: str, descriptor: int) -> None:
        """Take a listening socket; it does not accept yet (`accept`)."""
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        self._listeners[name] = listener

    def names(self) -> list[str]:
        return list(self._listeners)

    def accept(self, name: str, wanted: bool) -> None:
        """Accept connections from now on, or leave them to somebody else; those that are there stay."""
        listener = self._listeners[name]
        if wanted and name not in self._accepting:
            self._accepting.add(name)
            self._loop.add(listener.fileno(), READ, lambda events: self._incoming(name, listener))
        elif not wanted and name in self._accepting:
            self._accepting.discard(name)
            self._loop.remove(listener.fileno())

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one message."""
        connection = self._connections.get(flow.connection or self._outbound.get((flow.socket, flow.host, flow.port), 0))
        if connection is None:
            connection = self._open(flow)
            if connection is None:
                self._closed(flow)
                return
        if connection.connecting or connection.out:
            if len(connection.out) + len(data) > WRITE_BYTES_MAX:
                self._end(connection)
                return
            connection.out += data
            return
        try:
            sent = connection.tcp.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(connection)
            return
        if sent < len(data):
            connection.out += data[sent:]
            self._loop.change(connection.tcp.fileno(), READ | WRITE)

    def hang_up(self, flow: Flow) -> None:
        """Close the connection of a flow, without reporting it."""
        connection = self._connections.get(flow.connection or self._outbound.get((flow.socket, flow.host, flow.port), 0))
        if connection is not None:
            self._end(connection, report=False)

    def timeout(self, now: float) -> None:
        """Close what is idle, slow, or does not come about."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        for connection in list(self._connections.values()):
            idle = now - connection.heard_at
            partial = 0.0 if connection.partial_since is None else now - connection.partial_since
            if idle > IDLE_SECONDS or partial > PARTIAL_SECONDS or (connection.connecting and idle > CONNECT_SECONDS):
                self._end(connection)
        self._sweep_at = now + SWEEP_SECONDS if self._connections else None

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        return self._sweep_at

    def connections(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        for connection in list(self._connections.values()):
            self._end(connection, report=False)
        for name, listener in self._listeners.items():
            self.accept(name, False)
            listener.close()

    def _incoming(self, name: str, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                tcp, address = listener.accept()
            except OSError:  # nothing (any more), or no descriptor left
                return
            if len(self._connections) >= CONNECTIONS_MAX:
                tcp.close()
                continue
            self._number += 1
            self._keep(_Connection(tcp, Flow("tcp", name, address[0], address[1], self._number), False, clock.now()))

    def _open(self, flow: Flow) -> _Connection | None:
        listener = self._listeners.get(flow.socket)
        if listener is None or len(self._connections) >= CONNECTIONS_MAX or flow.connection:
            return None
        tcp = socket.socket(listener.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            tcp.bind((listener.getsockname()[0], 0))
            tcp.connect((flow.host, flow.port))
            connecting = False
        except BlockingIOError:
            connecting = True
        except (OSError, OverflowError):
            tcp.close()
            return None
        self._number += 1
        connection = _Connection(tcp, Flow("tcp", flow.socket, flow.host, flow.port, self._number), connecting, clock.now())
        connection.partial_since = None
        self._outbound[flow.socket, flow.host, flow.port] = self._number
        self._keep(connection)
        return connection

    def _keep(self, connection: _Connection) -> None:
        connection.tcp.setblocking(False)
        connection.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connection.flow.connection] = connection
        self._loop.add(
            connection.tcp.fileno(), READ | WRITE if connection.connecting else READ, lambda events: self._ready(connection, events)
        )
        if self._sweep_at is None:
            self._sweep_at = connection.heard_at + SWEEP_SECONDS

    def _ready(self, connection: _Connection, events: int) -> None:
        if events & WRITE and not self._write(connection):
            return
        if events & (READ | ERROR | HANG_UP):
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.tcp.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(connection)
            return
        now = clock.now()
        connection.heard_at = now
        try:
            messages = connection.framer.feed(data)
        except MessageError:
            self._end(connection)
            return
        if connection.framer.pings:
            connection.framer.pings = 0
            self.send(PONG, connection.flow)
        if connection.framer.waiting:
            if messages or connection.partial_since is None:
                connection.partial_since = now
        else:
            connection.partial_since = None
        for message in messages:
            self._receive(message, connection.flow)

    def _write(self, connection: _Connection) -> bool:
        if connection.connecting:
            if connection.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(connection)
                return False
            connection.connecting = False
            connection.heard_at = clock.now()
        if connection.out:
            try:
                sent = connection.tcp.send(connection.out)
            except BlockingIOError:
                return True
            except OSError:
                self._end(connection)
                return False
            del connection.out[:sent]
        if not connection.out:
            self._loop.change(connection.tcp.fileno(), READ)
        return True

    def _end(self, connection: _Connection, report: bool = True) -> None:
        flow = connection.flow
        if self._connections.pop(flow.connection, None) is None:
            return
        key = (flow.socket, flow.host, flow.port)
        if self._outbound.get(key) == flow.connection:
            del self._outbound[key]
        self._loop.remove(connection.tcp.fileno())
        connection.tcp.close()
        if report:
            self._closed(flow)
