"""Configuration of the platform's services, as the controller sends it: sealed, opaque to the agent.

One structure a kind of service; `decode` reads any of them. The field ``kind`` on the wire tells them
apart. A new configuration is swapped in between two datagrams (`Core.configure`).

A large one (a proxy's, with all users) is compressed: digests in hexadecimal take half. Nothing else starts with zlib's first byte.
"""

import zlib

import msgspec

from media.config import MediaConfiguration

COMPRESSED_BYTES_MIN = 512 * 1024
CONFIGURATION_BYTES_MAX = 64 << 20
"""Of one that was compressed."""
_ZLIB = b"\x78"
"""What zlib starts with; a map of msgpack never does."""


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another service, and where it is reached."""

    id: str
    host: str
    port: int
    curve_public: str = ""
    """CURVE public key, Z85 (empty for SIP peers)."""


class Jobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a service takes part in jobs: its own key pair, and the load balancers it connects to.

    A call router has one balancer, its dedicated one. A dependent connects to every balancer that
    lists it. A load balancer itself has none.
    """

    curve_public: str
    """Z85."""
    curve_secret: str
    """Z85."""
    balancers: list[Peer] = []


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A subscriber: what the digest is checked against."""

    name: str
    ha1: dict[str, str]
    """Algorithm (``MD5``, ``SHA-256``) to H(name:realm:password), hex (RFC 7616 section 3.4.2)."""


class ProxyConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="proxy", tag_field="kind"):
    id: str
    platform: str
    jobs: Jobs
    realm: str
    host: str
    """Own address: the sockets ``sip-udp`` and ``sip-tcp``; faces routers."""
    port: int
    public_host: str
    """Address that users know (`--address`)."""
    public_port: int
    public: bool
    """This proxy serves the public address now: it reads the sockets ``public-udp``, ``public-tcp``, ``public-tls``, ..."""
    public_shards: list[str] = []
    """Own address (``host:port``) of the proxy that reads each of the public UDP sockets: ``public-udp``, ``public-udp-1``, ...
    (`telephony.shard`). Empty: the one that serves the public address reads all."""
    public_ports: dict[str, int] = {}
    """Other transports of the public address (``tls``, ``ws``, ``wss``) to their ports; UDP and TCP share ``public_port``."""
    certificate: bytes = b""
    """PEM: certificate chain of the public address, ours first; empty: no TLS."""
    private_key: bytes = b""
    """PEM."""
    authorities: bytes = b""
    """PEM: who has to have signed the certificates of TLS servers that we call outside; empty: whom the machine trusts."""
    routers: dict[str, list[Peer]]
    """Platform to its call routers that take new work (SIP over UDP)."""
    platform_of_method: dict[str, str] = msgspec.field(default_factory=lambda: {"MESSAGE": "messaging"})
    """Method of a new request to the platform that serves it; every other method is ``default_platform``."""
    default_platform: str = "voice"
    trusted: list[str] = []
    """Addresses of the cluster's own call routers, ``host:port``: their requests go out to users, unchallenged."""
    users: list[User] = []
    nonce_secret: bytes = b""
    """The same in all proxies, so that any of them accepts another's nonce."""
    guest_targets: list[str] = []
    """Users parts that anybody may call without credentials, e.g. ``9196``."""
    proxies: list[str] = []
    """Addresses of the cluster's proxies, ``host:port``: never limited or banned (nor are ``trusted``)."""
    emergency_numbers: list[str] = msgspec.field(default_factory=lambda: ["112", "911"])
    """User parts of calls for help: never held back or refused for overload (``urn:service:sos`` neither)."""
    proof_keys: list[bytes] = []
    """By which routers and proxies prove requests to each other (`telephony.sip.proof`): the first one makes marks. Empty: nobody does."""
    unproven: list[str] = []
    """Addresses (``host:port``) of routers and proxies whose software cannot do that yet."""
    name_servers: list[str] = []
    """Whom to ask where other domains are reached, ``host`` or ``host:port``; empty: whom the machine asks."""
    source_failures_max: int = 50
    """Failed authentications at once after which a source is banned; 0: never (`telephony.proxy.defence`)."""
    source_ban_seconds: float = 30.0
    """The first ban of a source; each further one is twice as long, an hour at most."""
    source_requests_per_second_max: float = 0.0
    """New requests outside of dialogs that one source may send; 0: any."""
    user_requests_per_second_max: float = 0.0
    """New requests outside of dialogs that one user may send to one proxy, from wherever; 0: any. Who goes on sending more is refused
    for a while, ``source_ban_seconds`` at first."""


class CallRouterConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="call_router", tag_field="kind"):
    id: str
    platform: str
    """Decides what the router does with a request (`telephony.voice`, `telephony.messaging`)."""
    jobs: Jobs
    realm: str
    host: str
    port: int
    """Own SIP address: the socket ``sip-udp``; faces proxies."""
    public_host: str
    public_port: int
    proxies: list[Peer] = []
    """Proxies that take outbound legs; requests from other addresses are refused."""
    emergency_numbers: list[str] = msgspec.field(default_factory=lambda: ["112", "911"])
    """User parts of calls for help: never held back or refused for overload."""
    proof_keys: list[bytes] = []
    """As the proxies' (`ProxyConfiguration.proof_keys`)."""
    unproven: list[str] = []
    """Addresses of proxies whose software cannot prove requests yet."""


class Dependent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service that a load balancer gives jobs to."""

    id: str
    kind: str
    curve_public: str
    takes_new: bool = True
    """False while it drains: it gets only jobs that name it."""
    host: str = ""
    port: int = 0
    """SIP address of a proxy; empty for the others."""


class LoadBalancerConfiguration(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="load_balancer", tag_field="kind"
):
    id: str
    platform: str
    jobs: Jobs
    host: str
    port: int
    """Where its ROUTER socket binds."""
    router: Peer
    """The one call router that it is dedicated to."""
    dependents: list[Dependent] = []
    """Every dependent that is healthy now: the machine state of a load balancer identifies them. A resource database that
    is starting as the successor of another is listed too, taking nothing new: it reads that one's content through here."""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the dial plan."""

    pattern: str
    """User part: digits, ``X`` for any digit; e.g. ``30XX``. First match wins, users before routes. ``@example.org``: whoever is
    called at that domain."""
    action: str
    """``user``, ``conference``, ``queue``, ``echo``, ``music`` or ``outside``."""
    target: str = ""
    """Argument of the action; empty: the dialled user part itself. Of ``outside``: the URI of a trunk, ``sip:host``, which is sent the
    dialled user part unless it has one of its own; empty: the dialled address, for a pattern that is a domain."""
    callers: list[str] = []
    """Patterns of the users who may use it, ``*``: every user. Only for ``outside``, where guests never may."""


class RoutingConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="routing", tag_field="kind"):
    id: str
    platform: str
    jobs: Jobs
    realm: str
    users: list[str] = []
    routes: list[Route] = []


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    """User part that callers dial."""
    members: list[str]
    """Users who answer it."""
    strategy: str = "longest-idle"
    ring_seconds: float = 20.0
    """A member that has not answered by then is passed over."""
    retry_seconds: float = 2.0
    """Pause before a member who was unreachable, busy or silent is offered again."""
    callers_max: int = 200


class CallQueueConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="call_queue", tag_field="kind"):
    id: str
    platform: str
    jobs: Jobs
    queues: list[Queue] = []


class ResourceDatabaseConfiguration(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="resource_database", tag_field="kind"
):
    id: str
    platform: str
    jobs: Jobs
    successor_of: str = ""
    """Id of the database whose content this one takes over before it becomes healthy; empty: none."""
    size_bytes_max: int = 1 << 30


class MediaProcessorConfiguration(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="media_processor", tag_field="kind"
):
    id: str
    platform: str
    jobs: Jobs
    media: MediaConfiguration


Configuration = (
    ProxyConfiguration
    | CallRouterConfiguration
    | LoadBalancerConfiguration
    | RoutingConfiguration
    | CallQueueConfiguration
    | ResourceDatabaseConfiguration
    | MediaProcessorConfiguration
)

_decoder: msgspec.msgpack.Decoder[Configuration] = msgspec.msgpack.Decoder(Configuration)
_encoder = msgspec.msgpack.Encoder()


def encode(configuration: Configuration) -> bytes:
    """msgpack of a configuration, compressed where it is large."""
    data = _encoder.encode(configuration)
    return data if len(data) < COMPRESSED_BYTES_MIN else zlib.compress(data, 1)


def decode(data: bytes) -> Configuration:
    """Read any configuration.

    Raises:
        msgspec.ValidationError: unknown kind, unknown or missing field, wrong type; the message names the path.
        msgspec.DecodeError: not msgpack, or more than `CONFIGURATION_BYTES_MAX`.
    """
    if data[:1] == _ZLIB:
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(data, CONFIGURATION_BYTES_MAX)
        except zlib.error as error:
            raise msgspec.DecodeError(f"configuration: {error}") from None
        if not inflater.eof:
            raise msgspec.DecodeError(f"configuration: cut short, or of more than {CONFIGURATION_BYTES_MAX} bytes")
    return _decoder.decode(data)
