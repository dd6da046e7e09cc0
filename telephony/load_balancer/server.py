"""The sockets of a load balancer: a ROUTER for jobs, a ROUTER for ZAP, a monitor that tells of broken connections.

Rules:
- The listening socket is the agent's (ZMQ_USE_FD), so that it outlives this process: who connects meanwhile waits in
  the kernel's queue.
- A connection's first message (ZMQ_PROBE_ROUTER) tells which service it is: the User-Id that ZAP gave it. Its
  descriptor (ZMQ_SRCFD) ties it to the monitor's events, so that a killed service is known at once.
- Edge-triggered descriptors: sockets are read after each wake-up and each send until nothing is left.
- A message has two frames, connection and content; one with more is dropped.
"""

import ipaddress
import os
import struct

import zmq

from telephony.config import Configuration, LoadBalancerConfiguration
from telephony.effects import Effect
from telephony.jobs.protocol import HIGH_WATER_MESSAGES, MESSAGE_BYTES_MAX
from telephony.load_balancer.core import Balancer
from telephony.load_balancer.zap import DOMAIN, Doorkeeper
from telephony.service.loop import READ, Loop

BATCH_MESSAGES = 256
HANDSHAKE_MS = 2000
KEY_CHARACTERS = 40
LINGER_MS = 200
BACKLOG = 512
_NOBLOCK = int(zmq.NOBLOCK)  # the enumeration's own arithmetic is slow
_SNDMORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_POLLIN = int(zmq.POLLIN)
_ZAP_ENDPOINT = "inproc://zeromq.zap.01"


