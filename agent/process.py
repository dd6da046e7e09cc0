"""A unit's process as the agent holds it: its service socket and its output. Nothing here knows what the unit does.

Over the service socket (SOCK_SEQPACKET, numbers big endian):

| agent -> service | | service -> agent | |
| --- | --- | --- | --- |
| ``C`` u64, one descriptor | configuration of this generation, a sealed memfd | ``A`` u64 | applied |
| ``D`` f64 | drain, seconds | ``F`` u64 text | not applied, ``code: message`` |
| ``U`` | take work again | ``R`` u32 | work that is left |
| ``S`` | stop now | ``N`` bytes | notification |
| ``P``, one descriptor | a standby is warm: the socket to it | | |
| ``T`` | to a standby: take over | | |
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.descriptors import receive_message, sealed_memory, send_message
from agent.log import LINE_CHARACTERS_MAX, Log, Rate

WAITING_MAX = 64
"""Messages that a unit has not read yet; with more it counts as hung, and what follows is dropped."""
NOTIFICATION_BYTES_MAX = 32 * 1024
OUTPUT_BYTES = 65536
CLOSING_READS_MAX = 4
"""Times `OUTPUT_BYTES` that are still read when a process has ended."""
LINES_PER_SECOND = 50.0
LINES_BURST = 200.0
ROUND_MESSAGES_MAX = 100
TEXT_CHARACTERS_MAX = 500
_U64 = struct.Struct(">cQ")
_U32 = struct.Struct(">cI")
_F64 = struct.Struct(">cd")


class Applied(NamedTuple):
    generation: int


class NotApplied(NamedTuple):
    generation: int
    code: str
    message: str


class Remaining(NamedTuple):
    work: int


class Notified(NamedTuple):
    body: bytes


Word = Applied | NotApplied | Remaining | Notified


class MalformedWord(ValueError):  # noqa: N818 - what it is, not an error of ours
    """A service said something that is not in the table above."""


def read_word(data: bytes) -> Word:
    """One message of a service.

    Raises:
        MalformedWord: not in the table.
    """
    try:
        match data[:1]:
            case b"A":
                return Applied(_U64.unpack(data)[1])
            case b"F":
                generation = _U64.unpack_from(data)[1]
                code, _, message = data[_U64.size :].decode("utf-8", "replace").partition(": ")
                return NotApplied(generation, code[:64], message[:TEXT_CHARACTERS_MAX])
            case b"R":
                return Remaining(_U32.unpack(data)[1])
            case b"N" if len(data) <= NOTIFICATION_BYTES_MAX + 1:
                return Notified(data[1:])
    except struct.error as error:
        raise MalformedWord(f"{data[:1]!r}: {error}") from error
    raise MalformedWord(f"expected A, F, R or N, got {data[:16]!r} of {len(data)} bytes")


class Process:
    """One running unit."""

    def __init__(self, loop: asyncio.AbstractEventLoop, unit: str, said: Callable[[str, Word], None], log: Log) -> None:
        self.unit = unit
        self.pid = 0
        self.last_line = ""
        """Of its output: the end of a traceback, mostly."""
        self.said = said
        """Where its words go."""
        self._loop = loop
        self._log = log
        self._rate = Rate(LINES_PER_SECOND, LINES_BURST)
        self._waiting: deque[tuple[bytes, bytes | None]] = deque()
        self._partial = b""
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, self.output = os.pipe2(os.O_CLOEXEC)
        self._socket.setblocking(False)
        os.set_blocking(self._output, False)
        loop.add_reader(self._socket.fileno(), self._readable)
        loop.add_reader(self._output, self._printed)

    def given(self) -> None:
        """Its ends were passed to the launcher: ours are closed, so that the end of the process is seen."""
        self.theirs.close()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def configure(self, generation: int, body: bytes) -> None:
        self._send(_U64.pack(b"C", generation), body)

    def drain(self, seconds: float) -> None:
        self._send(_F64.pack(b"D", seconds))

    def undrain(self) -> None:
        self._send(b"U")

    def stop(self) -> None:
        self._send(b"S")

    def take_over(self) -> None:
        self._send(b"T")

    def standby(self, peer: socket.socket) -> None:
        """A standby is warm. Where the process does not read now it does without."""
        with contextlib.suppress(OSError):
            send_message(self._socket, b"P", [peer.fileno()])

    def close(self) -> None:
        """The process is gone: read what it still said, then let go."""
        self.given()
        if self._socket.fileno() >= 0:
            self._readable()
        if self._socket.fileno() >= 0:
            self._forget_socket()
        for _ in range(CLOSING_READS_MAX):
            if self._output >= 0:
                self._printed()
        if self._partial:
            self.line(self._partial.decode("utf-8", "replace"))
            self._partial = b""
        if self._output >= 0:
            self._forget_output()
        self._waiting.clear()

    def _send(self, data: bytes, memory: bytes | None = None) -> None:
        if len(self._waiting) >= WAITING_MAX or self._socket.fileno() < 0:
            return
        self._waiting.append((data, memory))
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            data, memory = self._waiting[0]
            descriptors = [sealed_memory(f"configuration {self.unit}", memory)] if memory is not None else []
            try:
                send_message(self._socket, data, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                # Gone; the launcher will say so.
                self._waiting.clear()
                break
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        for _ in range(ROUND_MESSAGES_MAX):
            try:
                data, descriptors = receive_message(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            for descriptor in descriptors:
                os.close(descriptor)
            if not data:
                self._forget_socket()
                return
            try:
                word = read_word(data)
            except MalformedWord as wrong:
                self.line(f"malformed: {wrong}")
                continue
            self.said(self.unit, word)

    def _printed(self) -> None:
        try:
            data = os.read(self._output, OUTPUT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LINE_CHARACTERS_MAX or (not data and self._partial):
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            if line.strip():
                self.line(line.decode("utf-8", "replace").rstrip())
        if not data:
            self._forget_output()

    def line(self, text: str) -> None:
        """One line of its output, or about it."""
        self.last_line = text[:TEXT_CHARACTERS_MAX]
        if self._rate.passes(self._loop.time()):
            dropped, self._rate.dropped = self._rate.dropped, 0
            self._log.say(self.unit, f"({dropped} lines dropped) {text}" if dropped else text)

    def _forget_socket(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    def _forget_output(self) -> None:
        self._loop.remove_reader(self._output)
        os.close(self._output)
        self._output = -1
