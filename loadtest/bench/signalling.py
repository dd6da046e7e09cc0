"""Signalling: CPU per call through a stateful proxy, and per registration with digest.

Rules:
- One call is INVITE 180 200 ACK BYE 200 through a proxy that records its route; one registration is REGISTER 401 REGISTER 200.
- Contenders stay up through all rounds of a case. What one burns after its load has ended (timers of finished transactions) is
  counted until its next turn, less what it burns when idle, and shown as ``after``: it belongs to the same calls.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from loadtest.bench import accounting
from loadtest.bench.accounting import Snapshot, Usage
from loadtest.bench.contender import Contender
from loadtest.bench.figure import Figure, Round
from loadtest.bench.kamailio import Kamailio
from loadtest.bench.options import Options
from loadtest.bench.process import NotRunnableError
from loadtest.bench.proxies import SERVICE, Floor, OurProxy, OurRegistrar
from loadtest.bench.sipp import Callee, Caller, Folder, faults
from loadtest.bench.turns import say, say_round, take

PASSWORD = "secret"
USERS = 10_000
CALLS = 10_000
"""Of one round, at the most."""
IDLE_SECONDS = 1.0
SETTLE_SECONDS = 1.0
"""After the last call a round's window stays open so long."""


@dataclass
class _Seat:
    """A contender within a case, with what is known of it between its turns."""

    contender: Contender
    idle: float = 0.0
    """CPU seconds per second without load."""
    window_end: Snapshot | None = None
    calls: int = 0
    after: float = 0.0

    def settle(self, now: Snapshot) -> None:
        """Count what was burnt since the last window ended."""
        if self.window_end is not None:
            usage = Usage.between(self.window_end, now)
            self.after += max(0.0, usage.cpu - self.idle * usage.seconds)


def run_case(
    case: str, unit: str, contenders: Sequence[Contender], caller: Callable[[Contender, Folder, float], Caller],
    seconds: float, rounds: int, callee: bool,
) -> list[Figure]:  # fmt: skip
    """One load for all contenders, in turns.

    Args:
        caller: starts the load on a contender for so many seconds.
        callee: calls have another side that must answer.
    """
    folder = Folder()
    seats = [_Seat(contender) for contender in contenders]
    try:
        for seat in seats:
            _load(seat, folder, caller, min(1.0, seconds), callee)  # caches warm up
        time.sleep(SETTLE_SECONDS)
        for seat in seats:
            first = Snapshot.take(seat.contender.roots())
            time.sleep(IDLE_SECONDS)
            usage = Usage.between(first, Snapshot.take(seat.contender.roots()))
            seat.idle, seat.window_end, seat.calls, seat.after = usage.cpu / usage.seconds, None, 0, 0.0

        def turn(seat: _Seat) -> Round:
            round_ = _load(seat, folder, caller, seconds, callee)
            say_round(seat.contender.name, case, round_, unit)
            return round_

        played = take(seats, turn, rounds)
        for seat in seats:
            seat.settle(Snapshot.take(seat.contender.roots()))
    finally:
        folder.close()
    figures = []
    for seat, turns in zip(seats, played, strict=True):
        after = seat.after / seat.calls * 1e6 if seat.calls else 0.0
        done = tuple(Round(r.cost, r.faults, r.waited, r.others, {**r.details, "after us": after}) for r in turns)
        figures.append(Figure(case, seat.contender.name, unit, done, role=seat.contender.role))
    return figures


def _load(seat: _Seat, folder: Folder, caller: Callable[[Contender, Folder, float], Caller], seconds: float, callee: bool) -> Round:
    contender = seat.contender
    other = Callee(folder) if callee else None
    load = None
    try:
        first = Snapshot.take(contender.roots())
        seat.settle(first)
        callee_first = accounting.cpu_seconds(other.process.pid) if other else 0.0
        parts = contender.parts() if isinstance(contender, OurRegistrar) else {}
        parts_first = {name: accounting.cpu_seconds(pid) for name, pid in parts.items()}
        load = caller(contender, folder, seconds)
        outcome = load.finish()
        time.sleep(SETTLE_SECONDS)
        seat.window_end = second = Snapshot.take(contender.roots())
        usage = Usage.between(first, second)
        generators = load.cpu_seconds + (accounting.cpu_seconds(other.process.pid) - callee_first if other else 0.0)
        seat.calls += outcome.succeeded
        calls = max(1, outcome.succeeded)
        details = {
            "answer ms": outcome.response_ms,
            "user %": usage.user_share * 100,
            "sipp us": generators / calls * 1e6,
            "MiB": accounting.memory_bytes(contender.roots()) / 2**20,
            "retransmissions": float(outcome.retransmissions + (other.retransmissions() if other else 0)),
            "failed": float(load.asked - outcome.succeeded),
            "rate per s": outcome.rate,
        }
        details.update({f"{name} us": (accounting.cpu_seconds(pid) - parts_first[name]) / calls * 1e6 for name, pid in parts.items()})
        wrong = faults(outcome, load.asked, load.rate, other.retransmissions() if other else 0)
        if usage.ended:
            wrong = (*wrong, "a process ended")
        return Round(usage.cpu / calls * 1e6, wrong, usage.waited(), usage.others(generators), details)
    finally:
        if load is not None:
            load.stop()
        if other is not None:
            other.stop()


def start(makers: Sequence[Callable[[], Contender]]) -> list[Contender]:
    """Those that can take part here; what the others lack is said."""
    running: list[Contender] = []
    for maker in makers:
        try:
            running.append(maker())
        except NotRunnableError as error:
            say(f"  not taking part: {error}")
        except BaseException:
            for contender in running:
                contender.stop()
            raise
    return running


def proxy(options: Options, rates: Sequence[int] = (500, 2000)) -> list[Figure]:
    """Calls through a stateful, record-routing proxy, at each rate."""
    contenders = start([lambda: Kamailio("proxy"), *(partial(OurProxy, checkout) for checkout in options.checkouts), Floor])
    figures: list[Figure] = []
    try:
        for rate in rates:
            seconds = options.seconds(min(10.0, CALLS / rate))

            def caller(contender: Contender, folder: Folder, seconds: float, rate: int = rate) -> Caller:
                return Caller(folder, contender.target, rate, seconds, service=SERVICE)

            figures += run_case(f"proxy, {rate} calls/s", "us/call", contenders, caller, seconds, options.rounds, callee=True)
    finally:
        for contender in contenders:
            contender.stop()
    return figures


def registrar(options: Options, rates: Sequence[int] = (500, 1000)) -> list[Figure]:
    """Registrations with digest of `USERS` users, at each rate."""
    users = [f"u{number:05d}" for number in range(USERS)]
    folder = Folder()
    figures: list[Figure] = []
    contenders = start(
        [lambda: Kamailio("registrar", PASSWORD), *(partial(OurRegistrar, checkout, users, PASSWORD) for checkout in options.checkouts)]
    )
    try:
        file = folder.path / "users.csv"
        file.write_text("SEQUENTIAL\n" + "".join(f"{u};[authentication username={u} password={PASSWORD}]\n" for u in users))
        for rate in rates:
            seconds = options.seconds(8.0)

            def caller(contender: Contender, into: Folder, seconds: float, rate: int = rate) -> Caller:
                return Caller(into, contender.target, rate, seconds, scenario="register.xml", users=file)

            figures += run_case(f"registrar, {rate}/s", "us/registration", contenders, caller, seconds, options.rounds, callee=False)
    finally:
        for contender in contenders:
            contender.stop()
        folder.close()
    return figures
