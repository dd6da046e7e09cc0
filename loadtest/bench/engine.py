"""Our media processor alone in a process: ticks, and jobs over one socket. ``python -m loadtest.bench.engine FD HOST [NAME=FD ...]``.

Runs until the other end of the socket FD (AF_UNIX SOCK_SEQPACKET) is closed. A job is msgpack [operation, request], its answer
msgpack [error or empty, response]. The operation ``stages`` with a request of seconds measures what each part of a tick takes.

With ``rtp``, ``rtcp`` and ``state`` it serves these sockets and this memory; with ``giver`` a standby has the other end of that socket.
With ``peer`` it is the standby: it looks at the legs when it is asked to (``look``), goes on with them when the other end is gone, and
tells what that took (``taken``).
"""

import cProfile
import pstats
import select
import socket
import sys
import time

import msgspec

from loadtest.bench.shares import Function, Row, shares
from loadtest.bench.unit import udp
from media.config import MediaConfiguration
from media.control import TICK_SECONDS, MediaError, MediaProcessor

MESSAGE_BYTES_MAX = 1 << 17
RTP_PORT = 10000
PORT_FIRST, PORT_LAST = 10002, 64000
LEGS_MAX = 20000
TICKS_BEHIND_MAX = 20
"""Later than that, ticks are skipped."""


class Ticks(msgspec.Struct, frozen=True):
    """How the ticks went while they were measured."""

    ticks: int
    seconds: float
    skipped: int
    worst_ms: float
    """Longest tick."""
    late_ms: float
    """Latest start of a tick after its time."""
    parts: dict[str, float]
    """Seconds that each part of the engine took, where a profiler was asked for."""


class Taken(msgspec.Struct, frozen=True):
    """How a standby went on."""

    woke: float
    """When it knew that the other one is gone (CLOCK_MONOTONIC, seconds)."""
    take_over_ms: float
    tick_ms: float
    """The first tick."""


class Engine:
    """The loop: a tick every `TICK_SECONDS` where there is anything to do, jobs in between."""

    def __init__(self, control: socket.socket, host: str, given: dict[str, int]) -> None:
        self._control = control
        self._peer = given.get("peer", -1)
        self._taken = b""
        self._sockets = [] if "rtp" in given else [udp(host, RTP_PORT), udp(host, RTP_PORT + 1)]
        own = dict(zip(("rtp", "rtcp"), (side.fileno() for side in self._sockets), strict=False))
        configuration = MediaConfiguration(
            host=host, rtp_port_first=PORT_FIRST, rtp_port_last=PORT_LAST, legs_max=LEGS_MAX, rtp_timeout_seconds=3600
        )
        self._processor = MediaProcessor(configuration, {**own, **given}, time.monotonic())
        if "giver" in given:
            self._processor.standby(given["giver"])
        self._profile: cProfile.Profile | None = None
        self._began = self._until = 0.0
        self._ticks = self._skipped = 0
        self._worst = self._late = 0.0

    def _stand_by(self) -> bool:
        """Until the other one is gone; false: nobody wants it any more."""
        while True:
            ready = select.select([self._control.fileno(), self._peer], [], [])[0]
            if self._control.fileno() in ready and not self._job():
                return False
            if self._peer in ready and not self._processor.hear_peer():
                woke = time.monotonic()
                self._processor.take_over(woke)
                took = time.monotonic()
                self._processor.tick(took)
                said = Taken(woke, (took - woke) * 1e3, (time.monotonic() - took) * 1e3)
                self._taken = msgspec.msgpack.encode(said)
                return True

    def run(self) -> None:
        if self._peer >= 0 and not self._stand_by():
            return
        control, processor = self._control, self._processor
        due = time.monotonic()
        while True:
            now = time.monotonic()
            ready = select.select([control], [], [], max(0.0, due - now))[0]
            if ready:
                if not self._job():
                    return
                due -= max(0, int((due - now) / TICK_SECONDS)) * TICK_SECONDS
            now = time.monotonic()
            if now < due:
                continue
            self._late = max(self._late, now - due)
            if self._profile is not None:
                self._profile.enable()
            processor.tick(now)
            if self._profile is not None:
                self._profile.disable()
            processor.events()
            after = time.monotonic()
            self._worst = max(self._worst, after - now)
            self._ticks += 1
            due += TICK_SECONDS * processor.rest()
            if after - due > TICKS_BEHIND_MAX * TICK_SECONDS:
                behind = int((after - due) / TICK_SECONDS)
                self._skipped += behind
                due += behind * TICK_SECONDS

    def _job(self) -> bool:
        data = self._control.recv(MESSAGE_BYTES_MAX)
        if not data:
            return False
        operation, body = msgspec.msgpack.decode(data, type=tuple[str, bytes])
        now = time.monotonic()
        try:
            answer = ("", self._answer(operation, body, now))
        except MediaError as error:
            answer = (str(error), b"")
        self._control.send(msgspec.msgpack.encode(answer))
        return True

    def _answer(self, operation: str, body: bytes, now: float) -> bytes:
        if operation == "look":
            self._processor.look()
            return b""
        if operation == "taken":
            return self._taken
        return self._stages(body) if operation == "stages" else self._processor.handle(operation, body, "bench", now)

    def _stages(self, body: bytes) -> bytes:
        """``b"profile"``: begin, with a profiler; ``b"watch"``: begin without; else end, and say."""
        now = time.monotonic()
        said = Ticks(self._ticks, now - self._began, self._skipped, self._worst * 1e3, self._late * 1e3, self._parts())
        self._profile = cProfile.Profile() if body == b"profile" else None
        self._began, self._ticks, self._skipped, self._worst, self._late = now, 0, 0, 0.0, 0.0
        return msgspec.msgpack.encode(said)

    def _parts(self) -> dict[str, float]:
        if self._profile is None:
            return {}
        rows: dict[Function, Row] = pstats.Stats(self._profile).stats  # type: ignore[attr-defined]
        return shares(rows, part)


