"""Our media processor as a contender: calls and rooms made by the jobs that a call router sends."""

import socket
import sys
from collections.abc import Mapping

import msgspec

from loadtest.bench.engine import MESSAGE_BYTES_MAX, Ticks
from loadtest.bench.options import Checkout
from loadtest.bench.process import NotRunnableError, Process
from loadtest.bench.rtp import CRYPTO, Stream, media_port, sdp
from media import control

ANSWER_SECONDS_MAX = 10.0
CALL = "bench"


class OurEngine:
    """`loadtest.bench.engine`, running.

    Args:
        given: descriptors by name that it is to have.
    """

    def __init__(self, checkout: Checkout, given: Mapping[str, int] | None = None) -> None:
        given = given or {}
        self._host = checkout.host
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_SECONDS_MAX)
        with theirs:
            command = [sys.executable, "-m", "loadtest.bench.engine", str(theirs.fileno()), self._host]
            command += [f"{name}={descriptor}" for name, descriptor in given.items()]
            self.process = Process(command, pass_fds=[theirs.fileno(), *given.values()], folder=checkout.root)
        self._legs = 0
        try:
            self.watch()
        except NotRunnableError:
            self.stop()
            raise

    def ask(self, operation: str, request: msgspec.Struct | bytes) -> bytes:
        """One job.

        Raises:
            NotRunnableError: it failed, or the engine is gone.
        """
        body = request if isinstance(request, bytes) else msgspec.msgpack.encode(request)
        try:
            self._control.send(msgspec.msgpack.encode((operation, body)))
            error, answer = msgspec.msgpack.decode(self._control.recv(MESSAGE_BYTES_MAX), type=tuple[str, bytes])
        except (OSError, msgspec.DecodeError) as fault:
            raise NotRunnableError(f"the engine: {fault}\n{self.process.said()}") from fault
        if error:
            raise NotRunnableError(f"the engine: {operation}: {error}")
        return answer

    def leg(self, port: int, codec: str, sends: int = 1, secured: bool = False) -> tuple[str, Stream]:
        """A leg whose peer is a port of the load, and the stream that goes to it."""
        self._legs += 1
        name = f"l{self._legs}"
        answer = self.ask(
            "offer", control.Offer(leg=name, call=CALL, sdp=sdp(port, codec, crypto=f"1 {CRYPTO}" if secured else "").encode())
        )
        ours = media_port(msgspec.msgpack.decode(answer, type=control.Answer).sdp)
        return name, Stream(port, self._host, ours, sends=sends, codec=codec, secured=secured)

    def calls(self, ports: list[int], codec: str, secured: bool = False) -> list[Stream]:
        """Calls between consecutive ports, PCMU on the first side and ``codec``, perhaps in SRTP, on the other."""
        streams = []
        for first, second in zip(ports[::2], ports[1::2], strict=True):
            one, towards_one = self.leg(first, "pcmu")
            other, towards_other = self.leg(second, codec, secured=secured)
            self.ask("connect", control.Connect(leg=one, to=control.Bridge(leg=other)))
            streams += [towards_one, towards_other]
        return streams

    def rooms(self, rooms: list[list[tuple[int, int]]]) -> list[Stream]:
        """Rooms of PCMU legs: (local port, what it sends) of each."""
        streams = []
        for number, members in enumerate(rooms):
            for port, sends in members:
                name, stream = self.leg(port, "pcmu", sends)
                self.ask("connect", control.Connect(leg=name, to=control.Room(name=f"room{number}")))
                streams.append(stream)
        return streams

    def watch(self, profile: bool = False) -> Ticks:
        """How ticks went since the last call; begins anew, with a profiler if asked for."""
        return msgspec.msgpack.decode(self.ask("stages", b"profile" if profile else b"watch"), type=Ticks)

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self._control.close()
        self.process.wait(2.0)
        self.process.stop()
