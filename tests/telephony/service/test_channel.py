"""What is between bytes and messages: plain, TLS, WebSocket (RFC 7118), and WebSocket in TLS."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, RejectConnection, Request, TextMessage

from telephony.service.channel import Channel, PlainChannel
from telephony.service.secure import SecureChannel, make_context
from telephony.service.websocket import CONTROLS_MAX, WebSocketChannel
from telephony.sip.errors import MessageError
from telephony.sip.parsing import MESSAGE_BYTES_MAX
from tests.telephony.service.pairs import TlsClient, pair, trusting

ONE = b"OPTIONS sip:b SIP/2.0\r\nSubject: one\r\nContent-Length: 5\r\n\r\nhello"
BINARY = b"MESSAGE sip:b SIP/2.0\r\nContent-Length: 2\r\n\r\n\xff\xfe"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: sip.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""As in RFC 7118 section 8.1, without what does not matter."""


class Browser:
    """The client's side of a WebSocket channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.socket = WSConnection(ConnectionType.CLIENT)
        self.seen: list[Event] = []
        self.messages: list[bytes] = []

    def open(self) -> "Browser":
        self.say(Request(host="sip.example", target="/", subprotocols=["sip"]))
        assert self.seen == [AcceptConnection(subprotocol="sip")]
        self.seen.clear()
        return self

    def say(self, event: Event) -> None:
        self.messages += self.channel.receive(self.socket.send(event))
        self.take(self.channel.outgoing())

    def take(self, data: bytes) -> None:
        self.socket.receive_data(data)
        self.seen += list(self.socket.events())


def closing(channel: Channel) -> int:
    """Code of the Close frame that a channel leaves."""
    data = channel.outgoing()
    assert data[0] == 0x88
    return int.from_bytes(data[2:4], "big")


def secure(inner: Channel) -> tuple[SecureChannel, TlsClient]:
    """A channel within TLS, the handshake done."""
    channel, client = SecureChannel(make_context(*pair()), inner), TlsClient(trusting(pair()[0]))
    client.take(b"")
    while not client.shaken:
        assert channel.receive(client.say()) == []
        client.take(channel.outgoing())
    channel.receive(client.say())
    client.take(channel.outgoing())
    return channel, client


def test_plain_pings_get_a_pong() -> None:
    channel = PlainChannel()
    assert channel.receive(ONE + b"\r\n\r\n" + ONE[:10]) == [ONE]
    assert channel.waiting
    assert (channel.outgoing(), channel.outgoing()) == (b"\r\n", b"")


def test_handshake_as_in_the_rfc() -> None:
    channel = WebSocketChannel()
    for number, byte in enumerate(HANDSHAKE, 1):
        assert channel.receive(bytes([byte])) == []
        assert channel.opened == (number == len(HANDSHAKE))
    head, *lines = channel.outgoing().decode().lower().split("\r\n")
    assert head.startswith("http/1.1 101")
    assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in lines
    assert "sec-websocket-protocol: sip" in lines
    assert not any(line.startswith("sec-websocket-extensions") for line in lines)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Sec-WebSocket-Protocol: sip\r\n", b""), b"400"),
        ((b"Protocol: sip", b"Protocol: xmpp"), b"400"),
        ((b"Protocol: sip", b"Protocol: \xff\xfe"), b"400"),
        ((b"Version: 13", b"Version: 7"), b"426"),
        ((b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b""), b"400"),
        ((b"GET /", b"POST /"), b"400"),
        ((b"GET /", b"\x16\x03\x01"), b"400"),
        ((b"\r\n\r\n", b"\r\nX: " + b"x" * 20_000), b"400"),
    ],
)
def test_what_is_no_handshake_is_answered_in_http(change: tuple[bytes, bytes], status: bytes) -> None:
    channel = WebSocketChannel()
    assert channel.receive(HANDSHAKE.replace(*change)) == []
    head, _, body = channel.outgoing().partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert f"Content-Length: {len(body)}".encode() in head
    assert channel.ended and not channel.opened
    with pytest.raises(MessageError):
        channel.wrap(ONE)


@pytest.mark.parametrize("within_tls", [False, True])
def test_messages_both_ways_text_and_binary(within_tls: bool) -> None:
    inner = WebSocketChannel()
    browser = Browser(inner).open()
    browser.say(TextMessage(data=ONE.decode()))
    browser.say(BytesMessage(data=BINARY))
    browser.say(TextMessage(data=ONE[:20].decode(), message_finished=False))
    assert inner.waiting
    browser.say(TextMessage(data=ONE[20:].decode()))
    assert not inner.waiting
    assert browser.messages == [ONE, BINARY, ONE]
    browser.take(inner.wrap(ONE) + inner.wrap(BINARY))
    assert browser.seen == [TextMessage(data=ONE.decode()), BytesMessage(data=bytearray(BINARY))]
    if within_tls:
        channel, client = secure(WebSocketChannel())
        assert channel.receive(client.say(HANDSHAKE)) == []
        assert client.take(channel.outgoing()).startswith(b"HTTP/1.1 101")
        browser = Browser(channel)
        browser.socket.send(Request(host="sip.example", target="/", subprotocols=["sip"]))
        assert channel.opened
        assert client.take(channel.wrap(ONE)) == b"\x81" + bytes([len(ONE)]) + ONE


def test_pings_and_keepalives() -> None:
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    browser.say(Ping(payload=b"there?"))
    browser.say(TextMessage(data="\r\n\r\n"))
    assert browser.seen == [Pong(payload=bytearray(b"there?")), TextMessage(data="\r\n")]
    channel.ping()
    browser.seen.clear()
    browser.take(channel.outgoing())
    assert isinstance(browser.seen[0], Ping)
    assert browser.messages == []


def test_both_sides_may_leave() -> None:
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    browser.say(CloseConnection(code=1000))
    assert channel.ended
    assert browser.seen == [CloseConnection(code=1000, reason="")]
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    channel.leave()
    assert closing(channel) == 1001


def test_bounds_of_a_websocket() -> None:
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    browser.say(BytesMessage(data=b"x" * MESSAGE_BYTES_MAX))
    assert len(browser.messages[0]) == MESSAGE_BYTES_MAX
    browser.say(BytesMessage(data=b"x" * MESSAGE_BYTES_MAX, message_finished=False))
    with pytest.raises(MessageError):
        browser.say(BytesMessage(data=b"x", message_finished=False))
    assert closing(channel) == 1009
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    ping = b"".join(browser.socket.send(Ping()) for _ in range(CONTROLS_MAX + 1))
    with pytest.raises(MessageError):
        channel.receive(ping)
    channel = WebSocketChannel()
    browser = Browser(channel).open()
    fragments = [browser.socket.send(BytesMessage(data=b"", message_finished=False)) for _ in range(CONTROLS_MAX + 1)]
    for fragment in fragments:
        assert channel.receive(fragment) == []
    with pytest.raises(MessageError):
        channel.receive(b"".join(browser.socket.send(BytesMessage(data=b"", message_finished=False)) for _ in fragments))
    assert closing(channel) == 1008
    channel = WebSocketChannel()
    Browser(channel).open()
    assert channel.receive(b"\x81\x05hello") == []  # not masked (RFC 6455 section 5.1)
    assert channel.ended
    assert closing(channel) == 1002


@pytest.mark.parametrize("seed", range(5))
def test_tls_in_any_pieces(seed: int) -> None:
    chance = random.Random(seed)
    channel, client = secure(PlainChannel())
    assert channel.opened
    stream = client.say(ONE * 3 + b"\r\n\r\n" + ONE)
    messages = []
    while stream:
        size = chance.choice([1, 7, 100])
        messages += channel.receive(stream[:size])
        stream = stream[size:]
    assert messages == [ONE] * 4
    assert client.take(channel.outgoing()) == b"\r\n"
    assert client.take(channel.wrap(ONE)) == ONE
    channel.leave()
    assert client.take(channel.outgoing()) == b""
    channel, client = secure(PlainChannel())
    client_end = b""
    try:
        client.tls.unwrap()
    except Exception:  # noqa: BLE001 - wants our close_notify, which nobody waits for
        client_end = client.say()
    assert channel.receive(client_end) == []
    assert channel.ended


def test_what_is_no_tls() -> None:
    channel = SecureChannel(make_context(*pair()), PlainChannel())
    with pytest.raises(MessageError):
        channel.receive(ONE)
    assert channel.outgoing()[:1] in (b"\x15", b"")  # an alert, where OpenSSL sends one
    with pytest.raises(MessageError):
        channel.wrap(ONE)
    channel, client = secure(PlainChannel())
    with pytest.raises(MessageError):
        channel.receive(client.say(b"no sip at all\r\n\r\n"))


def test_a_certificate_and_the_key_of_another() -> None:
    with pytest.raises(ValueError, match="certificate"):
        make_context(pair()[0], pair("second")[1])
    with pytest.raises(ValueError, match="certificate"):
        make_context(b"rubbish", b"rubbish")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=80), max_size=8), st.booleans())
def test_any_bytes_are_messages_or_a_typed_error(pieces: list[bytes], opened: bool) -> None:
    channel = WebSocketChannel()
    if opened:
        channel.receive(HANDSHAKE)
        channel.outgoing()
    try:
        for piece in pieces:
            for message in channel.receive(piece):
                assert 0 < len(message) <= MESSAGE_BYTES_MAX
            if channel.ended:
                break
    except MessageError:
        pass


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(HANDSHAKE) - 1), st.binary(max_size=12))
def test_a_handshake_with_anything_in_it(at: int, noise: bytes) -> None:
    channel = WebSocketChannel()
    assert channel.receive(HANDSHAKE[:at] + noise + HANDSHAKE[at:]) == []
    answer = channel.outgoing()
    if channel.ended:
        browser = WSConnection(ConnectionType.CLIENT)
        browser.send(Request(host="x", target="/", subprotocols=["sip"]))
        browser.receive_data(answer)
        assert isinstance(next(iter(browser.events())), RejectConnection)
    else:
        assert answer.startswith(b"HTTP/1.1 101") or not channel.opened
