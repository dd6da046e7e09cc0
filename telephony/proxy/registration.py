"""REGISTER requests that wait for the resource database (RFC 3261 section 10.3).

Rules:
- Who is allowed to register is settled before (`telephony.proxy.core`): the user of the credentials is the one in the To.
- A registration is answered when the database has it, never before: what was answered survives whatever dies.
- They go to the database in batches, since a job costs more than what a registration costs there: one that comes alone goes at once,
  the next ones together `LINGER_SECONDS` after it, or as soon as they are `BINDS_MAX`. Each has its own answer. What the
  database puts off goes with the next batch.
- At most `REGISTRATIONS_MAX` wait; more are answered 503.
"""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from telephony.jobs import protocol
from telephony.jobs.resource import BINDS_BYTES_MAX, BINDS_MAX, Bind, BindEach, BoundEach, Reached
from telephony.proxy.registrar import EXPIRES_MIN_SECONDS, TooBriefError, answer_lines, as_asked, read_register
from telephony.proxy.way import RefusedError
from telephony.sip.address import Address
from telephony.sip.errors import MessageError
from telephony.sip.message import Message
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.uri import Uri

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

REGISTRATIONS_MAX = 10_000
"""Registrations that wait for the resource database; more are answered 503."""
LINGER_SECONDS = 0.04
"""How long after a batch the next one leaves, unless it is full."""
RETRY_AFTER_SECONDS = 5
RETRY = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
"""What a 503 says besides."""
_SUPPORTED = "Supported: path, outbound\r\n"
_KNOWN = frozenset(("path", "outbound"))
"""Option tags that a REGISTER may require."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BoundEach).decode


class _Registration(NamedTuple):
    """One that waits."""

    server: ServerTransaction
    message: Message
    bind: Bind
    body: msgspec.Raw
    """The same, encoded."""


class Registrations:
    """The registrations of one proxy that have no answer yet."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._gathered: list[_Registration] = []
        """The next batch."""
        self._gathered_bytes = 0
        self._next_at = 0.0
        """It does not leave before."""
        self._lingers = False
        """A timer will send it."""
        self._asked: dict[int, list[_Registration]] = {}
        """By the number of the job."""
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def request(self, server: ServerTransaction, message: Message, user: str, now: float) -> None:
        """A user's REGISTER, for themselves.

        Raises:
            RefusedError: it cannot be taken as it is, or not now.
            MessageError: a header cannot be read.
        """
        required = [tag for tag in message.get_all("require") if tag.lower() not in _KNOWN]
        if required:
            raise RefusedError(420, headers=(("Unsupported", ", ".join(required)),))
        proxy = self._proxy
        try:
            bind = read_register(message, user, proxy.way.path(server.source), server.source)
        except TooBriefError:
            raise RefusedError(423, headers=(("Min-Expires", str(EXPIRES_MIN_SECONDS)),)) from None
        if self._waiting >= REGISTRATIONS_MAX:
            raise RefusedError(503, headers=RETRY)
        proxy.flows.registered(server.source, user)
        self._waiting += 1
        self._gather(_Registration(server, message, bind, msgspec.Raw(_encode(bind))), now)
        if now >= self._next_at:
            self.send(now)

    def send(self, now: float) -> None:
        """Let what has gathered leave."""
        batch = self._gathered
        if batch:
            self._gathered, self._gathered_bytes = [], 0
            self._next_at = now + LINGER_SECONDS
            body = _encode(BindEach([each.body for each in batch]))
            self._asked[self._proxy.ask("bind-each", body, "")] = batch  # no key: one database has all users

    def answered(self, ask: int, status: str, body: bytes, now: float) -> None:
        """The resource database has answered a job; nothing happens if it is none of ours."""
        batch = self._asked.pop(ask, None)
        if batch is None:
            return
        self._waiting -= len(batch)
        if status != protocol.OK:
            for each in batch:
                self._refuse(each, 503, now)
            return
        try:
            bound = _decode(body).bound
        except msgspec.DecodeError:
            bound = []
        if len(bound) != len(batch):
            for each in batch:
                self._refuse(each, 500, now)
            return
        for each, one in zip(batch, bound, strict=True):
            if one is None:
                if len(each.bind.bindings) == 1:
                    self._accept(each, as_asked(each.bind, now), now)
                else:
                    self._refuse(each, 500, now)
            elif one.status == protocol.OK:
                self._accept(each, one.bindings, now)
            elif one.status == protocol.RETRY:
                self._waiting += 1
                self._gather(each, now)
            else:
                self._refuse(each, 500 if one.status == "out-of-order" else 503, now)
        if now >= self._next_at:
            self.send(now)

    def _gather(self, registration: _Registration, now: float) -> None:
        size = len(registration.body)
        if self._gathered_bytes + size > BINDS_BYTES_MAX:
            self.send(now)
        self._gathered.append(registration)
        self._gathered_bytes += size
        if len(self._gathered) >= BINDS_MAX:
            self.send(now)
        elif not self._lingers and now < self._next_at:
            self._lingers = True
            self._proxy.timers.start(now, self._next_at - now, self._lingered)

    def _lingered(self, now: float) -> None:
        self._lingers = False
        self.send(now)

    def _accept(self, registration: _Registration, bindings: list[Reached], now: float) -> None:
        proxy = self._proxy
        server, message = registration.server, registration.message
        try:
            lines = answer_lines(bindings, message, now)
        except ValueError:
            proxy.refuse(server, message, 500, now)
            return
        proxy.counters.registered += 1
        message.unprepend()
        tag = "" if message.to_tag else proxy.tokens.take()
        text = f"SIP/2.0 200 OK\r\n{message.identity(tag)}{lines}{_SUPPORTED}Content-Length: 0\r\n\r\n"
        server.respond(200, text.encode("utf-8", "surrogateescape"), now)

    def _refuse(self, registration: _Registration, status: int, now: float) -> None:
        proxy = self._proxy
        if status == 503:
            proxy.refuse(registration.server, registration.message, 503, now, headers=RETRY)
        else:
            proxy.refuse(registration.server, registration.message, status, now)


def owner(message: Message) -> str:
    """Whose registration it is: the user part of the To URI.

    Raises:
        MessageError: the To cannot be read.
    """
    to = message.get("to") or ""
    try:
        uri = Uri.parse(to[1:-1]) if to[:1] == "<" and to[-1:] == ">" else Address.parse(to).uri
    except ValueError as error:
        raise MessageError(f"bad To: {error}", 400, message) from None
    return uri.username
