"""Messages between a service and a load balancer.

One connection: a DEALER of the service to the ROUTER of the balancer, CURVE on it; the balancer knows the
service by its CURVE key alone (ZAP user id), and a service can speak for nobody else. Each message is one
ZeroMQ frame: a msgpack array whose first element is the type.

| type | message | way | fields |
| --- | --- | --- | --- |
| - | (empty) | S -> B | sent by ZeroMQ on each new connection (ZMQ_PROBE_ROUTER) |
| 1 | `Submit` | S -> B | number, kind, operation, body, worker, key, timeout_ms, repeatable |
| 2 | `Work` | B -> S | number, client, operation, body |
| 3 | `Done` | S -> B | number, status, body |
| 4 | `Answer` | B -> S | number, status, body, worker |
| 5 | `Tell` | S -> B | client, operation, body |
| 6 | `Told` | B -> S | sender, operation, body |
| 7 | `Beat` | both | |
| 8 | `Welcome` | B -> S | balancer |
| 9 | `Reduce` | B -> router | percent |

A job: client -- Submit -> balancer -- Work -> worker -- Done -> balancer -- Answer -> client.

- Every service may submit jobs and may be given jobs over the same connection.
- The balancer MUST answer a new connection with `Welcome` before anything else. A service that gets one
  knows that what it had submitted over the connection before is lost: it submits again what is
  repeatable and takes the rest as ``unavailable``.
- Both MUST send `Beat` every `BEAT_SECONDS`. Who is not heard for `SILENCE_SECONDS` is treated as dead:
  a balancer gives its jobs to others, a service uses another balancer.
- A worker MUST answer every job once. Status ``ok``, or an error word of the operation, or one of
  ``retry`` (I have done nothing: ask another one, or me later), ``moved`` (ask the service named in the
  body).
- The balancer itself answers ``retry`` (it is full), and ``unavailable`` (nobody does this kind of job, or
  the worker died over it and it may not be done twice).
- A balancer whose dependents cannot keep up tells its router to ask for so much less (`Reduce`), and renews it as long as it is so: it
  holds for `REDUCE_SECONDS`. 0 ends it at once.
- Numbers are the sender's own. An answer to an unknown number MUST be ignored.
"""

import msgspec

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.5
"""Three beats and some grace."""
MESSAGE_BYTES_MAX = 256 * 1024
"""A longer message ends the connection (ZMQ_MAXMSGSIZE)."""
HIGH_WATER_MESSAGES = 10_000
"""Messages queued for one peer; a full queue makes ``retry``."""
TIMEOUT_SECONDS_MAX = 60.0
"""No job may take longer."""
REDUCE_SECONDS = 1.0
"""How long a reduction holds that is not renewed."""

OK = "ok"
RETRY = "retry"
FULL = "full"
"""The worker's bound is reached; nothing was done."""
MOVED = "moved"
UNAVAILABLE = "unavailable"
TIMEOUT = "timeout"
BAD_REQUEST = "bad-request"
"""The body is not the structure of the operation; its text says what was expected and where."""

REPEATABLE = frozenset(
    {
        ("routing", "route"),
        ("resource_database", "bind"),
        ("resource_database", "bind-each"),
        ("resource_database", "lookup"),
        ("resource_database", "claim"),
        ("resource_database", "release"),
        ("resource_database", "busy"),
        ("resource_database", "members"),
        ("resource_database", "page"),
        ("resource_database", "changes"),
        ("resource_database", "takeover"),
        ("call_queue", "join"),
        ("call_queue", "leave"),
        ("call_queue", "outcome"),
        ("media_processor", "offer"),
        ("media_processor", "connect"),
        ("media_processor", "accept"),
        ("media_processor", "query"),
        ("media_processor", "steps"),
    }
)
"""Operations (kind, operation) that do no harm when they are done twice, also by two different workers."""


class Submit(msgspec.Struct, array_like=True, tag=1, gc=False):
    number: int
    kind: str
    operation: str
    body: bytes
    worker: str
    """The one service that must do it; empty: any of the kind."""
    key: str
    """Affinity; empty: none."""
    timeout_ms: int
    repeatable: bool


class Work(msgspec.Struct, array_like=True, tag=2, gc=False):
    number: int
    client: str
    operation: str
    body: bytes


class Done(msgspec.Struct, array_like=True, tag=3, gc=False):
    number: int
    status: str
    body: bytes


class Answer(msgspec.Struct, array_like=True, tag=4, gc=False):
    number: int
    status: str
    body: bytes
    worker: str
    """Who did it; empty: nobody."""


class Tell(msgspec.Struct, array_like=True, tag=5, gc=False):
    client: str
    operation: str
    body: bytes


class Told(msgspec.Struct, array_like=True, tag=6, gc=False):
    sender: str
    operation: str
    body: bytes


class Beat(msgspec.Struct, array_like=True, tag=7, gc=False):
    pass


class Welcome(msgspec.Struct, array_like=True, tag=8, gc=False):
    balancer: str


class Reduce(msgspec.Struct, array_like=True, tag=9, gc=False):
    percent: int


encode = msgspec.msgpack.Encoder().encode
decode_to_balancer = msgspec.msgpack.Decoder(Submit | Done | Tell | Beat).decode
"""Read what a service sent. Raises msgspec.DecodeError."""
decode_to_service = msgspec.msgpack.Decoder(Work | Answer | Told | Beat | Welcome | Reduce).decode
"""Read what a balancer sent. Raises msgspec.DecodeError."""
BEAT = encode(Beat())
