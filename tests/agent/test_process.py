"""The agent's end of a unit, against a socket that plays the unit; sockets, memory files, notifications, log lines."""

import array
import asyncio
import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest

from agent import process as processes
from agent.descriptors import receive_message, sealed_memory, send_message
from agent.log import Log, Rate
from agent.memory import memory_bytes
from agent.notify import NotifySocket
from agent.process import Applied, MalformedWord, NotApplied, Notified, Process, Remaining, read_word
from agent.sockets import SocketError, Sockets, inherited_sockets
from agent.trust import Trust, TrustError
from agent.wire.link import unused_ports
from agent.wire.messages import Socket
from agent.wire.token import BrokerAddress, JoinToken


def u64(letter: bytes, number: int) -> bytes:
    return struct.pack(">cQ", letter, number)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (u64(b"A", 7), Applied(7)),
        (u64(b"F", 7) + b"bad: what: it is", NotApplied(7, "bad", "what: it is")),
        (u64(b"F", 7), NotApplied(7, "", "")),
        (u64(b"F", 7) + b"\xff" * 2000, NotApplied(7, "\ufffd" * 64, "")),
        (b"R\x00\x00\x00\x05", Remaining(5)),
        (b"Nbody", Notified(b"body")),
    ],
)
def test_words(data: bytes, word: object) -> None:
    assert read_word(data) == word


@pytest.mark.parametrize("data", [b"", b"A", u64(b"A", 1) + b"x", b"R123", b"F12", b"X", b"N" + bytes(32 * 1024 + 1)])
def test_words_that_are_none(data: bytes) -> None:
    with pytest.raises(MalformedWord):
        read_word(data)


class Unit:
    """A process of the agent and the unit's ends of it."""

    def __init__(self, capture: list[str]) -> None:
        self.words: list[object] = []
        log = Log("m")
        log.say = lambda source, text: capture.append(text)  # type: ignore[method-assign]
        self.process = Process(asyncio.get_running_loop(), "u-1", lambda unit, word: self.words.append(word), log)
        self.socket = self.process.theirs.dup()
        self.output = os.dup(self.process.output)
        self.process.given()
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()
        if self.output >= 0:
            os.close(self.output)
        self.process.close()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_configuration_comes_sealed() -> None:
    unit = Unit([])
    unit.process.configure(9, b"configuration")
    unit.process.drain(1.5)
    unit.process.undrain()
    unit.process.stop()
    data, (descriptor,) = receive_message(unit.socket)
    assert data == u64(b"C", 9)
    assert os.read(descriptor, 100) == b"configuration"
    with pytest.raises(PermissionError):
        os.write(descriptor, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == 15
    os.close(descriptor)
    assert [receive_message(unit.socket)[0] for _ in range(3)] == [struct.pack(">cd", b"D", 1.5), b"U", b"S"]
    unit.close()


async def test_a_unit_that_does_not_read_is_not_waited_for() -> None:
    unit = Unit([])
    for generation in range(2000):
        unit.process.configure(generation, b"x")
    got = []
    for _ in range(3000):
        try:
            data, descriptors = receive_message(unit.socket)
        except BlockingIOError:
            await settle()
            try:
                data, descriptors = receive_message(unit.socket)
            except BlockingIOError:
                break
        for each in descriptors:
            os.close(each)
        got.append(struct.unpack(">cQ", data)[1])
    assert got == list(range(len(got)))
    assert processes.WAITING_MAX <= len(got) < 2000
    unit.close()


async def test_what_it_says_and_prints_is_taken_in_order_and_bounded() -> None:
    lines: list[str] = []
    unit = Unit(lines)
    unit.socket.send(b"R\x00\x00\x00\x05")
    unit.socket.send(b"?")
    reading, writing = os.pipe()
    send_message(unit.socket, b"Nwith a descriptor", [reading])
    os.close(reading)
    os.write(unit.output, b"first\n\nsec")
    await settle()
    os.write(unit.output, b"ond\n\x1b[31mred\n" + b"x" * 3000)
    await settle()
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    os.close(writing)
    assert unit.words == [Remaining(5), Notified(b"with a descriptor")]
    assert lines[:2] == ["malformed: expected A, F, R or N, got b'?' of 1 bytes", "first"]
    assert "second" in lines and "\x1b[31mred" in lines
    for _ in range(20):
        os.write(unit.output, b"many\n" * 50)
        await settle()
    assert len(lines) < 300
    os.write(unit.output, b"RuntimeError: last")
    unit.socket.send(b"A" + bytes(8))
    unit.socket.close()
    os.close(unit.output)
    unit.output = -1
    unit.process.close()
    assert unit.words[-1] == Applied(0)
    assert unit.process.last_line == "RuntimeError: last"
    unit.process.close()
    unit.process.stop()


def test_lines_are_clean_and_rated(capsys: pytest.CaptureFixture[str]) -> None:
    Log("m-1").say("u-1", "a\x1b[31mb\tc" + "x" * 2000)
    line = capsys.readouterr().err
    assert " m-1 u-1 a\\x1b[31mb\\x09cxxx" in line and len(line) < 1100
    rate = Rate(10, 2)
    assert [rate.passes(0) for _ in range(3)] == [True, True, False]
    assert (rate.dropped, rate.passes(0.1)) == (1, True)


def test_readiness_counts_for_the_process_that_says_it() -> None:
    notify = NotifySocket()
    assert notify.read() is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unit:
        unit.connect("\0" + notify.name[1:])
        unit.sendmsg([b"READY=1\nSTATUS=well"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [unit.fileno()]))])
    word = notify.read()
    assert word is not None and (word.pid, word.fields) == (os.getpid(), [b"READY=1", b"STATUS=well"])
    notify.close()


