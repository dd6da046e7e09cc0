"""A second proxy process on the same public address: what a call costs one process alone, and two that share the callers.

Where a core is free for each, two processes carry ``2 x cost of one / cost of two`` times what one carries: ``adds %`` is what the
second one adds by that reckoning. The load needs a core itself, so the rate of both at once cannot be reached on two cores.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from loadtest.bench.contender import Contender
from loadtest.bench.figure import Figure
from loadtest.bench.options import Options
from loadtest.bench.proxies import SERVICE, OurProxy, OurShards
from loadtest.bench.signalling import CALLS, run_case, start
from loadtest.bench.sipp import Caller, Folder


def sharding(options: Options, rates: Sequence[int] = (1000,)) -> list[Figure]:
    """Calls, each from a port of its own, through one process and through two."""
    checkout = options.checkouts[0]
    contenders = start([partial(OurProxy, checkout), partial(OurShards, checkout)])
    figures: list[Figure] = []
    try:
        for rate in rates:
            seconds = options.seconds(min(8.0, CALLS / rate))

            def caller(contender: Contender, folder: Folder, seconds: float, rate: int = rate) -> Caller:
                return Caller(folder, contender.target, rate, seconds, service=SERVICE, many=True)

            one, two = run_case(f"sharding, {rate} calls/s", "us/call", contenders, caller, seconds, options.rounds, callee=True)
            figures += [one, _beside(two, one)]
    finally:
        for contender in contenders:
            contender.stop()
    return figures


def _beside(two: Figure, one: Figure) -> Figure:
    """The second figure, with what the second process adds."""
    alone = one.cost()
    if alone is None:
        return two
    return replace(two, rounds=tuple(replace(r, details={**r.details, "adds %": (2 * alone / r.cost - 1) * 100}) for r in two.rounds))
