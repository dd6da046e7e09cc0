"""Placement: sticky, spread, least movement."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.calculation.catalogue import KINDS, PLATFORMS
from controller.calculation.placement import Held, Host, Slot, place

platforms = st.sampled_from(sorted(PLATFORMS))


@st.composite
def hosts(draw: st.DrawFn, least: int = 0, most: int = 9) -> list[Host]:
    count = draw(st.integers(least, most))
    return [
        Host(f"m{index}", f"machine-{index}", draw(platforms), public=draw(st.booleans()), changing=draw(st.booleans()))
        for index in range(count)
    ]


def held(slots: list[Slot], start: int = 1) -> list[Held]:
    """What there is once a placement was carried out."""
    return [
        Held(slot.unit or f"{slot.kind.replace('_', '-')}-{start + index}", slot.kind, slot.machine, slot.platform, "b")
        for index, slot in enumerate(slots)
    ]


def default(count: int, platform: str = "voice") -> list[Host]:
    return [Host(f"m{index}", f"machine-{index}", platform, public=True) for index in range(1, count + 1)]


def test_default_cluster_is_that_of_the_contract() -> None:
    slots = place(default(4), [])
    assert Counter(slot.kind for slot in slots) == {
        "proxy": 2,
        "call_router": 2,
        "media_processor": 2,
        "routing": 2,
        "call_queue": 1,
        "resource_database": 1,
    }
    for kind in ("proxy", "call_router", "media_processor", "routing"):
        assert len({slot.machine for slot in slots if slot.kind == kind}) == 2
    assert {slot.machine for slot in slots} == {"m1", "m2", "m3", "m4"}


def test_one_machine_runs_one_of_each() -> None:
    assert Counter(slot.kind for slot in place(default(1), [])) == dict.fromkeys(PLATFORMS["voice"], 1)


def test_a_machine_of_another_platform_runs_what_the_cluster_lacks() -> None:
    machines = [*default(3), Host("m9", "machine-9", "messaging", public=True, changing=True)]
    slots = place(machines, held(place(default(4), [])[:]))
    own = {slot.kind for slot in slots if slot.machine == "m9"}
    assert own == {"call_router", "routing"}


@given(hosts())
def test_nothing_moves_when_nothing_changed(machines: list[Host]) -> None:
    there = held(place(machines, []))
    again = place(machines, there)
    assert sorted(slot.unit for slot in again) == sorted(unit.id for unit in there)


@given(hosts(), st.data())
def test_a_lost_machine_moves_only_its_own(machines: list[Host], data: st.DataObject) -> None:
    there = held(place(machines, []))
    if not machines:
        return
    lost = data.draw(st.sampled_from(machines))
    left = [host for host in machines if host is not lost]
    after = place(left, there)
    kept = {slot.unit for slot in after if slot.unit}
    gone = {unit.id for unit in there if unit.machine == lost.id}
    assert not kept & gone
    # Every unit elsewhere stays, unless fewer machines need fewer of its kind.
    for unit in there:
        if unit.machine != lost.id and unit.id not in kept:
            scope = [slot for slot in after if slot.kind == unit.kind and (KINDS[unit.kind].shared or slot.platform == unit.platform)]
            before = [each for each in there if each.kind == unit.kind and (KINDS[unit.kind].shared or each.platform == unit.platform)]
            assert len(scope) < len(before) or any(not slot.unit for slot in scope)
    # Without the last machine that can serve the public address every machine may run a proxy: more are wanted then.
    same_ability = any(host.public for host in left) or not any(host.public for host in machines)
    if same_ability and all(host.platform == "voice" for host in machines):
        moved = [slot for slot in after if not slot.unit]
        assert len(moved) <= len(gone)


@given(hosts(least=1))
def test_everything_needed_is_placed_where_it_may_run(machines: list[Host]) -> None:
    slots = place(machines, [])
    by_id = {host.id: host for host in machines}
    for slot in slots:
        assert by_id[slot.machine].platform == slot.platform
        assert slot.kind in PLATFORMS[slot.platform]
    for platform in {host.platform for host in machines}:
        for kind in PLATFORMS[platform]:
            assert [slot for slot in slots if slot.kind == kind and (KINDS[kind].shared or slot.platform == platform)]
    assert sum(slot.kind == "resource_database" for slot in slots) == 1
    # Never two of a kind on one machine while another one of the platform has none.
    count = Counter((slot.kind, slot.machine) for slot in slots)
    assert max(count.values()) == 1


@settings(max_examples=50)
@given(hosts(least=1, most=6), st.integers(1, 4))
def test_any_sequence_of_changes_comes_to_rest(machines: list[Host], rounds: int) -> None:
    there: list[Held] = []
    for number in range(rounds):
        turned = [host._replace(platform="messaging" if (index + number) % 3 == 0 else "voice") for index, host in enumerate(machines)]
        slots = place(turned, there)
        chosen = {slot.unit for slot in slots}
        there = [unit._replace(leaving=unit.id not in chosen) for unit in there] + held(
            [slot for slot in slots if not slot.unit], 100 * number + 1
        )
        again = place(turned, there)
        assert all(slot.unit for slot in again)
        there = [unit for unit in there if not unit.leaving]


def test_an_empty_machine_takes_over_from_the_busiest() -> None:
    before = held(place(default(3), []))
    after = place(default(4), before)
    new = [slot for slot in after if not slot.unit]
    assert new
    assert {slot.machine for slot in new} == {"m4"}
    assert "resource_database" not in {slot.kind for slot in new}
    assert len(after) == len(before)


def test_one_that_leaves_comes_back_before_a_new_one_is_started() -> None:
    there = held(place(default(2), []))
    there = [unit._replace(leaving=unit.machine == "m2") for unit in there]
    assert all(slot.unit for slot in place(default(2), there))


def test_shared_services_avoid_a_machine_that_changes() -> None:
    machines = [Host("m1", "machine-1", "messaging", public=True, changing=True), *default(4)[1:]]
    there = [unit for unit in held(place(default(4), [])) if unit.machine != "m1"]
    for slot in place(machines, there):
        if KINDS[slot.kind].shared and not slot.unit:
            assert slot.machine != "m1"
