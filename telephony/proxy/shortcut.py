"""REGISTER as nearly every phone sends it, on the shortest way (RFC 3261 sections 8.2.7, 10.3 and 22).

Rules:
- Plain is what comes from outside of the cluster with one Via, a To that is a URI in angle brackets and nothing else, and no header
  that could lead to another answer (`NOT_PLAIN`). All else goes the usual way (`telephony.proxy.core`), with the same outcome.
- Without credentials it is challenged, and gets no transaction: it is what every registration begins with and what scanners send;
  nothing is kept of it. The same request gets the same To tag each time it comes, and another nonce (section 8.2.7).
- With credentials, right or wrong, it has its transaction, since what is counted must be counted once; its owner is all that is
  to be known before they are looked at.
"""

import re
from typing import TYPE_CHECKING
from zlib import crc32

from telephony.proxy.way import request_uri
from telephony.sip.build import stamp_via
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.shape import SHAPES_MAX, Shape

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

NOT_PLAIN = ("route", "proxy-require", "max-breadth")
PLAIN_TO = re.compile(r"<sips?:([A-Za-z0-9\-_.!~*'()&=+$,]+)@[a-z0-9](?:[a-z0-9\-.]*[a-z0-9])?(?::[1-9][0-9]{0,3})?>").fullmatch
"""A user without escapes, as in most URIs."""
_HOPS = frozenset(str(hops) for hops in range(1, 256))


class Shortcut:
    """Registrations at one proxy, up to their credentials."""

    def __init__(self, proxy: "Proxy", tag: str) -> None:
        self._proxy = proxy
        self._tag = tag[:8]
        """How To tags of challenges without a transaction start."""
        self._plain: dict[Shape, bool] = {}
        """Whether messages of this shape may be plain."""

    def owner(self, message: Message, flow: Flow) -> str:
        """Whose registration a REGISTER is about; empty: it is not plain."""
        shape = message.shape
        if shape is None:
            return ""
        plain = self._plain.get(shape)
        if plain is None:
            plain = self._judge(shape)
        to = PLAIN_TO(message.get("to") or "")
        if not plain or to is None or message.get("max-forwards") not in _HOPS or ";lr" in message.uri or message.passed_on:
            return ""
        proxy = self._proxy
        if proxy.draining or proxy.defence.limits.requests_per_second or (flow.host, flow.port) in proxy.way.cluster:
            return ""
        try:
            request_uri(message)
        except MessageError:
            return ""
        user: str = to[1]
        return user

    def challenge(self, message: Message, flow: Flow, now: float) -> bool:
        """Challenge a REGISTER without credentials. False: it has some, or is not plain; nothing was done."""
        if message.has("authorization") or ";oc" in message.via or not self.owner(message, flow):
            return False
        try:
            back = stamp_via(message, flow)
        except MessageError:
            return False
        proxy = self._proxy
        proxy.overload.accepted += 1
        if proxy.defence.scanned(message, flow, now):
            proxy.drop_banned(flow, now)
            return True
        counters = proxy.counters
        counters.challenged += 1
        counters.refused += 1
        lines = proxy.authentication.challenge_lines(now, message.get("user-agent") or "", flow.transport)
        tag = crc32(message.branch.encode("utf-8", "surrogateescape"))
        text = f"SIP/2.0 401 Unauthorized\r\n{message.identity(f'{self._tag}{tag:08x}')}{lines}Content-Length: 0\r\n\r\n"
        proxy.out.append(Send(text.encode("utf-8", "surrogateescape"), back))
        return True

    def _judge(self, shape: Shape) -> bool:
        if len(self._plain) >= SHAPES_MAX:
            self._plain.clear()
        plain = self._plain[shape] = shape.more is None and not any(name in shape.first for name in NOT_PLAIN)
        return plain
