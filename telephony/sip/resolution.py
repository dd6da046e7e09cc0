"""Where a URI is reached: transport, address and port, by NAPTR, SRV, A and AAAA (RFC 3263 section 4, RFC 2782, RFC 7118).

`hops` is a generator: it yields questions, several at a time where their order does not matter, is sent the answers in the
same order, and returns the hops in the order in which they are to be tried.

Rules:
- The transport: as the URI says; UDP (TLS for sips) where it gives a number or a port; else the best NAPTR record that we
  have a transport for; else SRV records of each transport of ours, UDP first; else UDP (TLS) at the name itself.
- sips goes over TLS only (or WSS).
- The port: as the URI says; else by SRV; else the transport's default.
- SRV records come by priority, those of one priority in a random order in which their weights count.
- All that is found is kept, best first: a hop that fails is followed by the next one (section 4.3).

Bounds: `SERVICES_MAX` SRV questions, `SERVERS_MAX` names that they lead to, `HOPS_MAX` hops.
"""

import ipaddress
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

SERVICES_MAX = 8
SERVERS_MAX = 12
HOPS_MAX = 12

FOUND = "found"
NOTHING = "nothing"
"""The name has no records of this kind, or does not exist."""
FAILED = "failed"
"""No name server told."""


class Question(NamedTuple):
    """What a name server is asked."""

    name: str
    """Without the final dot, lower case."""
    kind: str
    """``NAPTR``, ``SRV``, ``A`` or ``AAAA``."""


class Naptr(NamedTuple):
    """RFC 3403."""

    order: int
    preference: int
    flags: str
    """Lower case."""
    service: str
    """Upper case: ``SIP+D2U``."""
    replacement: str


class Srv(NamedTuple):
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str
    """Empty: the service is decidedly not available there."""


Record = Naptr | Srv | str
"""An address is its text."""


class Answer(NamedTuple):
    """What became of a question."""

    status: str
    """`FOUND`, `NOTHING` or `FAILED`."""
    records: Sequence[Record] = ()


class Sought(NamedTuple):
    """What is to be reached."""

    host: str
    """A name, or an address without brackets."""
    port: int | None = None
    transport: str = ""
    """As in the URI, lower case; empty: it names none."""
    secure: bool = False
    """sips."""


class Hop(NamedTuple):
    """One place to send to."""

    transport: str
    """``udp``, ``tcp``, ``tls``, ``ws`` or ``wss``."""
    host: str
    """An address."""
    port: int


_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls", "SIP+D2W": "ws", "SIPS+D2W": "wss"}
_SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp.", "ws": "_sip._ws.", "wss": "_sips._ws."}
_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_SECURED = {"": "tls", "udp": "tls", "tcp": "tls", "ws": "wss"}
_SECURE = ("tls", "wss")

Resolution = Generator[Sequence[Question], Sequence[Answer], "Located"]


class Located(NamedTuple):
    """What a resolution found."""

    hops: Sequence[Hop]
    """Best first."""
    failed: bool = False
    """Nothing was found because name servers were silent or failed: another time it may be there."""


def literal(host: str, port: int | None, transport: str, secure: bool) -> Hop | None:
    """The hop to an address; None: ``host`` is a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    transport = _transport(transport, secure) or "udp"
    return Hop(transport, host, port or _PORT.get(transport, 5060))


def hops(sought: Sought, transports: Sequence[str], families: Sequence[str], random: Callable[[int], int]) -> Resolution:
    """Find where something is reached.

    Args:
        sought: of the URI, or of the topmost Route.
        transports: those that we can use, in the order in which we prefer them.
        families: ``A``, ``AAAA`` or both: the addresses that we can use, preferred first.
        random: ``random(n)`` is one of 0 to n - 1, all as likely.
    """
    direct = literal(sought.host, sought.port, sought.transport, sought.secure)
    if direct is not None:
        return Located([direct] if direct.transport in transports else [])
    name = sought.host.rstrip(".").lower()
    usable = [transport for transport in transports if transport in _SECURE or not sought.secure]
    given = _transport(sought.transport, sought.secure)
    if given and given not in usable:
        return Located([])
    plain = given or ("tls" if sought.secure else "udp")
    if sought.port is not None:
        return (yield from _addresses([(plain, name, sought.port)] if plain in usable else [], families))
    failed = False
    if given:
        services = [(given, _SRV_PREFIX[given] + name)]
    else:
        [answer] = yield [Question(name, "NAPTR")]
        failed = answer.status == FAILED
        services = _by_naptr(answer, usable)
        if not services:
            services = [(transport, _SRV_PREFIX[transport] + name) for transport in usable if sought.secure or transport not in _SECURE]
    answers = yield [Question(service, "SRV") for _, service in services]
    servers: list[tuple[str, str, int]] = []
    any_record = False
    for (transport, _), answer in zip(services, answers, strict=True):
        failed = failed or answer.status == FAILED
        records = [record for record in answer.records if isinstance(record, Srv)]
        any_record = any_record or bool(records)
        servers += [(transport, record.target, record.port) for record in in_order(records, random) if record.target and record.port]
    if not any_record:
        servers = [(plain, name, _PORT[plain])] if plain in usable else []
    located = yield from _addresses(servers[:SERVERS_MAX], families)
    return located if located.hops else Located([], located.failed or failed)


def in_order(records: Sequence[Srv], random: Callable[[int], int]) -> list[Srv]:
    """SRV records as they are to be tried (RFC 2782): by priority, within one at random by weight."""
    ordered: list[Srv] = []
    for priority in sorted({record.priority for record in records}):
        left = sorted((record for record in records if record.priority == priority), key=lambda record: record.weight)
        while left:
            chosen = random(sum(record.weight for record in left) + 1)
            running = 0
            for position, record in enumerate(left):
                running += record.weight
                if running >= chosen:
                    ordered.append(left.pop(position))
                    break
    return ordered


def _by_naptr(answer: Answer, usable: Sequence[str]) -> list[tuple[str, str]]:
    """Transport and SRV name of each NAPTR record that we have a transport for, best first."""
    found = [record for record in answer.records if isinstance(record, Naptr) and record.flags == "s" and record.replacement]
    found.sort(key=lambda record: (record.order, record.preference))
    services = [(_SERVICES.get(record.service, ""), record.replacement) for record in found]
    return [service for service in services if service[0] in usable][:SERVICES_MAX]


def _addresses(servers: Sequence[tuple[str, str, int]], families: Sequence[str]) -> Resolution:
    """A hop for each address of each server, in the servers' order."""
    names = list(dict.fromkeys(host for _, host, _ in servers if not _is_address(host)))
    questions = [Question(name, family) for name in names for family in families]
    answers = (yield questions) if questions else []
    found: dict[str, list[str]] = {}
    failed = False
    for question, answer in zip(questions, answers, strict=True):
        failed = failed or answer.status == FAILED
        found.setdefault(question.name, []).extend(record for record in answer.records if isinstance(record, str))
    located = [
        Hop(transport, address, port)
        for transport, host, port in servers
        for address in ([host] if _is_address(host) else found.get(host, []))
    ]
    return Located(list(dict.fromkeys(located))[:HOPS_MAX], failed and not located)


def _transport(transport: str, secure: bool) -> str:
    return _SECURED.get(transport, transport) if secure else transport


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
