"""The home of each dependent: the load balancer through whose machine its configuration is published.

Rules:
- A home stays as long as its load balancer is there to stay.
- A new one is the load balancer of the dependent's own platform, else any that lists it, with the fewest dependents.
"""

from collections import Counter

import msgspec

from controller.calculation.catalogue import KINDS
from controller.calculation.roster import balancers_of
from controller.state import Unit
from controller.tables import Draft


def assign(draft: Draft) -> None:
    """Give every dependent a home, where there is any load balancer for it."""
    balancers = {unit.id: unit for unit in draft.units_of("load_balancer")}
    load: Counter[str] = Counter()
    homeless: list[Unit] = []
    for kind, shape in KINDS.items():
        if not shape.dependent:
            continue
        for unit in draft.units_of(kind):
            home = balancers.get(unit.home)
            if home is not None and (not home.leaving or unit.leaving):
                load[home.id] += 1
            else:
                homeless.append(unit)
    for unit in homeless:
        fitting = [balancer for balancer in balancers_of(draft, unit) if not balancer.leaving] or balancers_of(draft, unit)
        if not fitting:
            draft.put(msgspec.structs.replace(unit, home=""))
            continue
        home = min(fitting, key=lambda balancer: (balancer.platform != unit.platform, load[balancer.id], balancer.id))
        load[home.id] += 1
        draft.put(msgspec.structs.replace(unit, home=home.id))