class Server:
    """A load balancer with its sockets.

    Args:
        loop: where the sockets are watched.
        listener: descriptor of the bound, listening TCP socket.
        now: seconds.
    """

    def __init__(self, loop: Loop, listener: int, now: float) -> None:
        self._loop = loop
        self._listener = listener
        self._balancer = Balancer(number=int(now * 1000) << 20)
        self._door = Doorkeeper()
        self._context = zmq.Context(io_threads=1)
        self._zap: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(_ZAP_ENDPOINT)
        loop.add(self._zap.getsockopt(zmq.FD), READ, self._wake_zap)  # type: ignore[arg-type]
        self._jobs: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._connections: set[bytes] = set()
        self._descriptors: dict[int, bytes] = {}
        self._zap_awake = self._monitor_awake = self._jobs_awake = True
        """Sockets that may have something to read, whatever their descriptors say."""
        self._keys: tuple[str, str] = ("", "")

    def configure(self, configuration: Configuration, now: float) -> None:
        """Take keys and dependents.

        Raises:
            ValueError: not a load balancer's, or other keys or another address than it started with.
        """
        if not isinstance(configuration, LoadBalancerConfiguration):
            raise ValueError(f"a load balancer's configuration is wanted, not a {type(configuration).__name__}")
        keys = (configuration.jobs.curve_public, configuration.jobs.curve_secret)
        if self._jobs is not None and keys != self._keys:
            raise ValueError("a load balancer's keys cannot change while it runs")
        if len(keys[0]) != KEY_CHARACTERS or len(keys[1]) != KEY_CHARACTERS:
            raise ValueError(f"a CURVE key has {KEY_CHARACTERS} characters (Z85)")
        ipaddress.ip_address(configuration.host)
        services = {configuration.router.curve_public: configuration.router.id}
        services |= {dependent.curve_public: dependent.id for dependent in configuration.dependents}
        services.pop("", None)
        if self._jobs is None:
            self._bind(configuration)
            self._keys = keys
        self._balancer.configure(configuration, now)
        self._door.configure(services, now)
        self._jobs_awake = True

    def drain(self, deadline: float, now: float) -> None:
        """It goes on: its router decides what is still to be done."""

    def undrain(self, now: float) -> None:
        pass

    def ready(self) -> bool:
        return self._jobs is not None

    def remaining(self) -> int:
        return self._balancer.remaining()

    def timeout(self, now: float) -> None:
        self._door.timeout(now)
        self._balancer.timeout(now)

    def deadline(self) -> float | None:
        deadlines = [deadline for deadline in (self._door.deadline(), self._balancer.deadline()) if deadline is not None]
        return min(deadlines, default=None)

    def exchange(self, now: float) -> tuple[list[Effect], bool]:
        """Read what has come and send what is to be sent; what the shell has to do, and whether more is there."""
        if self._zap_awake:
            self._zap_awake = False
            self._read_zap(now)
        if self._monitor_awake:
            self._monitor_awake = False
            self._read_monitor(now)
        if self._jobs_awake:
            self._jobs_awake = False
            self._read_jobs(now)
        for frames in self._door.take():
            self._zap_awake = True
            self._zap.send_multipart(frames, _NOBLOCK)
        outgoing = self._balancer.take()
        if outgoing and self._jobs is not None:
            send = self._jobs.send
            for connection, message in outgoing:
                try:
                    send(connection, _SNDMORE)
                    send(message, _NOBLOCK)
                except zmq.ZMQError:  # gone (EHOSTUNREACH), or its queue is full
                    self._connections.discard(connection)
                    self._balancer.unsent(connection, now)
            events = self._jobs.getsockopt(zmq.EVENTS)
            self._jobs_awake = self._jobs_awake or bool(int(events) & _POLLIN)
        return list(self._balancer.notifications()), self._zap_awake or self._monitor_awake or self._jobs_awake

    def close(self) -> None:
        self._loop.remove(self._zap.getsockopt(zmq.FD))  # type: ignore[arg-type]
        if self._jobs is not None and self._monitor is not None:
            self._loop.remove(self._jobs.getsockopt(zmq.FD))  # type: ignore[arg-type]
            self._loop.remove(self._monitor.getsockopt(zmq.FD))  # type: ignore[arg-type]
            self._jobs.disable_monitor()
            self._monitor.close(linger=0)
            self._jobs.close(linger=LINGER_MS)
        self._zap.close(linger=0)
        self._context.term()

    def _bind(self, configuration: LoadBalancerConfiguration) -> None:
        jobs: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        try:
            monitor = self._prepare(jobs, configuration)
        except zmq.ZMQError as error:
            jobs.close(linger=0)
            raise ValueError(f"the jobs socket cannot be opened: {error}") from None
        self._jobs, self._monitor = jobs, monitor
        self._loop.add(jobs.getsockopt(zmq.FD), READ, self._wake_jobs)  # type: ignore[arg-type]
        self._loop.add(monitor.getsockopt(zmq.FD), READ, self._wake_monitor)  # type: ignore[arg-type]

    def _prepare(self, jobs: "zmq.Socket[bytes]", configuration: LoadBalancerConfiguration) -> "zmq.Socket[bytes]":
        jobs.setsockopt(zmq.LINGER, LINGER_MS)
        jobs.setsockopt(zmq.SNDHWM, HIGH_WATER_MESSAGES)
        jobs.setsockopt(zmq.RCVHWM, HIGH_WATER_MESSAGES)
        jobs.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        jobs.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        jobs.setsockopt(zmq.BACKLOG, BACKLOG)
        jobs.setsockopt(zmq.ROUTER_MANDATORY, 1)
        jobs.setsockopt(zmq.CURVE_SERVER, 1)
        jobs.setsockopt(zmq.CURVE_SECRETKEY, configuration.jobs.curve_secret.encode())
        jobs.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        jobs.setsockopt(zmq.USE_FD, os.dup(self._listener))
        monitor: zmq.Socket[bytes] = jobs.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        monitor.setsockopt(zmq.LINGER, 0)
        host = f"[{configuration.host}]" if ":" in configuration.host else configuration.host
        jobs.bind(f"tcp://{host}:{configuration.port}")
        return monitor

    def _wake_zap(self, events: int) -> None:
        self._zap_awake = True

    def _wake_monitor(self, events: int) -> None:
        self._monitor_awake = True

    def _wake_jobs(self, events: int) -> None:
        self._jobs_awake = True

    def _read_zap(self, now: float) -> None:
        for _ in range(BATCH_MESSAGES):
            try:
                self._door.request(self._zap.recv_multipart(_NOBLOCK), now)
            except zmq.Again:
                return
        self._zap_awake = True

    def _read_monitor(self, now: float) -> None:
        if self._monitor is None:
            return
        for _ in range(BATCH_MESSAGES):
            try:
                frames = self._monitor.recv_multipart(_NOBLOCK)
            except zmq.Again:
                return
            if len(frames[0]) == 6:
                _, descriptor = struct.unpack("=Hi", frames[0])
                connection = self._descriptors.pop(descriptor, None)
                if connection is not None:
                    self._connections.discard(connection)
                    self._balancer.disconnected(connection, now)
        self._monitor_awake = True

    def _read_jobs(self, now: float) -> None:
        if self._jobs is None:
            return
        jobs = self._jobs
        recv = jobs.recv
        getsockopt = jobs.getsockopt
        known = self._connections
        received = self._balancer.received
        for _ in range(BATCH_MESSAGES):
            try:
                connection = recv(_NOBLOCK)
            except zmq.Again:
                return
            if connection in known:
                data = recv(_NOBLOCK)
                if getsockopt(zmq.RCVMORE):
                    self._skip()
                elif data:
                    received(connection, data, now)
            else:
                self._greet(connection, now)
        self._jobs_awake = True

    def _greet(self, connection: bytes, now: float) -> None:
        """First message of a connection: who is it?"""
        assert self._jobs is not None
        frame = self._jobs.recv(_NOBLOCK, copy=False)
        if self._jobs.getsockopt(zmq.RCVMORE):
            self._skip()
            return
        try:
            service = str(frame.get("User-Id"))
        except zmq.ZMQError:
            return
        self._read_monitor(now)  # a descriptor used before: its end comes first
        if not service or not self._door.knows(service):
            return
        descriptor = frame.get(zmq.SRCFD)
        self._connections.add(connection)
        if isinstance(descriptor, int):
            self._descriptors[descriptor] = connection
        self._balancer.connected(connection, service, now)
        if frame.bytes:
            self._balancer.received(connection, frame.bytes, now)

    def _skip(self) -> None:
        assert self._jobs is not None
        while self._jobs.getsockopt(zmq.RCVMORE):
            self._jobs.recv(_NOBLOCK)
