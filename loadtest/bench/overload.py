"""Overload: what a proxy still completes when three times as many calls come as it can carry.

Rules:
- The peak is looked for first: the rate grows until less than `KEPT_UP` of the calls are completed; the most that any rate
  completed in a second is the peak. Then comes `TIMES` that rate.
- What counts is calls completed (INVITE to the BYE's 200) in each second of the load but the first; their median. Where load and
  proxy share the cores, six times as many messages leave the proxy less of them: the figure is calls per second of its own CPU
  time, and the wall clock's is beside it.
- A call that is refused with 503 is not repeated; one that gets no answer is, by the timers of RFC 3261.
"""

import time
from statistics import median

from loadtest.bench.accounting import Snapshot, Usage
from loadtest.bench.figure import Figure, Round
from loadtest.bench.options import Options
from loadtest.bench.proxies import SERVICE, OurProxy
from loadtest.bench.sipp import Callee, Caller, Folder, per_second
from loadtest.bench.turns import say

TIMES = 3
FIRST_RATE = 600
GROWTH = 1.4
RATE_MAX = 8000
KEPT_UP = 0.9
SECONDS = 6.0


def overload(options: Options) -> list[Figure]:
    """One figure for the peak, one for `TIMES` as much; the second tells the first as a detail."""
    seconds = options.seconds(SECONDS)
    figures: list[Figure] = []
    for checkout in options.checkouts:
        contender = OurProxy(checkout)
        peaks: list[Round] = []
        crowded: list[Round] = []
        try:
            for _ in range(options.rounds):
                best, rate = Round(0.0, details={"calls/s": 0.0}), float(FIRST_RATE)
                while rate < RATE_MAX:
                    done = _load(contender, round(rate), seconds)
                    if done.details["calls/s"] > best.details["calls/s"]:
                        best = done
                    if done.details["calls/s"] < KEPT_UP * rate:
                        break
                    rate *= GROWTH
                peaks.append(best)
                done = _load(contender, round(TIMES * best.details["calls/s"]), seconds)
                crowded.append(Round(done.cost, details={**done.details, "of peak %": done.cost / best.cost * 100}))
        finally:
            contender.stop()
        for case, rounds in (("overload, peak", peaks), (f"overload, {TIMES} x peak", crowded)):
            figures.append(Figure(case, contender.name, "calls/CPU s", tuple(rounds), higher_is_better=True, role=contender.role))
    return figures


def _load(contender: OurProxy, rate: int, seconds: float) -> Round:
    folder = Folder()
    callee = Callee(folder)
    caller = None
    try:
        caller = Caller(folder, contender.target, rate, seconds, scenario="overload.xml", service=SERVICE, open_seconds=seconds + 4.0)
        time.sleep(1.0)
        first = Snapshot.take(contender.roots())
        time.sleep(seconds - 1.5)
        usage = Usage.between(first, Snapshot.take(contender.roots()))
        outcome = caller.finish()
        completed, refused = (per_second(folder, counter)[2 : int(seconds) + 1] or [0] for counter in ("completed", "refused"))
        done = float(median(completed))
        details = {
            "calls/s": done,
            "refused per s": float(median(refused)),
            "retransmissions": float(outcome.retransmissions),
            "answer ms": outcome.response_ms,
            "cores": usage.cpu / usage.seconds,
        }
        say(f"  {rate}/s: {', '.join(f'{value:.2f} {name}' for name, value in details.items())}")
        return Round(done / max(details["cores"], 0.01), waited=usage.waited(), details=details)
    finally:
        if caller is not None:
            caller.stop()
        callee.stop()
        folder.close()
