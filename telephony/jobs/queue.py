"""Jobs of the call queue, and what it tells the call routers whose callers wait in it.

| operation | request | response | errors |
| --- | --- | --- | --- |
| ``join`` | `Join` | `Position` | ``not-found`` (no such queue), ``full`` |
| ``leave`` | `Leave` | `Position` | |
| ``outcome`` | `Outcome` | `Position` | |

A caller's place is a lease: its router says ``join`` again every `JOIN_SECONDS` with the same
``joined_at``, and a caller not heard of for `LEASE_SECONDS` is gone. So a queue that was restarted, or that
took over from another, has its callers back in their order without keeping anything itself.

Events to the router (`Tell`): `Offered` (operation ``offered``): ring this member for that caller;
`Withdrawn` (``withdrawn``): stop ringing. The router answers every offer with one job ``outcome``.
"""

from typing import Literal

import msgspec

JOIN_SECONDS = 3.0
"""How often a router renews the place of a waiting caller."""
LEASE_SECONDS = 12.0
"""A caller not renewed for so long has left: its router is dead."""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Wait in a queue, or go on waiting."""

    queue: str
    call: str
    """Names the caller; unique among all routers."""
    caller: str = ""
    """User part of the caller, for people."""
    joined_at: float
    """Unix time in seconds at which the caller first joined: the order of the queue."""
    offer: int = 0
    """Offer that the router is carrying out for this caller; 0: none. A restarted queue learns it so."""
    member: str = ""
    """The member of that offer."""


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """The caller waits no longer (hung up, or was joined with a member)."""

    queue: str
    call: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Place in the queue, 1 is next; 0: not waiting."""

    position: int


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """Event: ring this member for this caller."""

    queue: str
    call: str
    offer: int
    """Names the offer; other numbers are other offers."""
    member: str
    """User to ring."""
    ring_seconds: float
    """Give up after this time."""


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """Event: stop ringing; the offer is void."""

    call: str
    offer: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an offer."""

    queue: str
    call: str
    offer: int
    member: str
    result: Literal["answered", "busy", "no-answer", "unreachable", "refused", "caller-left"]
