"""SIP over connections: TCP, TLS, WebSocket and secure WebSocket; listeners, connections both ways, bounds (RFC 3261 section 18).

Rules:
- A listener's name ends in its transport: ``public-tcp``, ``public-tls``, ``public-ws``, ``public-wss``. What is between bytes and
  messages is a `telephony.service.channel`; modules of transports that nobody listens on are not imported.
- A message to a flow leaves through its connection; where that is gone the flow is reported as closed. A flow over TCP or TLS without
  a connection gets the one that was opened to that address before, or a new one, from the listener's own address; over TLS the other
  side has to prove that it is the domain that led there (`expect`). WebSockets are only ever opened by users.
- A connection that sends nothing for `IDLE_SECONDS`, no whole message for `PARTIAL_SECONDS` after its first byte (or after it was
  accepted), has not finished its handshakes after `HANDSHAKE_SECONDS`, or sends what cannot be framed, is closed. So is one that does
  not read what it is sent, or whose peer has vanished (`UNACKNOWLEDGED_SECONDS`).
- When too many are in their handshakes the oldest of these goes: who is slow makes room for who comes.
- The soft limit of open files is raised to what `CONNECTIONS_MAX` takes; where the hard one is lower there are fewer connections, which
  is said. Where the host has no descriptor left a listener rests until the next sweep.
- Another certificate holds for connections that come from then on; the others keep theirs.

Bounds: `CONNECTIONS_MAX`, `CONNECTIONS_OF_SOURCE_MAX` (an IPv4 address, an IPv6 /64), `HANDSHAKES_MAX`, `WRITE_BYTES_MAX` a connection
and `WRITE_BYTES_TOTAL_MAX` all of them, and what a channel allows to be unfinished.
"""

import errno
import os
import socket
from collections.abc import Callable

from telephony.service import clock, open_files
from telephony.service.channel import Channel, PlainChannel
from telephony.service.log import say
from telephony.service.loop import ERROR, HANG_UP, READ, WRITE, Loop
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow, source_of

CONNECTIONS_MAX = 4000
OTHER_FILES_MAX = 200
"""Descriptors of a service that are no connections: its sockets, those of its jobs and of names, its software."""
CONNECTIONS_OF_SOURCE_MAX = 1000
"""Connections that one address may have opened to us."""
HANDSHAKES_MAX = 256
"""Connections that are not open yet (TLS, WebSocket)."""
DOMAINS_MAX = 1000
ACCEPTS_PER_TURN = 32
READ_BYTES = 65536
WRITE_BYTES_MAX = 512 * 1024
WRITE_BYTES_TOTAL_MAX = 64 << 20
"""What waits for peers that do not read, of all connections; who makes it more is closed."""
IDLE_SECONDS = 900.0
PARTIAL_SECONDS = 30.0
HANDSHAKE_SECONDS = 10.0
CONNECT_SECONDS = 4.0
SWEEP_SECONDS = 2.0
PING_SECONDS = 60.0
"""A connection that is quiet for so long is asked for a sign of life, where its channel can (RFC 7118 section 6)."""
UNACKNOWLEDGED_SECONDS = 30
"""What the peer's host does not acknowledge within this time ends the connection (RFC 5482)."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept(2) says when the process or the host has no room for a connection, which stays in the queue."""
SECURE = ("tls", "wss")
"""Transports that need a certificate."""

MakeChannel = Callable[[], Channel]


class _Connection:
    __slots__ = ("channel", "closing", "connecting", "flow", "heard_at", "out", "partial_since", "pinged", "tcp")

    def __init__(self, tcp: socket.socket, flow: Flow, channel: Channel, connecting: bool, now: float) -> None:
        self.tcp = tcp
        self.flow = flow
        self.channel = channel
        self.connecting = connecting
        self.closing = False
        """It is not read any more, and closed when all is sent."""
        self.out = bytearray()
        self.heard_at = now
        self.pinged = False
        """Since it was heard last."""
        self.partial_since: float | None = now
        """Since when a message is unfinished."""


