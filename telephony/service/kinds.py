"""Which core serves which kind of service; each process imports only its own."""

from typing import NamedTuple

from telephony.config import Configuration
from telephony.core import Core


class Place(NamedTuple):
    """Where a service runs."""

    unit: str
    """Id of the unit."""
    state_directory: str
    """Folder that lives across restarts; empty: none."""
    sockets: dict[str, int]
    """Descriptors by name."""


SIP_SOCKETS = ("sip-udp", "sip-tcp", "public-udp", "public-tcp", "public-tls", "public-ws", "public-wss")
"""Sockets that the shell reads for the core; others (``rtp``, ``rtcp``) are the core's own matter."""

SHARD_PREFIX = "public-udp-"
"""Further sockets of the public UDP address (`telephony.shard`); to the core they are all ``public-udp``."""

PRECISE = frozenset({"media_processor"})
"""Kinds whose deadlines are kept to less than a millisecond."""

KINDS = frozenset({"proxy", "call_router", "routing", "call_queue", "resource_database", "media_processor", "load_balancer"})


def make(kind: str, place: Place, configuration: Configuration, now: float) -> Core:
    """The core of a kind; `Core.configure` follows.

    Raises:
        ValueError: there is no core of this kind.
    """
    if kind == "proxy":
        from telephony.proxy.core import Proxy

        return Proxy()
    if kind == "call_router":
        from telephony.call_router.core import CallRouter

        return CallRouter(place.sockets.get("calls"))
    if kind == "routing":
        from telephony.routing.core import Routing

        return Routing()
    if kind == "call_queue":
        from telephony.call_queue.core import CallQueue

        return CallQueue()
    if kind == "resource_database":
        from telephony.resource_database.core import ResourceDatabase

        return ResourceDatabase(place.state_directory)
    if kind == "media_processor":
        from telephony.media_processor.core import Media

        return Media(place.sockets)
    raise ValueError(f"no such kind of service: {kind!r}; expected one of {', '.join(sorted(KINDS))}")
