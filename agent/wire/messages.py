"""Bodies of the envelopes: what controller and machines say to each other.

Current state is said, not history: a document or a report replaces what was known before.
"""

from typing import Literal

import msgspec


class Socket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A listening socket that the agent owns and hands to a service under a name (``LISTEN_FDNAMES``).

    Where the agent inherited a socket bound to the same address (an address that several machines of
    one host share), it passes that one; else it binds one itself.
    """

    name: str
    kind: Literal["udp", "tcp"]
    host: str
    port: int


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One service process that a machine shall run."""

    id: str
    """Unique in the cluster and never used again: ``call-router-7``."""
    bundle: str
    """Content hash of the bundle that it runs from."""
    entry: str
    """Module of the bundle whose ``main(arguments)`` is run."""
    arguments: list[str]
    sockets: list[Socket] = []
    state: bool = False
    """It keeps state: the agent gives it a folder of its own (``STATE_DIRECTORY``)."""
    drain_seconds: float | None = None
    """Set: take no new work, and stop when nothing is left or this time is over."""


class BundleReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which software, and the key to its chunks, sealed to this machine's security key."""

    hash: str
    platform: str
    version: str
    sealed_key: bytes


class MachineDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="machine", tag_field="type"):
    """All that one machine shall run. Units that are not named here are stopped."""

    platform: str
    bundles: list[BundleReference] = []
    units: list[Unit] = []


class UnitConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="unit", tag_field="type"):
    """Configuration of one unit; the body is the unit's own matter, bytes to the agent.

    Call routers and load balancers get theirs straight from the controller, dependents through the
    machine of their load balancer.
    """

    unit: str
    body: bytes


class UnitReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a machine says of one of its units."""

    id: str
    state: Literal["fetching", "starting", "healthy", "draining", "stopped", "failed"]
    configuration_generation: int = 0
    """Generation of the configuration that it has applied."""
    remaining: int = 0
    """Work that it still carries (calls, legs)."""
    restarts: int = 0
    pid: int = 0
    message: str = ""
    """Why it failed, for people."""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why something that was accepted could not be applied."""

    unit: str
    code: str
    message: str


class SubjectStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two-stage acknowledgement of one subject (a machine's document or a unit's configuration)."""

    subject: str
    accepted: int
    applied: int
    failure: Failure | None = None


class MachineReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="report", tag_field="type"):
    """Machine state notification: the whole of a machine's state, said at every change."""

    revision: int
    """Grows with every change within one session; a beat carries it too."""
    units: list[UnitReport]
    subjects: list[SubjectStatus]
    bundles: list[str]
    """Content hashes that it holds, verified."""
    memory_bytes: int = 0
    """Proportional set size of the agent and its services."""


class UnitEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="events", tag_field="type"):
    """What services told their agent since the last such message (`Notify`), in order, as they said it."""

    events: list[tuple[str, bytes]]
    """(unit id, msgpack of the service's own structure)."""
    dropped: int = 0
    """Events that a bound made the agent throw away."""


class Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="beat", tag_field="type"):
    """A machine lives. A revision that the controller does not have makes it ask for a report."""

    revision: int
