"""Jobs of the routing service: where does a request go?

| operation | request | response | errors |
| --- | --- | --- | --- |
| ``route`` | `Route` | `Decision` | ``not-found`` (404), ``not-registered`` (480), ``loop`` (482), ``refused`` (403), ``unavailable`` |
"""

import msgspec


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Ask where a request goes."""

    method: str
    """``INVITE`` or ``MESSAGE``."""
    user: str
    """User part of the Request-URI: what was dialled."""
    host: str = ""
    """Host part of the Request-URI."""
    caller: str = ""
    """Authenticated user who asks; empty: a guest."""
    hops: int = 0
    """How often this request was already routed."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a user is reached."""

    contact: str
    """Request-URI of the leg to it."""
    path: str
    """Route that leads there, through the proxy that holds the flow; empty: by the Request-URI alone."""
    q: float = 1.0
    """Targets of one q are rung together, best q first."""
    ice: bool = False
    """Its media wants ICE (RFC 5768), as browsers' does."""
    others: list["Target"] = []
    """Other flows to the same phone, to be tried one after the other when this one is dead (RFC 5626 section 5.3)."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the request."""

    action: str
    """``user``, ``conference``, ``queue``, ``echo``, ``music`` or ``outside``."""
    target: str
    """Name of the user, room, queue or source; URI outside."""
    targets: list[Target] = []
    """Where the user, or who is outside, is reached, best first."""


HOPS_MAX = 8
"""A request routed more often than this goes in circles (RFC 3261 section 16.3 step 4)."""
