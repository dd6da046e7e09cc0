"""REGISTER requests that wait for the resource database (RFC 3261 section 10.3).

Rules:
- Who is allowed to register is settled before (`telephony.proxy.core`): the user of the credentials is the one in the To.
- A registration is answered when the database has it, never before: what was answered survives whatever dies.
- At most `REGISTRATIONS_MAX` wait; more are answered 503.
"""

from typing import TYPE_CHECKING

import msgspec

from telephony.proxy.registrar import EXPIRES_MIN_SECONDS, TooBriefError, read_bound, read_register
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
RETRY_AFTER_SECONDS = 5
RETRY = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
"""What a 503 says besides."""
_SUPPORTED = ("Supported", "path, outbound")
_KNOWN = frozenset(("path", "outbound"))
"""Option tags that a REGISTER may require."""


class Registrations:
    """The registrations of one proxy that have no answer yet."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._waiting: dict[int, tuple[ServerTransaction, Message]] = {}
        """By the number of the job."""

    def __len__(self) -> int:
        return len(self._waiting)

    def request(self, server: ServerTransaction, message: Message, user: str) -> None:
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
            body = read_register(message, user, proxy.way.path(server.source), server.source)
        except TooBriefError:
            raise RefusedError(423, headers=(("Min-Expires", str(EXPIRES_MIN_SECONDS)),)) from None
        if len(self._waiting) >= REGISTRATIONS_MAX:
            raise RefusedError(503, headers=RETRY)
        self._waiting[proxy.ask("bind", body, user)] = (server, message)

    def answered(self, ask: int, status: str, body: bytes, now: float) -> None:
        """The resource database has answered a job; nothing happens if it is none of ours."""
        waiting = self._waiting.pop(ask, None)
        if waiting is None:
            return
        proxy = self._proxy
        server, message = waiting
        if status == "ok":
            try:
                contacts = read_bound(body, message, now)
            except msgspec.DecodeError:
                proxy.refuse(server, message, 500, now)
                return
            proxy.counters.registered += 1
            proxy.flows.registered(server.source, message)
            proxy.refuse(server, message, 200, now, headers=[*contacts, _SUPPORTED])
        elif status == "out-of-order":
            proxy.refuse(server, message, 500, now, "CSeq out of order")
        else:
            proxy.refuse(server, message, 503, now, headers=RETRY)


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