def test_sockets_are_bound_once_and_kept_while_wanted() -> None:
    port, other = unused_ports("127.0.0.1", 2)
    udp = Socket(name="a", kind="udp", host="127.0.0.1", port=port)
    tcp = Socket(name="b", kind="tcp", host="127.0.0.1", port=other)
    sockets = Sockets([])
    first = sockets.take("u-1", udp)
    assert sockets.take("u-2", udp) is first
    listener = sockets.take("u-1", tcp)
    sockets.release("u-1", [udp])
    assert (first.fileno() >= 0, listener.fileno()) == (True, -1)
    sockets.release("u-1")
    assert first.fileno() >= 0
    sockets.release("u-2")
    assert first.fileno() == -1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
        busy.bind(("127.0.0.1", port))
        with pytest.raises(SocketError, match=f"udp 127.0.0.1:{port}: Address already in use"):
            sockets.take("u-1", udp)
    sockets.close()


def test_inherited_sockets_are_found_by_their_address_and_stay() -> None:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    sockets = Sockets([own])
    spec = Socket(name="public-udp", kind="udp", host="127.0.0.1", port=own.getsockname()[1])
    assert sockets.take("u-1", spec) is own
    sockets.release("u-1")
    assert own.fileno() >= 0
    sockets.close()
    assert own.fileno() == -1
    assert inherited_sockets({}) == []
    assert inherited_sockets({"LISTEN_FDS": "2", "LISTEN_PID": "1"}) == []


def test_sockets_of_one_address_are_told_apart_by_their_order() -> None:
    group: list[socket.socket] = []
    for _ in range(3):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", group[0].getsockname()[1] if group else 0))
        group.append(one)
    sockets = Sockets(group)
    port = group[0].getsockname()[1]
    specs = [Socket(name=f"public-udp-{share}", kind="udp", host="127.0.0.1", port=port, share=share) for share in range(4)]
    for unit in ("u-1", "u-2"):  # all that may have to read them hold all of them
        assert [sockets.take(unit, spec) for spec in specs[:3]] == group
    sockets.release("u-1", specs[1:])
    sockets.release("u-2")
    assert all(each.fileno() >= 0 for each in group)
    with pytest.raises(SocketError, match=f"udp 127.0.0.1:{port}: expected to inherit socket 3 of this address"):
        sockets.take("u-1", specs[3])
    sockets.close()


def test_ipv6_sockets() -> None:
    sockets = Sockets([])
    (port,) = unused_ports("127.0.0.1", 1)
    assert sockets.take("u", Socket(name="a", kind="udp", host="::1", port=port)).family == socket.AF_INET6
    sockets.close()


def test_memory_of_processes() -> None:
    assert memory_bytes([os.getpid()]) > 1 << 20
    assert memory_bytes([2**22 + 1]) == 0


def test_sealed_memory_is_whole() -> None:
    descriptor = sealed_memory("x", b"y" * 100_000)
    assert os.read(descriptor, 1 << 20) == b"y" * 100_000
    os.close(descriptor)


def test_trust_is_learned_once(tmp_path: Path) -> None:
    broker = BrokerAddress("a", "b", "c", "d", "e")
    token, other = (JoinToken.generate(cluster, [broker], bytes(32), [bytes(32)]) for cluster in ("one", "two"))
    trust = Trust.of_token(token, "m1")
    path = tmp_path / "trust"
    assert Trust.load(path) is None
    trust.store(path)
    assert Trust.load(path) == trust
    trust.check(token, "m1")
    with pytest.raises(TrustError, match="belongs to one; the token is of two"):
        trust.check(other, "m1")
    with pytest.raises(TrustError, match="expected those of m1, got m2"):
        trust.check(token, "m2")
    path.write_bytes(b"noise")
    with pytest.raises(TrustError):
        Trust.load(path)
