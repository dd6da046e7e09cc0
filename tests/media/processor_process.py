"""A processor as a process of its own: ``python -m tests.media.processor_process RTP RTCP STATE PEER first|standby``.

``first`` does the jobs that it reads (a line each: operation, msgpack of the request in hex; the answer comes back likewise) until an empty
line, and then serves. ``standby`` says ``warm`` when it has looked at the legs of the first one, and goes on with them when the other end
of PEER is gone.
"""

import select
import sys
import time

from media.config import MediaConfiguration
from media.control import TICK_SECONDS, MediaProcessor

LOOK_SECONDS = 0.05


def main() -> None:
    rtp, rtcp, state, peer = (int(word) for word in sys.argv[1:5])
    configuration = MediaConfiguration(host="127.0.0.1", rtp_port_first=43000, rtp_port_last=43999, legs_max=2000)
    sockets = {"rtp": rtp, "rtcp": rtcp, "state": state}
    if sys.argv[5] == "first":
        processor = MediaProcessor(configuration, sockets, time.monotonic())
        processor.standby(peer)
        for line in sys.stdin:
            if line == "\n":
                break
            operation, body = line.split()
            print(processor.handle(operation, bytes.fromhex(body), "test", time.monotonic()).hex(), flush=True)
    else:
        processor = MediaProcessor(configuration, {**sockets, "peer": peer}, time.monotonic())
        processor.look()
        print("warm", flush=True)
        while not select.select([peer], [], [], LOOK_SECONDS)[0] or processor.hear_peer():
            processor.look()
        print(processor.take_over(time.monotonic()), flush=True)
    due = time.monotonic()
    while True:
        processor.tick(time.monotonic())
        due += TICK_SECONDS
        time.sleep(max(due - time.monotonic(), 0.0))


main()
