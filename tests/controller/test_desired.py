"""What a document says about the world outside, and what it becomes in the services' configurations."""

import datetime

import msgspec
import pytest

from controller.calculation.replacement import InstructionError
from controller.certificate import self_signed
from controller.desired import Desired, DesiredCluster, DesiredRoute, apply, current
from controller.founding import PROOF_KEY_SECONDS, rotated
from controller.state import Bundle
from telephony.config import CallRouterConfiguration, MediaProcessorConfiguration, ProxyConfiguration, Route, RoutingConfiguration
from telephony.routing.plan import Plan
from tests.controller.world import World

TRUNK = DesiredRoute(pattern="0XXX", action="outside", target="sip:trunk.example.net:5070;transport=tcp", callers=["10XX"])
DOMAIN = DesiredRoute(pattern="@example.org", action="outside", callers=["*"])


def test_trunks_and_name_servers_reach_the_services() -> None:
    world = World()
    servers = ["192.0.2.53", "[2001:db8::53]:5353"]
    wanted = Desired(cluster=DesiredCluster(name_servers=servers), routes=[TRUNK, DOMAIN])
    apply(world.draft, wanted, world.now, actor="test")
    assert current(world.draft).routes == [TRUNK, DOMAIN]
    assert current(world.draft).cluster.name_servers == servers  # type: ignore[union-attr]
    world.run()
    routing = world.configuration(world.units("routing")[0].id)
    assert isinstance(routing, RoutingConfiguration)
    assert routing.routes == [
        Route(pattern="0XXX", action="outside", target="sip:trunk.example.net:5070;transport=tcp", callers=["10XX"]),
        Route(pattern="@example.org", action="outside", callers=["*"]),
    ]
    Plan(routing.users, routing.routes)
    proxy = world.configuration(world.units("proxy")[0].id)
    assert isinstance(proxy, ProxyConfiguration)
    assert proxy.name_servers == servers


def test_authorities_of_trunks_reach_the_proxies() -> None:
    world = World()
    authorities = self_signed("192.0.2.1", datetime.datetime.now(datetime.UTC))[0].decode()
    for wanted in (authorities, ""):
        apply(world.draft, Desired(cluster=DesiredCluster(authorities=wanted)), world.now, actor="test")
        assert current(world.draft).cluster.authorities == (wanted or None)  # type: ignore[union-attr]
        world.run()
        proxy = world.configuration(world.units("proxy")[0].id)
        assert isinstance(proxy, ProxyConfiguration)
        assert proxy.authorities == wanted.encode()


def test_limits_and_emergency_numbers_reach_the_services() -> None:
    world = World()
    wanted = DesiredCluster(user_requests_per_second_max=2.5, source_requests_per_second_max=7.0, emergency_numbers=["110", "*1"])
    apply(world.draft, Desired(cluster=wanted), world.now, actor="test")
    world.run()
    proxy = world.configuration(world.units("proxy")[0].id)
    router = world.configuration(world.units("call_router")[0].id)
    assert isinstance(proxy, ProxyConfiguration)
    assert isinstance(router, CallRouterConfiguration)
    assert (proxy.user_requests_per_second_max, proxy.source_requests_per_second_max) == (2.5, 7.0)
    assert proxy.emergency_numbers == router.emergency_numbers == ["110", "*1"]


