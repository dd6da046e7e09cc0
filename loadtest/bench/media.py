"""Media: CPU per packet of relaying, transcoding and mixing, beside rtpengine's and Janus's.

Rules:
- Both sides of a call send. The cost is CPU time divided by the packets that came out.
- One-port load: all first sides from one port, all second sides from another. Port-per-leg load: each leg its own port.
- The floor is the kernel's part: the same datagrams in and out in batches every 5 ms, by a program in C that does nothing else.
- A contender is started for each round anew, set up the same way as the other, and loaded for the same seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from loadtest.bench.figure import Figure, Round
from loadtest.bench.floor_media import MediaFloor
from loadtest.bench.janus import Janus
from loadtest.bench.options import Checkout, Options
from loadtest.bench.our_engine import OurEngine
from loadtest.bench.process import NotRunnableError
from loadtest.bench.rtp import NOTHING, SILENCE, SPEECH, Load, Stream, ports
from loadtest.bench.rtpengine import Rtpengine
from loadtest.bench.turns import say, say_round, take

UNIT = "us/packet"
RELAY_CALLS, TRANSCODE_CALLS, OPUS_CALLS = 200, 100, 8
ROOMS, ROOM_SIZE = 20, 10
MIDDLE_ROOM, LARGE_ROOM, TALKERS = 200, 1000, 5


class Processor(Protocol):
    """A running media contender."""

    def roots(self) -> list[int]: ...

    def stop(self) -> None: ...


Maker = Callable[[], tuple[Processor, list[Stream]]]
"""Starts a contender and sets it up; the streams that load it."""


def run_case(
    case: str, contenders: Sequence[tuple[str, str, Maker]], seconds: float, rounds: int, other: str = "pcma", secured: bool = False
) -> list[Figure]:
    """``contenders``: name, role, maker; ``other``: the codec beside PCMU; ``secured``: some streams are SRTP."""
    load = Load(other, secured)
    absent: set[str] = set()

    def turn(contender: tuple[str, str, Maker]) -> Round:
        name, _, maker = contender
        if name in absent:
            return Round(0.0, ("cannot run",))
        try:
            processor, streams = maker()
            try:
                ours = processor if isinstance(processor, OurEngine) else None
                if ours:
                    ours.watch()
                round_ = load.run(streams, processor.roots(), len(streams), seconds)
                if ours:
                    ticks = ours.watch()
                    round_.details.update({"worst ms": ticks.worst_ms, "late ms": ticks.late_ms, "skipped": float(ticks.skipped)})
            finally:
                processor.stop()
        except NotRunnableError as error:
            say(f"  {case}: {name}: {error}")
            absent.add(name)
            return Round(0.0, ("cannot run",))
        say_round(name, case, round_, UNIT)
        return round_

    try:
        played = take(contenders, turn, rounds)
    finally:
        load.close()
    return [Figure(case, name, UNIT, turns, role=role) for (name, role, _), turns in zip(contenders, played, strict=True)]


def _pairs(calls: int, one: bool) -> list[int]:
    """Ports of the sides of calls, in turn. With one port for all, the two sides still differ."""
    return [4000, 4002] * calls if one else ports(2 * calls, one=False)


def _calls(options: Options, calls: int, codec: str, one: bool, secured: bool = False) -> list[tuple[str, str, Maker]]:
    def rtpengine() -> tuple[Processor, list[Stream]]:
        processor = Rtpengine()
        return processor, _set_up(processor, lambda: processor.calls(_pairs(calls, one), codec, secured))

    def ours(checkout: Checkout) -> tuple[Processor, list[Stream]]:
        processor = OurEngine(checkout)
        return processor, _set_up(processor, lambda: processor.calls(_pairs(calls, one), codec, secured))

    def floor() -> tuple[Processor, list[Stream]]:
        processor = MediaFloor()
        return processor, _set_up(processor, lambda: processor.calls(_pairs(calls, one), codec))

    lowest: list[tuple[str, str, Maker]] = [] if secured or codec == "opus" else [("floor", "floor", floor)]
    mine = [(checkout.name, "ours", partial(ours, checkout)) for checkout in options.checkouts]
    return [("rtpengine", "peer", rtpengine), *lowest, *mine]


def _set_up(processor: Processor, setting: Callable[[], list[Stream]]) -> list[Stream]:
    try:
        return setting()
    except BaseException:
        processor.stop()
        raise


def members(rooms: int, size: int, talkers: int, one: bool, others: int = SILENCE) -> list[list[tuple[int, int]]]:
    """Rooms of (local port, what it sends): the first ``talkers`` of each speak."""
    local = iter(ports(rooms * size, one))
    return [[(next(local), SPEECH if place < talkers else others) for place in range(size)] for _ in range(rooms)]


def _rooms(options: Options, rooms: list[list[tuple[int, int]]]) -> list[tuple[str, str, Maker]]:
    def janus() -> tuple[Processor, list[Stream]]:
        processor = Janus(rooms)
        return processor, processor.streams

    def ours(checkout: Checkout) -> tuple[Processor, list[Stream]]:
        processor = OurEngine(checkout)
        return processor, _set_up(processor, lambda: processor.rooms(rooms))

    def floor() -> tuple[Processor, list[Stream]]:
        processor = MediaFloor()
        return processor, _set_up(processor, lambda: processor.rooms(rooms))

    mine = [(checkout.name, "ours", partial(ours, checkout)) for checkout in options.checkouts]
    return [("janus", "peer", janus), ("floor", "floor", floor), *mine]


def relay(options: Options) -> list[Figure]:
    """PCMU to PCMU."""
    figures = []
    for one in (True, False):
        case = f"relay, {RELAY_CALLS} calls, {'one port' if one else 'port per leg'}"
        figures += run_case(case, _calls(options, RELAY_CALLS, "pcmu", one), options.seconds(6), options.rounds)
    return figures


def transcode(options: Options) -> list[Figure]:
    """PCMU to PCMA and back."""
    figures = []
    for one in (True, False):
        case = f"PCMU-PCMA, {TRANSCODE_CALLS} calls, {'one port' if one else 'port per leg'}"
        figures += run_case(case, _calls(options, TRANSCODE_CALLS, "pcma", one), options.seconds(6), options.rounds)
    return figures


def srtp(options: Options) -> list[Figure]:
    """PCMU to PCMU and to PCMA, in SRTP on one side (AES_CM_128_HMAC_SHA1_80): half of the packets are opened, half are sealed."""
    figures = []
    for codec, calls, what in (("pcmu", RELAY_CALLS, "relay"), ("pcma", TRANSCODE_CALLS, "PCMU-PCMA")):
        case = f"{what}, SRTP on one side, {calls} calls, port per leg"
        contenders = _calls(options, calls, codec, one=False, secured=True)
        figures += run_case(case, contenders, options.seconds(6), options.rounds, "pcma", secured=True)
    return figures


def opus(options: Options) -> list[Figure]:
    """PCMU to Opus (48 kHz, mono) and back, each contender with its own encoder settings: half of the packets are encoded, half decoded."""
    contenders = _calls(options, OPUS_CALLS, "opus", one=False)
    return run_case(f"PCMU-Opus, {OPUS_CALLS} calls, port per leg", contenders, options.seconds(6), options.rounds, "opus")


def rooms(options: Options) -> list[Figure]:
    """Rooms of 10 where all talk; large ones with 5 talkers, where the others send silence or nothing.

    Janus has its say up to what it can carry on two cores; those who send nothing hear nothing of it.
    """
    seconds = options.seconds(6)
    figures = []
    for one in (True, False):
        case = f"{ROOMS} rooms of {ROOM_SIZE}, {'one port' if one else 'port per leg'}"
        figures += run_case(case, _rooms(options, members(ROOMS, ROOM_SIZE, ROOM_SIZE, one)), seconds, options.rounds)
    for size, others, what in (
        (MIDDLE_ROOM, SILENCE, "others send silence"),
        (LARGE_ROOM, SILENCE, "others send silence"),
        (LARGE_ROOM, NOTHING, "others send nothing"),
    ):
        contenders = _rooms(options, members(1, size, TALKERS, False, others))
        if size > MIDDLE_ROOM:
            contenders = [contender for contender in contenders if contender[1] != "peer"]
        figures += run_case(f"room of {size}, {TALKERS} talk, {what}", contenders, seconds, options.rounds)
    return figures
