"""The broker: passes publications and requests between the controller and the machines, and trusts nobody.

    senders -> XSUB publish -> (may this sender say this?) -> XPUB subscribe -> receivers that may hear it
    machine <-> ROUTER request <-> controller          newcomer <-> ROUTER enrol <-> controller

Rules:
- CURVE on every socket. Who connects is asked of the ZAP handler (RFC 27) here: in the domain ``machines`` the controller's key, given
  at the start, and the keys of the allow-list that the controller sends; in the domain ``newcomers`` any key.
- A key that is not known yet is kept waiting for a few seconds, since the allow-list may be on its way (the broker has just started,
  or the machine has just joined); then it is turned away and tries again.
- A sender publishes under its own id alone, hears what is for it alone, and is known by its key's User-Id, not by what it says.
- It opens no envelope: what counts is signed and sealed between the ends. It remembers nothing over a restart.
- Every queue is bounded; what does not fit is dropped and counted; the ends find gaps by their sequence numbers.

Frames of the request and enrolment sockets: `agent.wire.broker`. Topics: `agent.wire.topics`.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import zmq
from zmq.utils import z85

from agent.wire import broker as protocol
from agent.wire import link, topics
from agent.wire.enrolment import REQUEST_BYTES_MAX
from agent.wire.envelope import TOPIC_BYTES_MAX
from agent.wire.keys import TransportKey
from agent.wire.token import BrokerAddress

ROUND_MESSAGES_MAX = 200
"""Messages taken from one socket before the others have their turn."""
FRAMES_MAX = 6
"""Frames of a message, its routing id included."""
WAITING_MAX = 4096
"""Connections whose key is not known yet."""
WAITING_SECONDS = 4.0
SUBSCRIPTIONS_MAX = 64
"""Topics that one machine may hear at a time."""
ENROLMENTS_PER_SECOND_MAX = 200
BACKLOG_CONNECTIONS = 1024
_VERSION = b"1.0"
MACHINES = b"machines"
NEWCOMERS = b"newcomers"


class _Waiting(NamedTuple):
    since: float
    route: list[bytes]
    request: bytes
    key: str


class Gate:
    """Who may come in: the ZAP handler's memory, without its socket."""

    def __init__(self, controller_public: str) -> None:
        self._controller = controller_public
        self._ids: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        """Machine id to CURVE public key (Z85)."""

    def user(self, key: str) -> str | None:
        """Id of the holder of a key; None: not known."""
        return topics.CONTROLLER if key == self._controller else self._ids.get(key)

    def holds(self, user: str) -> bool:
        """Whether this id may still speak."""
        return user == topics.CONTROLLER or user in self.keys

    def obey(self, command: protocol.BrokerCommand) -> list[str]:
        """Change the allow-list; returns the ids that are out now."""
        keys = dict(self.keys if command.replace is None else command.replace)
        keys.update(command.allow)
        for machine in command.revoke:
            keys.pop(machine, None)
        keys.pop(topics.CONTROLLER, None)
        out = [machine for machine, key in self.keys.items() if keys.get(machine) != key]
        self.keys = keys
        self._ids = {key: machine for machine, key in keys.items()}
        return out