def test_the_rate_of_rooms_reaches_the_media_processors() -> None:
    world = World()
    apply(world.draft, Desired(cluster=DesiredCluster(room_rate_max=48000)), world.now, actor="test")
    world.run()
    media = world.configuration(world.units("media_processor")[0].id)
    assert isinstance(media, MediaProcessorConfiguration) and media.media.room_rate_max == 48000


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (DesiredCluster(user_requests_per_second_max=-1.0), "cluster.user_requests_per_second_max"),
        (DesiredCluster(emergency_numbers=["help"]), "cluster.emergency_numbers"),
        (DesiredCluster(emergency_numbers=[""]), "cluster.emergency_numbers"),
        (DesiredCluster(emergency_numbers=["1"] * 33), "cluster.emergency_numbers"),
        (DesiredCluster(authorities="nobody"), "cluster.authorities"),
    ],
)
def test_settings_that_cannot_be(wanted: DesiredCluster, said: str) -> None:
    world = World()
    with pytest.raises(InstructionError) as caught:
        apply(world.draft, Desired(cluster=wanted), world.now, actor="test")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"callers": []}, "routes[0].callers"),
        ({"target": ""}, "routes[0].target"),
        ({"target": "tel:+1"}, "routes[0].target"),
        ({"target": "sip:host:0"}, "routes[0].target"),
        ({"target": "sip:host:99999"}, "routes[0].target"),
        ({"target": "sip:a b"}, "routes[0].target"),
        ({"target": "sip:host;transport=ws"}, "routes[0].target: a trunk is reached over udp, tcp, tls"),
        ({"target": "sips:host;transport=wss"}, "routes[0].target: a trunk is reached over udp, tcp, tls"),
        ({"pattern": "@"}, "routes[0].pattern"),
        ({"pattern": "@exa mple"}, "routes[0].pattern"),
        ({"action": "echo", "target": ""}, "routes[0].callers"),
        ({"action": "echo", "target": "", "callers": [], "pattern": "@example.org"}, "routes[0].pattern"),
    ],
)
def test_routes_outside_that_cannot_be(changes: dict[str, object], said: str) -> None:
    given: dict[str, object] = {name: getattr(TRUNK, name) for name in ("pattern", "action", "target", "callers")}
    world = World()
    with pytest.raises(InstructionError) as caught:
        apply(world.draft, Desired(routes=[DesiredRoute(**{**given, **changes})]), world.now, actor="test")  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("server", ["ns.example.org", "", "192.0.2.53:x", "192.0.2.53:0", "[::1]:70000", "[::1"])
def test_a_name_server_is_an_address(server: str) -> None:
    world = World()
    with pytest.raises(InstructionError) as caught:
        apply(world.draft, Desired(cluster=DesiredCluster(name_servers=[server])), world.now, actor="test")
    assert "cluster.name_servers[0]" in str(caught.value)


def test_who_cannot_prove_requests_yet_is_named_to_the_others() -> None:
    world = World()
    cluster = rotated(world.draft.cluster, world.now)
    world.edit(cluster)
    world.run()
    routers, proxies = (
        [f"{world.configuration(unit.id).host}:{unit.port}" for unit in world.units(kind)] for kind in ("call_router", "proxy")
    )  # type: ignore[union-attr]

    def known() -> tuple[ProxyConfiguration, CallRouterConfiguration]:
        proxy, router = (world.configuration(world.units(kind)[0].id) for kind in ("proxy", "call_router"))
        assert isinstance(proxy, ProxyConfiguration)
        assert isinstance(router, CallRouterConfiguration)
        return proxy, router

    proxy, router = known()
    assert proxy.proof_keys == router.proof_keys == cluster.proof_keys
    assert (sorted(proxy.unproven), sorted(router.unproven)) == (sorted(routers + proxies), sorted(proxies))
    newer = msgspec.structs.replace(world.draft.must(Bundle, "bundle-voice"), id="newer", proves=True)
    world.edit(newer, *(msgspec.structs.replace(unit, bundle="newer") for kind in ("call_router", "proxy") for unit in world.units(kind)))
    world.run()
    proxy, router = known()
    assert (proxy.unproven, router.unproven) == ([], [])


def test_proof_keys_change_one_at_a_time() -> None:
    cluster = World().draft.cluster
    before = rotated(cluster, 0.0)
    assert len(set(before.proof_keys)) == 3
    assert rotated(before, PROOF_KEY_SECONDS - 1) is before
    for turn in range(1, 5):
        after = rotated(before, turn * PROOF_KEY_SECONDS)
        assert after.proof_keys[0] in before.proof_keys, "who has not heard of the change believes those who have"
        assert before.proof_keys[0] in after.proof_keys, "and is believed"
        assert after.proof_keys[0] != before.proof_keys[0]
        before = after
