"""What rooms of ten cost at each of their rates: the engine's own CPU time a packet, in and out, without the load's.

Rules:
- The engine is driven in this process, over real sockets, by a clock that is turned by hand; what is counted is the CPU time of its ticks.
- Each round is a process of its own, whose products of matrices are on one thread, as in a media processor.
- All ten talk, in the worst case of mixing; there are `ROOMS` such rooms.
"""

import os
import socket
import struct
import subprocess
import sys
import time
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from loadtest.bench import speech
from loadtest.bench.figure import Figure, Round
from loadtest.bench.options import Options
from loadtest.bench.process import NotRunnableError
from media import coders, g711
from media.arrays import I16
from media.config import MediaConfiguration
from media.control import TICK_SECONDS, Answer, Connect, MediaProcessor, Offer, Room
from media.resample import resampler

UNIT = "us CPU/pkt"
ROOMS = 20
SIZE = 10
WARM_FRAMES, FRAMES = 25, 100


Rate = Literal[8000, 16000, 48000]


class Kind(NamedTuple):
    """A codec, as phones say it."""

    name: str
    payload_type: int
    mapping: str
    step: int
    """Of the timestamp, a packet."""


PCMU = Kind("PCMU", 0, "", 160)
L16 = Kind("L16", 97, "a=rtpmap:97 L16/16000\r\n", 320)
G722 = Kind("G.722", 9, "", 160)
OPUS = Kind("Opus", 96, "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=0\r\n", 960)
CASES: list[tuple[Rate, list[Kind]]] = [
    (8000, [PCMU] * 10),
    (16000, [L16] * 10),
    (16000, [PCMU] * 8 + [L16] * 2),
    (16000, [G722] * 10),
    (8000, [OPUS] * 10),
    (16000, [OPUS] * 10),
    (48000, [OPUS] * 10),
    (48000, [PCMU] * 8 + [OPUS] * 2),
]
"""Most that a room may have, Hz, and who is in it."""


def payloads(kind: Kind) -> list[bytes]:
    """Speech, as packets of 20 ms."""
    voice = speech.samples().reshape(-1, 160)
    if kind is PCMU:
        return [bytes(row) for row in g711.encode(voice, g711.MU)]
    raise_ = resampler(8000, 48000 if kind is OPUS else 16000)
    state = np.zeros(1, raise_.state)
    wide: list[I16] = [raise_(state, row[None]) for row in voice]
    if kind is L16:
        return [row.astype(">i2").tobytes() for row in wide]
    codec = coders.OPUS_AT.get(48000) if kind is OPUS else coders.G_722
    if codec is None:
        raise NotRunnableError(f"{kind.name} is missing")
    memory, only = np.zeros((1, codec.encoder_bytes), np.uint8), np.array([0])
    codec.reset_encoder(memory, only)
    coded = [codec.encode(memory, only, row) for row in wide]
    return [bytes(payload[0, : int(size[0])]) for payload, size in coded]


def cost(rate_max: Rate, kinds: list[Kind], frames: int) -> float:
    """CPU time of the ticks, us for each packet that comes and goes."""
    now = 1000.0
    legs = ROOMS * len(kinds)
    configuration = MediaConfiguration(host="127.0.0.1", rtp_port_first=45000, rtp_port_last=46999, legs_max=legs, room_rate_max=rate_max)
    processor = MediaProcessor(configuration, {}, now)
    sides: list[tuple[socket.socket, Kind, tuple[str, int]]] = []
    said = {kind: payloads(kind) for kind in dict.fromkeys(kinds)}
    try:
        for number in range(legs):
            kind = kinds[number % len(kinds)]
            side = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            side.bind(("127.0.0.1", 0))
            head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            sdp = f"{head}m=audio {side.getsockname()[1]} RTP/AVP {kind.payload_type}\r\n{kind.mapping}"
            answer = processor.handle("offer", msgspec.msgpack.encode(Offer(leg=f"{number}", call="c", sdp=sdp.encode())), "bench", now)
            text = msgspec.msgpack.decode(answer, type=Answer).sdp.decode()
            port = int(next(line for line in text.splitlines() if line.startswith("m=audio")).split()[1])
            connect = Connect(leg=f"{number}", to=Room(f"{number // len(kinds)}"))
            processor.handle("connect", msgspec.msgpack.encode(connect), "bench", now)
            sides.append((side, kind, ("127.0.0.1", port)))
        spent = 0.0
        for frame in range(WARM_FRAMES + frames):
            for number, (side, kind, to) in enumerate(sides):
                payload = said[kind][(frame + 37 * number) % len(said[kind])]
                side.sendto(struct.pack(">BBHII", 0x80, kind.payload_type, frame, frame * kind.step, number + 1) + payload, to)
            began = time.process_time()
            for _ in range(round(0.02 / TICK_SECONDS)):
                now += TICK_SECONDS
                processor.tick(now)
            spent += time.process_time() - began if frame >= WARM_FRAMES else 0.0
        return spent / (frames * legs) * 1e6
    finally:
        processor.close()
        for side, _, _ in sides:
            side.close()


def _apart(case: int, frames: int) -> float:
    """`cost` of a case, in a process of its own."""
    words = [sys.executable, "-m", "loadtest.bench.rates", f"{case}", f"{frames}"]
    done = subprocess.run(words, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRunnableError(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def rates(options: Options) -> list[Figure]:
    """Rooms of ten at 8, 16 and 48 kHz."""
    figures = []
    for number, (rate_max, kinds) in enumerate(CASES):
        names = ", ".join(f"{kinds.count(kind)} {kind.name}" for kind in dict.fromkeys(kinds))
        costs = [_apart(number, FRAMES // 4 if options.quick else FRAMES) for _ in range(options.rounds)]
        details = [Round(each, details={"legs/core": 1e6 / (50 * each)}) for each in costs]
        figures.append(Figure(f"room of {names} at {rate_max // 1000} kHz", "ours", UNIT, tuple(details), role="ours"))
    return figures


if __name__ == "__main__":
    chosen, wanted = CASES[int(sys.argv[1])], int(sys.argv[2])
    print(cost(*chosen, wanted))
