"""Desired state of a cluster as one document: what `hotswitch plan` and `apply` read, and what the API takes and gives.

Rules:
- A section that is not there is left alone; one that is there is the whole of its kind: what it does not name is removed.
- Unknown fields are refused, with their path.
- A pool whose platform differs is switched machine by machine, like `hotswitch switch`.
"""

import ipaddress
import re
from typing import Any, Literal

import msgspec

from controller.calculation.catalogue import PLATFORMS
from controller.calculation.replacement import InstructionError
from controller.certificate import check, check_authorities
from controller.enrolment import audit
from controller.founding import user
from controller.instructions import NAME_CHARACTERS_MAX, machines_of, replace
from controller.state import Pool, Queue, Route, User
from controller.tables import Draft

ENTRIES_MAX = 50_000
"""Users, routes and queues in one document, each."""


_DOMAIN = re.compile(r"@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_TRUNK = re.compile(
    r"sips?:(?:[A-Za-z0-9\-_.!~*'()&=+$]+@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::[1-9][0-9]{0,3}|:[1-5][0-9]{4}|:6[0-4][0-9]{3})?(?:;transport=[a-z]+)?"
)
_NUMBER = re.compile(r"[0-9*#+]{1,20}")
TRUNK_TRANSPORTS = ("udp", "tcp", "tls")
"""WebSocket is for clients that can open no other connection (RFC 7118); no server is reached by it."""
_SERVER = re.compile(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?|([0-9A-Fa-f:]+)")
_MOST = {
    "drain_seconds": 86400,
    "source_failures_max": 1_000_000,
    "source_ban_seconds": 3600,
    "source_requests_per_second_max": 1_000_000,
    "user_requests_per_second_max": 1_000_000,
}
EMERGENCY_NUMBERS_MAX = 32


class DesiredCluster(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Settings of the cluster itself."""

    guest_targets: list[str] | None = None
    """User parts that anybody may call without credentials."""
    drain_seconds: float | None = None
    """Grace for calls when services leave."""
    source_failures_max: int | None = None
    """Failed authentications at once after which a source is banned; 0: never."""
    source_ban_seconds: float | None = None
    """The first ban of a source; each further one is twice as long."""
    source_requests_per_second_max: float | None = None
    """New requests that one source may send; 0: any."""
    user_requests_per_second_max: float | None = None
    """New requests that one user may send to each proxy, from wherever; 0: any."""
    emergency_numbers: list[str] | None = None
    """Calls to these (and to ``urn:service:sos``) are never held back or refused for overload."""
    room_rate_max: Literal[8000, 16000, 48000] | None = None
    """Conferences are mixed at the highest sample rate that two of their members have, up to this, Hz."""
    name_servers: list[str] | None = None
    """Addresses (``192.0.2.53``, ``[2001:db8::53]:5353``) of whom proxies ask where other domains are; empty: as each machine does."""
    certificate: str | None = None
    """PEM: certificate chain for TLS, ours first; goes with ``private_key``."""
    private_key: str | None = None
    """PEM, not encrypted; never given back."""
    authorities: str | None = None
    """PEM: who has to have signed the certificates of trunks reached over TLS; empty: whom each machine trusts."""


_PLAIN = [name for name in DesiredCluster.__struct_fields__ if name not in ("certificate", "private_key", "authorities")]


class DesiredPool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Machines that provide the same platform."""

    name: str
    platform: str


class DesiredUser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subscriber; without a password the one that it has stays."""

    name: str
    password: str | None = None


class DesiredQueue(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A call queue."""

    name: str
    """User part that callers dial."""
    members: list[str]
    strategy: Literal["longest-idle"] = "longest-idle"
    ring_seconds: float = 20.0


class DesiredRoute(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the dial plan."""

    pattern: str
    """Digits, ``X`` for any digit; ``@example.org``: a domain outside."""
    action: Literal["user", "conference", "queue", "echo", "music", "outside"]
    target: str = ""
    """Of ``outside``: the URI of a trunk (``sip:carrier.example.com``); empty for a domain: what was dialled."""
    callers: list[str] = []
    """Of ``outside``: who may use it; users' names with ``X`` for any digit, ``*``: every user."""


class Desired(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The document."""

    cluster: DesiredCluster | None = None
    pools: list[DesiredPool] | None = None
    users: list[DesiredUser] | None = None
    queues: list[DesiredQueue] | None = None
    routes: list[DesiredRoute] | None = None


def current(draft: Draft) -> Desired:
    """The document that describes the cluster as it is wanted now, without passwords."""
    cluster = draft.cluster
    return Desired(
        cluster=DesiredCluster(
            **{name: getattr(cluster, name) for name in _PLAIN},
            certificate=cluster.certificate.decode() or None,
            authorities=cluster.authorities.decode() or None,
        ),
        pools=[DesiredPool(name=id, platform=pool.platform) for id, pool in sorted(draft.all(Pool).items())],
        users=[DesiredUser(name=id) for id in sorted(draft.all(User))],
        queues=[
            DesiredQueue(name=id, members=queue.members, ring_seconds=queue.ring_seconds) for id, queue in sorted(draft.all(Queue).items())
        ],
        routes=[
            DesiredRoute(pattern=route.pattern, action=route.action, target=route.target, callers=route.callers)  # type: ignore[arg-type]
            for _, route in sorted(draft.all(Route).items())
        ],
    )


def apply(draft: Draft, desired: Desired, now: float, *, actor: str, force: bool = False) -> Desired:
    """Bring the state in line with a document; the differences are the draft's writes.

    Raises:
        InstructionError: ``invalid`` with the path, or as `controller.instructions.replace`.
    """
    _check(draft, desired)
    if desired.cluster is not None:
        settings = {name: value for name in _PLAIN if (value := getattr(desired.cluster, name)) is not None}
        if desired.cluster.certificate and desired.cluster.private_key:
            settings |= _pair(desired.cluster)
        if desired.cluster.authorities is not None:
            settings["authorities"] = desired.cluster.authorities.encode()
        draft.put(msgspec.structs.replace(draft.cluster, **settings))
    if desired.users is not None:
        for id in set(draft.all(User)) - {wanted.name for wanted in desired.users}:
            draft.delete(User, id)
        for wanted in desired.users:
            if wanted.password is not None:
                draft.put(user(wanted.name, wanted.password, draft.cluster.realm))
    if desired.queues is not None:
        for id in set(draft.all(Queue)) - {queue.name for queue in desired.queues}:
            draft.delete(Queue, id)
        for queue in desired.queues:
            draft.put(Queue(id=queue.name, members=queue.members, strategy=queue.strategy, ring_seconds=queue.ring_seconds))
    if desired.routes is not None:
        wanted_routes = {
            f"{index * 10:05}": Route(
                id=f"{index * 10:05}", pattern=route.pattern, action=route.action, target=route.target, callers=route.callers
            )
            for index, route in enumerate(desired.routes, 1)
        }
        for id in set(draft.all(Route)) - set(wanted_routes):
            draft.delete(Route, id)
        for record in wanted_routes.values():
            draft.put(record)
    if desired.pools is not None:
        _pools(draft, desired.pools, now, actor, force)
    if draft.writes():
        audit(draft, now, actor, "apply", "", ", ".join(name for name in desired.__struct_fields__ if getattr(desired, name) is not None))
    return current(draft)


def _pools(draft: Draft, pools: list[DesiredPool], now: float, actor: str, force: bool) -> None:
    for wanted in pools:
        name = wanted.name
        pool = draft.get(Pool, name)
        if pool is None:
            draft.put(Pool(id=name, platform=wanted.platform))
        elif pool.platform != wanted.platform:
            replace(draft, machines_of(draft, name), wanted.platform, now, actor=actor, force=force, group=f"pool/{name}")
            draft.put(Pool(id=name, platform=wanted.platform))
    for name in set(draft.all(Pool)) - {wanted.name for wanted in pools}:
        if machines_of(draft, name):
            raise InstructionError("in-use", f"pools: {name} has machines and cannot be left out")
        draft.delete(Pool, name)


def _pair(cluster: DesiredCluster) -> dict[str, Any]:
    certificate, private_key = (cluster.certificate or "").encode(), (cluster.private_key or "").encode()
    return {"certificate": certificate, "private_key": private_key, "self_signed": False}


def _check_pair(draft: Draft, cluster: DesiredCluster) -> None:
    if not cluster.certificate and not cluster.private_key:
        return
    if cluster.private_key is None and (cluster.certificate or "").encode() == draft.cluster.certificate:
        return  # as it was given out
    pair = _pair(cluster)
    try:
        check(pair["certificate"], pair["private_key"])
    except ValueError as error:
        raise InstructionError("invalid", f"cluster.certificate: {error}") from None


def _check(draft: Draft, desired: Desired) -> None:
    """What types do not tell.

    Raises:
        InstructionError: ``invalid``, beginning with the path.
    """
    for section in ("users", "queues", "routes", "pools"):
        entries = getattr(desired, section) or ()
        if len(entries) > ENTRIES_MAX:
            raise InstructionError("invalid", f"{section}: at most {ENTRIES_MAX} entries")
        if section != "routes":
            _check_names(section, [entry.name for entry in entries])
    for index, pool in enumerate(desired.pools or ()):
        if pool.platform not in PLATFORMS:
            known = ", ".join(sorted(PLATFORMS))
            raise InstructionError("invalid", f"pools[{index}].platform: there is no software for {pool.platform!r}, there is {known}")
    users = set(draft.all(User)) if desired.users is None else {wanted.name for wanted in desired.users}
    for index, wanted in enumerate(desired.users or ()):
        if wanted.password is None and draft.get(User, wanted.name) is None:
            raise InstructionError("invalid", f"users[{index}].password: the new user {wanted.name!r} needs one")
    for index, queue in enumerate(desired.queues or ()):
        for member in queue.members:
            if member not in users:
                raise InstructionError("invalid", f"queues[{index}].members: there is no user {member!r}")
        if not 1.0 <= queue.ring_seconds <= 600.0:
            raise InstructionError("invalid", f"queues[{index}].ring_seconds: 1 to 600")
    for index, route in enumerate(desired.routes or ()):
        if route.action == "outside":
            _check_outside(index, route)
        elif route.callers:
            raise InstructionError("invalid", f"routes[{index}].callers: only of the action outside")
        if _DOMAIN.fullmatch(route.pattern) and route.action == "outside":
            continue
        if not route.pattern or not all(character.isdigit() or character in "X*#+" for character in route.pattern):
            raise InstructionError("invalid", f"routes[{index}].pattern: digits and X, got {route.pattern!r}")
    for index, server in enumerate((desired.cluster and desired.cluster.name_servers) or ()):
        if not _is_server(server):
            raise InstructionError("invalid", f"cluster.name_servers[{index}]: an address, with a port or without, got {server!r}")
    numbers = (desired.cluster and desired.cluster.emergency_numbers) or ()
    if len(numbers) > EMERGENCY_NUMBERS_MAX or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise InstructionError(
            "invalid", f"cluster.emergency_numbers: at most {EMERGENCY_NUMBERS_MAX}, each of 1 to 20 digits, '*', '#', '+'"
        )
    if desired.cluster is not None:
        _check_pair(draft, desired.cluster)
        if desired.cluster.authorities:
            try:
                check_authorities(desired.cluster.authorities.encode())
            except ValueError as error:
                raise InstructionError("invalid", f"cluster.authorities: {error}") from None
    for name, most in _MOST.items():
        number = None if desired.cluster is None else getattr(desired.cluster, name)
        if number is not None and not 0 <= number <= most:
            raise InstructionError("invalid", f"cluster.{name}: 0 to {most:g}")


def _check_outside(index: int, route: DesiredRoute) -> None:
    if not route.callers:
        raise InstructionError("invalid", f"routes[{index}].callers: outside needs who may use it; '*' is every user")
    if route.target and not _TRUNK.fullmatch(route.target):
        raise InstructionError("invalid", f"routes[{index}].target: a sip or sips URI, got {route.target!r}")
    if route.target.partition(";transport=")[2] not in ("", *TRUNK_TRANSPORTS):
        wanted = ", ".join(TRUNK_TRANSPORTS)
        raise InstructionError("invalid", f"routes[{index}].target: a trunk is reached over {wanted}, got {route.target!r}")
    if not route.target and not route.pattern.startswith("@"):
        raise InstructionError("invalid", f"routes[{index}].target: outside needs the URI of a trunk")


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    if match is None:
        return False
    try:
        ipaddress.ip_address(match[1] or match[3] or match[5])
    except ValueError:
        return False
    return 0 < int(match[2] or match[4] or 53) < 65536


def _check_names(section: str, names: list[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not 0 < len(name) <= NAME_CHARACTERS_MAX or not all(character.isalnum() or character in "-_.+" for character in name):
            raise InstructionError("invalid", f"{section}[{index}].name: 1 to {NAME_CHARACTERS_MAX} letters, digits, '-', '_', '.' or '+'")
        if name in seen:
            raise InstructionError("invalid", f"{section}[{index}].name: {name!r} is there twice")
        seen.add(name)
