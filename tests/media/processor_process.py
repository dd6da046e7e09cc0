"""A processor as a process of its own: ``python -m tests.media.processor_process RTP RTCP STATE first|standby``.

``first`` makes legs of the offers that it reads (a line each: name, port of the phone, ``echo`` or the name of a room), answers each with
the port that its description says, and serves. ``standby`` says ``warm`` when all is loaded, and takes over when a line comes.
"""

import sys
import time

import msgspec

from media import control
from media.config import MediaConfiguration
from media.control import TICK_SECONDS, MediaProcessor
from tests.media.phone import audio_port


def main() -> None:
    rtp, rtcp, state = (int(word) for word in sys.argv[1:4])
    configuration = MediaConfiguration(host="127.0.0.1", rtp_port_first=43000, rtp_port_last=43999, legs_max=2000)
    processor = MediaProcessor(configuration, {"rtp": rtp, "rtcp": rtcp, "state": state}, time.monotonic())
    if sys.argv[4] == "first":
        for line in sys.stdin:
            if line == "\n":
                break
            name, port, sink = line.split()
            sdp = f"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio {port} RTP/AVP 0\r\n".encode()
            body = msgspec.msgpack.encode(control.Offer(leg=name, call="", sdp=sdp))
            answer = msgspec.msgpack.decode(processor.handle("offer", body, "test", time.monotonic()), type=control.Answer)
            to: control.Sink = control.Echo() if sink == "echo" else control.Room(sink)
            processor.handle("connect", msgspec.msgpack.encode(control.Connect(leg=name, to=to)), "test", time.monotonic())
            print(audio_port(answer.sdp), flush=True)
    else:
        print("warm", flush=True)
        sys.stdin.readline()
        print(processor.take_over(time.monotonic()), flush=True)
    due = time.monotonic()
    while True:
        processor.tick(time.monotonic())
        due += TICK_SECONDS
        time.sleep(max(due - time.monotonic(), 0.0))


main()
