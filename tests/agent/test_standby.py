"""When a standby is started, and what becomes of it."""

import asyncio
import socket
from typing import cast

from agent.standby import AGAIN_SECONDS_MAX, START_SECONDS, Standbys


class Timers:
    """A loop of timers alone; they run when told."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def call_later(self, seconds: float, action: object, *arguments: object) -> "Handle":
        self.handles.append(Handle(seconds, action, arguments))
        return self.handles[-1]

    def run(self) -> list[float]:
        """Run all that wait; the seconds that each asked for."""
        due, self.handles = [handle for handle in self.handles if not handle.cancelled], []
        for handle in due:
            handle.action(*handle.arguments)  # type: ignore[operator]
        return [handle.seconds for handle in due]


class Handle:
    def __init__(self, seconds: float, action: object, arguments: tuple[object, ...]) -> None:
        self.seconds, self.action, self.arguments = seconds, action, arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Machine:
    """What the supervisor does, written down."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.started = 0
        self.refuse = False
        self.warm: list[str] = []
        self.killed: list[int] = []
        self.standbys = Standbys(cast(asyncio.AbstractEventLoop, self.timers), self.start, self.told, self.killed.append)

    def start(self, unit: str, peer: socket.socket) -> int | None:
        if self.refuse:
            return None
        self.started += 1
        return self.started

    def told(self, unit: str, peer: socket.socket) -> None:
        assert peer.fileno() >= 0
        self.warm.append(unit)


def test_it_is_started_warm_and_taken_once() -> None:
    machine = Machine()
    machine.standbys.want("u")
    machine.standbys.want("u")
    assert machine.timers.run() == [START_SECONDS]
    assert (machine.standbys.number("u"), machine.standbys.take("u")) == (1, 0), "it is not warm"
    machine.standbys.ready("u")
    machine.standbys.ready("u")
    assert machine.warm == ["u"]
    assert (machine.standbys.take("u"), machine.standbys.take("u"), machine.standbys.number("u")) == (1, 0, 0)


def test_one_that_dies_is_replaced_later_each_time() -> None:
    machine = Machine()
    machine.standbys.want("u")
    pauses = []
    for _ in range(9):
        pauses += machine.timers.run()
        machine.standbys.gone("u")
    assert pauses[:3] == [START_SECONDS, 2 * START_SECONDS, 4 * START_SECONDS]
    assert max(pauses) == AGAIN_SECONDS_MAX
    machine.timers.run()
    machine.standbys.ready("u")
    machine.standbys.gone("u")
    assert machine.timers.run() == [2 * START_SECONDS], "health forgets"
    machine.standbys.drop("u")
    assert machine.killed == [11]


def test_none_where_the_unit_is_not_well_or_is_dropped() -> None:
    machine = Machine()
    machine.refuse = True
    machine.standbys.want("u")
    machine.timers.run()
    assert machine.standbys.number("u") == 0
    machine.standbys.want("u")
    machine.standbys.drop("u")
    machine.standbys.want("v")
    machine.standbys.close()
    assert machine.timers.run() == []
