"""How calls sound through the engine: MOS by PESQ (ITU-T P.862, mapped by P.862.1), against loss and jitter, for PCMU and Opus.

Rules:
- One side speaks, the engine takes the stream apart, mixes and makes another one, the other side listens and decodes: all that a call does
  but the phones. Its clock is turned by hand, so that a delay is what it is said to be.
- Loss is random, each packet by itself; jitter is a delay of each packet between 0 and the value, uniform.
"""

import importlib
import socket
import struct
from dataclasses import dataclass, field

import msgspec
import numpy as np

from loadtest.bench import speech
from loadtest.bench.figure import Figure, Round
from loadtest.bench.options import Options
from loadtest.bench.process import NotRunnableError
from media import g711
from media.arrays import I16
from media.coding.opus import Opus
from media.config import MediaConfiguration
from media.control import TICK_SECONDS, Answer, Connect, MediaProcessor, Offer, Room

UNIT = "MOS"
LOSSES_PERCENT = (0.0, 1.0, 3.0, 5.0, 10.0)
JITTERS_MS = (0.0, 20.0, 40.0, 80.0)
CODECS = ("pcmu", "opus")
FRAME_SAMPLES = 160
FRAME_SECONDS = 0.02
_KINDS = {"pcmu": 0, "opus": 96}
_CLOCK = {"pcmu": 160, "opus": 960}
_FORMATS = {"pcmu": "0", "opus": "96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1"}


class _Coder:
    """A phone's codec."""

    def __init__(self, codec: str) -> None:
        self._opus = Opus(speech.RATE, 1) if codec == "opus" else None
        if self._opus:
            self._out = np.zeros((1, self._opus.encoder_bytes), np.uint8)
            self._in = np.zeros((1, self._opus.decoder_bytes), np.uint8)
            self._opus.reset_encoder(self._out, np.array([0]))
            self._opus.reset_decoder(self._in, np.array([0]))

    def encode(self, frame: I16) -> bytes:
        if self._opus is None:
            return bytes(g711.encode(frame, g711.MU))
        payload, size = self._opus.encode(self._out, np.array([0]), frame[None])
        return bytes(payload[0, : size[0]])

    def decode(self, payload: bytes) -> I16:
        data = np.frombuffer(payload, np.uint8)
        if self._opus is None:
            return g711.decode(data, g711.MU)
        samples: I16 = self._opus.decode(self._in, np.array([0]), data[None], np.array([len(data)], np.int32))[0][0]
        return samples


@dataclass(order=True)
class _Packet:
    at: float
    number: int
    data: bytes = field(compare=False)


def heard(codec: str, loss_percent: float = 0.0, jitter_ms: float = 0.0, seed: int = 1) -> I16:
    """What the listener of a call hears of `speech.samples`: int16[n] at 8 kHz, from when the engine first sends on.

    Args:
        codec: ``pcmu`` or ``opus``, of both sides.
        loss_percent: of the packets to the engine.
        jitter_ms: most delay of a packet to the engine.
    """
    rng, now = np.random.default_rng(seed), 1000.0
    configuration = MediaConfiguration(host="127.0.0.1", rtp_port_first=44000, rtp_port_last=44999, legs_max=8)
    processor = MediaProcessor(configuration, {}, now)
    sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        ports = []
        for name, side in zip("ab", sides, strict=True):
            side.bind(("127.0.0.1", 0))
            side.setblocking(False)
            sdp = f"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio {side.getsockname()[1]} RTP/AVP {_FORMATS[codec]}\r\n"
            answer = processor.handle("offer", msgspec.msgpack.encode(Offer(leg=name, call="c", sdp=sdp.encode())), "bench", now)
            description = msgspec.msgpack.decode(answer, type=Answer).sdp.decode()
            ports.append(int(next(line for line in description.splitlines() if line.startswith("m=audio")).split()[1]))
            processor.handle("connect", msgspec.msgpack.encode(Connect(leg=name, to=Room("opinion"))), "bench", now)
        phone, voice = _Coder(codec), speech.samples()
        packets = []
        for number in range(len(voice) // FRAME_SAMPLES):
            payload = phone.encode(voice[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES])
            header = struct.pack(">BBHII", 0x80, _KINDS[codec], number, number * _CLOCK[codec], 77)
            if rng.random() >= loss_percent / 100:
                packets.append(_Packet(now + number * FRAME_SECONDS + rng.random() * jitter_ms / 1000, number, header + payload))
        packets.sort(reverse=True)
        got: list[bytes] = []
        for _ in range(round((len(voice) / speech.RATE + 0.5) / TICK_SECONDS)):
            while packets and packets[-1].at <= now:
                sides[0].sendto(packets.pop().data, ("127.0.0.1", ports[0]))
            now += TICK_SECONDS
            processor.tick(now)
            got += _drain(sides[1])
        return np.concatenate([phone.decode(data[12:]) for data in got])
    finally:
        processor.close()
        for side in sides:
            side.close()


def _drain(side: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(side.recv(2048))
        except BlockingIOError:
            return found


def mos(codec: str, loss_percent: float = 0.0, jitter_ms: float = 0.0) -> float:
    """PESQ's opinion of `heard`, narrow band.

    Raises:
        NotRunnableError: the package is missing.
    """
    try:
        pesq = importlib.import_module("pesq").pesq
    except ImportError:
        raise NotRunnableError("the package pesq is missing; run: make test") from None
    return float(pesq(speech.RATE, speech.samples(), heard(codec, loss_percent, jitter_ms), "nb"))


def opinion(options: Options) -> list[Figure]:
    """A figure for each codec and trouble; no peer takes part."""
    cases = [(loss, 0.0) for loss in LOSSES_PERCENT] + [(0.0, jitter) for jitter in JITTERS_MS[1:]]
    return [
        Figure(f"{codec}, {loss:.0f} % loss, {jitter:.0f} ms jitter", "ours", UNIT, (Round(mos(codec, loss, jitter)),), True, "ours")
        for codec in CODECS
        for loss, jitter in (cases[:1] if options.quick else cases)
    ]
