"""What the broker and its users say to each other: frames of the request and enrolment sockets.

Request socket (ROUTER; users connect a DEALER with their CURVE key; the broker knows them by it):

| user sends | the other gets |
| --- | --- |
| machine: ``controller``, envelope's 4 frames | controller: machine id, 4 frames |
| controller: machine id, 4 frames | machine: ``controller``, 4 frames |
| controller: ``broker``, `BrokerCommand` | back: ``broker``, `BrokerStatus` (to each command, when it is in force) |
| controller: ``enrol``, handle, answer | newcomer: answer |
| (the controller comes with another connection) | every machine: ``broker``, empty: a hint to ask for a session |
| (newcomer on the enrolment socket: request) | controller: ``enrol``, handle, request |

A handle is opaque; it names the newcomer's connection. A command is in force before anything that the controller sent after it
is passed on: let a machine in first, then answer it.
The broker remembers nothing over a restart: its `BrokerStatus.instance` is another one then, and the controller sends the whole
allow-list again. Ask with an empty command once a second.
"""

import msgspec

BROKER = b"broker"
ENROL = b"enrol"


class BrokerCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From the controller: who may connect. Empty: only tell the status."""

    replace: dict[str, str] | None = None
    """All machines: id to CURVE public key (Z85). Others are put out."""
    allow: dict[str, str] = {}
    """More of them."""
    revoke: list[str] = []
    """Ids that are put out."""


class BrokerStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the broker is."""

    instance: str
    """Another one after each start."""
    machines: int
    """Length of the allow-list."""
    counters: dict[str, int]
    """Messages and bytes passed, and what was refused, by reason."""


_encoder = msgspec.msgpack.Encoder()
_command = msgspec.msgpack.Decoder(BrokerCommand)
_status = msgspec.msgpack.Decoder(BrokerStatus)


def encode(message: BrokerCommand | BrokerStatus) -> bytes:
    return _encoder.encode(message)


def decode_command(data: bytes) -> BrokerCommand:
    """Raises:
    msgspec.MsgspecError: not a command.
    """
    return _command.decode(data)


def decode_status(data: bytes) -> BrokerStatus:
    """Raises:
    msgspec.MsgspecError: not a status.
    """
    return _status.decode(data)
