"""The kernel drops a share of INVITEs before they are read, and tells how long others have waited."""

import select
import socket
import time
from collections.abc import Iterator

import pytest

from telephony.service import datagrams as module
from telephony.service.admission import admit
from telephony.service.datagrams import Datagrams
from telephony.service.loop import Loop
from telephony.sip.flow import Flow

INVITE = b"INVITE sip:a@b SIP/2.0\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer:
        reader.bind(("127.0.0.1", 0))
        reader.setblocking(False)
        writer.connect(reader.getsockname())
        yield reader, writer


def read(reader: socket.socket) -> list[bytes]:
    found = []
    while select.select([reader], [], [], 0)[0]:
        found.append(reader.recv(2000))
    return found


def test_a_share_of_invites_is_dropped_and_nothing_else(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = pair
    others = [b"ACK sip:a@b", b"SIP/2.0 200 OK", b"INV", b"", b"BYE sip:INVITE", b"INFO x"]
    for share, least, most in ((0.0, 0, 0), (0.5, 20, 80), (1.0, 100, 100)):
        admit(reader, share)
        for other in others:
            writer.send(other)
        for _ in range(100):
            writer.send(INVITE)
        found = read(reader)
        assert found[: len(others)] == others
        assert least <= len(found) - len(others) <= most


@pytest.mark.parametrize("spared", [(), ("112",), ("15", "112", "911", "äöü", "1234")])
def test_calls_for_help_are_not_dropped(pair: tuple[socket.socket, socket.socket], spared: tuple[str, ...]) -> None:
    reader, writer = pair
    admit(reader, 0.0, spared)
    help_ = [b"INVITE urn:service:sos SIP/2.0", b"INVITE sip:112@b SIP/2.0", b"INVITE sip:911@b SIP/2.0"]
    others = [b"INVITE sip:113@b SIP/2.0", b"INVITE sip:1120@b SIP/2.0", b"INVITE tel:112@b SIP/2.0", b"INVITE sip:15@b SIP/2.0"]
    for data in (*help_, *others, b"INVITE short", b"INFO sip:a@b SIP/2.0 and more"):
        writer.send(data)
    passed = [help_[0], *(data for data in help_[1:] if data[11:14].decode() in spared)]
    assert read(reader) == [*passed, b"INVITE short", b"INFO sip:a@b SIP/2.0 and more"]


def test_who_reads_a_socket_anew_hears_all(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = pair
    admit(reader, 0.0)
    loop = Loop()
    heard: list[bytes] = []
    datagrams = Datagrams(loop, lambda data, flow: heard.append(data), lambda flow: None, lambda seconds: None)
    datagrams.add("public-udp", reader.fileno(), shared=True)
    datagrams.read("public-udp", True)
    try:
        writer.send(INVITE)
        loop.turn(1.0)
        assert heard == [INVITE]
        datagrams.admit(0.0, ())
        writer.send(INVITE)
        writer.send(b"BYE")
        loop.turn(1.0)
        assert heard == [INVITE, b"BYE"]
        datagrams.read("public-udp", False)
        writer.send(INVITE)
        assert read(reader) == [INVITE], "and whoever reads it next does too"
    finally:
        reader.detach()
        datagrams.close()
        loop.close()


def test_waiting_is_measured_while_there_is_more_than_a_batch(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = pair
    loop = Loop()
    waits: list[float] = []
    heard: list[Flow] = []
    datagrams = Datagrams(loop, lambda data, flow: heard.append(flow), lambda flow: None, waits.append)
    datagrams.add("public-udp", reader.fileno(), shared=True)
    datagrams.read("public-udp", True)
    batch = module.BATCH_DATAGRAMS
    try:
        for _ in range(batch - 1):
            writer.send(b"x")
        loop.turn(1.0)
        assert waits == []
        for turn in range(100):  # the kernel begins to take stamps a moment after it was asked to
            for _ in range(batch + 1):
                writer.send(b"x")
            start = time.monotonic()
            while (left := start + 0.03 - time.monotonic()) > 0:
                select.select([], [], [], left)
            while len(heard) < batch - 1 + (turn + 1) * (batch + 1):
                loop.turn(1.0)
            assert len(waits) == 2 * (turn + 1)
            assert waits[-1] == 0.0
            if waits[-2] >= 0.03:
                return
        raise AssertionError(waits)
    finally:
        reader.detach()
        datagrams.close()
        loop.close()
