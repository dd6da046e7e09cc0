"""The ZeroMQ sockets of a service: a DEALER to each load balancer, CURVE on it.

Rules:
- A socket's descriptor is edge-triggered (ZMQ_FD): after each wake-up *and after each send* it is read until
  nothing is left or `BATCH_MESSAGES` are read; the rest is read in the next turn.
- Nothing blocks: a full queue to a balancer makes the job wait (``retry``).
- A service whose key the balancer does not know (yet) is turned away silently; the handshake's time limit makes
  ZeroMQ try again.
"""

import ipaddress

import zmq

from telephony.config import Jobs, Peer
from telephony.effects import Ask, Reply, Tell
from telephony.jobs.participant import Arrival, Participant
from telephony.jobs.protocol import HIGH_WATER_MESSAGES, MESSAGE_BYTES_MAX
from telephony.service.loop import READ, Loop

BATCH_MESSAGES = 256
HANDSHAKE_MS = 1000
RECONNECT_MS = 50
RECONNECT_MS_MAX = 500
KEY_CHARACTERS = 40
LINGER_MS = 200
"""How long the last answers of a service that stops may take."""

_NOBLOCK = int(zmq.NOBLOCK)  # the enumeration's own arithmetic is slow


class JobSockets:
    """All connections of a service to load balancers."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._context = zmq.Context(io_threads=1)
        self._participant = Participant()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._peers: dict[str, tuple[Peer, str]] = {}
        self._dirty: set[str] = set()
        """Balancers whose sockets may have something to read, whatever their descriptors say."""

    @staticmethod
    def check(jobs: Jobs) -> None:
        """Look at keys and addresses before anything is changed.

        Raises:
            ValueError: one of them is none.
        """
        for key in (jobs.curve_public, jobs.curve_secret, *(peer.curve_public for peer in jobs.balancers)):
            if len(key) != KEY_CHARACTERS:
                raise ValueError(f"a CURVE key has {KEY_CHARACTERS} characters (Z85), this one {len(key)}")
        for peer in jobs.balancers:
            ipaddress.ip_address(peer.host)

    def configure(self, jobs: Jobs, now: float) -> None:
        """Take keys and balancers; connections to those that have not changed are kept."""
        wanted = {peer.id: (peer, jobs.curve_secret) for peer in jobs.balancers}
        for id in [id for id in self._sockets if wanted.get(id) != self._peers.get(id)]:
            self._disconnect(id)
        self._participant.configure(list(wanted), now)
        for id, (peer, _) in wanted.items():
            if id not in self._sockets:
                self._connect(peer, jobs)
        self._peers = wanted

    def ask(self, ask: Ask, now: float) -> None:
        self._participant.ask(ask, now)

    def reply(self, reply: Reply) -> None:
        self._participant.reply(reply)

    def tell(self, tell: Tell) -> None:
        self._participant.tell(tell)

    def exchange(self, now: float) -> list[Arrival]:
        """Send what is to be sent, read what has come; what the core has to be told, in order."""
        outgoing, answered = self._participant.take()
        arrivals: list[Arrival] = list(answered)
        for balancer, message in outgoing:
            socket = self._sockets.get(balancer)
            if socket is None:
                continue
            self._dirty.add(balancer)
            try:
                socket.send(message, _NOBLOCK)
            except zmq.Again:
                self._participant.unsent(message, now)
        if self._dirty:
            dirty, self._dirty = self._dirty, set()
            for balancer in dirty:
                self._read(balancer, now, arrivals)
        return arrivals

    def pending(self) -> bool:
        """More is to be read or sent at once."""
        return bool(self._dirty)

    def timeout(self, now: float) -> None:
        self._participant.timeout(now)

    def deadline(self) -> float | None:
        return self._participant.deadline()

    def outstanding(self) -> int:
        """Jobs that were given to this service and are not answered."""
        return self._participant.outstanding()

    def close(self) -> None:
        for id in list(self._sockets):
            self._disconnect(id)
        self._context.term()

    def _read(self, balancer: str, now: float, arrivals: list[Arrival]) -> None:
        socket = self._sockets.get(balancer)
        if socket is None:
            return
        received = self._participant.received
        recv = socket.recv
        for _ in range(BATCH_MESSAGES):
            try:
                data = recv(_NOBLOCK)
            except zmq.Again:
                return
            if (arrival := received(balancer, data, now)) is not None:
                arrivals.append(arrival)
        self._dirty.add(balancer)

    def _connect(self, peer: Peer, jobs: Jobs) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MESSAGES)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        socket.setsockopt(zmq.PROBE_ROUTER, 1)
        socket.setsockopt(zmq.CURVE_SERVERKEY, peer.curve_public.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, jobs.curve_public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, jobs.curve_secret.encode())
        host = f"[{peer.host}]" if ":" in peer.host else peer.host
        socket.connect(f"tcp://{host}:{peer.port}")
        self._sockets[peer.id] = socket
        self._loop.add(socket.getsockopt(zmq.FD), READ, lambda events: self._dirty.add(peer.id))  # type: ignore[arg-type]
        self._dirty.add(peer.id)

    def _disconnect(self, id: str) -> None:
        socket = self._sockets.pop(id)
        self._dirty.discard(id)
        self._loop.remove(socket.getsockopt(zmq.FD))  # type: ignore[arg-type]
        socket.close()
