"""Which proxies serve the address that users know, and which share of it each of them hears (docs/adr/0007).

Rules:
- The public UDP address has `Cluster.public_shards` sockets. Each is one share; one proxy reads it at a time.
- A proxy keeps its shares as long as it takes new work or has not been healthy yet, and for `RESTART_SECONDS_MAX` while its process
  is started again: its successor reads what waits.
- Else they go to the healthy proxies that serve and have the fewest; where there is none, to one that is to serve.
- Shares are evened out by one at a time, towards proxies that have been healthy for `STEADY_SECONDS`.
- A share passes in two steps: first the one that had it stops reading, and only when it has said so, or cannot read any more, or
  `PASS_SECONDS_MAX` are over, the other one begins. In between datagrams wait in the socket: none overtakes another.
"""

from collections import Counter

from controller.calculation.roster import healthy, state, stopped
from controller.state import Delivery, Machine, Ownership, Share, Status, Subject, Unit
from controller.tables import Draft

RESTART_SECONDS_MAX = 2.0
STEADY_SECONDS = 5.0
PASS_SECONDS_MAX = 2.0


def assign(draft: Draft, now: float) -> None:
    """Choose who hears each share of the public address."""
    candidates = [unit for unit in draft.units_of("proxy") if _can(draft, unit)]
    owner = draft.get(Ownership, "public") or Ownership(id="public")
    known = {unit.id: unit for unit in candidates}
    unwell = _unwell(draft, owner, known, now)
    count = draft.cluster.public_shards
    shares = [_passed(draft, share, now) for share in owner.shares[:count]]
    shares += [Share(proxy="")] * (count - len(shares))
    restarted = {id for id, since in unwell.items() if now < since + RESTART_SECONDS_MAX}
    keeping = {id for id, unit in known.items() if healthy(draft, unit) or not _was_healthy(draft, unit) or id in restarted}
    ready = [unit.id for unit in candidates if healthy(draft, unit)]
    load = Counter(share.proxy for share in shares if share.proxy in keeping)
    for index, share in enumerate(shares):
        if share.proxy not in keeping and (chosen := ready or ([] if share.proxy in known else list(known))):
            taker = min(chosen, key=lambda id: load[id])
            load[taker] += 1
            shares[index] = _pass(share, taker, now)
    uneven = _even(draft, shares, ready, load, now)
    unsettled = uneven or any(share.former for share in shares) or any(share.proxy in unwell for share in shares)
    if shares and shares[0].proxy:
        draft.put(Ownership(id="public", shares=shares, unwell=unwell, unsettled=unsettled))


def hearers(owner: Ownership | None, proxy: str) -> list[str]:
    """Who hears each share, as this proxy is to see it: who had a share sees first that it is another's now."""
    shares = [] if owner is None else owner.shares
    return [share.former if share.former not in ("", proxy) else share.proxy for share in shares]


def passing(draft: Draft) -> bool:
    """Whether a share is between two proxies."""
    owner = draft.get(Ownership, "public")
    return owner is not None and any(share.former for share in owner.shares)


def _even(draft: Draft, shares: list[Share], ready: list[str], load: Counter[str], now: float) -> bool:
    """Pass one share from who has most to who has fewest, if that evens them; whether something is left to be evened."""
    if len(shares) < 2 or not ready:
        return False
    least = min(ready, key=lambda id: load[id])
    most = max(ready, key=lambda id: load[id])
    if load[most] - load[least] < 2:
        return False
    status = draft.get(Status, least)
    if status is not None and now >= status.since + STEADY_SECONDS and not any(share.former for share in shares):
        index = next(index for index, share in enumerate(shares) if share.proxy == most)
        shares[index] = _pass(shares[index], least, now)
    return True


def _pass(share: Share, taker: str, now: float) -> Share:
    """The share, for another proxy; who has not begun to read it yet has nothing to stop."""
    former = share.former or share.proxy
    return Share(proxy=taker) if former == taker else Share(proxy=taker, former=former, since=now)


def _passed(draft: Draft, share: Share, now: float) -> Share:
    """The share, without the one that had it if that one reads no more."""
    unit = draft.get(Unit, share.former)
    if not share.former or (unit is not None and now < share.since + PASS_SECONDS_MAX and _may_read(draft, unit)):
        return share
    return Share(proxy=share.proxy)


def _may_read(draft: Draft, unit: Unit) -> bool:
    """Whether a proxy may still read by a configuration that it had before its current one."""
    machine = draft.get(Machine, unit.machine)
    if machine is None or machine.presence != "alive" or stopped(draft, unit):
        return False
    subject, delivery = draft.get(Subject, unit.id), draft.get(Delivery, unit.id)
    return subject is not None and (delivery is None or delivery.applied < subject.generation)


def _unwell(draft: Draft, owner: Ownership, known: dict[str, Unit], now: float) -> dict[str, float]:
    """Owners that are not healthy any more, and since when."""
    sick = {share.proxy for share in owner.shares if share.proxy in known}
    return {id: owner.unwell.get(id, now) for id in sorted(sick) if not healthy(draft, known[id]) and _was_healthy(draft, known[id])}


def _can(draft: Draft, unit: Unit) -> bool:
    machine = draft.get(Machine, unit.machine)
    return machine is not None and machine.public and machine.presence not in ("dead", "suspect") and unit.intent == "serve"


def _was_healthy(draft: Draft, unit: Unit) -> bool:
    status = draft.get(Status, unit.id)
    return status is not None and (status.restarts > 0 or state(draft, unit) in ("draining", "stopped", "failed"))
