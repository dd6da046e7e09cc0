"""Jobs of the resource database: who is reached where, who holds what, who is busy.

| operation | request | response | errors |
| --- | --- | --- | --- |
| ``bind`` | `Bind` | `Bound` | ``out-of-order`` (older CSeq of the same Call-ID), ``full`` |
| ``bind-each`` | `BindEach` | `BoundEach` | |
| ``unbind`` | `Unbind` | `Bound` | |
| ``lookup`` | `Lookup` | `Bound` | |
| ``claim`` | `Claim` | `Holder` | ``full`` |
| ``release`` | `Unclaim` | `Done` | |
| ``busy`` | `Busy` | `Done` | ``full`` |
| ``members`` | `Members` | `MemberStates` | ``full`` |
| ``page`` | `Page` | `PageRead` | |
| ``changes`` | `Changes` | `ChangesRead` | ``lost`` (that far back is no longer kept: read the pages again) |
| ``takeover`` | `Changes` | `ChangesRead` | ``lost``, ``behind`` (read on first); on success all else is ``moved`` from then on |

``moved`` answers any job once another database has taken over; its body is that database's id. A client's
half follows it by itself (`telephony.jobs.client`).

Events: `MemberChanged` (operation ``member-changed``) to whoever asked ``members`` with ``watch``.
"""

from typing import Literal

import msgspec


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a user is reached (RFC 3261 section 10.3)."""

    contact: str
    """Contact URI as registered, without brackets and header parameters."""
    path: str
    """URI of the proxy that holds the flow to the user, with its signed token (RFC 3327, RFC 5626 section 5.2)."""
    expires_at: float
    """Unix time in seconds."""
    q: float = 1.0
    """Preference among a user's contacts, 0 to 1."""
    call_id: str = ""
    """Call-ID of the REGISTER that made it."""
    cseq: int = 0
    """CSeq of that REGISTER."""
    instance: str = ""
    """``+sip.instance`` (RFC 5626 section 4.1); two contacts of one instance replace each other, unless they are flows of their own."""
    reg_id: int = 0
    """Number of the flow among those of the instance (``reg-id``, RFC 5626 section 4.2); 0: none is given."""
    received: str = ""
    """``host:port`` that the REGISTER came from, for people."""
    ice: bool = False
    """``+sip.ice`` (RFC 5768): its media wants ICE, as browsers' does."""


class BindingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One Contact of a REGISTER."""

    contact: str
    path: str = ""
    expires_seconds: float
    """0 removes the binding."""
    q: float = 1.0
    instance: str = ""
    reg_id: int = 0
    received: str = ""
    ice: bool = False


class Bind(msgspec.Struct, frozen=True, kw_only=True):
    """Change a user's bindings, all or none of them (RFC 3261 section 10.3 step 7); no changes: read them."""

    aor: str
    """User part of the address of record."""
    call_id: str = ""
    cseq: int = 0
    bindings: list[BindingChange] = []
    wildcard: bool = False
    """``Contact: *`` with ``Expires: 0``: remove all."""


BINDS_MAX = 64
"""`Bind` of one `BindEach`."""
BINDS_BYTES_MAX = 64 * 1024
"""Of one `BindEach`, together; one that is longer goes alone."""
BOUND_BYTES_MAX = 64 * 1024
"""What a `BoundEach` holds before the rest is put off."""


class BindEach(msgspec.Struct, frozen=True, array_like=True):
    """Carry out several `Bind` in their order, each as if it had come alone."""

    binds: list[msgspec.Raw]
    """msgpack of a `Bind` each: one that cannot be read costs the others nothing."""


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """What the answer to a REGISTER says of one binding; the fields are those of `Binding`."""

    contact: str
    expires_at: float
    q: float
    instance: str
    reg_id: int


class BoundOne(msgspec.Struct, frozen=True, array_like=True):
    """What became of one `Bind`."""

    status: str
    """``ok``, an error of ``bind``, or ``retry``: nothing was done, since the answer would have become too long."""
    bindings: list[Reached] = []
    """All that the user has now, in the order of `Bound`."""


class BoundEach(msgspec.Struct, frozen=True, array_like=True):
    """What became of each `Bind`, in their order."""

    bound: list[BoundOne | None]
    """None, the usual case: the user has the one binding that was asked for and no other, for as long as was asked."""


class Unbind(msgspec.Struct, frozen=True, kw_only=True):
    """A flow is dead: what was bound through it is removed (RFC 5626 section 5.3); a newer binding through another flow stays."""

    aor: str
    token: str
    """User part of the flow's Path."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A user's bindings that have not expired, best q first, then the newest."""

    bindings: list[Binding]


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """Read a user's bindings."""

    aor: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a key: the first one wins; the holder's own claim renews it."""

    key: str
    """What is claimed: ``room:3000``."""
    value: str
    """On whose behalf: id of a media processor."""
    ttl_seconds: float
    """It lapses after this time unless renewed."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the key now: the claimant, or the one who came first."""

    value: str


class Unclaim(msgspec.Struct, frozen=True, kw_only=True):
    """Give a key up; nothing happens where another value holds it."""

    key: str
    value: str


DialogState = Literal["trying", "early", "confirmed"]
"""How far a user's dialog with us has come (RFC 4235 section 3.7.1)."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """One user in one call."""

    user: str
    call: str
    state: DialogState = "confirmed"
    initiator: bool = False
    """The user has called, rather than was called."""


class InCall(msgspec.Struct, frozen=True, array_like=True):
    """One call of a user."""

    call: str
    state: DialogState
    initiator: bool


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """Mark users as busy in calls, renew or change such marks, or take them back."""

    marks: list[Mark]
    busy: bool
    ttl_seconds: float = 90.0
    """A mark lapses after this time unless renewed: its router may have died."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It is done; nothing to say about it."""


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Read the state of users who answer a queue."""

    users: list[str]
    watch: bool = False
    """Tell me of changes (`MemberChanged`) for `WATCH_SECONDS` from now."""


WATCH_SECONDS = 10.0
"""How long a watch lasts; it is renewed by asking again."""


class MemberState(msgspec.Struct, frozen=True, kw_only=True):
    """A user who answers a queue."""

    user: str
    registered: bool
    busy: bool
    idle_since: float = 0.0
    """Unix time in seconds at which the last call ended; 0: none is known."""
    calls: list[InCall] = []
    """What it is busy in, oldest first."""


class MemberStates(msgspec.Struct, frozen=True, kw_only=True):
    """States in the order asked for."""

    members: list[MemberState]


class MemberChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a watched user's state is another one now."""

    member: MemberState


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A successor reads the content in pages."""

    table: str = ""
    """Continue in this table; empty: begin."""
    after: bytes = b""
    """Continue after this key; empty: from the table's first."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A record as it is now."""

    table: str
    key: bytes
    value: bytes | None
    """None: removed."""


class PageRead(msgspec.Struct, frozen=True, kw_only=True):
    """A page; changes after ``revision`` of the *first* page have to be read afterwards."""

    records: list[Change]
    revision: int
    table: str = ""
    """Where to continue; empty: that was the last page."""
    after: bytes = b""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Read the changes after a revision."""

    since: int


class ChangesRead(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in order, up to ``revision``; more of them are there as long as ``revision < last``."""

    changes: list[Change]
    revision: int
    last: int
