"""A flow to a user as a signed user part of a URI (RFC 5626 section 5.2).

A token stands in the Path of a binding and in Record-Route. Whoever gets a request with it knows which flow it means,
and through which proxy (`Held.holder`) where the flow is a connection. Signed under the proxies' common secret, so that
nobody else can make one. Form: ``base64url(content) "." mac``, content ``transport|socket|host|port|connection|holder``.
"""

import base64
import binascii
import hmac
from typing import NamedTuple

from telephony.sip.flow import Flow

TOKENS_CACHED_MAX = 20_000
_MAC_LENGTH = 24
"""Hexadecimal digits: 96 bits."""


class Held(NamedTuple):
    """What a token says."""

    flow: Flow
    holder: str
    """``host:port`` of the proxy that has the flow's socket or connection."""


class FlowTokens:
    """Makes and reads tokens."""

    def __init__(self, secret: bytes, holder: str) -> None:
        self._key = hmac.new(secret, b"hotswitch flow token", "sha256")
        self._holder = holder
        self._made: dict[Flow, str] = {}
        self._read: dict[str, Held] = {}

    def make(self, flow: Flow) -> str:
        """The token of a flow of ours."""
        token = self._made.get(flow)
        if token is None:
            content = "|".join((flow.transport, flow.socket, flow.host, str(flow.port), str(flow.connection), self._holder))
            encoded = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
            token = f"{encoded}.{self._mac(encoded)}"
            if len(self._made) >= TOKENS_CACHED_MAX:
                self._made.clear()
            self._made[flow] = token
        return token

    def read(self, token: str) -> Held | None:
        """What a token says; None: it is none of ours."""
        held = self._read.get(token)
        if held is not None:
            return held
        encoded, _, mac = token.partition(".")
        if len(token) > 300 or len(mac) != _MAC_LENGTH or not token.isascii() or not hmac.compare_digest(mac, self._mac(encoded)):
            return None
        try:
            content = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            transport, socket, host, port, connection, holder = content.split("|")
            held = Held(Flow(transport, socket, host, int(port), int(connection)), holder)
        except (ValueError, binascii.Error):
            return None
        if len(self._read) >= TOKENS_CACHED_MAX:
            self._read.clear()
        self._read[token] = held
        return held

    def proof(self, *parts: str) -> str:
        """Mark of what one proxy hands to another: nobody else can make it."""
        return self._mac("\0".join(("proof", *parts)))

    def proved(self, mac: str, *parts: str) -> bool:
        """Whether ``mac`` is the proof of these parts."""
        return mac.isascii() and hmac.compare_digest(mac, self.proof(*parts))

    def _mac(self, text: str) -> str:
        mac = self._key.copy()
        mac.update(text.encode("utf-8", "surrogateescape"))
        return mac.hexdigest()[:_MAC_LENGTH]
