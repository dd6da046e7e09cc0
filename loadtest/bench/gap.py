"""The gap that phones hear when our media processor is killed (kill -9) and its warm standby goes on.

Rules:
- The load sends all the time; a stream's gap is the longest time between two packets that came back, 20 ms where nothing happens.
- No packet may be lost, and no other SSRC may be heard: else the round is invalid.
- What the standby took: from the kill until it was awake; for going on with the legs (records, sockets, addresses); and for its first tick,
  in which what waited in the sockets is taken and what was due meanwhile is sent, with sessions of SRTP and states of codecs.
- One contender's standby has looked at the legs before, as it does several times a second; the other one ("unprepared") has not.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from loadtest.bench.address import OURS
from loadtest.bench.engine import RTP_PORT, Taken
from loadtest.bench.figure import Figure, Round
from loadtest.bench.media import members
from loadtest.bench.options import Checkout, Options
from loadtest.bench.our_engine import OurEngine
from loadtest.bench.process import NotRunnableError
from loadtest.bench.rtp import Load, Stream, ports
from loadtest.bench.turns import say, say_round
from loadtest.bench.unit import udp

LEGS = (2, 100, 1000)
OPUS_LEGS = (2, 100, 200)
"""Half of them are encoded, half decoded: more would be all that a core can do."""
ROOM_SIZE = 10
SECONDS, WARM_SECONDS, KILL_SECONDS = 3.0, 1.0, 1.0
"""Of a round, before it, and from its beginning to the kill."""
SETTLE_SECONDS = 0.5


class Standing:
    """A processor and its standby, over the same sockets and memory."""

    def __init__(self, checkout: Checkout) -> None:
        with ExitStack() as kept:
            sides = [kept.enter_context(udp(OURS, RTP_PORT + number)) for number in range(2)]
            ours, theirs = (kept.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            state = os.memfd_create("bench")
            kept.callback(os.close, state)
            given = {"rtp": sides[0].fileno(), "rtcp": sides[1].fileno(), "state": state}
            self.first = OurEngine(checkout, given | {"giver": ours.fileno()})
            try:
                self.standby = OurEngine(checkout, given | {"peer": theirs.fileno()})
            except NotRunnableError:
                self.first.stop()
                raise

    def look(self, looks: int) -> None:
        """Let the standby look at what there is, so often."""
        for _ in range(looks):
            self.standby.ask("look", b"")

    def stop(self) -> None:
        self.standby.stop()
        self.first.stop()


def _round(load: Load, checkout: Checkout, make: Callable[[OurEngine], list[Stream]], prepared: bool) -> Round:
    standing = Standing(checkout)
    killed = [0.0]

    def kill() -> None:
        killed[0] = time.monotonic()
        os.kill(standing.first.process.pid, signal.SIGKILL)

    try:
        streams = make(standing.first)
        timer = threading.Timer(WARM_SECONDS + KILL_SECONDS, kill)
        if prepared:
            # What comes with the first packets (sources of SRTP, memory of codecs) is there a moment later.
            watcher = threading.Timer(WARM_SECONDS + KILL_SECONDS - SETTLE_SECONDS, standing.look, [len(streams) // 50 + 10])
            standing.look(len(streams) // 50 + 10)
            watcher.start()
        timer.start()
        found = load.run(streams, [standing.standby.process.pid], len(streams), SECONDS, warm=WARM_SECONDS)
        timer.join()
        taken = msgspec.msgpack.decode(standing.standby.ask("taken", b""), type=Taken)
    finally:
        standing.stop()
    faults = list(found.faults)
    if found.details["lost"]:
        faults.append(f"{found.details['lost']:.0f} packets lost")
    if found.details["sources"] > len(streams):
        faults.append("another SSRC")
    details = {
        "gap p50 ms": found.details["gap p50 ms"],
        "wake ms": (taken.woke - killed[0]) * 1e3,
        "take over ms": taken.take_over_ms,
        "first tick ms": taken.tick_ms,
    }
    return Round(found.details["gap max ms"], tuple(faults), found.waited, found.others, details)


def gap(options: Options) -> list[Figure]:
    """By number of legs and what they are; worst gap of all legs, and what the standby took."""
    checkout = options.checkouts[0]
    figures: list[Figure] = []
    for what, other, secured, sizes in (
        ("rooms of 10", "pcma", False, LEGS),
        ("relay, SRTP on one side", "pcmu", True, LEGS),
        ("PCMU-Opus", "opus", False, OPUS_LEGS),
    ):
        load = Load("opus" if other == "opus" else "pcma", secured)
        try:
            for legs in sizes:
                figures += _case(load, options, checkout, f"{what}, {legs} legs", _maker(what, other, secured, legs))
        except NotRunnableError as error:
            say(f"  {what}: {error}")
        finally:
            load.close()
    return figures


def _maker(what: str, other: str, secured: bool, legs: int) -> Callable[[OurEngine], list[Stream]]:
    if what.startswith("rooms"):
        size = min(legs, ROOM_SIZE)
        return lambda engine: engine.rooms(members(legs // size, size, size, one=False))
    return lambda engine: engine.calls(ports(legs, one=False), other, secured)


def _case(load: Load, options: Options, checkout: Checkout, case: str, make: Callable[[OurEngine], list[Stream]]) -> list[Figure]:
    figures = []
    for name, prepared in (("hotswitch", True), ("unprepared", False)):
        rounds = []
        for _ in range(options.rounds):
            rounds.append(_round(load, checkout, make, prepared))
            say_round(name, case, rounds[-1], "ms worst gap")
        figures.append(Figure(case, name, "ms worst gap", tuple(rounds), role="ours" if prepared else "peer"))
    return figures