class Streams:
    """All connections of a service.

    Args:
        receive: called with each framed message and its flow.
        closed: called with the flow of a connection that ended, or could not be opened.
        unsent: called with a message whose connection is gone, and its flow; `closed` follows.
    """

    def __init__(
        self,
        loop: Loop,
        receive: Callable[[bytes, Flow], None],
        closed: Callable[[Flow], None],
        unsent: Callable[[bytes, Flow], None] | None = None,
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._closed = closed
        self._unsent = unsent
        self._listeners: dict[str, socket.socket] = {}
        self._accepting: set[str] = set()
        self._resting: set[str] = set()
        """Listeners that accept again at the next sweep."""
        self._connections_max = 0
        self._connections: dict[int, _Connection] = {}
        self._handshakes: dict[int, _Connection] = {}
        """Those that are not open yet, oldest first."""
        self._sources: dict[str, int] = {}
        """Connections that each source has opened."""
        self._waiting_bytes = 0
        """What the kernel has not taken yet, of all connections."""
        self._outbound: dict[tuple[str, str, int], int] = {}
        """Connections that we opened, by (socket, host, port)."""
        # A number is never that of a connection of an earlier process: tokens with it live as long as registrations.
        self._number = int.from_bytes(os.urandom(6), "big")
        self._domains: dict[tuple[str, int], str] = {}
        """What TLS servers at these places have to prove to be."""
        self._client: Callable[[str], Channel] | None = None
        """Makes the channel of a TLS connection to a domain; there once one was needed."""
        self._authorities = b""
        self._sweep_at: float | None = None
        self._pair: tuple[bytes, bytes] = (b"", b"")
        self._make: dict[str, MakeChannel] = {"tcp": PlainChannel}
        """Transport to its channel."""

    def add(self, name: str, descriptor: int) -> None:
        """Take a listening socket; it does not accept yet (`accept`)."""
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        _watch_peer(listener)
        if not self._listeners:
            self._connections_max = max(0, open_files.allow(CONNECTIONS_MAX + OTHER_FILES_MAX) - OTHER_FILES_MAX)
            if self._connections_max < CONNECTIONS_MAX:
                say(f"the limit of open files (RLIMIT_NOFILE) allows {self._connections_max} connections instead of {CONNECTIONS_MAX}")
        self._listeners[name] = listener

    def names(self) -> list[str]:
        return list(self._listeners)

    def certify(self, certificate: bytes, private_key: bytes) -> None:
        """Use a certificate (PEM) for connections that come from now on; empty: secure listeners cannot accept.

        Raises:
            ValueError: the pair cannot be used; the one before stays.
        """
        if (certificate, private_key) == self._pair or not any(_transport(name) in SECURE for name in self._listeners):
            return
        if not certificate:
            for transport in SECURE:
                self._make.pop(transport, None)
        else:
            from telephony.service.secure import SecureChannel, make_context

            context = make_context(certificate, private_key)
            self._make["tls"] = lambda: SecureChannel(context, PlainChannel())
            self._make["wss"] = lambda: SecureChannel(context, _web_socket()())
        self._pair = (certificate, private_key)

    def trust(self, authorities: bytes) -> None:
        """Whoever we connect to from now on has to be certified by these (PEM); empty: by whom the machine trusts.

        Raises:
            ValueError: they cannot be read; those before stay.
        """
        if authorities != self._authorities:
            self._client = self._make_client(authorities) if authorities else None
            self._authorities = authorities

    def expect(self, host: str, port: int, domain: str) -> None:
        """Who opens a TLS connection there wants this domain."""
        if len(self._domains) >= DOMAINS_MAX:
            self._domains.clear()
        self._domains[host, port] = domain

    def accept(self, name: str, wanted: bool) -> None:
        """Accept connections from now on, or leave them to somebody else; those that are there stay."""
        listener = self._listeners[name]
        transport = _transport(name)
        if wanted and transport == "ws":
            self._make["ws"] = _web_socket()
        elif wanted and transport == "wss":
            _web_socket()
        wanted = wanted and transport in self._make
        if wanted and name not in self._accepting:
            self._accepting.add(name)
            self._loop.add(listener.fileno(), READ, lambda events: self._incoming(name, listener))
        elif not wanted and name in self._accepting:
            self._accepting.discard(name)
            self._resting.discard(name)
            self._loop.remove(listener.fileno())

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one message."""
        connection = self._connections.get(flow.connection or self._outbound.get((flow.socket, flow.host, flow.port), 0))
        if connection is None:
            connection = self._open(flow)
            if connection is None:
                if flow.connection and self._unsent is not None:
                    self._unsent(data, flow)
                self._closed(flow)
                return
        try:
            data = connection.channel.wrap(data)
        except MessageError:
            self._end(connection)
            return
        self._put(connection, data)

    def hang_up(self, flow: Flow) -> None:
        """Close the connection of a flow, without reporting it."""
        connection = self._connections.get(flow.connection or self._outbound.get((flow.socket, flow.host, flow.port), 0))
        if connection is not None:
            self._end(connection, report=False)

    def timeout(self, now: float) -> None:
        """Close what is idle, slow, or does not come about."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        while self._resting:
            name = self._resting.pop()
            self._loop.change(self._listeners[name].fileno(), READ)
        for number, connection in list(self._connections.items()):
            idle = now - connection.heard_at
            partial = 0.0 if connection.partial_since is None else now - connection.partial_since
            if (
                idle > IDLE_SECONDS
                or partial > (HANDSHAKE_SECONDS if number in self._handshakes else PARTIAL_SECONDS)
                or (connection.connecting and idle > CONNECT_SECONDS)
            ):
                self._end(connection)
            elif idle > PING_SECONDS and not connection.pinged and connection.channel.opened:
                connection.pinged = True
                connection.channel.ping()
                self._put(connection, connection.channel.outgoing())
        self._sweep_at = now + SWEEP_SECONDS if self._connections or self._resting else None

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        return self._sweep_at

    def connections(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        for connection in list(self._connections.values()):
            if not connection.connecting and not connection.closing:
                connection.channel.leave()
                self._put(connection, connection.channel.outgoing())
            self._end(connection, report=False)
        for name, listener in self._listeners.items():
            self.accept(name, False)
            listener.close()

    def _incoming(self, name: str, listener: socket.socket) -> None:
        transport = _transport(name)
        for _ in range(ACCEPTS_PER_TURN):
            try:
                tcp, address = listener.accept()
            except OSError as error:  # nothing (any more), or no descriptor left
                if error.errno in EXHAUSTED:
                    self._rest(name, listener, error)
                return
            host = address[0]
            source = source_of(host)
            if len(self._connections) >= self._connections_max or self._sources.get(source, 0) >= CONNECTIONS_OF_SOURCE_MAX:
                tcp.close()
                continue
            self._number += 1
            self._sources[source] = self._sources.get(source, 0) + 1
            channel = self._make[transport]()
            connection = _Connection(tcp, Flow(transport, name, host, address[1], self._number), channel, False, clock.now())
            self._keep(connection)
            if not channel.opened:
                self._handshakes[self._number] = connection
                if len(self._handshakes) > HANDSHAKES_MAX:
                    self._end(next(iter(self._handshakes.values())))

    def _rest(self, name: str, listener: socket.socket, error: OSError) -> None:
        """Look at a listener no more until the next sweep: what waits there would wake us again and again."""
        say(f"{name}: {error.strerror}; accepts again in {SWEEP_SECONDS:g} s at most")
        self._resting.add(name)
        self._loop.change(listener.fileno(), 0)
        if self._sweep_at is None:
            self._sweep_at = clock.now() + SWEEP_SECONDS

    def _open(self, flow: Flow) -> _Connection | None:
        listener = self._listeners.get(flow.socket)
        if listener is None or len(self._connections) >= self._connections_max or flow.connection or flow.transport not in ("tcp", "tls"):
            return None
        try:
            tcp = socket.socket(listener.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            tcp.bind((listener.getsockname()[0], 0))
            tcp.connect((flow.host, flow.port))
            connecting = False
        except BlockingIOError:
            connecting = True
        except (OSError, OverflowError):
            tcp.close()
            return None
        _watch_peer(tcp)
        self._number += 1
        channel = PlainChannel() if flow.transport == "tcp" else self._client_channel(self._domains.get((flow.host, flow.port), flow.host))
        connection = _Connection(tcp, flow._replace(connection=self._number), channel, connecting, clock.now())
        self._outbound[flow.socket, flow.host, flow.port] = self._number
        self._keep(connection)
        if channel.opened:
            connection.partial_since = None
        else:
            self._handshakes[self._number] = connection
            self._put(connection, channel.outgoing())
        return connection

    def _client_channel(self, domain: str) -> Channel:
        if self._client is None:
            self._client = self._make_client(self._authorities)
        return self._client(domain)

    def _make_client(self, authorities: bytes) -> Callable[[str], Channel]:
        from telephony.service.secure import SecureChannel, make_client_context

        context = make_client_context(authorities)
        return lambda domain: SecureChannel(context, PlainChannel(), domain)

    def _keep(self, connection: _Connection) -> None:
        connection.tcp.setblocking(False)
        connection.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connection.flow.connection] = connection
        self._loop.add(
            connection.tcp.fileno(), READ | WRITE if connection.connecting else READ, lambda events: self._ready(connection, events)
        )
        if self._sweep_at is None:
            self._sweep_at = connection.heard_at + SWEEP_SECONDS

    def _put(self, connection: _Connection, data: bytes) -> None:
        """Send bytes, or keep what the kernel does not take."""
        if not data:
            return
        if connection.connecting or connection.out:
            self._keep_bytes(connection, data)
            return
        try:
            sent = connection.tcp.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(connection)
            return
        if sent < len(data) and self._keep_bytes(connection, data[sent:]):
            self._watch(connection)

    def _keep_bytes(self, connection: _Connection, data: bytes) -> bool:
        """Send them later; false: that is too much, the connection is closed, or was so already."""
        if connection.flow.connection not in self._connections:
            return False
        if len(connection.out) + len(data) > WRITE_BYTES_MAX or self._waiting_bytes + len(data) > WRITE_BYTES_TOTAL_MAX:
            self._end(connection)
            return False
        connection.out += data
        self._waiting_bytes += len(data)
        return True

    def _watch(self, connection: _Connection) -> None:
        wanted = (0 if connection.closing else READ) | (WRITE if connection.out else 0)
        self._loop.change(connection.tcp.fileno(), wanted)

    def _ready(self, connection: _Connection, events: int) -> None:
        if events & WRITE and not self._write(connection):
            return
        if connection.closing:
            if events & (ERROR | HANG_UP):
                self._end(connection)
        elif events & (READ | ERROR | HANG_UP):
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
        connection.pinged = False
        channel = connection.channel
        try:
            messages = channel.receive(data)
        except MessageError:
            self._put(connection, channel.outgoing())
            self._end(connection)
            return
        self._put(connection, channel.outgoing())
        number = connection.flow.connection
        if number in self._handshakes:
            if channel.opened:
                del self._handshakes[number]
                connection.partial_since = now
        elif not channel.waiting:
            connection.partial_since = None
        elif messages or connection.partial_since is None:
            connection.partial_since = now
        for message in messages:
            self._receive(message, connection.flow)
        if channel.ended:
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        """Close it once all is sent."""
        if not connection.out:
            self._end(connection)
        elif connection.flow.connection in self._connections:
            connection.closing = True
            connection.partial_since = clock.now()
            self._watch(connection)

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
            self._waiting_bytes -= sent
        if not connection.out:
            if connection.closing:
                self._end(connection)
                return False
            self._watch(connection)
        return True

    def _end(self, connection: _Connection, report: bool = True) -> None:
        flow = connection.flow
        if self._connections.pop(flow.connection, None) is None:
            return
        self._handshakes.pop(flow.connection, None)
        self._waiting_bytes -= len(connection.out)
        connection.out.clear()
        source = source_of(flow.host)
        key = (flow.socket, flow.host, flow.port)
        if self._outbound.get(key) == flow.connection:
            del self._outbound[key]
        elif self._sources.get(source, 0) > 1:
            self._sources[source] -= 1
        else:
            self._sources.pop(source, None)
        self._loop.remove(connection.tcp.fileno())
        connection.tcp.close()
        if report:
            self._closed(flow)


def _transport(name: str) -> str:
    """The transport that a listener's name ends in."""
    return name.rpartition("-")[2]


def _web_socket() -> MakeChannel:
    from telephony.service.websocket import WebSocketChannel

    return WebSocketChannel


def _watch_peer(tcp: socket.socket) -> None:
    """Have the kernel find out when the peer's host is gone; a listener's connections inherit it."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, UNACKNOWLEDGED_SECONDS // 3)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
