"""A 2xx to an INVITE that has been answered with a failure already: its sender believes in a call that nobody else has.

Whoever asked has its final response and would not acknowledge another one (RFC 3261 section 17.1.1.2), and the callee would
wait for 32 s. So the proxy ends that dialog itself: ACK and BYE along its route, as far as that leads on from here.
"""

from typing import TYPE_CHECKING

from telephony.sip.address import Address
from telephony.sip.client_transaction import NOBODY, ClientTransaction
from telephony.sip.flow import Send
from telephony.sip.message import Message, make_request
from telephony.sip.via import COOKIE

if TYPE_CHECKING:
    from telephony.proxy.core import Proxy


def end(proxy: "Proxy", client: ClientTransaction, response: Message, now: float) -> None:
    """End the dialog of a 2xx that nobody waits for. A repetition of it is acknowledged again."""
    try:
        contact = str(Address.parse(response.get_all("contact")[0]).uri)
        passed = [(value, Address.parse(value).uri) for value in response.get_all("record-route")]
    except (ValueError, IndexError):
        return
    way = proxy.way
    routes: list[tuple[str, str]] = []
    for value, uri in passed:
        if way.is_self(uri):
            break
        routes.insert(0, ("Route", value))
    else:
        routes = []

    def make(method: str, number: int, branch: str) -> Message:
        return make_request(method, contact, [
            ("Via", way.via(client.flow, branch)), *routes, ("Max-Forwards", "70"), ("From", response.get("from") or ""),
            ("To", response.get("to") or ""), ("Call-ID", response.call_id), ("CSeq", f"{number} {method}"),
        ])  # fmt: skip

    proxy.out.append(Send(make("ACK", response.cseq, COOKIE + proxy.tokens.take()).serialize(), client.flow))
    branch = f"{client.key}-bye"
    if branch not in proxy.transactions.clients:
        proxy.transactions.request(NOBODY, make("BYE", response.cseq + 1, branch), client.flow, now, branch)
