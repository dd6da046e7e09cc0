"""Where services run: sticky, spread, with the least movement.

Rules:
- A unit that may stay where it is stays. What is missing goes to the machine with the fewest of its kind, then
  the least load, then the first name.
- Of equal machines one whose platform is being replaced comes last for shared kinds: what others need shall not hang on it.
- Of two units too many the one that serves least goes.
- A machine without any service takes some from the busiest ones, as long as that evens the load.
- Applying a placement and placing again changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from controller.calculation.catalogue import KINDS, PLACED, PLATFORMS


class Host(NamedTuple):
    """A machine that may run services."""

    id: str
    name: str
    platform: str
    """Whose services it runs, or is being prepared for."""
    bundle: str = ""
    """Software that its units must run from; empty: any of the platform."""
    public: bool = False
    """It can serve the address that users know."""
    changing: bool = False
    """Its platform is being replaced."""


class Held(NamedTuple):
    """A unit that is there (a call router stands for its load balancer too)."""

    id: str
    kind: str
    machine: str
    platform: str
    bundle: str
    leaving: bool = False
    serving: bool = True
    """It takes work; of several the serving ones stay."""


class Slot(NamedTuple):
    """A place for one unit; ``unit`` empty: a new one."""

    kind: str
    platform: str
    machine: str
    unit: str


def place(hosts: Sequence[Host], held: Iterable[Held], least: Mapping[str, int] | None = None) -> list[Slot]:
    """The units that there shall be. Held ones that are not among them are to leave.

    ``least``: how many of a shared kind there shall be where there are as many machines, whatever the platforms ask for.
    """
    known = {host.id: host for host in hosts}
    fitting: dict[tuple[str, str], list[Held]] = {}
    for unit in held:
        host = known.get(unit.machine)
        if host is None or host.platform != unit.platform or (host.bundle and host.bundle != unit.bundle):
            continue
        if unit.kind in PLATFORMS[unit.platform]:
            fitting.setdefault((unit.kind, _scope(unit.kind, unit.platform)), []).append(unit)
    board = _Board(hosts)
    missing: list[tuple[str, str, int]] = []
    for kind in PLACED:
        for scope, candidates in _scopes(kind, hosts):
            wanted = max(_wanted(kind, scope, candidates), min((least or {}).get(kind, 0), len(candidates)))
            units = sorted(fitting.get((kind, scope), ()), key=lambda unit: (unit.leaving, not unit.serving, _number(unit.id)))
            staying = [unit for unit in units if not unit.leaving][:wanted]
            # One that was told to leave but still serves comes back before a new one is started.
            staying += [unit for unit in units if unit.leaving and unit.serving][: wanted - len(staying)]
            for unit in staying:
                board.add(Slot(kind, unit.platform, unit.machine, unit.id))
            missing.append((kind, scope, wanted - len(staying)))
    for kind, scope, count in missing:
        for _ in range(count):
            host = board.best(kind, scope)
            board.add(Slot(kind, host.platform, host.id, ""))
    chosen = {slot.unit for slot in board.slots}
    board.fill_empty(
        {(unit.machine, unit.kind): unit.id for units in fitting.values() for unit in units if unit.serving and unit.id not in chosen}
    )
    return board.slots


class _Board:
    """Slots so far, and the load that they make."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.slots: list[Slot] = []
        self._hosts = {host.id: host for host in hosts}
        self._load: Counter[str] = Counter()
        self._kinds: Counter[tuple[str, str]] = Counter()

    def add(self, slot: Slot) -> None:
        self.slots.append(slot)
        self._load[slot.machine] += KINDS[slot.kind].weight
        self._kinds[slot.machine, slot.kind] += 1

    def best(self, kind: str, scope: str) -> Host:
        """Where one more of a kind goes."""
        return min(
            (host for host in able(kind, list(self._hosts.values())) if scope in ("", host.platform)),
            key=lambda host: (
                self._kinds[host.id, kind],
                KINDS[kind].shared and host.changing,
                self._load[host.id],
                host.name,
                host.id,
            ),
        )

    def fill_empty(self, spare: dict[tuple[str, str], str]) -> None:
        """Let machines without any slot take over from the busiest ones of their platform.

        ``spare``: leaving units that still serve, by machine and kind; they come back instead of a new one.
        """
        for host in sorted(self._hosts.values(), key=lambda host: (host.name, host.id)):
            if self._load[host.id]:
                continue
            while (index := self._donation(host)) is not None:
                slot = self.slots.pop(index)
                self._load[slot.machine] -= KINDS[slot.kind].weight
                self._kinds[slot.machine, slot.kind] -= 1
                self.add(Slot(slot.kind, host.platform, host.id, spare.get((host.id, slot.kind), "")))

    def _donation(self, host: Host) -> int | None:
        """The slot that evens the load most, if any does."""
        best: tuple[int, int, int] | None = None
        for index, slot in enumerate(self.slots):
            weight = KINDS[slot.kind].weight
            if not KINDS[slot.kind].movable or slot.platform != host.platform or self._kinds[host.id, slot.kind]:
                continue
            gap = self._load[slot.machine] - weight - (self._load[host.id] + weight)
            if gap < 0 or self._load[slot.machine] <= weight:
                continue
            rank = (-self._load[slot.machine], -weight, index)
            if best is None or rank < best:
                best = rank
        return None if best is None else best[2]


def _scope(kind: str, platform: str) -> str:
    return "" if KINDS[kind].shared else platform


def _scopes(kind: str, hosts: Sequence[Host]) -> list[tuple[str, list[Host]]]:
    """Groups within which a kind is counted: the whole cluster for a shared kind, else each platform."""
    candidates = able(kind, hosts)
    if not candidates:
        return []
    if KINDS[kind].shared:
        return [("", candidates)]
    return [
        (platform, [host for host in candidates if host.platform == platform])
        for platform in sorted({host.platform for host in candidates})
    ]


def able(kind: str, hosts: Sequence[Host]) -> list[Host]:
    """Machines that may run a kind; proxies only where the address that users know can be served, if that is anywhere."""
    candidates = [host for host in hosts if kind in PLATFORMS[host.platform]]
    return ([host for host in candidates if host.public] or candidates) if kind == "proxy" else candidates


def _wanted(kind: str, scope: str, hosts: Sequence[Host]) -> int:
    """How many of a kind so many machines need; for a shared kind the largest of what their platforms ask for."""
    if scope:
        return PLATFORMS[scope][kind].wanted(len(hosts))
    return max(PLATFORMS[host.platform][kind].wanted(len(hosts)) for host in hosts)


def _number(id: str) -> tuple[int, str]:
    """Order of age: ids end with a number that grows."""
    digits = id.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0, id)