STEPS = ("receive", "parse", "jitter", "decode", "mix", "encode", "send")
"""What a packet goes through, in order."""
_FILES = {
    "receive": ("datagrams", "sockets"),
    "parse": ("receive", "packets", "sequence", "addresses", "events", "rtcp", "extended", "guard", "relay", "link"),
    "jitter": ("jitter",),
    "decode": ("transcode", "coded", "concealment", "comfort_noise", "levels"),
    "mix": ("mixer", "engine", "hearing", "listening", "speakers", "gain"),
    "encode": (),
    "send": ("send", "digits"),
}
"""Files of `media` that do a step, but for what `_NAMES` says; the others' time is their callers'."""
_NAMES = {
    ("datagrams", "send"): "send",
    ("datagrams", "load"): "send",
    ("datagrams", "address"): "send",
    ("datagrams", "point"): "send",
    ("datagrams", "lend"): "send",
    ("datagrams", "share"): "send",
    ("sockets", "own_rtp"): "send",
    ("sockets", "rtp_of"): "send",
    ("mixer", "decode"): "decode",
    ("mixer", "encode"): "encode",
    ("transcode", "say"): "encode",
    ("transcode", "_say"): "encode",
    ("coded", "say"): "encode",
    ("coded", "_say"): "encode",
    ("coded", "_follow"): "encode",
}
"""File and how a function's name begins."""


def part(function: Function) -> str:
    """The step that a function of `media` does; empty: its callers'."""
    folder, _, path = function[0].rpartition("/media/")
    if not folder:
        return ""
    file = path.rpartition("/")[2].removesuffix(".py")
    for (each, begin), step in _NAMES.items():
        if file == each and function[2].startswith(begin):
            return step
    return next((step for step, files in _FILES.items() if file in files), "")


def main(arguments: list[str]) -> int:
    descriptor, host, *given = arguments
    named = {name: int(number) for name, _, number in (word.partition("=") for word in given)}
    Engine(socket.socket(fileno=int(descriptor)), host, named).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
