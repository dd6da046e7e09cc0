"""Who is served by which tick."""

import numpy as np
import pytest

from media import plan
from media.control import Bridge, Echo, Room
from media.engine import RELAY_PACKETS, RELAY_TICKS
from media.legs import Legs
from media.plan import PHASE_LEGS, PHASES
from tests.media.phone import TICK, bench


def joined(count: int) -> Legs:
    legs = Legs(8 * PHASE_LEGS)
    for _ in range(count):
        leg = legs.take(0.0)
        assert leg is not None
        legs.phase[leg] = 0xFF  # no phase: `best` is not to see it
        legs.used[leg] = False
        legs.phase[leg] = plan.best(legs)
        legs.used[leg] = True
    return legs


@pytest.mark.parametrize(
    ("count", "served"),
    [
        (10, [10, 0, 0, 0]),
        (PHASE_LEGS, [PHASE_LEGS, 0, 0, 0]),
        (PHASE_LEGS + 3, [PHASE_LEGS, 3, 0, 0]),
        (4 * PHASE_LEGS, [PHASE_LEGS] * 4),
        (4 * PHASE_LEGS + 4, [PHASE_LEGS + 1] * 4),
    ],
)
def test_phases_are_filled_one_after_the_other_and_then_evenly(count: int, served: list[int]) -> None:
    legs = joined(count)
    assert np.bincount(legs.phase[legs.used], minlength=PHASES).tolist() == served


@pytest.mark.parametrize(("relays", "packets", "calls"), [(False, 0, 10), (True, 2 * RELAY_PACKETS - 1, 20), (True, 2 * RELAY_PACKETS, 40)])
def test_a_tick_that_serves_nobody_receives_only_for_the_relay(
    relays: bool, packets: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench() as engine:
        engine.phone("a")
        engine.phone("b")
        if relays:
            engine.connect("b", Bridge("a"))
        else:
            engine.connect("a", Room("r"))
            engine.connect("b", Room("r"))
        engine.ticks(4)
        receiver = engine.processor._desk.engine.receiver
        received: list[float] = []

        def drain(now: float) -> int:
            received.append(now)
            return packets

        monkeypatch.setattr(receiver, "drain", drain)
        engine.ticks(2)
        received.clear()
        engine.ticks(40)
        assert len(received) == calls
        assert TICK * 40 / calls == pytest.approx(received[1] - received[0])


@pytest.mark.parametrize(("sink", "ticks"), [(None, PHASES), (Echo(), RELAY_TICKS), (Room("r"), PHASES)])
def test_a_processor_rests_while_there_is_nothing_to_do(sink: Echo | Room | None, ticks: int) -> None:
    with bench() as engine:
        phone = engine.phone("a")
        assert engine.processor.rest() == 1, "a leg is new"
        if sink:
            engine.connect("a", sink)
        engine.ticks(8)
        for _ in range(20):
            phone.send(bytes(160))
            rest = engine.processor.rest()
            assert rest <= ticks
            engine.now += (rest - 1) * TICK
            engine.ticks()
        assert engine.processor.rest() == ticks
        assert len(phone.received()) >= 18 * bool(sink)
        report = engine.report("a")
        assert (report.packets_in, report.concealed, report.late) == (20, 0, 0)
