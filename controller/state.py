"""Machine state database: the records of a cluster.

Rules:
- Records are frozen; a change is a new record under the same id. `controller.tables` keeps and writes them.
- What is wanted (machine, unit, operation) and what was reported (status, delivery) are separate records, so that a
  report never overwrites a decision.
- Times are seconds of the Unix epoch, durations are seconds.
"""

from typing import ClassVar, Literal

import msgspec

from agent.wire.enrolment import EnrolmentBody

Platform = Literal["voice", "messaging", "video"]
Presence = Literal["new", "alive", "suspect", "dead"]
Intent = Literal["standby", "serve", "aside", "drain"]
"""What a unit is for: run without traffic; serve; finish what it has, still listed; drain and stop."""
UnitState = Literal["unknown", "fetching", "starting", "healthy", "draining", "stopped", "failed"]
Phase = Literal["queued", "prepare", "aside", "drain", "take-over", "settle", "revert", "done", "failed"]
Role = Literal["admin", "operator", "viewer"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all records have: the table that they live in, and an id that is unique in it."""

    table: ClassVar[str] = ""

    id: str


class Cluster(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The one record of the cluster itself."""

    table: ClassVar[str] = "cluster"

    realm: str = "hotswitch"
    """Realm of the digest (RFC 3261 section 22.1)."""
    public_host: str = "127.0.0.1"
    """Address that users know."""
    public_port: int = 5060
    public_ports: dict[str, int] = {}
    """Other transports of the public address (``tls``, ``ws``, ``wss``) to their ports."""
    public_shards: int = 1
    """UDP sockets of the public address, each of which hears its share of the peers (`telephony.shard`)."""
    certificate: bytes = b""
    """PEM, of the public address."""
    private_key: bytes = b""
    """PEM."""
    authorities: bytes = b""
    """PEM: who certifies TLS servers outside; empty: whom each machine trusts."""
    self_signed: bool = False
    """The pair was made here: a start may bring another one."""
    default_platform: str = "voice"
    guest_targets: list[str] = []
    """User parts that anybody may call without credentials."""
    nonce_secret: bytes = b""
    """The same in all proxies, so that any of them accepts another's nonce."""
    proof_keys: list[bytes] = []
    """By which routers and proxies prove requests to each other: the one in use, the one before or after it, the next one."""
    proof_keys_at: float = 0.0
    """When the one in use was changed."""
    drain_seconds: float = 30.0
    """Grace for what a leaving unit still carries, where nobody says otherwise."""
    source_failures_max: int = 50
    """Failed authentications at once after which proxies ban a source; 0: never."""
    source_ban_seconds: float = 30.0
    """The first ban of a source; each further one is twice as long."""
    source_requests_per_second_max: float = 0.0
    """New requests that one source may send; 0: any."""
    user_requests_per_second_max: float = 0.0
    """New requests that one user may send to each proxy; 0: any."""
    emergency_numbers: list[str] = msgspec.field(default_factory=lambda: ["112", "911"])
    """Calls for help: never held back or refused for overload."""
    room_rate_max: Literal[8000, 16000, 48000] = 16000
    """Rooms are mixed at the highest rate that two of their legs have, up to this, Hz."""
    name_servers: list[str] = []
    """Whom proxies ask where other domains are; empty: as each machine does."""
    created_at: float = 0.0


class Pool(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Machines that are switched together; the id is its name."""

    table: ClassVar[str] = "pool"

    platform: str = "voice"
    """What a machine that joins runs first."""


class Machine(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A machine: who it is, and what it is to run. The id is the hash of its identity key."""

    table: ClassVar[str] = "machine"

    name: str
    pool: str
    address: str
    """Where its services are reached by others of the cluster (IP literal)."""
    identity_key: bytes
    """Ed25519 public key."""
    security_key: bytes
    """HPKE public key, supplied at boot: what is published to the machine is sealed to it."""
    transport_key: str
    """CURVE public key, Z85."""
    platform: str
    """What it provides now."""
    public: bool = False
    """It can serve the address that users know."""
    enrolled_at: float = 0.0
    cordoned: bool = False
    """It takes no services: it is drained, or about to be removed."""
    presence: Presence = "new"
    bundle: str = ""
    """Content hash of the software that its platform runs from; empty: the current one."""


class Unit(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One service process that a machine shall run."""

    table: ClassVar[str] = "unit"

    kind: str
    machine: str
    platform: str
    bundle: str
    """Content hash of the software that it runs from."""
    curve_public: str
    curve_secret: str
    port: int = 0
    """SIP port, port of the jobs socket, or first RTP port, after its kind."""
    intent: Intent = "serve"
    leaving: bool = False
    """Others have its place: it serves until they are healthy, then it is drained."""
    mate: str = ""
    """A call router's dedicated load balancer, and the other way round."""
    home: str = ""
    """A dependent's load balancer: through whose machine its configuration is published."""
    successor_of: str = ""
    drain_seconds: float = 0.0
    """Grace for what it still carries, once ``intent`` is ``drain``."""
    created_at: float = 0.0
    changed_at: float = 0.0
    """When ``intent`` changed last."""


class Status(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a machine last reported of a unit; the id is the unit's."""

    table: ClassVar[str] = "status"

    state: UnitState = "unknown"
    since: float = 0.0
    """When ``state`` was entered."""
    remaining: int = 0
    restarts: int = 0
    pid: int = 0
    message: str = ""


class Vitals(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a machine last reported of itself; the id is the machine's. Kept in memory alone."""

    table: ClassVar[str] = "vitals"

    revision: int = -1
    bundles: list[str] = []
    memory_bytes: int = 0
    relayed: int = 0
    """Subjects that it keeps for dependents on other machines."""
    undelivered: int = 0
    """Those of them whose machine has not taken the current generation."""
    refusals: dict[str, int] = {}
    """Envelopes that it refused, by reason."""
    reported_at: float = 0.0


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One share of the address that users know: one of its UDP sockets, and who reads it."""

    proxy: str
    former: str = ""
    """Who had it before and may still read; ``proxy`` does not yet. Empty: nobody."""
    since: float = 0.0
    """When it was passed on."""


class Ownership(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Which proxies serve the address that users know; the only id is ``public``."""

    table: ClassVar[str] = "ownership"

    shares: list[Share] = []
    """In the order of the sockets."""
    unwell: dict[str, float] = {}
    """Proxies with a share whose process is not healthy any more, and since when."""
    unsettled: bool = False
    """Time alone may move something on."""

    @property
    def proxies(self) -> list[str]:
        """Proxies that have a share."""
        return sorted({share.proxy for share in self.shares})


class Subject(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Desired state of one subject: a machine's document or a unit's configuration."""

    table: ClassVar[str] = "subject"

    kind: Literal["machine", "unit"]
    machine: str
    """Recipient."""
    via: str = ""
    """Machine of the dependent's load balancer; empty: published straight to the recipient."""
    generation: int = 0
    content_hash: str = ""
    body: bytes = b""


class Delivery(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a machine acknowledged of a subject; the id is the subject's. Kept in memory alone."""

    table: ClassVar[str] = "delivery"

    accepted: int = 0
    applied: int = 0
    failed_hash: str = ""
    """Content that was refused: it is held until the content changes."""
    failure_code: str = ""
    failure: str = ""


class Outbox(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A subject whose current generation is still to be published, written in one transaction with it."""

    table: ClassVar[str] = "outbox"

    generation: int = 0


class SealedKey(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Key of a bundle's chunks, sealed to one machine; the id is ``machine/bundle``."""

    table: ClassVar[str] = "sealed-key"

    sealed: bytes = b""


class Bundle(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Software of a platform; the id is its content hash."""

    table: ClassVar[str] = "bundle"

    platform: str
    version: str
    size_bytes: int
    chunks: int
    content_key: bytes
    created_at: float
    current: bool = True
    """Machines of the platform run this one unless told otherwise."""
    proves: bool = False
    """Its routers and proxies prove requests to each other (`telephony.sip.proof`); what was built before does not."""


class User(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A subscriber; the id is the user part."""

    table: ClassVar[str] = "user"

    ha1: dict[str, str] = {}


class Route(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the dial plan; lines are tried in order of their ids (``00010``, ``00020``, ...)."""

    table: ClassVar[str] = "route"

    pattern: str
    action: str
    target: str = ""
    callers: list[str] = []


class Queue(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A call queue; the id is the user part that callers dial."""

    table: ClassVar[str] = "queue"

    members: list[str] = []
    strategy: str = "longest-idle"
    ring_seconds: float = 20.0


class Invitation(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A join token that was given out, as its one-way image; the id is the token's, the token itself is not kept."""

    table: ClassVar[str] = "invitation"

    public_key: bytes
    """Checks what was signed with the token."""
    cluster: str
    role: str
    name: str
    """Of the machine that it is for; empty: the machine says."""
    pool: str
    address: str
    """Where the machine's services are reached; empty: the machine says."""
    public: bool
    created_at: float
    expires_at: float
    used_by: EnrolmentBody | None = None
    """The machine that joined with it."""


class Access(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A token of the API; the id is its hash."""

    table: ClassVar[str] = "access"

    name: str
    role: Role
    created_at: float = 0.0


class Operation(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A replacement of one machine's platform, from the instruction to its end."""

    table: ClassVar[str] = "operation"

    machine: str
    source: str
    """Platform that it leaves."""
    target: str
    bundle: str
    """Content hash of the software that it gets."""
    phase: Phase = "queued"
    after: str = ""
    """Operation that must be done first (a pool is switched machine by machine)."""
    group: str = ""
    drain_seconds: float = 30.0
    force: bool = False
    requested_by: str = ""
    created_at: float = 0.0
    phase_since: float = 0.0
    steps: list[tuple[str, float]] = []
    """Phases entered, with their times."""
    error: str = ""
    """Why it failed and was reverted."""


class Audit(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Who did what; ids grow."""

    table: ClassVar[str] = "audit"

    at: float
    actor: str
    action: str
    subject: str = ""
    detail: str = ""
    alarm: bool = False


class Counter(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A number that only grows; the id says of what."""

    table: ClassVar[str] = "counter"

    value: int = 0


class Answered(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to a request with an idempotency key; the id is the hash of token and key."""

    table: ClassVar[str] = "answered"

    request_hash: str
    status: int
    body: bytes
    at: float


RECORDS: tuple[type[Record], ...] = (
    Cluster, Pool, Machine, Unit, Status, Vitals, Ownership, Subject, Delivery, Outbox, SealedKey, Bundle, User, Route, Queue,
    Invitation, Access, Operation, Audit, Counter, Answered,
)  # fmt: skip
VOLATILE = frozenset({"vitals", "delivery"})
"""Tables that are kept in memory alone: machines say it all again when they reconnect."""
