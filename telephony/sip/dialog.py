"""A dialog: what two user agents agree on for the requests between them (RFC 3261 section 12)."""

from telephony.sip.address import Address, tag_of
from telephony.sip.errors import MessageError
from telephony.sip.message import Message
from telephony.sip.uri import Uri


class Dialog:
    """Call-ID, tags, sequence numbers, route set and remote target of one dialog, early or confirmed."""

    __slots__ = ("call_id", "local", "local_cseq", "local_tag", "remote", "remote_cseq", "remote_tag", "remote_target", "route_set")

    def __init__(self, call_id: str, local: str, remote: str, local_cseq: int, remote_target: str) -> None:
        self.call_id = call_id
        self.local = local
        """Our From or To value with our tag."""
        self.remote = remote
        """The peer's, with its tag as soon as it is known."""
        self.local_tag = tag_of(local)
        self.remote_tag = tag_of(remote)
        self.local_cseq = local_cseq
        """Number of our last request; 0: none yet."""
        self.remote_cseq = -1
        """Number of the peer's last request; -1: none yet."""
        self.remote_target = remote_target
        self.route_set: list[str] = []
        """Route values in the order in which we send them."""

    @staticmethod
    def of_request(request: Message, local_tag: str) -> "Dialog":
        """The callee's side, from the request that makes the dialog (section 12.1.1).

        Raises:
            MessageError: Record-Route cannot be read.
        """
        dialog = Dialog(request.call_id, f"{request.get('to')};tag={local_tag}", request.get("from") or "", 0, "")
        dialog.remote_cseq = request.cseq
        dialog.route_set = request.get_all("record-route")
        dialog.refresh(request)
        return dialog

    def branch(self) -> "Dialog":
        """Another early dialog of the same INVITE: what the peer says is not known yet (RFC 3261 section 13.2.2.4)."""
        return Dialog(self.call_id, self.local, self.remote, self.local_cseq, self.remote_target)

    def learn(self, response: Message) -> None:
        """The caller's side: take over what a response to the request that makes the dialog says (section 12.1.2).

        A Record-Route that cannot be read counts as none: the peer is still better told by its Contact than not at all.
        """
        try:
            route_set = response.get_all("record-route")
        except MessageError:
            route_set = []
        route_set.reverse()
        self.route_set = route_set
        self.remote = response.get("to") or self.remote
        self.remote_tag = response.to_tag
        self.refresh(response)

    def refresh(self, message: Message) -> None:
        """Take over the peer's Contact, if it can be read (sections 12.2.1.2 and 12.2.2)."""
        contact = message.get("contact")
        if contact:
            try:
                self.remote_target = str(Address.parse(message.get_all("contact")[0]).uri)
            except (ValueError, MessageError):
                return

    def target(self) -> tuple[str, list[str], str]:
        """Request-URI, Route values and the URI that names the next hop (section 12.2.1.1: loose and strict routing)."""
        routes = self.route_set
        if not routes:
            return self.remote_target, [], self.remote_target
        try:
            first = Address.parse(routes[0]).uri
        except ValueError:
            return self.remote_target, routes, self.remote_target
        if first.parameter("lr") is not None:
            return self.remote_target, routes, str(first)
        strict = str(Uri(first.scheme, first.user, first.password, first.host, first.port, first.parameters, ""))
        return strict, [*routes[1:], f"<{self.remote_target}>"], strict
