"""Names: the sockets of the resolver, and where its answers go (`telephony.dns`).

Made when the first name is asked for: whoever needs none pays for no DNS library.

Rules:
- Each exchange has a socket of its own, connected to its server: the kernel chooses its port at random, drops what comes from
  elsewhere, and tells when the server refuses.
- Over TCP a message has its length in front (RFC 1035 section 4.2.2).
"""

import secrets
import socket
from collections.abc import Callable

from telephony.dns import codec
from telephony.dns.locator import Locator
from telephony.dns.resolver import Exchange, Finish, Resolver
from telephony.dns.system import System
from telephony.effects import Locate
from telephony.service import clock
from telephony.service.loop import READ, WRITE, Loop
from telephony.sip.resolution import Located

REPLY_BYTES_MAX = 65535
REPLIES_PER_TURN = 16


class Names:
    """What a service asks name servers.

    Args:
        located: called with a `Locate` and what was found.
    """

    def __init__(self, loop: Loop, system: System, located: Callable[[Locate, Located], None]) -> None:
        self._loop = loop
        self._located = located
        self._resolver = Resolver(codec, system, secrets.token_bytes)
        self._locator = Locator(self._resolver, secrets.randbelow)
        self._sockets: dict[int, socket.socket] = {}
        self._streams: dict[int, tuple[bytearray, bytearray]] = {}
        """Exchange over TCP to what is left to send, and what has come."""

    def configure(self, system: System) -> None:
        """Ask others from now on."""
        self._resolver.system = system

    def locate(self, effect: Locate, now: float) -> None:
        """Find where something is reached; it is told by ``located``."""
        self._locator.locate(effect.sought, effect.transports, effect.families, now, lambda found, now: self._located(effect, found))
        self._carry_out()

    def timeout(self, now: float) -> None:
        self._resolver.timeout(now)
        self._carry_out()

    def deadline(self) -> float | None:
        return self._resolver.deadline()

    def close(self) -> None:
        for number in list(self._sockets):
            self._finish(number)

    def _carry_out(self) -> None:
        while taken := self._resolver.take():
            for one in taken:
                if isinstance(one, Finish):
                    self._finish(one.number)
                else:
                    self._send(one)

    def _send(self, exchange: Exchange) -> None:
        host, port = exchange.server
        stream = exchange.transport == "tcp"
        number = exchange.number
        try:
            made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        except OSError:
            self._resolver.broken(number, clock.now())
            return
        made.setblocking(False)
        self._sockets[number] = made
        try:
            made.connect((host, port))
            if not stream:
                made.send(exchange.data)
        except BlockingIOError:
            pass
        except OSError:
            self._resolver.broken(number, clock.now())
            return
        if stream:
            self._streams[number] = (bytearray(len(exchange.data).to_bytes(2, "big") + exchange.data), bytearray())
            self._loop.add(made.fileno(), READ | WRITE, lambda events: self._stream(number, made, events))
        else:
            self._loop.add(made.fileno(), READ, lambda events: self._datagram(number, made))

    def _datagram(self, number: int, made: socket.socket) -> None:
        for _ in range(REPLIES_PER_TURN):
            try:
                data = made.recv(REPLY_BYTES_MAX)
            except BlockingIOError:
                break
            except OSError:
                self._resolver.broken(number, clock.now())
                break
            self._resolver.received(number, data, clock.now())
            if number not in self._sockets:
                break
        self._carry_out()

    def _stream(self, number: int, made: socket.socket, events: int) -> None:
        out, came = self._streams[number]
        try:
            if events & WRITE and out:
                del out[: made.send(out)]
                if not out:
                    self._loop.change(made.fileno(), READ)
            if events & ~WRITE:
                data = made.recv(REPLY_BYTES_MAX)
                if not data:
                    raise ConnectionResetError
                came += data
        except BlockingIOError:
            return
        except OSError:
            self._resolver.broken(number, clock.now())
            self._carry_out()
            return
        if len(came) >= 2 and len(came) - 2 >= (size := int.from_bytes(came[:2], "big")):
            self._resolver.received(number, bytes(came[2 : 2 + size]), clock.now())
            self._carry_out()

    def _finish(self, number: int) -> None:
        made = self._sockets.pop(number, None)
        self._streams.pop(number, None)
        if made is not None:
            self._loop.remove(made.fileno())
            made.close()
