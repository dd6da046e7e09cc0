"""Where a SIP message came from, where one goes to, and the two effects that SIP has on flows."""

from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple


class Flow(NamedTuple):
    """One way to a peer: a transport, a local socket and a remote address (RFC 5626 section 2).

    A flow over UDP names the local socket and the remote address; a flow over a connection also
    names the connection, since a message must leave through that very connection.
    """

    transport: str
    """``udp``, ``tcp``, ``tls``, ``ws`` or ``wss``."""
    socket: str
    """Name of the local socket, as in ``LISTEN_FDNAMES`` (``sip-udp``, ``public-udp``, ...)."""
    host: str
    """Remote address, an IP literal without brackets."""
    port: int
    """Remote port."""
    connection: int = 0
    """Number of the connection within this process; 0 where there is none (or none yet)."""


class Send(NamedTuple):
    """Send one SIP message over a flow; a connection that does not exist yet is opened."""

    data: bytes
    flow: Flow


class Close(NamedTuple):
    """Close the connection of a flow."""

    flow: Flow


def source_of(host: str) -> str:
    """What is banned or limited as one: an IPv4 address, or the /64 of an IPv6 address, whose owner has all of it."""
    return host if ":" not in host else _network(host)


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
