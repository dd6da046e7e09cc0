"""Which call router gets a new request: rendezvous hashing of its Call-ID (Thaler and Ravishankar, 1998).

Rules:
- All proxies choose alike, and a router that comes or goes moves only its own share.
- A router that was silent or refused within the last `SUSPECT_SECONDS` comes last: it is tried when no other is left.
"""

from zlib import crc32

from telephony.config import Peer

SUSPECT_SECONDS = 5.0


class RouterChoice:
    """The routers of one platform."""

    __slots__ = ("_routers", "_suspects")

    def __init__(self, routers: list[Peer]) -> None:
        self._routers = [(crc32(router.id.encode()), router) for router in routers]
        self._suspects: dict[str, float] = {}

    def order(self, call_id: str, now: float) -> list[Peer]:
        """Every router, the best one first."""
        routers = self._routers
        if len(routers) == 1:
            return [routers[0][1]]
        key = crc32(call_id.encode("utf-8", "surrogateescape"))
        ranked = sorted(routers, key=lambda entry: ((key ^ entry[0]) * 0x9E3779B1 ^ (key >> 7) * 0x85EBCA6B) & 0xFFFFFFFF)
        found = [entry[1] for entry in ranked]
        if self._suspects:
            self._suspects = {id: until for id, until in self._suspects.items() if until > now}
            found.sort(key=lambda router: router.id in self._suspects)
        return found

    def suspect(self, router: Peer, now: float) -> None:
        """It was silent, refused, or answered 503."""
        self._suspects[router.id] = now + SUSPECT_SECONDS

    def keep_suspects(self, before: "RouterChoice") -> None:
        """Take over what was known under the configuration before."""
        known = {router.id for _, router in self._routers}
        self._suspects = {id: until for id, until in before._suspects.items() if id in known}
