"""Name servers and names that the machine itself knows: ``resolv.conf`` (resolver(5)) and ``hosts`` (hosts(5))."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

SERVERS_MAX = 3
"""As in the C library."""
FILE_BYTES_MAX = 1 << 20
PORT = 53
TIMEOUT_SECONDS = 1.0
TIMEOUT_SECONDS_MAX = 5.0
ROUNDS = 3
ROUNDS_MAX = 5


class System(NamedTuple):
    """How names are asked for."""

    servers: tuple[tuple[str, int], ...]
    """Address and port of each name server, in the order in which they are asked."""
    timeout_seconds: float = TIMEOUT_SECONDS
    """How long one query waits in the first round; doubled in each further one."""
    rounds: int = ROUNDS
    """How often each server is asked."""
    hosts: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Addresses of names that no server is asked for."""


def read(servers: list[str], resolv_conf: Path = Path("/etc/resolv.conf"), hosts: Path = Path("/etc/hosts")) -> System:
    """What the files say.

    Args:
        servers: ``host``, ``host:port`` or ``[v6]:port``: instead of those in the file; empty: those.

    Raises:
        ValueError: one of the servers is no address.
    """
    found = resolv(_text(resolv_conf))
    if servers:
        found = found._replace(servers=tuple(server(text) for text in servers))
    return found._replace(hosts=known_hosts(_text(hosts)))


def server(text: str) -> tuple[str, int]:
    """Address and port of a name server.

    Raises:
        ValueError: not an address.
    """
    host, port = text, PORT
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f"expected an address, got {text!r}")
        port = int(rest[1:]) if rest.startswith(":") else PORT
    elif text.count(":") == 1:
        host, _, digits = text.partition(":")
        port = int(digits)
    ipaddress.ip_address(host)
    if not 0 < port < 65536:
        raise ValueError(f"expected a port of 1 to 65535, got {port}")
    return host, port


def resolv(text: str) -> System:
    """Content of ``resolv.conf``; what cannot be read is passed over. Without a server: the machine itself (resolver(5))."""
    servers: list[tuple[str, int]] = []
    timeout, rounds = TIMEOUT_SECONDS, ROUNDS
    for line in text.splitlines():
        word, *values = line.split() or [""]
        if word == "nameserver" and values:
            try:
                ipaddress.ip_address(values[0])
            except ValueError:
                continue
            servers.append((values[0], PORT))
        elif word == "options":
            for value in values:
                name, _, digits = value.partition(":")
                if digits.isascii() and digits.isdigit() and len(digits) < 4:
                    if name == "timeout":
                        timeout = min(max(float(digits), 0.1), TIMEOUT_SECONDS_MAX)
                    elif name == "attempts":
                        rounds = min(max(int(digits), 1), ROUNDS_MAX)
    return System(tuple(servers[:SERVERS_MAX]) or (("127.0.0.1", PORT),), timeout, rounds)


def known_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Content of ``hosts``; ``localhost`` is always there (RFC 6761 section 6.3)."""
    found: dict[str, tuple[str, ...]] = {"localhost": ("127.0.0.1", "::1")}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            name = name.lower().rstrip(".")
            if name != "localhost":
                found[name] = (*found.get(name, ()), address)
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