class Broker:
    """The sockets and the loop of one broker process."""

    def __init__(self, address: BrokerAddress, key: TransportKey, controller_public: str) -> None:
        """Bind; ``address`` names four endpoints (its key is not looked at), ``key`` is the broker's own.

        Raises:
            zmq.ZMQError: an endpoint cannot be bound.
        """
        self.gate = Gate(controller_public)
        self.counters: Counter[str] = Counter()
        """Messages passed (``published``, ``requested``, ``enrolments``), and refused or dropped, by reason."""
        self._instance = os.urandom(8).hex()
        self._waiting: list[_Waiting] = []
        self._routes: dict[str, bytes] = {}
        self._subscriptions: dict[str, set[bytes]] = {}
        self._second = 0
        self._enrolments = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._zap: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
            self._zap.bind("inproc://zeromq.zap.01")
            self._publish = self._bind(zmq.XSUB, address.publish, key, MACHINES)
            self._subscribe = self._bind(zmq.XPUB, address.subscribe, key, MACHINES)
            self._request = self._bind(zmq.ROUTER, address.request, key, MACHINES)
            self._enrol = self._bind(zmq.ROUTER, address.enrol, key, NEWCOMERS)
        except zmq.ZMQError:
            self._context.destroy(0)
            raise
        self._publish.send(b"\x01")

    def _bind(self, kind: int, endpoint: str, key: TransportKey, domain: bytes) -> "zmq.Socket[bytes]":
        bound: zmq.Socket[bytes] = self._context.socket(kind)
        link.bound(bound)
        bound.setsockopt(zmq.BACKLOG, BACKLOG_CONNECTIONS)
        bound.curve_server = True
        bound.curve_publickey = key.public.encode()
        bound.curve_secretkey = key.secret.encode()
        bound.zap_domain = domain
        if kind == zmq.XPUB:
            bound.setsockopt(zmq.XPUB_MANUAL, 1)
        if kind == zmq.ROUTER:
            bound.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if domain == NEWCOMERS:
            bound.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES_MAX)
        bound.bind(endpoint)
        return bound

    def close(self) -> None:
        """Close every socket at once."""
        self._context.destroy(0)

    def run(self, stop: socket.socket) -> None:
        """Serve until something can be read from ``stop``."""
        handlers: dict[object, Callable[[float], bool]] = {
            self._zap: self._authenticate,
            self._subscribe: self._take_subscription,
            self._publish: self._pass_publication,
            self._request: self._pass_request,
            self._enrol: self._pass_enrolment,
        }
        poller = zmq.Poller()
        poller.register(stop.fileno(), zmq.POLLIN)
        for each in handlers:
            poller.register(each, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(500 if self._waiting else None))
            if stop.fileno() in ready:
                return
            now = time.monotonic()
            for each, handler in handlers.items():
                if each in ready:
                    for _ in range(ROUND_MESSAGES_MAX):
                        if not handler(now):
                            break
            if self._waiting and now >= self._waiting[0].since + WAITING_SECONDS:
                self._settle(now)

    def _authenticate(self, now: float) -> bool:
        """One question of libzmq: may this key connect here? (RFC 27)"""
        try:
            frames = self._zap.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        cut = frames.index(b"") + 1
        route, (_, request, domain, _, _, mechanism, *credentials) = frames[:cut], frames[cut:]
        if mechanism != b"CURVE" or len(credentials) != 1:
            self._verdict(route, request, b"400", "")
        elif domain == NEWCOMERS:
            self._verdict(route, request, b"200", "newcomer")
        else:
            key = z85.encode(credentials[0]).decode()
            user = self.gate.user(key)
            if user is not None:
                self._let_in(route, request, user)
            elif len(self._waiting) >= WAITING_MAX:
                self._turn_away(route, request)
            else:
                self._waiting.append(_Waiting(now, route, request, key))
        return True

    def _settle(self, now: float) -> None:
        """Answer for the keys that are known by now, or have waited too long."""
        left: list[_Waiting] = []
        for each in self._waiting:
            user = self.gate.user(each.key)
            if user is not None:
                self._let_in(each.route, each.request, user)
            elif now - each.since > WAITING_SECONDS:
                self._turn_away(each.route, each.request)
            else:
                left.append(each)
        self._waiting = left

    def _let_in(self, route: list[bytes], request: bytes, user: str) -> None:
        self._subscriptions.pop(user, None)
        self._verdict(route, request, b"200", user)

    def _turn_away(self, route: list[bytes], request: bytes) -> None:
        self.counters["unknown-key"] += 1
        self._verdict(route, request, b"300", "")

    def _verdict(self, route: list[bytes], request: bytes, status: bytes, user: str) -> None:
        self._zap.send_multipart([*route, _VERSION, request, status, b"", user.encode(), b""])

    def _receive(self, source: "zmq.Socket[bytes]") -> list[zmq.Frame] | None:
        try:
            return source.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None

    def _sender(self, frame: zmq.Frame) -> str | None:
        """Whose connection this came from; None: of nobody who may (still) speak."""
        try:
            user = str(frame.get("User-Id"))
        except zmq.ZMQError:
            return None
        return user if self.gate.holds(user) else None

    def _take_subscription(self, _: float) -> bool:
        """Subscriptions are made by hand (ZMQ_XPUB_MANUAL): the option applies to the connection that was read last."""
        frames = self._receive(self._subscribe)
        if frames is None:
            return False
        said = frames[0].bytes
        prefix = said[1:]
        user = self._sender(frames[0])
        if said[:1] == b"\x00":
            # Of a connection that has gone libzmq forgets the topics itself; then nobody is named here.
            if user is not None:
                self._subscriptions.get(user, set()).discard(prefix)
                self._subscribe.setsockopt(zmq.UNSUBSCRIBE, prefix)
            return True
        if said[:1] != b"\x01" or len(prefix) > TOPIC_BYTES_MAX or user is None or not topics.may_subscribe(user, prefix):
            self.counters["subscription-refused"] += 1
            return True
        own = self._subscriptions.setdefault(user, set())
        if len(own) >= SUBSCRIPTIONS_MAX and prefix not in own:
            self.counters["subscriptions-full"] += 1
            return True
        own.add(prefix)
        self._subscribe.setsockopt(zmq.SUBSCRIBE, prefix)
        return True

    def _pass_publication(self, _: float) -> bool:
        frames = self._receive(self._publish)
        if frames is None:
            return False
        sender = self._sender(frames[0])
        if sender is None or len(frames) > FRAMES_MAX:
            self.counters["publication-refused"] += 1
        elif len(frames[0]) > TOPIC_BYTES_MAX or topics.sender_of(frames[0].bytes) != sender:
            self.counters["publication-not-own"] += 1
        else:
            self._subscribe.send_multipart(frames, copy=False)
            self.counters["published"] += 1
        return True

    def _pass_request(self, _: float) -> bool:
        frames = self._receive(self._request)
        if frames is None:
            return False
        sender = self._sender(frames[0])
        if sender is None or not 3 <= len(frames) <= FRAMES_MAX:
            self.counters["request-refused"] += 1
            return True
        route = frames[0].bytes
        before, self._routes[sender] = self._routes.get(sender), route
        if sender == topics.CONTROLLER and before is not None and before != route:
            self._announce()
        to = frames[1].bytes
        rest = frames[2:]
        if sender != topics.CONTROLLER:
            if to == topics.CONTROLLER.encode():
                self._deliver(topics.CONTROLLER, [sender.encode(), *rest])
            else:
                self.counters["request-refused"] += 1
        elif to == protocol.BROKER:
            self._obey(rest[0].bytes)
        elif to == protocol.ENROL and len(rest) == 2:
            self._send(self._enrol, [rest[0], rest[1]])
        else:
            self._deliver(to.decode("ascii", "replace"), [topics.CONTROLLER.encode(), *rest])
        return True

    def _pass_enrolment(self, now: float) -> bool:
        frames = self._receive(self._enrol)
        if frames is None:
            return False
        if int(now) != self._second:
            self._second, self._enrolments = int(now), 0
        self._enrolments += 1
        if len(frames) != 2:
            self.counters["enrolment-refused"] += 1
        elif self._enrolments > ENROLMENTS_PER_SECOND_MAX:
            self.counters["enrolments-too-many"] += 1
        else:
            self.counters["enrolments"] += 1
            self._deliver(topics.CONTROLLER, [protocol.ENROL, *frames])
        return True

    def _obey(self, data: bytes) -> None:
        try:
            command = protocol.decode_command(data)
        except msgspec.MsgspecError:
            self.counters["command-refused"] += 1
            return
        out = self.gate.obey(command)
        if self._waiting and (command.allow or command.replace):
            self._settle(time.monotonic())
        for machine in out:
            self._routes.pop(machine, None)
            self._subscriptions.pop(machine, None)
        status = protocol.BrokerStatus(instance=self._instance, machines=len(self.gate.keys), counters=dict(self.counters))
        self._deliver(topics.CONTROLLER, [protocol.BROKER, protocol.encode(status)])

    def _announce(self) -> None:
        """The controller has another connection: perhaps another one is there. Machines hear it, so that they ask it soon."""
        for machine in [machine for machine in self._routes if machine != topics.CONTROLLER]:
            self._deliver(machine, [protocol.BROKER, b""])

    def _deliver(self, user: str, frames: list[bytes | zmq.Frame]) -> None:
        route = self._routes.get(user)
        if route is None:
            self.counters["nobody-there"] += 1
        elif self._send(self._request, [route, *frames]):
            self.counters["requested"] += 1
        else:
            del self._routes[user]

    def _send(self, through: "zmq.Socket[bytes]", frames: list[bytes | zmq.Frame]) -> bool:
        """Without waiting; false: the peer has gone or takes nothing."""
        try:
            through.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            self.counters["queue-full"] += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.counters["nobody-there"] += 1
            return False
        return True


def run_broker(address: BrokerAddress, key: TransportKey, controller_public: str, ready: Callable[[], None] = lambda: None) -> int:
    """Be a broker until SIGTERM or SIGINT; returns the process's exit code.

    Call it in the main thread of a process of its own. ``ready`` is called when all four endpoints listen.

    Raises:
        zmq.ZMQError: an endpoint cannot be bound.
    """
    stop, word = socket.socketpair()
    word.setblocking(False)
    before = signal.set_wakeup_fd(word.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        broker = Broker(address, key, controller_public)
        try:
            ready()
            broker.run(stop)
        finally:
            broker.close()
    finally:
        signal.set_wakeup_fd(before)
        stop.close()
        word.close()
    return 0
