"""A second proxy process on the same public address: what a call costs one process alone, and two that share the callers.

What a call costs depends on how much comes at once, so each process gets the same: ``rate`` for one, twice the rate for two. Where
a core is free for each, two processes carry ``2 x cost of one / cost of two`` times what one carries: ``adds %`` is what the second
one adds by that reckoning. The load needs a core itself, so both cannot be driven to their limit on two cores.
"""

from dataclasses import replace
from functools import partial

from loadtest.bench.contender import Contender
from loadtest.bench.figure import Figure
from loadtest.bench.options import Options
from loadtest.bench.proxies import SERVICE, OurProxy, OurShards
from loadtest.bench.signalling import CALLS, run_case, start
from loadtest.bench.sipp import Caller, Folder


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
