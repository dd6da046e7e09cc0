"""The configuration of each unit, from the state of the whole cluster.

Rules:
- A load balancer lists every dependent that serves its platform and is healthy; one that drains or has stepped
  aside is listed without new work. A resource database that takes over is listed from its start, so that it can
  ask its predecessor for the content; of two healthy ones the one that stays is asked.
- A proxy knows the call routers that take new work, and trusts all that there are.
- Routers and proxies prove requests to each other; those whose software cannot yet are named to the others.
- Lists are in order of age: the same state gives the same bytes.
"""

from collections.abc import Callable

import msgspec

from agent.wire.messages import UnitConfiguration
from controller.calculation.catalogue import KINDS, PLATFORMS, serves
from controller.calculation.ownership import hearers
from controller.calculation.roster import balancers_of, healthy, state, takes_new
from controller.state import Bundle, Machine, Ownership, Queue, Route, Unit, User
from controller.tables import Draft
from media.config import MediaConfiguration
from telephony import config

_encode = msgspec.msgpack.Encoder().encode


def configuration(draft: Draft, unit: Unit) -> bytes:
    """The configuration of a unit, as it is published."""
    return _encode(UnitConfiguration(unit=unit.id, body=config.encode(_BUILDERS[unit.kind](draft, unit))))


def _address(draft: Draft, unit: Unit) -> str:
    return draft.must(Machine, unit.machine).address


def _peer(draft: Draft, unit: Unit, curve: bool = False) -> config.Peer:
    return config.Peer(id=unit.id, host=_address(draft, unit), port=unit.port, curve_public=unit.curve_public if curve else "")


def _host_port(peer: config.Peer) -> str:
    return f"[{peer.host}]:{peer.port}" if ":" in peer.host else f"{peer.host}:{peer.port}"


def _jobs(draft: Draft, unit: Unit) -> config.Jobs:
    if unit.kind == "load_balancer":
        balancers: list[Unit] = []
    elif unit.kind == "call_router":
        mate = draft.get(Unit, unit.mate)
        balancers = [] if mate is None else [mate]
    else:
        balancers = balancers_of(draft, unit)
    return config.Jobs(
        curve_public=unit.curve_public,
        curve_secret=unit.curve_secret,
        balancers=[_peer(draft, balancer, curve=True) for balancer in balancers],
    )


def _proxy(draft: Draft, unit: Unit) -> config.Configuration:
    cluster = draft.cluster
    heard_by = hearers(draft.get(Ownership, "public"), unit.id)
    routers: dict[str, list[config.Peer]] = {}
    trusted = []
    for router in draft.units_of("call_router"):
        peer = _peer(draft, router)
        trusted.append(_host_port(peer))
        if takes_new(draft, router):
            routers.setdefault(router.platform, []).append(peer)
    return config.ProxyConfiguration(
        id=unit.id,
        platform=unit.platform,
        jobs=_jobs(draft, unit),
        realm=cluster.realm,
        host=_address(draft, unit),
        port=unit.port,
        public_host=cluster.public_host,
        public_port=cluster.public_port,
        public=unit.id in heard_by,
        public_shards=[_hearer(draft, proxy) for proxy in heard_by],
        public_ports=cluster.public_ports,
        certificate=cluster.certificate,
        private_key=cluster.private_key,
        authorities=cluster.authorities,
        routers=routers,
        default_platform=cluster.default_platform,
        trusted=trusted,
        proxies=[_host_port(_peer(draft, proxy)) for proxy in draft.units_of("proxy")],
        users=[config.User(name=user.id, ha1=user.ha1) for _, user in sorted(draft.all(User).items())],
        nonce_secret=cluster.nonce_secret,
        guest_targets=cluster.guest_targets,
        source_failures_max=cluster.source_failures_max,
        source_ban_seconds=cluster.source_ban_seconds,
        source_requests_per_second_max=cluster.source_requests_per_second_max,
        user_requests_per_second_max=cluster.user_requests_per_second_max,
        emergency_numbers=cluster.emergency_numbers,
        proof_keys=cluster.proof_keys,
        unproven=_unproven(draft, "call_router") + _unproven(draft, "proxy"),
        name_servers=cluster.name_servers,
    )


def _hearer(draft: Draft, proxy: str) -> str:
    """Own address of a proxy that hears a share; of one that is gone the public address, where another one will hear it."""
    unit = draft.get(Unit, proxy)
    if unit is None or draft.get(Machine, unit.machine) is None:
        return _host_port(config.Peer(id=proxy, host=draft.cluster.public_host, port=draft.cluster.public_port))
    return _host_port(_peer(draft, unit))


