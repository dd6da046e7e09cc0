"""A second proxy process on the same public address: what a call costs one process alone, and two that share the callers.

What a call costs depends on how much comes at once, so each process gets the same: ``rate`` for one, twice the rate for two. Where
a core is free for each, two processes carry ``2 x cost of one / cost of two`` times what one carries: ``adds %`` is what the second
one adds by that reckoning. The load needs a core itself, so both cannot be driven to their limit on two cores.

`capacity` does drive them there: each process is held to `CORES` of a core, and the load has the rest. The rate grows until less than
`KEPT_UP` of the calls are completed; the most that any rate completed in a second (the median of its seconds but the first) counts.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from loadtest.bench.accounting import Snapshot, Usage
from loadtest.bench.contender import Contender
from loadtest.bench.figure import Figure, Round
from loadtest.bench.options import Options
from loadtest.bench.proxies import SERVICE, OurProxy, OurShards
from loadtest.bench.quota import Quota
from loadtest.bench.signalling import CALLS, run_case, start
from loadtest.bench.sipp import Callee, Caller, Folder, per_second
from loadtest.bench.turns import say, take

CORES = 0.25
FIRST_RATE = 350
"""For each process."""
GROWTH = 1.12
RATE_MAX = 2000
KEPT_UP = 0.95
SECONDS = 4.0


def sharding(options: Options, rate: int = 500) -> list[Figure]:
    """Calls, each from a port of its own, through one process and through two."""
    checkout = options.checkouts[0]
    contenders = start([partial(OurProxy, checkout), partial(OurShards, checkout)])

    def play(contender: Contender, rate: int) -> Figure:
        def caller(contender: Contender, folder: Folder, seconds: float) -> Caller:
            return Caller(folder, contender.target, rate, seconds, service=SERVICE, many=True)

        seconds = options.seconds(min(10.0, CALLS / rate))
        [figure] = run_case(f"sharding, {rate} calls/s", "us/call", [contender], caller, seconds, options.rounds, callee=True)
        return figure

    try:
        one = play(contenders[0], rate)
        return [one, _beside(play(contenders[1], 2 * rate), one), play(contenders[0], 2 * rate)]
    finally:
        for contender in contenders:
            contender.stop()


def _beside(two: Figure, one: Figure) -> Figure:
    """The second figure, with what the second process adds."""
    alone = one.cost()
    if alone is None:
        return two
    return replace(two, rounds=tuple(replace(r, details={**r.details, "adds %": (2 * alone / r.cost - 1) * 100}) for r in two.rounds))


def capacity(options: Options) -> list[Figure]:
    """Calls that one process completes in a second, and two, each of them held to the same part of a core."""
    checkout = options.checkouts[0]
    contenders = start([partial(OurProxy, checkout), partial(OurShards, checkout)])
    quotas: list[Quota] = []
    seconds = options.seconds(SECONDS)
    try:
        quotas += [Quota(pid, CORES) for contender in contenders for pid in contender.roots()]
        played = take(contenders, lambda contender: _peak(contender, seconds), options.rounds)
    finally:
        for contender in contenders:
            contender.stop()
        for quota in quotas:
            quota.close()
    case = f"sharding, {CORES} cores each"
    figures = [
        Figure(case, contender.name, "calls/s", rounds, higher_is_better=True, role=contender.role)
        for contender, rounds in zip(contenders, played, strict=True)
    ]
    return [figures[0], *_added(figures)]


def _peak(contender: Contender, seconds: float) -> Round:
    best, rate = Round(0.0), float(FIRST_RATE * len(contender.roots()))
    while rate < RATE_MAX:
        done = _load(contender, round(rate), seconds)
        if done.cost > best.cost:
            best = done
        if done.cost < KEPT_UP * rate:
            break
        rate *= GROWTH
    return best


def _load(contender: Contender, rate: int, seconds: float) -> Round:
    folder = Folder()
    callee = Callee(folder)
    caller = None
    try:
        caller = Caller(folder, contender.target, rate, seconds, service=SERVICE, many=True)
        time.sleep(1.0)
        first = Snapshot.take(contender.roots())
        time.sleep(seconds - 1.5)
        usage = Usage.between(first, Snapshot.take(contender.roots()))
        caller.finish()
        completed = float(median(per_second(folder, "SuccessfulCall")[2 : int(seconds) + 1] or [0]))
        cores = usage.cpu / usage.seconds
        say(f"  {contender.name}, {rate}/s: {completed:.0f} calls/s completed, {cores:.2f} cores")
        return Round(completed, waited=usage.waited(), details={"cores": cores})
    finally:
        if caller is not None:
            caller.stop()
        callee.stop()
        folder.close()


def _added(figures: Sequence[Figure]) -> list[Figure]:
    """The figures but the first, with what they have more than it."""
    alone = figures[0].cost()
    if alone is None:
        return list(figures[1:])
    return [
        replace(each, rounds=tuple(replace(r, details={**r.details, "adds %": (r.cost / alone - 1) * 100}) for r in each.rounds))
        for each in figures[1:]
    ]
