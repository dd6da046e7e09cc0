"""Flows of users (RFC 5626): what keeps one alive, and what becomes of bindings when it ends.

Rules:
- A connection that ends takes the bindings along that were made through it; so does a request that finds it gone (section 5.3).
- Over UDP, STUN is answered (section 4.4.2), and what other phones send to keep their NAT open is taken in silence: a few empty
  lines or zeros.
"""

from collections.abc import Callable

import msgspec

from telephony.jobs.resource import Unbind
from telephony.proxy.flow_token import FlowTokens
from telephony.sip.address import Address
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.stun import answer_binding

USERS_OF_FLOW_MAX = 20
"""Users of one connection whose bindings end with it at once; those of others last until they expire, or are called."""
KEEPALIVE_BYTES_MAX = 4
_encode = msgspec.msgpack.Encoder().encode


class Flows:
    """Who is registered through which connection.

    Args:
        ask: submits a job that nobody waits for, given its operation, body and key.
    """

    def __init__(self, ask: Callable[[str, bytes, str], object]) -> None:
        self._ask = ask
        self._bound: dict[Flow, list[str]] = {}
        """By connections, the number of which the shell bounds."""

    def registered(self, flow: Flow, user: str) -> None:
        """A user's REGISTER that came over a flow goes to the database."""
        if flow.connection:
            users = self._bound.setdefault(flow, [])
            if user not in users and len(users) < USERS_OF_FLOW_MAX:
                users.append(user)

    def closed(self, flow: Flow, tokens: FlowTokens) -> None:
        """A connection ended."""
        for user in self._bound.pop(flow, ()):
            self._unbind(user, flow, tokens)

    def failed(self, message: Message, flow: Flow, tokens: FlowTokens) -> None:
        """A request to a user found no connection."""
        user = _user(message)
        if user:
            self._unbind(user, flow, tokens)

    def _unbind(self, user: str, flow: Flow, tokens: FlowTokens) -> None:
        self._ask("unbind", _encode(Unbind(aor=user, token=tokens.make(flow))), user)


def keepalive(data: bytes, flow: Flow) -> bytes | None:
    """The answer, empty if there is none to give, to what is no SIP but keeps a flow over UDP alive; None: it is nothing of the kind."""
    if len(data) <= KEEPALIVE_BYTES_MAX and not data.strip(b"\r\n\0"):
        return b""
    if data[0] > 3:  # a SIP message starts with a letter
        return None
    return answer_binding(data, flow.host, flow.port)


def _user(message: Message) -> str:
    try:
        return Address.parse(message.get("to") or "").uri.username
    except ValueError:
        return ""