def _call_router(draft: Draft, unit: Unit) -> config.Configuration:
    cluster = draft.cluster
    return config.CallRouterConfiguration(
        id=unit.id,
        platform=unit.platform,
        jobs=_jobs(draft, unit),
        realm=cluster.realm,
        host=_address(draft, unit),
        port=unit.port,
        public_host=cluster.public_host,
        public_port=cluster.public_port,
        proxies=[_peer(draft, proxy) for proxy in draft.units_of("proxy")],
        emergency_numbers=cluster.emergency_numbers,
        proof_keys=cluster.proof_keys,
        unproven=_unproven(draft, "proxy"),
    )


def _unproven(draft: Draft, kind: str) -> list[str]:
    """Addresses of the units whose software does not prove its requests."""
    found = []
    for unit in draft.units_of(kind):
        bundle = draft.get(Bundle, unit.bundle)
        if bundle is None or not bundle.proves:
            found.append(_host_port(_peer(draft, unit)))
    return found


def _load_balancer(draft: Draft, unit: Unit) -> config.Configuration:
    router = draft.get(Unit, unit.mate)
    peer = config.Peer(id=unit.mate, host="", port=0) if router is None else _peer(draft, router, curve=True)
    return config.LoadBalancerConfiguration(
        id=unit.id,
        platform=unit.platform,
        jobs=_jobs(draft, unit),
        host=_address(draft, unit),
        port=unit.port,
        router=peer,
        dependents=[
            _dependent(draft, other)
            for kind in sorted(PLATFORMS[unit.platform])
            for other in draft.units_of(kind)
            if lists(draft, unit, other)
        ],
    )


def lists(draft: Draft, balancer: Unit, unit: Unit) -> bool:
    """Whether a load balancer's state names a dependent."""
    if not KINDS[unit.kind].dependent or not serves(unit.kind, unit.platform, balancer.platform):
        return False
    if unit.successor_of and state(draft, unit) in ("unknown", "starting") and draft.get(Unit, unit.successor_of) is not None:
        return True
    return unit.intent != "standby" and state(draft, unit) in ("healthy", "draining")


def _dependent(draft: Draft, unit: Unit) -> config.Dependent:
    proxy = unit.kind == "proxy"
    return config.Dependent(
        id=unit.id,
        kind=unit.kind,
        curve_public=unit.curve_public,
        takes_new=takes_new(draft, unit) and not (unit.kind == "resource_database" and _succeeded(draft, unit)),
        host=_address(draft, unit) if proxy else "",
        port=unit.port if proxy else 0,
    )


def _succeeded(draft: Draft, unit: Unit) -> bool:
    """Whether another database has its content."""
    return any(other.successor_of == unit.id and healthy(draft, other) for other in draft.units_of("resource_database"))


def _routing(draft: Draft, unit: Unit) -> config.Configuration:
    return config.RoutingConfiguration(
        id=unit.id,
        platform=unit.platform,
        jobs=_jobs(draft, unit),
        realm=draft.cluster.realm,
        users=sorted(draft.all(User)),
        routes=[
            config.Route(pattern=route.pattern, action=route.action, target=route.target, callers=route.callers)
            for _, route in sorted(draft.all(Route).items())
        ],
    )


def _call_queue(draft: Draft, unit: Unit) -> config.Configuration:
    return config.CallQueueConfiguration(
        id=unit.id,
        platform=unit.platform,
        jobs=_jobs(draft, unit),
        queues=[
            config.Queue(name=queue.id, members=queue.members, strategy=queue.strategy, ring_seconds=queue.ring_seconds)
            for _, queue in sorted(draft.all(Queue).items())
        ],
    )


def _resource_database(draft: Draft, unit: Unit) -> config.Configuration:
    return config.ResourceDatabaseConfiguration(id=unit.id, platform=unit.platform, jobs=_jobs(draft, unit), successor_of=unit.successor_of)


def _media_processor(draft: Draft, unit: Unit) -> config.Configuration:
    last = unit.port + KINDS["media_processor"].port_step - 1
    host = _address(draft, unit)
    # Phones on this very host may speak IPv6 as well.
    six = "::1" if host.startswith("127.") else ""
    rate = draft.cluster.room_rate_max
    media = MediaConfiguration(host=host, host6=six, rtp_port_first=unit.port, rtp_port_last=last, room_rate_max=rate)
    return config.MediaProcessorConfiguration(id=unit.id, platform=unit.platform, jobs=_jobs(draft, unit), media=media)


_BUILDERS: dict[str, Callable[[Draft, Unit], config.Configuration]] = {
    "proxy": _proxy,
    "call_router": _call_router,
    "load_balancer": _load_balancer,
    "routing": _routing,
    "call_queue": _call_queue,
    "resource_database": _resource_database,
    "media_processor": _media_processor,
}
