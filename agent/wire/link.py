"""ZeroMQ sockets towards a broker, set up the same way by the controller and by every machine.

Rules: CURVE always; nothing lingers; every queue has a bound; a frame above the bound ends the connection; heartbeats find a
dead peer within 10 s; a lost connection is opened again after 0.05 to 2 s.
"""

from typing import NamedTuple

import zmq

from agent.wire.envelope import BODY_BYTES_MAX
from agent.wire.keys import TransportKey
from agent.wire.token import BrokerAddress

QUEUE_MESSAGES_MAX = 2000
"""High-water mark of each socket and direction, messages."""
FRAME_BYTES_MAX = BODY_BYTES_MAX + 1024
HEARTBEAT_MILLISECONDS = 2000
HEARTBEAT_TIMEOUT_MILLISECONDS = 6000
RECONNECT_MILLISECONDS = 50
RECONNECT_MILLISECONDS_MAX = 2000
HANDSHAKE_MILLISECONDS = 5000


def bound(socket: "zmq.Socket[bytes]") -> None:
    """Set the bounds that every socket of the control plane has."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES_MAX)
    socket.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MILLISECONDS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MILLISECONDS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MILLISECONDS)


def connect(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, endpoint: str, server_public: str, key: TransportKey
) -> "zmq.Socket[bytes]":
    """One CURVE client socket, connected (or trying to)."""
    socket: zmq.Socket[bytes] = context.socket(kind)
    bound(socket)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MILLISECONDS_MAX)
    if kind == zmq.PUB:
        socket.setsockopt(zmq.XPUB_NODROP, 1)
    socket.curve_publickey = key.public.encode()
    socket.curve_secretkey = key.secret.encode()
    socket.curve_serverkey = server_public.encode()
    socket.connect(endpoint)
    return socket


class Link(NamedTuple):
    """The three sockets of an enrolled machine, or of the controller."""

    publish: "zmq.Socket[bytes]"
    """PUB: envelopes out. A full queue raises `zmq.Again` when sending without waiting; without a connection it all goes nowhere."""
    subscribe: "zmq.Socket[bytes]"
    """SUB: envelopes in; nothing is subscribed yet."""
    request: "zmq.Socket[bytes]"
    """DEALER: see `agent.wire.broker`."""

    @classmethod
    def open(cls, context: "zmq.Context[zmq.Socket[bytes]]", broker: BrokerAddress, key: TransportKey) -> "Link":
        return cls(
            connect(context, zmq.PUB, broker.publish, broker.curve_public, key),
            connect(context, zmq.SUB, broker.subscribe, broker.curve_public, key),
            connect(context, zmq.DEALER, broker.request, broker.curve_public, key),
        )

    def close(self) -> None:
        for socket in self:
            socket.close(0)


def connect_enrolment(context: "zmq.Context[zmq.Socket[bytes]]", broker: BrokerAddress) -> "zmq.Socket[bytes]":
    """The socket of a newcomer, with a key for this once."""
    return connect(context, zmq.DEALER, broker.enrol, broker.curve_public, TransportKey.generate())


def unused_ports(host: str, count: int) -> list[int]:
    """TCP ports that nobody listens on now; for clusters on one host and for tests."""
    import socket

    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
