"""The kinds of services, and which of them make up a platform.

Rules:
- A *dependent* gets its jobs from load balancers. A *shared* kind serves every platform of the cluster, the
  others serve the platform whose software they run from.
- A call router and its dedicated load balancer are placed as one.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """What the controller has to know of a kind of service."""

    weight: int
    """Share of a machine that it is expected to take, against other kinds."""
    dependent: bool
    shared: bool
    port_first: int
    """First port that a unit of this kind may get on its machine; 0: it listens nowhere."""
    port_step: int = 1
    """Ports that one unit takes."""
    port_slots: int = 0
    """Units of this kind that fit on one machine, old and new ones together."""
    state: bool = False
    """It keeps state on its machine's disk."""
    memory: tuple[str, ...] = ()
    """Memory files that outlive its process."""
    standby: bool = False
    """A second process waits to take over."""
    movable: bool = False
    """It may be moved to an empty machine for the sake of balance; not a proxy, which holds users' connections."""


KINDS: dict[str, Kind] = {
    "proxy": Kind(weight=1, dependent=True, shared=True, port_first=5060, port_step=2, port_slots=16),
    "call_router": Kind(
        weight=2, dependent=False, shared=False, port_first=5160, port_step=2, port_slots=32, memory=("calls",), movable=True
    ),
    "load_balancer": Kind(weight=0, dependent=False, shared=False, port_first=5260, port_slots=64),
    "media_processor": Kind(
        weight=2,
        dependent=True,
        shared=False,
        port_first=10000,
        port_step=8000,
        port_slots=6,
        memory=("state",),
        standby=True,
        movable=True,
    ),
    "routing": Kind(weight=1, dependent=True, shared=False, port_first=0, movable=True),
    "call_queue": Kind(weight=1, dependent=True, shared=False, port_first=0),
    "resource_database": Kind(weight=1, dependent=True, shared=True, port_first=0, state=True),
}

PLACED = ("call_router", "media_processor", "resource_database", "call_queue", "proxy", "routing")
"""Kinds in the order in which they are placed; a load balancer comes with its call router."""

ENTRY = "telephony.service"
"""Module of the bundle that runs any kind."""


class Share(NamedTuple):
    """How many of a kind a platform has: at least ``least`` (one a machine at most), and one for every ``hosts`` machines."""

    least: int
    hosts: int
    """Machines that one of them is for; 0: never more than ``least``."""

    def wanted(self, machines: int) -> int:
        """Number of units on so many machines."""
        scaled = -(-machines // self.hosts) if self.hosts else 0
        return min(machines, max(self.least, scaled))


PLATFORMS: dict[str, dict[str, Share]] = {
    "voice": {
        "proxy": Share(2, 4),
        "call_router": Share(2, 2),
        "media_processor": Share(2, 2),
        "routing": Share(2, 4),
        "call_queue": Share(1, 0),
        "resource_database": Share(1, 0),
    },
    "messaging": {
        "proxy": Share(2, 4),
        "call_router": Share(2, 2),
        "routing": Share(2, 4),
        "resource_database": Share(1, 0),
    },
}
"""Platforms that there is software for."""

DRAIN_WAVES: tuple[frozenset[str], ...] = (
    frozenset({"call_router", "media_processor", "call_queue"}),
    frozenset({"load_balancer", "routing", "proxy", "resource_database"}),
)
"""What carries calls is drained first; what those calls need until their end goes after it."""


def serves(kind: str, unit_platform: str, platform: str) -> bool:
    """Whether a dependent works for load balancers of a platform."""
    return KINDS[kind].shared or unit_platform == platform
