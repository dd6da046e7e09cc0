"""A processor under load, to be measured from outside: ``python -m media.bench CASE LEGS ENDPOINTS [--rooms-of N] [--one-port]``.

Cases: ``relay`` (PCMU to PCMU, pairs of legs), ``pcma`` (PCMU to PCMA), ``rooms`` (PCMU, mix-minus), ``echo``, ``play``.

It makes the legs by jobs as a call router does, writes the load generator's endpoints (a line a leg: its local port, our host, our
port), prints ``ready PID``, and serves until SIGTERM; then it prints what it did. Legs are told apart by their source ports on the
shared socket; with ``--one-port`` all come from one port, and each leg has a socket of its own.
"""

import argparse
import resource
import signal
import sys
import time

import msgspec

from media import control
from media.config import MediaConfiguration
from media.control import TICK_SECONDS, MediaProcessor

HOST = "127.0.0.1"
LOCAL_PORT_FIRST = 16_000
ONE_PORT = 15_998


def _offer(port: int, kind: int) -> bytes:
    head = f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
    return f"{head}m=audio {port} RTP/AVP {kind} 101\r\na=rtpmap:101 telephone-event/8000\r\n".encode()


def _build(processor: MediaProcessor, arguments: argparse.Namespace) -> list[str]:
    """Make and connect the legs; the endpoints of the load."""

    def do(operation: str, request: control.Request) -> bytes:
        return processor.handle(operation, msgspec.msgpack.encode(request), "bench", time.monotonic())

    lines = []
    for number in range(arguments.legs):
        port = ONE_PORT if arguments.one_port else LOCAL_PORT_FIRST + number
        kind = 8 if arguments.case == "pcma" and number % 2 else 0
        answer = msgspec.msgpack.decode(do("offer", control.Offer(leg=f"{number}", call="", sdp=_offer(port, kind))), type=control.Answer)
        ours = next(line for line in answer.sdp.decode().splitlines() if line.startswith("m=audio")).split()[1]
        # The load has one payload type: of PCMU to PCMA one side speaks, the other listens.
        lines.append(f"{port} {HOST} {ours if kind == 0 else 0}")
        sink: control.Sink = control.Nothing()
        if arguments.case in ("relay", "pcma") and number % 2:
            sink = control.Bridge(f"{number - 1}")
        elif arguments.case == "rooms":
            sink = control.Room(f"{number // arguments.rooms_of}")
        elif arguments.case == "echo":
            sink = control.Echo()
        elif arguments.case == "play":
            sink = control.Play("music")
        if not isinstance(sink, control.Nothing):
            do("connect", control.Connect(leg=f"{number}", to=sink))
    return lines


def main(words: list[str]) -> int:
    """Run one case until SIGTERM."""
    parser = argparse.ArgumentParser(prog="media.bench")
    parser.add_argument("case", choices=["relay", "pcma", "rooms", "echo", "play"])
    parser.add_argument("legs", type=int)
    parser.add_argument("endpoints")
    parser.add_argument("--rooms-of", type=int, default=10)
    parser.add_argument("--one-port", action="store_true")
    parser.add_argument("--profile", default="")
    arguments = parser.parse_args(words)
    configuration = MediaConfiguration(host=HOST, rtp_port_first=33_000, rtp_port_last=64_999, legs_max=arguments.legs)
    processor = MediaProcessor(configuration, {}, time.monotonic())
    lines = _build(processor, arguments)
    with open(arguments.endpoints, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    running = True

    def stop(*_: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    profile = None
    if arguments.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    due = time.monotonic()
    ticks = late = 0
    while running:
        due += TICK_SECONDS * processor.rest()
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -TICK_SECONDS:
            late += 1
        processor.tick(time.monotonic())
        ticks += 1
    if profile is not None:
        profile.disable()
        profile.dump_stats(arguments.profile)
    reports = msgspec.msgpack.decode(
        processor.handle("query", msgspec.msgpack.encode(control.Query()), "bench", time.monotonic()), type=list[control.LegReport]
    )
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"case={arguments.case} legs={arguments.legs} ticks={ticks} late={late} user_s={usage.ru_utime:.2f} sys_s={usage.ru_stime:.2f} "
        f"peak_mib={usage.ru_maxrss >> 10} in={sum(r.packets_in for r in reports)} out={sum(r.packets_out for r in reports)} "
        f"lost={sum(r.lost for r in reports)} late_packets={sum(r.late for r in reports)} concealed={sum(r.concealed for r in reports)} "
        f"refused={sum(r.refused for r in reports)}"
    )
    processor.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
