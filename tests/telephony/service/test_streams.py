"""Connections of all transports on loopback: accepted, answered, bounded, closed; a new certificate for new ones."""

import contextlib
import os
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from telephony.service import clock, streams
from telephony.service.loop import Loop
from telephony.service.streams import Streams
from telephony.sip.flow import Flow
from tests.telephony.service.pairs import pair, trusting
from tests.telephony.service.test_channel import HANDSHAKE, ONE
from tests.telephony.service.unit import tcp

TURNS_MAX = 400
TURN_SECONDS = 0.02
HOSTS = ["127.0.0.1"] + (["::1"] if socket.has_dualstack_ipv6() else [])


class Side:
    """`Streams` with one listener for each transport; all that they said."""

    def __init__(self, host: str = "127.0.0.1", transports: tuple[str, ...] = ("tcp", "tls", "ws", "wss")) -> None:
        self.loop = Loop()
        self.messages: list[tuple[bytes, Flow]] = []
        self.gone: list[Flow] = []
        self.streams = Streams(self.loop, lambda data, flow: self.messages.append((data, flow)), self.gone.append)
        self.addresses: dict[str, tuple[str, int]] = {}
        for transport in transports:
            listener = tcp(host)
            self.addresses[transport] = listener.getsockname()[:2]
            self.streams.add(f"public-{transport}", listener.detach())
        self.streams.certify(*pair("first", host))
        for name in self.streams.names():
            self.streams.accept(name, True)

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(TURNS_MAX):
            if condition():
                return
            self.loop.turn(TURN_SECONDS)
        raise AssertionError("waited in vain")

    def open(self, transport: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """A client whose handshakes are done."""
        host, port = self.addresses[transport]
        client: socket.socket = socket.create_connection((host, port))
        client.setblocking(False)
        if transport in ("tls", "wss"):
            secure = (context or trusting(pair("first", host)[0])).wrap_socket(client, server_hostname=host, do_handshake_on_connect=False)
            client = secure
            try:
                self.until(lambda: shaken(secure))
            except ssl.SSLError:
                secure.close()
                raise
        if transport in ("ws", "wss"):
            client.send(HANDSHAKE)
            assert self.read(client).startswith(b"HTTP/1.1 101")
        return client

    def read(self, client: socket.socket) -> bytes:
        """What comes next; empty: it was closed."""
        found: list[bytes] = []

        def try_it() -> bool:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                try:
                    found.append(client.recv(65536))
                except (ConnectionResetError, ssl.SSLEOFError):
                    found.append(b"")
            return bool(found)

        self.until(try_it)
        return found[0]

    def close(self) -> None:
        self.streams.close()
        self.loop.close()


@pytest.fixture
def side() -> Iterator[Side]:
    made = Side()
    yield made
    made.close()


def shaken(client: ssl.SSLSocket) -> bool:
    try:
        client.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def frame(message: bytes) -> bytes:
    """A masked text frame, the mask all zeros."""
    assert len(message) < 126
    return bytes((0x81, 0x80 | len(message))) + bytes(4) + message


def carried(transport: str, message: bytes) -> bytes:
    return frame(message) if transport in ("ws", "wss") else message


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_messages_both_ways(host: str, transport: str) -> None:
    side = Side(host)
    with side.open(transport) as client:
        client.send(carried(transport, ONE) * 2)
        side.until(lambda: len(side.messages) == 2)
        (message, flow), (again, same) = side.messages
        assert (message, again) == (ONE, ONE)
        assert flow == same == Flow(transport, f"public-{transport}", *client.getsockname()[:2], flow.connection)
        assert flow.connection > 0
        answer = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
        side.streams.send(answer, flow)
        assert side.read(client).endswith(answer)
    side.until(lambda: side.gone)
    assert side.gone == [flow]
    side.streams.send(answer, flow)
    assert side.gone == [flow, flow]
    assert side.streams.connections() == 0
    assert side.streams.timeout(clock.now() + 10) is None
    assert side.streams.deadline() is None
    side.close()


def test_a_number_is_never_that_of_an_earlier_process() -> None:
    numbers = set()
    for _ in range(3):
        side = Side(transports=("tcp",))
        with side.open("tcp") as client:
            client.send(ONE)
            side.until(lambda side=side: side.messages)
        numbers.add(side.messages[0][1].connection)
        side.close()
    assert max(numbers) - min(numbers) > 1000


def test_a_new_certificate_is_for_new_connections(side: Side) -> None:
    old = side.open("tls")
    side.streams.certify(*pair("second"))
    with pytest.raises(ssl.SSLCertVerificationError):
        side.open("tls")
    with old, side.open("tls", trusting(pair("second")[0])) as new:
        for client in (old, new):
            client.send(ONE)
        side.until(lambda: len(side.messages) == 2)
        with pytest.raises(ValueError, match="certificate"):
            side.streams.certify(pair()[0], pair("second")[1])
        side.open("tls", trusting(pair("second")[0])).close()


def test_without_a_certificate_secure_listeners_wait(side: Side) -> None:
    side.streams.certify(b"", b"")
    for name in side.streams.names():
        side.streams.accept(name, True)
    with socket.create_connection(side.addresses["tls"]), side.open("tcp") as client:
        client.send(ONE)
        side.until(lambda: side.messages)
        assert side.streams.connections() == 1


def test_slow_handshakes_and_idle_connections_are_closed(side: Side) -> None:
    slow = [socket.create_connection(side.addresses[transport]) for transport in ("tls", "ws", "wss")]
    opened = [side.open(transport) for transport in ("tcp", "tls", "ws")]
    side.until(lambda: side.streams.connections() == 6)
    side.streams.timeout(clock.now() + streams.HANDSHAKE_SECONDS + 1)
    assert side.streams.connections() == 3
    for client in slow:
        client.setblocking(False)
        assert side.read(client) == b""
        client.close()
    side.streams.timeout(clock.now() + streams.PARTIAL_SECONDS + 3)
    assert side.streams.connections() == 0
    for client in opened:
        client.close()


def test_a_quiet_websocket_is_asked_for_a_sign_of_life(side: Side) -> None:
    with side.open("ws") as client:
        client.send(frame(ONE))
        side.until(lambda: side.messages)
        side.streams.timeout(clock.now() + streams.PING_SECONDS + 3)
        side.streams.timeout(clock.now() + streams.PING_SECONDS + 6)
        assert side.read(client) == b"\x89\x00"
        client.send(b"\x8a\x80" + bytes(4))
        client.send(frame(ONE))
        side.until(lambda: len(side.messages) == 2)
        side.streams.timeout(clock.now() + streams.IDLE_SECONDS + 9)
        assert side.streams.connections() == 0


def test_the_oldest_handshake_makes_room(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HANDSHAKES_MAX", 3)
    waiting = [socket.create_connection(side.addresses["tls"]) for _ in range(5)]
    side.until(lambda: len(side.gone) == 2)
    assert side.streams.connections() == 3
    side.open("tls").close()
    assert len(side.gone) >= 3
    for client in waiting:
        client.close()


def test_one_source_cannot_have_all_connections(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CONNECTIONS_OF_SOURCE_MAX", 2)
    first, second = side.open("tcp"), side.open("tcp")
    with side.open("tcp") as third:
        assert side.read(third) == b""
    first.close()
    side.until(lambda: side.gone)
    with side.open("tcp") as fourth:
        fourth.send(ONE)
        side.until(lambda: side.messages)
    second.close()


def test_who_does_not_read_fills_nothing(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may have much waiting, all together not; who reads gets what is theirs."""
    monkeypatch.setattr(streams, "WRITE_BYTES_TOTAL_MAX", 150_000)
    clients = [side.open("tcp") for _ in range(3)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(ONE)
    side.until(lambda: len(side.messages) == 3)
    flows = [flow for _, flow in side.messages]
    for flow in flows:
        side.streams._connections[flow.connection].tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    while side.streams._waiting_bytes < 100_000:
        side.streams.send(b"x" * 10_000, flows[0])
    for _ in range(100):
        if not side.gone:
            side.streams.send(b"x" * 10_000, flows[1])
    assert side.gone == [flows[1]]
    assert side.streams._waiting_bytes <= 150_000
    side.streams.send(ONE, flows[2])
    assert side.read(clients[2]) == ONE
    side.until(lambda: side.read(clients[0]) and not side.streams._waiting_bytes)
    for client in clients:
        client.close()
    side.until(lambda: not side.streams.connections())
    assert side.streams._waiting_bytes == 0
    assert not side.streams._sources


@pytest.fixture
def open_files() -> Iterator[None]:
    """The limit is as it was afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def lowest_free() -> int:
    """The next descriptor that the kernel gives."""
    free = os.dup(0)
    os.close(free)
    return free


@pytest.mark.usefixtures("open_files")
def test_the_soft_limit_of_open_files_is_raised() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    Side(transports=("tcp",)).close()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (streams.CONNECTIONS_MAX + streams.OTHER_FILES_MAX, hard)


def test_a_low_hard_limit_of_open_files_is_said_and_held() -> None:
    """In a process of its own: a hard limit cannot be raised again."""
    limit = streams.OTHER_FILES_MAX + 2
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "from tests.telephony.service.test_streams import Side\n"
        "side = Side(transports=('tcp',))\n"
        "clients = [side.open('tcp') for _ in range(3)]\n"
        "assert side.read(clients[2]) == b''\n"
        "assert side.streams.connections() == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert f"allows 2 connections instead of {streams.CONNECTIONS_MAX}" in done.stderr


@pytest.mark.usefixtures("open_files")
def test_without_a_free_descriptor_a_listener_rests(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(Side(transports=("tcp",))) as side, side.open("tcp") as client:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), hard))
        side.loop.turn(TURN_SECONDS)
        assert "accepts again" in capsys.readouterr().err
        for _ in range(3):
            side.loop.turn(0.0)
        assert capsys.readouterr().err == ""
        assert side.streams.connections() == 0
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        side.streams.timeout(side.streams.deadline() or 0.0)
        client.send(ONE)
        side.until(lambda: side.messages)


def test_two_processes_share_a_listener() -> None:
    """As proxies do: whoever is quicker takes a connection, and both keep theirs."""
    one = Side(transports=("tcp",))
    other = Side(transports=())
    listener = socket.create_server(("127.0.0.1", 0))
    for side in (one, other):
        side.streams.add("shared-tcp", os.dup(listener.fileno()))
        side.streams.accept("shared-tcp", True)
    clients = []
    for number in range(8):
        clients.append(socket.create_connection(listener.getsockname()))
        (one, other)[number % 2].until(lambda: one.streams.connections() + other.streams.connections() == len(clients))
    assert (one.streams.connections(), other.streams.connections()) == (4, 4)
    one.close()
    clients.append(socket.create_connection(listener.getsockname()))
    other.until(lambda: other.streams.connections() == 5)
    other.close()
    for each in (*clients, listener):
        each.close()


def test_a_refusal_is_read_before_the_end(side: Side) -> None:
    with socket.create_connection(side.addresses["ws"]) as client:
        client.setblocking(False)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert side.read(client).startswith(b"HTTP/1.1 400 ")
        assert side.read(client) == b""
    assert side.streams.connections() == 0


def test_who_leaves_says_so(side: Side) -> None:
    with side.open("ws") as client:
        side.until(lambda: side.streams.connections() == 1)
        side.streams.close()
        assert client.recv(100)[:4] == b"\x88\x02\x03\xe9"


def test_connections_of_users_alone_are_never_opened_by_us(side: Side) -> None:
    flow = Flow("ws", "public-ws", *side.addresses["ws"])
    side.streams.send(ONE, flow)
    assert side.gone == [flow]


def test_a_message_whose_connection_is_gone_is_handed_back() -> None:
    side = Side(transports=("tcp",))
    back: list[tuple[bytes, Flow]] = []
    side.streams._unsent = lambda data, flow: back.append((data, flow))
    gone = Flow("tcp", "public-tcp", "127.0.0.1", 9, connection=12345)
    side.streams.send(ONE, gone)
    assert back == [(ONE, gone)]
    assert side.gone == [gone]
    side.close()
