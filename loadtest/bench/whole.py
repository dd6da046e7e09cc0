"""Whole calls through a whole cluster: proxy, call router, load balancer, routing and media processor, to the echo and back.

Rules:
- SIPp calls as a guest and holds each call for a while; one phone of ours calls beside it and must hear its own audio, or the round is
  invalid.
- The rate climbs until a round is invalid twice; the figure is the last rate that was carried, and the set-up time at half of it.
- What each service of the cluster used for a call is told by the names of its processes.
"""

import contextlib
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

from loadtest.bench import accounting, address
from loadtest.bench.accounting import Snapshot, Usage
from loadtest.bench.cluster import Cluster
from loadtest.bench.figure import Figure, Round
from loadtest.bench.options import Options
from loadtest.bench.process import Process
from loadtest.bench.sipp import Caller, Folder, faults
from loadtest.bench.turns import say, say_round

SERVICE = "9196"
HOLD_MS = 1000
FIRST_RATE, GROWTH, RATE_MAX = 20, 1.4, 2000
SECONDS = 6.0
WITNESS_SECONDS = 2.0
WITNESS_SECONDS_MAX = 30.0
MACHINE_NET = "127.77.2"


def _names(pids: list[int]) -> dict[str, list[int]]:
    """Processes by what they are: the name without its number."""
    found: dict[str, list[int]] = defaultdict(list)
    for pid in pids:
        with contextlib.suppress(OSError):
            found[re.sub(r"-\d+$", "", Path(f"/proc/{pid}/comm").read_text().strip())].append(pid)
    return found


def _cpu(names: dict[str, list[int]]) -> dict[str, float]:
    used: dict[str, float] = {}
    for name, pids in names.items():
        with contextlib.suppress(ProcessLookupError):
            used[name] = sum(map(accounting.cpu_seconds, pids))
    return used


def load(cluster: Cluster, rate: int, seconds: float, witness: bool = True) -> Round:
    """One rate for a while; the cost is CPU time of the whole cluster a call."""
    folder = Folder()
    roots = cluster.roots()
    phone: Process | None = None
    try:
        names = _names(accounting.tree(roots))
        before, first = _cpu(names), Snapshot.take(roots)
        caller = Caller(folder, cluster.target, rate, seconds, service=SERVICE, hold_ms=HOLD_MS, timed=True)
        if witness:
            phone = Process([
                sys.executable, "-c", "import sys; from controller.cli import main; sys.exit(main())",
                "call", f"sip:{SERVICE}@{cluster.target}", "--duration", str(WITNESS_SECONDS),
            ])  # fmt: skip
        outcome = caller.finish()
        second, after = Snapshot.take(roots), _cpu(names)
        heard = phone.wait(WITNESS_SECONDS_MAX) if phone else 0
        usage = Usage.between(first, second)
        wrong = faults(outcome, caller.asked, 0)
        if outcome.rate < 0.9 * caller.asked / (seconds + HOLD_MS / 1000):
            wrong = (*wrong, f"{outcome.rate:.0f}/s instead of {rate}/s")
        if heard != 0:
            wrong = (*wrong, f"the phone beside it heard nothing: {phone.said()[-200:].strip() if phone else ''}")
        if usage.ended:
            wrong = (*wrong, "a process ended")
        calls = max(1, outcome.succeeded)
        details = {
            "set-up ms": outcome.response_ms,
            "p99 ms": outcome.response_p99_ms,
            "rate per s": float(rate),
            "cores": usage.cpu / usage.seconds,
            "MiB": accounting.memory_bytes(roots) / 2**20,
        }
        details.update({f"{name} us": (after[name] - before[name]) / calls * 1e6 for name in after if name in before})
        return Round(usage.cpu / calls * 1e6, wrong, usage.waited(), usage.others(caller.cpu_seconds), details)
    finally:
        if phone is not None:
            phone.stop()
        caller.stop()
        folder.close()


def whole(options: Options) -> list[Figure]:
    """The highest rate, set-up at half of it, start and memory."""
    cluster = Cluster(address.OURS, MACHINE_NET)
    figures = [
        Figure(
            "cluster, start",
            "hotswitch",
            "s",
            (Round(cluster.started_seconds, details={"MiB": accounting.memory_bytes(cluster.roots()) / 2**20}),),
            role="ours",
        )
    ]
    try:
        load(cluster, FIRST_RATE, 2.0)  # caches warm up
        seconds, rate, missed = options.seconds(SECONDS), float(FIRST_RATE), 0
        best: Round | None = None
        while rate <= RATE_MAX and missed < 2:
            round_ = load(cluster, int(rate), seconds)
            say_round("hotswitch", f"whole call, {int(rate)}/s, p99 {round_.details['p99 ms']:.0f} ms", round_, "us/call")
            if round_.valid():
                best, missed, rate = round_, 0, rate * GROWTH
            else:
                missed += 1
                time.sleep(2.0)
        if best is None:
            return [*figures, Figure("whole call, highest rate", "hotswitch", "calls/s", (round_,), role="ours")]
        top = best.details["rate per s"]
        figures.append(
            Figure(
                "whole call, highest rate", "hotswitch", "calls/s", (Round(top, (), best.waited, best.others, best.details),), True, "ours"
            )
        )
        half = max(1, int(top / 2))
        rounds = tuple(load(cluster, half, seconds) for _ in range(options.rounds))
        figures.append(Figure(f"whole call, {half}/s", "hotswitch", "us/call", rounds, role="ours"))
        setups = tuple(Round(r.details["p99 ms"], r.faults, r.waited, r.others, r.details) for r in rounds)
        figures.append(Figure(f"whole call, {half}/s, set-up p99", "hotswitch", "ms", setups, role="ours"))
        for name in sorted(best.details):
            if name.endswith(" us"):
                say(f"    {name.removesuffix(' us')}: {best.details[name]:.0f} us a call")
    finally:
        cluster.stop()
    return figures
