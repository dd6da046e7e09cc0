"""Shares of the public address: each is heard by one proxy at a time, whatever dies or is switched."""

from collections import Counter

import msgspec
import pytest

from controller.calculation.ownership import PASS_SECONDS_MAX, RESTART_SECONDS_MAX, STEADY_SECONDS, hearers
from controller.health import restless
from controller.instructions import replace
from controller.state import Delivery, Ownership, Share, Status, Subject, Unit
from telephony import config
from tests.controller.world import World


def running(shards: int = 2, machines: int = 4) -> World:
    world = World(machines, shards=shards)
    world.run(2.0)
    return world


def ownership(world: World) -> Ownership:
    return world.tables.all(Ownership)["public"]


def owners(world: World) -> list[str]:
    return [share.proxy for share in ownership(world).shares]


def written(world: World, proxy: str) -> config.ProxyConfiguration:
    found = world.configuration(proxy)
    assert isinstance(found, config.ProxyConfiguration)
    return found


def readers(world: World) -> list[set[str]]:
    """Proxies that read each share by what was published to them last."""
    found: list[set[str]] = []
    for share in range(len(owners(world))):
        reading = set()
        for proxy in world.units("proxy"):
            it = written(world, proxy.id)
            assert it.public == (f"{it.host}:{it.port}" in it.public_shards)
            if it.public_shards[share] == f"{it.host}:{it.port}":
                reading.add(proxy.id)
        found.append(reading)
    return found


def acknowledge(world: World, *units: str) -> None:
    for id in units:
        generation = world.tables.all(Subject)[id].generation
        world.edit(Delivery(id=id, accepted=generation, applied=generation))
    world.calculate()


def fail(world: World, proxy: str) -> None:
    world.edit(Status(id=proxy, state="failed", since=world.now, restarts=1))
    world.calculate()


@pytest.mark.parametrize(("shards", "machines", "loads"), [(1, 4, [1]), (2, 4, [1, 1]), (4, 4, [1, 1, 1, 1]), (4, 2, [2, 2]), (3, 1, [3])])
def test_shares_are_spread_over_as_many_proxies_as_there_can_be(shards: int, machines: int, loads: list[int]) -> None:
    world = running(shards, machines)
    assert sorted(Counter(owners(world)).values()) == loads
    assert readers(world) == [{proxy} for proxy in owners(world)]
    assert not restless(world.tables)
    for machine in {unit.machine for unit in world.units("proxy")}:
        sockets = next(unit for unit in world.document(machine).units if unit.arguments[0] == "proxy").sockets
        public = [(each.name, each.share) for each in sockets if each.name.startswith("public-udp")]
        assert public == [(f"public-udp-{share}" if share else "public-udp", share) for share in range(shards)]


def test_a_process_that_is_started_again_keeps_its_share() -> None:
    world = running()
    before = owners(world)
    fail(world, before[0])
    assert restless(world.tables)
    world.now += RESTART_SECONDS_MAX - 0.1
    world.calculate()
    assert owners(world) == before
    world.edit(Status(id=before[0], state="healthy", since=world.now, restarts=1))
    world.calculate()
    assert owners(world) == before
    assert not restless(world.tables)


def test_the_share_of_one_that_stays_away_passes_and_comes_back() -> None:
    world = running()
    before = owners(world)
    fail(world, before[0])
    world.now += RESTART_SECONDS_MAX
    world.edit(Status(id=before[0], state="starting", since=world.now, restarts=2))  # it fails again and again: the time is the first one's
    world.calculate()
    assert owners(world) == [before[1], before[1]]
    world.edit(Status(id=before[0], state="healthy", since=world.now, restarts=2))
    acknowledge(world, *before)
    world.now += STEADY_SECONDS - 0.1
    world.calculate()
    assert owners(world) == [before[1], before[1]]
    world.now += 0.1
    world.calculate()
    assert sorted(owners(world)) == sorted(before)
    world.run(2.0)
    assert readers(world) == [{proxy} for proxy in owners(world)]
    assert not restless(world.tables)


def test_who_had_a_share_stops_before_another_one_begins() -> None:
    world = running()
    before = owners(world)
    world.edit(msgspec.structs.replace(world.machine(world.unit(before[0]).machine), cordoned=True))
    for _ in range(40):  # another proxy is placed, healthy, and gets the share
        world.now += 0.1
        world.calculate()
        if owners(world) != before:
            break
        world.report()
    taker = owners(world)[0]
    assert taker not in before
    assert readers(world) == [set(), {before[1]}]
    assert hearers(ownership(world), taker)[0] == before[0]
    acknowledge(world, before[1], taker)
    assert readers(world)[0] == set()
    acknowledge(world, before[0])
    assert readers(world) == [{taker}, {before[1]}]


@pytest.mark.parametrize("why", ["late", "silent", "gone"])
def test_who_cannot_be_waited_for_is_not(why: str) -> None:
    world = running()
    first, second = owners(world)
    machine = world.machine(world.unit(first).machine)
    world.edit(msgspec.structs.replace(machine, cordoned=True))
    for _ in range(40):
        world.now += 0.1
        world.calculate()
        if owners(world)[0] != first:
            break
        world.report()
    taker = owners(world)[0]
    assert readers(world)[0] == set()
    if why == "late":
        world.now += PASS_SECONDS_MAX
    else:
        world.edit(msgspec.structs.replace(world.machine(machine.id), presence="suspect" if why == "silent" else "dead"))
    world.calculate()
    assert readers(world) == [{taker}, {second}]


def test_a_share_that_comes_back_before_it_was_taken_is_read_on() -> None:
    world = running()
    first, second = owners(world)
    fail(world, second)
    failed_at = world.now
    world.now += RESTART_SECONDS_MAX - 0.1
    passing = [Share(proxy=second, former=first, since=world.now), Share(proxy=second)]
    world.edit(Ownership(id="public", shares=passing, unwell={second: failed_at}), Delivery(id=first, accepted=0, applied=0))
    world.calculate()
    assert ownership(world).shares == passing
    world.now += 0.1
    world.calculate()
    assert ownership(world).shares == [Share(proxy=first), Share(proxy=first)]
    assert readers(world) == [{first}, {first}]


def test_a_replacement_waits_for_the_share() -> None:
    world = running()
    [operation] = replace(world.draft, [world.machine(world.unit(owners(world)[0]).machine)], "messaging", world.now, actor="test")
    world.calculate()
    for _ in range(60):
        world.now += 0.25
        world.calculate()
        if world.operation(operation.id).phase not in ("queued", "prepare", "aside"):
            break
        world.report()
    assert world.operation(operation.id).phase == "drain"
    assert not any(share.former for share in ownership(world).shares)
    assert readers(world) == [{proxy} for proxy in owners(world)]
    world.run(30.0)
    assert world.operation(operation.id).phase == "done"
    assert sorted(Counter(owners(world)).values()) == [1, 1]
    assert all(isinstance(world.unit(proxy), Unit) for proxy in owners(world))
