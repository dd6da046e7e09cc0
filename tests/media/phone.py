"""A peer for tests: a UDP socket on loopback, RTP made and taken apart by hand, and a processor under a clock that tests turn."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np

from media import control
from media.config import MediaConfiguration
from media.control import MediaProcessor

TICK = 0.005


class Rtp(NamedTuple):
    """One packet, as it came."""

    marker: bool
    kind: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Rtp:
    first, second, sequence, timestamp, ssrc = struct.unpack(">BBHII", data[:12])
    assert first == 0x80
    return Rtp(second >= 128, second & 127, sequence, timestamp, ssrc, data[12:])


class Phone:
    """One side of a call."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, ssrc: int = 0x1234) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.socket.setblocking(False)
        self.rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtcp.bind((host, 0))
        self.rtcp.setblocking(False)
        self.host, self.port = self.socket.getsockname()
        self.sequence, self.timestamp, self.ssrc = 65530, 0xFFFFFE00, ssrc
        self.to = ("127.0.0.1", 0)
        self.to_rtcp = ("127.0.0.1", 0)

    def offer(self, formats: str = "0 8 101", extra: str = "a=rtpmap:101 telephone-event/8000\r\n", direction: str = "sendrecv") -> bytes:
        lines = f"v=0\r\no=- 1 1 IN IP4 {self.host}\r\ns=-\r\nc=IN IP4 {self.host}\r\nt=0 0\r\n"
        lines += f"m=audio {self.port} RTP/AVP {formats}\r\n{extra}a={direction}\r\na=rtcp:{self.rtcp.getsockname()[1]}\r\n"
        return lines.encode()

    def take(self, answer: bytes) -> None:
        """Send to where a description says."""
        self.to = ("127.0.0.1", audio_port(answer))
        rtcp = [line for line in answer.decode().splitlines() if line.startswith("a=rtcp:")]
        self.to_rtcp = ("127.0.0.1", int(rtcp[0][7:]) if rtcp else self.to[1] + 1)

    def send(self, payload: bytes, kind: int = 0, step: int | None = None, marker: bool = False) -> None:
        """One packet; the next one is ``step`` samples later (the length of this one by default)."""
        second = kind | (0x80 if marker else 0)
        self.raw(struct.pack(">BBHII", 0x80, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc) + payload)
        self.sequence += 1
        self.timestamp += len(payload) if step is None else step

    def raw(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def received(self) -> list[Rtp]:
        """All RTP that came since the last call."""
        return [parse(data) for data in drain(self.socket)]

    def close(self) -> None:
        self.socket.close()
        self.rtcp.close()


def drain(side: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(side.recv(4096))
        except BlockingIOError:
            return found


def audio_port(description: bytes) -> int:
    return int(next(line for line in description.decode().splitlines() if line.startswith("m=audio")).split()[1])


class Bench:
    """A processor whose clock stands still until a test turns it."""

    def __init__(self, legs_max: int = 64, rtp_timeout_seconds: float = 60.0, room_rate_max: Any = 16000) -> None:
        self.now = 1000.0
        self.configuration = MediaConfiguration(
            host="127.0.0.1",
            rtp_port_first=41000,
            rtp_port_last=42999,
            legs_max=legs_max,
            rtp_timeout_seconds=rtp_timeout_seconds,
            room_rate_max=room_rate_max,
        )
        self.processor = MediaProcessor(self.configuration, {}, self.now)
        self.phones: list[Phone] = []

    def do(self, operation: str, request: control.Request, client: str = "router") -> Any:
        body = msgspec.msgpack.encode(request)
        answer = self.processor.handle(operation, body, client, self.now)
        return msgspec.msgpack.decode(answer, type=RESPONSES[operation])

    def phone(self, leg: str, *, call: str = "call", port: int = 0, host: str = "127.0.0.1", ssrc: int = 0, **offer: str) -> Phone:
        """A phone whose offer was answered."""
        phone = Phone(host, port, ssrc or 0x1000 + len(self.phones))
        self.phones.append(phone)
        phone.take(self.do("offer", control.Offer(leg=leg, call=call, sdp=phone.offer(**offer))).sdp)
        return phone

    def connect(self, leg: str, to: control.Sink) -> None:
        self.do("connect", control.Connect(leg=leg, to=to))

    def ticks(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += TICK
            self.processor.tick(self.now)

    def report(self, leg: str) -> control.LegReport:
        (report,) = self.do("query", control.Query(leg=leg))
        assert isinstance(report, control.LegReport)
        return report

    def events(self) -> list[tuple[str, str, Any]]:
        kinds = {
            "dtmf": control.Dtmf,
            "rtp-timeout": control.RtpTimeout,
            "play-ended": control.PlayEnded,
            "record-failed": control.RecordFailed,
            "speakers": control.Speakers,
            "tone": control.Tone,
            "silence": control.Silence,
            "answerer": control.Answerer,
            "trunk-lost": control.TrunkLost,
        }
        return [(client, name, msgspec.msgpack.decode(body, type=kinds[name])) for client, name, body in self.processor.events()]

    def until(self, condition: Any, most: int = 400) -> None:
        """Turn the clock until something of another thread is there."""
        for _ in range(most):
            if condition():
                return
            self.ticks()
            time.sleep(0.005)
        raise AssertionError("it never came")

    def close(self) -> None:
        for phone in self.phones:
            phone.close()
        self.processor.close()


RESPONSES: dict[str, Any] = {
    "offer": control.Answer,
    "propose": control.Proposal,
    "accept": control.Done,
    "connect": control.Done,
    "mix": control.Done,
    "play": control.PlayStarted,
    "record": control.RecordStarted,
    "pause": control.Done,
    "stop": control.Done,
    "skip": control.Done,
    "playing": list[control.Played],
    "listen": control.Done,
    "dtmf": control.Done,
    "release": control.LegReport,
    "query": list[control.LegReport],
}


@contextmanager
def bench(**arguments: Any) -> Iterator[Bench]:
    made = Bench(**arguments)
    try:
        yield made
    finally:
        made.close()


def tone(frequency: float, frames: int, level: float = 8000.0) -> "np.ndarray[Any, np.dtype[np.int16]]":
    """int16[frames, 160] of a sine at 8 kHz."""
    time_axis = np.arange(frames * 160) / 8000.0
    return (level * np.sin(2 * np.pi * frequency * time_axis)).astype(np.int16).reshape(frames, 160)
