"""Bodies of the envelopes: what controller and machines say to each other.

Current state is said, not history: a document or a report replaces what was known before.
"""

from typing import Literal

import msgspec


class Socket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A listening socket that the agent owns and hands to a service under a name (``LISTEN_FDNAMES``).

    Where the agent inherited a socket bound to the same address (an address that several machines of
    one host share), it passes that one; else it binds one itself.
    """

    name: str
    kind: Literal["udp", "tcp"]
    host: str
    port: int
    share: int = 0
    """Number among the inherited sockets of this address, in the order of their binding; above 0 they are inherited or not there."""


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
    memory: list[str] = []
    """Names of memory files that the agent keeps for it from one process to the next."""
    standby: bool = False
    """A second process of it waits, warm, and takes over when the first one dies."""
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


class RelayStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Acknowledgement by hop: what the machine of a load balancer knows of a state that it relays."""

    machine: str
    subject: str
    stored: int
    """Generation that it keeps and forwards."""
    delivered: int = 0
    """Generation that the dependent's machine acknowledged to it."""


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
    relayed: list[RelayStatus] = []
    """What it keeps for dependents on other machines."""
    refusals: dict[str, int] = {}
    """Envelopes refused since the agent's start, by code (`agent.wire.refusal`)."""


class UnitEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="events", tag_field="type"):
    """What services told their agent since the last such message (`Notify`), in order, as they said it."""

    events: list[tuple[str, bytes]]
    """(unit id, msgpack of the service's own structure)."""
    dropped: int = 0
    """Events that a bound made the agent throw away."""


class Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="beat", tag_field="type"):
    """A machine lives. A revision that the controller does not have makes it ask for a report."""

    revision: int


class Farewell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="farewell", tag_field="type"):
    """A machine ends by itself: what it ran is gone already."""


class EchoRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="echo-request", tag_field="type"):
    """Published by a machine: say this back on my channel, so that I know that I hear you."""

    nonce: bytes


class Echo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="echo", tag_field="type"):
    """Published to the machine that asked for it."""

    nonce: bytes


class SnapshotRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="snapshot-request", tag_field="type"):
    """Over the request channel: send me what differs from what I have. Answered by `Carried`, each above what is
    had, then `SnapshotEnd`, all over the request channel."""

    number: int
    """Named in the answer; grows within a session."""
    have: dict[str, int]
    """Subject to the generation that the machine has."""


class SnapshotEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="snapshot-end", tag_field="type"):
    """Everything that the snapshot promised was sent before this."""

    number: int
    heads: dict[str, int]
    """All subjects of this machine and their generation now; a subject that is missing is gone."""


class Heads(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="heads", tag_field="type"):
    """Published to a machine when its set of subjects or the state of a relayed one changes, and now and then: which
    generation of each of its subjects is current. A machine that lacks one waits for it shortly, then asks for a snapshot."""

    heads: dict[str, int]
    """All subjects of this machine; a subject that is missing is gone."""


class Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="carried", tag_field="type"):
    """A sealed state, for the machine that hears this or for one that it relays to."""

    machine: str
    """For whom."""
    subject: str
    generation: int
    envelope: bytes
    """`Envelope.pack` of `seal_state`; empty: stop relaying this subject and forget it."""


class ReportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="report-request", tag_field="type"):
    """Published to a machine: send your report again."""


class ChunkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="chunk-request", tag_field="type"):
    """Published by a machine that subscribed to a bundle: publish these chunks. Their number is its credit: no more is sent."""

    bundle: str
    """Content hash."""
    chunks: list[int]
    """Indexes, at most `agent.wire.bundle.CREDIT_CHUNKS_MAX`."""


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="session-request", tag_field="type"):
    """A machine opens a session (`agent.wire.session`)."""

    ephemeral: bytes
    """X25519 public key, 32 bytes."""
    nonce: bytes
    """Names the request in the answer."""


class SessionAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="session-answer", tag_field="type"):
    """The controller's half."""

    nonce: bytes
    session: str
    ephemeral: bytes
    sealed: bytes
    """32 secret bytes sealed to the machine's security key."""
    now: float
    """Controller's clock, seconds since the epoch."""


State = MachineDocument | UnitConfiguration
"""State of a subject: what `agent.wire.opener.seal_state` seals."""
ControllerMessage = Carried | Heads | Echo | ReportRequest | SnapshotEnd | SessionAnswer
"""From the controller, within a session (but for the answer that opens it)."""
MachineMessage = MachineReport | UnitEvents | Beat | Farewell | EchoRequest | SnapshotRequest | ChunkRequest | SessionRequest
"""From a machine, within a session (but for the request that opens it)."""
