"""Replacement of a machine's platform: every machine, every failure, every phase."""

import msgspec
import pytest

from controller.calculation import replacement
from controller.calculation.replacement import InstructionError
from controller.instructions import replace, replace_pool
from controller.state import Machine, Operation, Ownership, Phase
from telephony import config
from tests.controller.world import World, machine

VOICE = {"proxy": 2, "call_router": 2, "load_balancer": 2, "media_processor": 2, "routing": 2, "call_queue": 1, "resource_database": 1}


def running(machines: int = 4) -> World:
    world = World(machines)
    world.run(2.0)
    return world


def switch(world: World, id: str = "m1", target: str = "messaging", **options: object) -> Operation:
    (operation,) = replace(world.draft, [world.machine(id)], target, world.now, actor="test", **options)  # type: ignore[arg-type]
    world.calculate()
    return operation


def phases(world: World, id: str) -> list[str]:
    return [phase for phase, _ in world.operation(id).steps]


def serving(world: World, platform: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for unit in world.tables.all(type(world.units("proxy")[0])).values():
        if unit.intent == "serve" and not unit.leaving and unit.platform == platform:
            found[unit.kind] = found.get(unit.kind, 0) + 1
    return found


@pytest.mark.parametrize("id", ["m1", "m2", "m3", "m4"])
def test_any_of_the_four_machines_and_back(id: str) -> None:
    world = running()
    operation = switch(world, id)
    world.run(20.0)
    assert world.operation(operation.id).error == ""
    assert phases(world, operation.id) == ["queued", "prepare", "aside", "drain", "take-over", "settle", "done"]
    assert world.machine(id).platform == "messaging"
    assert {unit.platform for unit in world.on(id)} == {"messaging"}
    own = serving(world, "voice") | {"resource_database": 1}
    assert own == VOICE
    assert serving(world, "messaging")["call_router"] == 1
    assert world.document(id).platform == "messaging"
    assert [bundle.hash for bundle in world.document(id).bundles] == ["bundle-messaging"]
    world.check_incremental()

    back = switch(world, id, "voice")
    world.run(60.0)
    assert world.operation(back.id).phase == "done"
    assert serving(world, "voice") == VOICE
    assert world.on(id), "a machine that came back takes part again"
    assert not any(unit.leaving for unit in world.units("call_router"))
    world.check_incremental()


def test_nothing_new_gets_traffic_before_the_old_is_gone() -> None:
    world = running()
    old = {unit.id for unit in world.on("m1")}
    operation = switch(world)
    world.stuck = set(old)
    world.run(20.0)
    assert world.operation(operation.id).phase == "drain"
    for unit in world.on("m1"):
        if unit.id in old:
            assert unit.leaving
            assert unit.intent in ("aside", "drain")
        else:
            assert unit.intent == "standby"
    proxy = world.configuration(world.units("proxy")[0].id)
    assert isinstance(proxy, config.ProxyConfiguration)
    assert "messaging" not in proxy.routers
    assert not {peer.id for peer in proxy.routers["voice"]} & old
    assert set(proxy.trusted) >= {f"127.0.1.1:{unit.port}" for unit in world.on("m1") if unit.kind == "call_router"}


def test_what_does_not_stop_is_ended_at_the_deadline() -> None:
    world = running()
    world.stuck = {unit.id for unit in world.on("m1")}
    operation = switch(world, drain_seconds=5.0)
    world.run(100.0)
    assert world.operation(operation.id).phase == "done"
    assert not world.stuck & {unit.id for unit in world.on("m1")}


def test_waves_what_calls_need_goes_after_them() -> None:
    world = running()
    router = next(unit for unit in world.on("m1") if unit.kind == "call_router")
    world.stuck = {router.id}
    switch(world)
    world.run(20.0)
    intents = {unit.kind: unit.intent for unit in world.on("m1") if unit.leaving}
    assert intents["call_router"] == "drain"
    assert intents["load_balancer"] == "aside"
    world.stuck = set()
    world.run(10.0)
    assert not [unit for unit in world.on("m1") if unit.leaving]


def test_the_database_hands_over_before_it_goes() -> None:
    world = running()
    (old,) = world.units("resource_database")
    switch(world, old.machine)
    world.calculate()
    new = next(unit for unit in world.units("resource_database") if unit.id != old.id)
    assert new.machine != old.machine
    assert new.successor_of == old.id
    written = world.configuration(new.id)
    assert isinstance(written, config.ResourceDatabaseConfiguration)
    assert written.successor_of == old.id
    balancer = world.configuration(world.units("load_balancer")[0].id)
    assert isinstance(balancer, config.LoadBalancerConfiguration)
    listed = {each.id: each.takes_new for each in balancer.dependents if each.kind == "resource_database"}
    assert listed == {old.id: True, new.id: False}
    world.sick = {new.id}
    world.run(10.0)
    assert world.unit(old.id).intent == "serve"
    world.sick = set()
    world.run(20.0)
    assert [unit.id for unit in world.units("resource_database")] == [new.id]
    balancer = world.configuration(world.units("load_balancer")[0].id)
    assert isinstance(balancer, config.LoadBalancerConfiguration)
    assert {each.id: each.takes_new for each in balancer.dependents if each.kind == "resource_database"} == {new.id: True}


def test_the_public_address_moves_before_its_proxy_drains() -> None:
    world = running()
    [owner] = world.tables.all(Ownership)["public"].proxies
    operation = switch(world, world.unit(owner).machine)
    for _ in range(40):
        world.now += 0.5
        world.calculate()
        if owner not in {unit.id for unit in world.units("proxy")} or world.unit(owner).intent == "drain":
            break
        world.report()
    [now] = world.tables.all(Ownership)["public"].proxies
    assert now != owner
    for proxy in world.units("proxy"):
        written = world.configuration(proxy.id)
        assert isinstance(written, config.ProxyConfiguration)
        assert written.public == (proxy.id == now)
    assert operation.id in world.tables.all(Operation)


@pytest.mark.parametrize("phase", ["prepare", "aside", "take-over", "settle"])
def test_a_failure_before_the_commit_is_reverted(phase: Phase) -> None:
    world = running()
    operation = switch(world)
    for _ in range(80):
        if world.operation(operation.id).phase == phase:
            break
        world.now += 0.5
        world.calculate()
        if world.operation(operation.id).phase != phase:
            world.report()
    assert world.operation(operation.id).phase == phase
    new = {unit.id for unit in world.on("m1") if not unit.leaving}
    if phase == "aside":
        world.deaf = {"m2"}
    world.sick = new
    world.run(200.0)
    world.deaf = set()
    world.sick = set()
    world.run(60.0)
    assert world.operation(operation.id).phase == "failed"
    assert world.operation(operation.id).error
    assert world.machine("m1").platform == "voice"
    assert serving(world, "voice") == VOICE
    assert not {unit.id for unit in world.on("m1")} & new
    assert world.on("m1")
    world.check_incremental()


def test_a_machine_that_dies_on_the_way_is_given_up() -> None:
    world = running()
    operation = switch(world)
    world.run(1.0)
    world.edit(msgspec.structs.replace(world.machine("m1"), presence="dead"))
    world.run(30.0)
    assert world.operation(operation.id).phase == "failed"
    assert "died" in world.operation(operation.id).error
    assert not world.on("m1")
    assert serving(world, "voice") == VOICE


def test_it_goes_on_after_a_restart_of_the_controller() -> None:
    world = running()
    operation = switch(world)
    for _ in range(60):
        # Nothing but the records survives.
        world.tables.apply([])
        world.now += 0.5
        world.calculate(everything=True)
        world.report()
    assert world.operation(operation.id).phase == "done"


def test_a_pool_is_switched_machine_by_machine() -> None:
    world = running()
    operations = replace_pool(world.draft, "default", "messaging", world.now, actor="test", force=True)
    assert len(operations) == 4
    for _ in range(200):
        world.now += 0.5
        world.calculate()
        world.report()
        active = [
            each for each in world.tables.all(Operation).values() if each.phase in ("prepare", "aside", "drain", "take-over", "settle")
        ]
        assert len(active) <= 1
    assert {each.phase for each in world.tables.all(Operation).values()} == {"done"}
    assert {each.platform for each in world.tables.all(Machine).values()} == {"messaging"}
    assert not world.units("media_processor")
    assert len(world.units("resource_database")) == 1
    [owner] = world.tables.all(Ownership)["public"].proxies
    assert world.unit(owner).intent == "serve"


def test_one_machine_alone_is_switched_with_force() -> None:
    world = running(1)
    old = {unit.id for unit in world.on("m1")}
    operation = switch(world, force=True)
    world.run(30.0)
    assert world.operation(operation.id).phase == "done", world.operation(operation.id)
    assert {unit.kind for unit in world.on("m1")} == {"proxy", "call_router", "load_balancer", "routing", "resource_database"}
    assert not old & {unit.id for unit in world.on("m1")}


class TestRefusals:
    def check(self, world: World, id: str = "m1", target: str = "messaging", force: bool = False) -> str:
        with pytest.raises(InstructionError) as caught:
            replacement.check(world.draft, [world.draft.must(Machine, id)], target, force)
        return caught.value.code

    def test_unknown_platform(self) -> None:
        assert self.check(running(), target="telegraph") == "unknown-platform"

    def test_machine_that_is_not_there(self) -> None:
        world = running()
        for presence in ("new", "suspect", "dead"):
            world.edit(machine(1, presence=presence))
            assert self.check(world) == "not-ready"

    def test_drained_machine(self) -> None:
        world = running()
        world.edit(machine(1, cordoned=True))
        assert self.check(world) == "not-ready"

    def test_last_voice_machine(self) -> None:
        world = running(2)
        switch(world, "m1")
        assert self.check(world, "m2") == "last-machine"
        replacement.check(world.draft, [world.machine("m2")], "messaging", force=True)

    def test_twice(self) -> None:
        world = running()
        switch(world)
        assert self.check(world) == "busy"

    def test_software_that_is_not_there(self) -> None:
        world = running()
        with pytest.raises(InstructionError) as caught:
            switch(world, bundle="nothing")
        assert caught.value.code == "unknown-bundle"

    def test_same_platform_is_no_operation(self) -> None:
        world = running()
        assert replace(world.draft, [world.machine("m1")], "voice", world.now, actor="test") == []
