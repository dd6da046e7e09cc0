"""What belongs to a transaction of another proxy is handed to it as it came, with the address that it came from.

When a share of the public address passes to another proxy (docs/adr/0007), that one hears what users answer from then on, their
CANCEL and their ACK, while the transactions stay where they are.

Rules:
- A response says in its branch who made it (`telephony.proxy.way.Way.maker`). A CANCEL without its INVITE, and an ACK without one and
  without a route, belong to the proxy that heard their sender before (`Way.former`).
- What was handed over is not handed on.
- Form: ``\\x04 host "|" port "|" mac "\\n"`` and the datagram; the mac, under the proxies' common secret, is over all the rest. No
  message of SIP begins so, and it counts only from an address of the cluster.
"""

from typing import TYPE_CHECKING

from telephony.effects import Send
from telephony.proxy.flow_token import FlowTokens
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.resolution import Sought, literal
from telephony.sip.via import Via

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy

HANDED = b"\x04"
HEAD_BYTES_MAX = 100


class Handing:
    """Gives and takes, for one proxy."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._taking = False

    def give(self, message: Message, flow: Flow, other: tuple[str, int] | None) -> bool:
        """Hand what came from a user to the proxy whose it is; false: there is none, it stays here."""
        if other is None or self._taking or flow.socket != "public-udp":
            return False
        proxy = self._proxy
        proxy.out.append(Send(wrap(message.serialize(), flow, proxy.way.tokens), Flow("udp", "sip-udp", *other)))
        return True

    def take(self, data: bytes, flow: Flow, now: float) -> bool:
        """What another proxy has heard for this one; false: it is nothing of the kind."""
        way = self._proxy.way
        handed = unwrap(data, way.tokens) if flow[2:4] in way.cluster else None
        if handed is None:
            return False
        self._taking = True
        try:
            self._proxy.transactions.receive(Message.parse(handed[0]), handed[1], now)
        except MessageError:
            self._proxy.counters.broken += 1
        finally:
            self._taking = False
        return True

    def stray(self, message: Message, flow: Flow) -> None:
        """A response without a transaction here: handed over, or passed on by its Via, from or to routers alone."""
        proxy, way = self._proxy, self._proxy.way
        sent_by = message.via.partition(" ")[2].partition(";")[0].strip()
        if sent_by in way.sent_by and self.give(message, flow, way.maker(message.branch)):
            return
        proxy.counters.dropped += 1
        if sent_by not in way.sent_by or message.pop("via") is None or not message.has("via"):
            return
        try:
            via = Via.parse(message.get_all("via")[0])
            host, port = via.response_address
        except (ValueError, MessageError):
            return
        # From users to a proxy, but not from one proxy to the next: many Vias must not make many messages.
        inside = way.is_router(host, port) or (flow.socket == "public-udp" and (host, port) in way.cluster)
        if not (inside or way.is_router(flow.host, flow.port)):
            return
        transport = via.transport.lower()
        direct = literal(host, port, transport, False)
        if direct is None:
            proxy.counters.dropped -= 1
            proxy.outside.respond(message, Sought(host, via.port, transport))
        elif transport in ("udp", "tcp"):
            proxy.counters.dropped -= 1
            proxy.out.append(Send(message.serialize(), Flow(transport, f"{'sip' if inside else 'public'}-{transport}", host, port)))


def wrap(data: bytes, flow: Flow, tokens: FlowTokens) -> bytes:
    """A datagram that came over a flow of the public address."""
    head = f"{flow.host}|{flow.port}"
    return HANDED + f"{head}|{tokens.proof(*_parts(data, head))}\n".encode() + data


def unwrap(data: bytes, tokens: FlowTokens) -> tuple[bytes, Flow] | None:
    """The datagram and its flow; None: it is nothing that a proxy of ours has handed over."""
    head, found, inner = data[:HEAD_BYTES_MAX].partition(b"\n")
    if not found or head[:1] != HANDED:
        return None
    inner = data[len(head) + 1 :]
    try:
        host, port, mac = head[1:].decode("ascii").split("|")
        if not tokens.proved(mac, *_parts(inner, f"{host}|{port}")):
            return None
        return inner, Flow("udp", "public-udp", host, int(port))
    except ValueError:
        return None


def _parts(data: bytes, head: str) -> tuple[str, str, str]:
    """What the mac is over."""
    return "handed", head, data.decode("latin-1")
