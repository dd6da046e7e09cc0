"""Calculation: incremental is the same as whole, an unchanged input is no change, only what is touched is written."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.calculation.derivation import derive, touched
from controller.instructions import replace
from controller.state import Cluster, Machine, Ownership, Queue, Route, SealedKey, Status, Subject, Unit, UnitState, User
from controller.tables import Draft, Tables, Write
from telephony import config
from tests.controller.world import World, machine


def subjects(writes: list[Write]) -> set[str]:
    return {write.id for write in writes if write.table == Subject.table}


@pytest.fixture
def world() -> World:
    world = World()
    world.run(2.0)
    return world


def test_unchanged_input_is_no_change(world: World) -> None:
    assert world.calculate() == []
    assert world.calculate(everything=True) == []
    world.now += 1000
    assert world.calculate() == []


def test_a_calculation_leaves_its_input_alone(world: World) -> None:
    before = {kind: dict(world.tables.all(kind)) for kind in (Unit, Subject, Machine, Status)}
    draft = Draft(world.tables)
    draft.put(msgspec.structs.replace(world.machine("m1"), presence="dead"))
    derive(draft, draft.writes())
    assert before == {kind: dict(world.tables.all(kind)) for kind in (Unit, Subject, Machine, Status)}


def test_a_dependent_that_dies_changes_its_load_balancers_alone(world: World) -> None:
    media = world.units("media_processor")[0]
    world.edit(Status(id=media.id, state="starting", since=world.now, restarts=1))
    writes = world.calculate()
    assert subjects(writes) == {unit.id for unit in world.units("load_balancer")}
    assert media.home in subjects(writes)
    for balancer in world.units("load_balancer"):
        written = world.configuration(balancer.id)
        assert isinstance(written, config.LoadBalancerConfiguration)
        assert media.id not in {each.id for each in written.dependents}
    world.report()
    assert subjects(world.calculate()) == {unit.id for unit in world.units("load_balancer")}


def test_what_a_unit_carries_changes_nothing(world: World) -> None:
    media = world.units("media_processor")[0]
    world.edit(Status(id=media.id, state="healthy", since=world.now - 1, remaining=7))
    assert {write.table for write in world.calculate()} == {Status.table}


def test_a_call_router_that_dies_changes_the_proxies_alone(world: World) -> None:
    router = world.units("call_router")[0]
    world.edit(Status(id=router.id, state="failed", since=world.now))
    assert subjects(world.calculate()) == {unit.id for unit in world.units("proxy")}


def test_a_user_changes_proxies_and_routing(world: World) -> None:
    draft = Draft(world.tables)
    draft.put(User(id="1002", ha1={"MD5": "b"}))
    assert derive(draft, draft.writes()) == sorted(unit.id for kind in ("proxy", "routing") for unit in world.units(kind))


def test_routes_and_queues_change_their_services(world: World) -> None:
    draft = Draft(world.tables)
    route, queue = Route(id="00020", pattern="9196", action="echo"), Queue(id="4001", members=["1001"])
    units, machines = touched(draft, [Write(Route.table, route.id, None, route), Write(Queue.table, queue.id, None, queue)])
    assert units == {unit.id for kind in ("routing", "call_queue") for unit in world.units(kind)}
    assert machines == set()


def test_dependents_go_through_their_balancers_machine(world: World) -> None:
    found = False
    for subject in world.tables.all(Subject).values():
        if subject.kind == "machine":
            assert subject.via == ""
            continue
        unit = world.unit(subject.id)
        if unit.kind in ("call_router", "load_balancer"):
            assert subject.via == ""
            assert unit.home == ""
        else:
            home = world.unit(unit.home)
            assert home.kind == "load_balancer"
            assert subject.via == ("" if home.machine == unit.machine else home.machine)
            found = found or bool(subject.via)
    assert found


def test_every_generation_grows(world: World) -> None:
    before = {id: subject.generation for id, subject in world.tables.all(Subject).items()}
    world.edit(Status(id=world.units("routing")[0].id, state="failed", since=world.now))
    for id in subjects(world.calculate()):
        assert world.tables.all(Subject)[id].generation == before[id] + 1


def test_ports_do_not_meet(world: World) -> None:
    for id in world.tables.all(Machine):
        taken: set[tuple[str, str, int]] = set()
        for unit in world.document(id).units:
            for socket in unit.sockets:
                if not socket.name.startswith("public"):
                    assert (socket.kind, socket.host, socket.port) not in taken
                    taken.add((socket.kind, socket.host, socket.port))


def test_only_public_machines_hand_out_the_public_sockets() -> None:
    world = World(2)
    world.edit(msgspec.structs.replace(world.machine("m1"), public=False))
    world.run(2.0)
    assert {unit.machine for unit in world.units("proxy")} == {"m2"}


def test_a_dead_machine_is_replaced_and_comes_back_empty(world: World) -> None:
    lost = {unit.kind for unit in world.on("m1")}
    world.edit(msgspec.structs.replace(world.machine("m1"), presence="dead"))
    world.calculate()
    assert not world.on("m1")
    assert world.document("m1").units == []
    assert lost <= {unit.kind for unit in world.tables.all(Unit).values()}
    world.run(3.0)
    world.edit(msgspec.structs.replace(world.machine("m1"), presence="alive"))
    world.run(60.0)
    assert world.on("m1")
    world.check_incremental()


def test_a_drained_machine_gives_everything_away_first(world: World) -> None:
    world.edit(msgspec.structs.replace(world.machine("m1"), cordoned=True))
    world.calculate()
    new = {unit.id for unit in world.tables.all(Unit).values() if world.tables.get(Status, unit.id) is None}
    world.sick = set(new)
    world.run(20.0)
    assert {unit.intent for unit in world.on("m1")} == {"serve"}
    world.sick = set()
    world.run(60.0)
    assert not world.on("m1")
    world.check_incremental()


def test_a_machine_more_takes_its_share(world: World) -> None:
    world.edit(machine(5))
    world.run(60.0)
    assert world.on("m5")
    world.check_incremental()


UNIT_STATES: list[UnitState] = ["healthy", "failed", "draining", "starting", "stopped"]

actions = st.lists(
    st.tuples(
        st.sampled_from(
            ["kill", "heal", "die", "return", "switch", "drain", "undrain", "user", "time", "report", "deaf", "cluster", "join"]
        ),
        st.integers(0, 20),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), actions)
def test_whatever_happens_incremental_is_whole_and_it_comes_to_rest(machines: int, shards: int, script: list[tuple[str, int]]) -> None:
    world = World(machines, shards=shards)
    world.run(1.0)
    for action, number in script:
        units = sorted(world.tables.all(Unit))
        ids = sorted(world.tables.all(Machine))
        id = ids[number % len(ids)]
        target = world.machine(id)
        if action == "kill" and units:
            world.edit(Status(id=units[number % len(units)], state="failed", since=world.now, restarts=number))
        elif action == "heal":
            world.sick = set()
        elif action == "die":
            world.edit(msgspec.structs.replace(target, presence="dead"))
        elif action == "return":
            world.edit(msgspec.structs.replace(target, presence="alive"))
        elif action == "switch":
            draft = Draft(world.tables)
            try:
                replace(
                    draft,
                    [target],
                    "messaging" if target.platform == "voice" else "voice",
                    world.now,
                    actor="test",
                    drain_seconds=2,
                    force=True,
                )
            except Exception as error:  # noqa: BLE001 - refusals are part of the game
                assert type(error).__name__ == "InstructionError"
            else:
                world.tables.apply(draft.writes())
        elif action in ("drain", "undrain"):
            world.edit(msgspec.structs.replace(target, cordoned=action == "drain"))
        elif action == "user":
            world.edit(User(id=str(number), ha1={"MD5": str(number)}))
        elif action == "deaf":
            world.deaf = {id} if number % 2 else set()
        elif action == "cluster":
            world.edit(msgspec.structs.replace(world.draft.cluster, guest_targets=[str(number)]))
        elif action == "join":
            world.edit(machine(10 + number))
        if action == "time":
            world.run(float(number), step=1.0)
        elif action == "report":
            world.report()
        world.now += 0.25
        world.calculate()
        world.check_incremental()
    world.deaf, world.sick, world.stuck = set(), set(), set()
    for each in list(world.tables.all(Machine).values()):
        world.edit(msgspec.structs.replace(each, presence="alive", cordoned=False))
    world.run(400.0, step=2.0)
    world.check_incremental()
    assert not any(unit.leaving or unit.intent != "serve" for unit in world.tables.all(Unit).values())
    assert len(world.units("resource_database")) == 1
    owner = world.tables.all(Ownership)["public"]
    load = {unit.id: 0 for unit in world.units("proxy")} | Counter(share.proxy for share in owner.shares)
    assert load.keys() == {unit.id for unit in world.units("proxy")}
    assert max(load.values()) - min(load.values()) < 2
    assert (len(owner.shares), owner.unwell, owner.unsettled) == (shards, {}, False)
    before = dict(world.tables.all(Unit))
    world.run(20.0, step=5.0)
    assert before == dict(world.tables.all(Unit))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_change_touches_all_that_depends_on_it(data: st.DataObject) -> None:
    """Whatever single record changes, deriving what it touches gives the same as deriving everything."""
    world = World(data.draw(st.integers(1, 5)))
    world.run(data.draw(st.sampled_from([0.5, 1.0, 2.0])))
    world.calculate()
    draft = Draft(world.tables)
    unit = world.unit(data.draw(st.sampled_from(sorted(world.tables.all(Unit)))))
    change = data.draw(st.sampled_from(["status", "intent", "gone", "user", "queue", "address", "home", "key", "cluster", "leaving"]))
    if change == "status":
        state: UnitState = data.draw(st.sampled_from(UNIT_STATES))
        draft.put(Status(id=unit.id, state=state, since=world.now))
    elif change == "intent":
        draft.put(msgspec.structs.replace(unit, intent=data.draw(st.sampled_from(["standby", "aside", "drain", "serve"]))))
    elif change == "leaving":
        draft.put(msgspec.structs.replace(unit, leaving=True))
    elif change == "gone":
        draft.delete(Unit, unit.id)
        draft.delete(Status, unit.id)
    elif change == "user":
        draft.delete(User, "1001")
    elif change == "queue":
        draft.put(Queue(id="4002", members=[]))
    elif change == "address":
        draft.put(msgspec.structs.replace(world.machine(unit.machine), address="127.9.9.9"))
    elif change == "home":
        homes = world.units("load_balancer")
        draft.put(msgspec.structs.replace(unit, home=data.draw(st.sampled_from(homes)).id))
    elif change == "key":
        draft.put(SealedKey(id=f"{unit.machine}/{unit.bundle}", sealed=b"other"))
    else:
        draft.put(msgspec.structs.replace(draft.must(Cluster, "cluster"), realm="other"))
    derive(draft, draft.writes())
    assert derive(draft, [], everything=True) == []


def test_tables_keep_their_index() -> None:
    world = World(2)
    world.run(1.0)
    again = Tables([record for kind in (Unit, Machine) for record in world.tables.all(kind).values()])
    for name in ("proxy", "@m1", "@m2", "load_balancer"):
        assert sorted(unit.id for unit in again.units(name)) == sorted(unit.id for unit in world.tables.units(name))
