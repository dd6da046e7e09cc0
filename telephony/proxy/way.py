"""The way of a request: who is it from, which Routes are ours, where does it go (RFC 3261 sections 16.3 to 16.6).

Rules:
- The cluster's own: routers by their address (`trusted`) and, with a key (`telephony.sip.proof`), by the proof in their Via, which a
  request within a dialog does not need where its Route bears a token of ours: it can go to that user alone. Other proxies by the proof
  in their Via. All else are users; what only claims to come from a router is refused.
- Routes that name us are taken off; the token in them names a user's flow, which only the cluster's own may use.
- A user's request within a dialog may go to a router only; one that names us alone (its sender forgot the route set) goes to
  the router whose mark its To tag bears.
- INVITE with Replaces goes to the router whose mark the replaced dialog's To tag bears, whoever sends it.
- Where users have addresses of another family than the cluster (IPv6 outside, IPv4 inside) a proxy names itself to routers instead
  of the public address, and adds a Record-Route for each side over UDP too.
- A flow that another proxy holds is reached through that proxy; what came from a proxy is not handed to a third one.
- The public UDP address may be heard by several proxies, each of them hearing its share of the peers (`telephony.shard`): what
  goes to a peer leaves through the one that hears it. Branches bear the mark of who made them: an answer that another proxy
  hears, since the share has passed to it, finds back (`telephony.proxy.handing`).
- What goes to an address or a name outside leaves through the proxy that serves the public address: answers come there.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from zlib import crc32

from telephony.config import Peer, ProxyConfiguration
from telephony.jobs.resource import Binding
from telephony.proxy.flow_token import FlowTokens, Held
from telephony.proxy.router_choice import RouterChoice
from telephony.shard import SHARDS_MAX, shard_of
from telephony.sip.address import Address
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.names import CACHED_CHARACTERS_MAX
from telephony.sip.overload import OFFER
from telephony.sip.proof import PROOF, Proofs
from telephony.sip.resolution import Hop, Sought, literal
from telephony.sip.text import parameter, split
from telephony.sip.tokens import MARK_DIGITS, mark
from telephony.sip.uri import Uri, host_port
from telephony.sip.via import COOKIE

DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER"))
"""Methods that make dialogs: they get a Record-Route."""
ROUTES_CACHED_MAX = 20_000
_PARAMETER = {"wss": "ws"}
"""Value of the URI parameter ``transport``, where it is not the transport's name (RFC 7118 section 5.2.2)."""

CHECKSUMS_CACHED_MAX = 4096
"""Of Request-URIs with the Routes below them."""


class RefusedError(Exception):
    """A request that goes nowhere: the status that says why."""

    def __init__(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Target:
    """One place to send a request to."""

    __slots__ = ("choice", "datagram", "flow", "next_flow", "outside", "q", "relay_route", "router", "routes", "uri", "user")

    def __init__(
        self,
        flow: Flow,
        router: Peer | None = None,
        choice: RouterChoice | None = None,
        relay_route: str = "",
        *,
        outside: bool = False,
        user: bool = False,
    ) -> None:
        self.flow = flow
        self.user = user
        """It leads to a user, not to a router."""
        self.router = router
        """The call router there, where it is one that was chosen."""
        self.choice = choice
        """Where it was chosen from."""
        self.relay_route = relay_route
        """The Route that the proxy there needs, where it holds the user's flow; empty: it is no proxy of ours."""
        self.outside = outside
        """Reached by its address alone: no flow of ours leads there."""
        self.q: float | None = None
        """Preference of a binding; those of one q are tried together. None: it is no binding."""
        self.uri = ""
        """Contact of a binding, the Request-URI there; empty: it stays as it is."""
        self.routes: list[str] = []
        """Routes of a binding beyond its flow (RFC 3327)."""
        self.datagram: Target | None = None
        """The same over UDP, where this is the stream for a request that is too large for a datagram."""
        self.next_flow: Target | None = None
        """Another flow of the same phone, tried where this one leads nowhere (RFC 5626 section 5.3)."""


class Way:
    """Addresses and tokens under one configuration.

    Raises:
        ValueError: an address of the configuration cannot be read.
    """

    def __init__(self, configuration: ProxyConfiguration, secret: bytes, before: "Way | None" = None) -> None:
        self.holder = _bracketed(configuration.host, configuration.port)
        self.tokens = FlowTokens(secret, self.holder)
        self._choices = {platform: RouterChoice(peers) for platform, peers in configuration.routers.items()}
        if before is not None:
            for platform, choice in self._choices.items():
                if platform in before._choices:
                    choice.keep_suspects(before._choices[platform])
        self._trusted = {host_port(address) for address in configuration.trusted}
        self._trusted |= {(peer.host, peer.port) for peers in configuration.routers.values() for peer in peers}
        self.cluster = frozenset(self._trusted | {host_port(address) for address in configuration.proxies})
        """Addresses of the cluster's routers and proxies."""
        self._proofs = Proofs(configuration.proof_keys) if configuration.proof_keys else None
        self._unproven = frozenset(host_port(address) for address in configuration.unproven)
        self.lenient = False
        """Who proves what has just changed: a proxy's proof of the branch alone is enough, as older software makes it."""
        self._last: tuple[Message | None, bool] = (None, False)
        """The message that `relayed` was asked about last, and the answer."""
        self._marked = {mark(_bracketed(*address)): address for address in self._trusted}
        self._realm = configuration.realm
        self._platforms = configuration.platform_of_method
        self._default_platform = configuration.default_platform
        self._serves_public = configuration.public
        self._public_address = (configuration.public_host, configuration.public_port)
        self._own = {(configuration.host, configuration.port), self._public_address}
        self._own |= {(configuration.public_host, port) for port in configuration.public_ports.values()}
        own = _bracketed(configuration.host, configuration.port)
        self._mark = mark(own)
        self._makers = {mark(_bracketed(*proxy)): proxy for proxy in map(host_port, configuration.proxies)}
        self._makers.pop(self._mark, None)
        self._public = _bracketed(configuration.public_host, configuration.public_port)
        others = {transport: _bracketed(configuration.public_host, port) for transport, port in configuration.public_ports.items()}
        self.sent_by = (own, self._public, *others.values())
        self._mixed = (":" in configuration.host) != (":" in configuration.public_host)
        """Routers and users have addresses of other families: routers cannot reach the public one."""
        self._inner = own if self._mixed else self._public
        """Where routers find us, or whoever serves the public address."""
        self._entries = {"udp": self._public, "tcp": f"{self._public};transport=tcp"}
        self._entries |= {transport: f"{at};transport={_PARAMETER.get(transport, transport)}" for transport, at in others.items()}
        self._vias = {
            "sip-udp": f"Via: SIP/2.0/UDP {own};branch={COOKIE}",
            "sip-tcp": f"Via: SIP/2.0/TCP {own};branch={COOKIE}",
            "public-udp": f"Via: SIP/2.0/UDP {self._public};branch={COOKIE}",
            "public-tcp": f"Via: SIP/2.0/TCP {self._public};branch={COOKIE}",
        }
        self._vias |= {f"public-{name}": f"Via: SIP/2.0/{name.upper()} {at};branch={COOKIE}" for name, at in others.items()}
        self._targets = {
            choice: {
                peer.id: Target(Flow("udp", "sip-udp", peer.host, peer.port), peer, choice) for peer in configuration.routers[platform]
            }
            for platform, choice in self._choices.items()
        }
        self._in_dialog = {address: Target(Flow("udp", "sip-udp", *address)) for address in self._trusted}
        self._routes: dict[str, tuple[bool, Held | None]] = {}
        self._address = (configuration.host, configuration.port)
        self._shards = tuple(host_port(address) for address in configuration.public_shards)
        """Who hears which peers of the public UDP address."""
        if len(self._shards) > SHARDS_MAX:
            raise ValueError(f"at most {SHARDS_MAX} shards of the public address, not {len(self._shards)}")
        self._formers: tuple[tuple[str, int] | None, ...] = tuple(
            _former(share, hearer, before, self._makers.values()) for share, hearer in enumerate(self._shards)
        )
        """Who heard each share before, where that is another proxy that is still there."""
        self.transports = tuple(transport for transport in ("udp", "tcp", "tls") if f"public-{transport}" in self._vias)
        """What we can send outside with, in the order in which we prefer it."""
        self.families = ("AAAA",) if ":" in configuration.public_host else ("A",)
        """Kinds of addresses that we can send to."""

    def is_router(self, host: str, port: int) -> bool:
        """A call router of the cluster."""
        return (host, port) in self._trusted

    def of_cluster(self, message: Message, source: Flow, held: Held | None) -> bool:
        """The request comes from a router, or from a proxy of ours that proves it.

        The address counts as well as the proof: a user has seen the proofs in the Vias of what reached him.

        Raises:
            RefusedError: 403, it claims to come from a router and proves nothing.
        """
        address = (source.host, source.port)
        if address in self._trusted:
            proofs = self._proofs
            if proofs is None or (held is not None and message.to_tag) or address in self._unproven or proofs.holds(message, PROOF):
                return True
            raise RefusedError(403, "Not proved to be a call router's")
        return address in self.cluster and self.relayed(message)

    def relayed(self, message: Message) -> bool:
        """Another proxy of the cluster has put the topmost Via on it."""
        if ";relay=" not in message.via:
            return False
        if self._proofs is None:
            return self._relayed_branch(message)
        if self._last[0] is not message:
            known = self._proofs.holds(message, ";relay=") or ((self.lenient or len(self._unproven) > 0) and self._relayed_branch(message))
            self._last = message, known
        return self._last[1]

    def insist(self, now: float) -> None:
        """Everybody knows by now how requests are to be proved."""
        self.lenient = False

    def _relayed_branch(self, message: Message) -> bool:
        return self.tokens.proved(parameter(message.via, "relay") or "", message.branch, message.call_id)

    def is_self(self, uri: Uri) -> bool:
        """The URI names this proxy or the public address."""
        return (uri.host, uri.port or (5061 if uri.scheme == "sips" or uri.transport == "tls" else 5060)) in self._own

    def take_routes(self, message: Message) -> tuple[Held | None, str]:
        """Take off the Routes that name us; what their token says, and the Route that bore it (sections 16.4 and 16.6).

        Raises:
            MessageError: a Route cannot be read.
        """
        if ";lr" in message.uri:
            self._undo_strict(message)
        held: Held | None = None
        bearer = ""
        while (value := message.get("route")) is not None:
            if "," in value:
                value = message.get_all("route")[0]
            known = self._routes.get(value) or self._read_route(value, message)
            if not known[0]:
                break
            message.pop("route")
            if known[1] is not None:
                held, bearer = known[1], value
        return held, bearer

    def via(self, flow: Flow, branch: str) -> str:
        """Via of a request of our own."""
        return f"{self._vias[flow.socket].removeprefix('Via: ').removesuffix(COOKIE)}{branch}"

    def check_loop(self, message: Message) -> None:
        """A request that we have sent on before, and that has not changed since (section 16.3 step 4).

        Raises:
            RefusedError: 482.
        """
        mark = _loop_mark(message)
        for value in message.get_all("via"):
            sent_by = value.partition(" ")[2].partition(";")[0].strip()
            if sent_by in self.sent_by and (parameter(value, "branch") or "").endswith(mark):
                raise RefusedError(482)

    def of_dialog(self, message: Message, uri: Uri) -> Target:
        """Where a user's request within a dialog goes.

        Raises:
            RefusedError: not to a router.
            MessageError: the Route cannot be read.
        """
        hop = self._hop(message, uri)
        address = (hop.host, hop.port or 5060)
        target = self._in_dialog.get(address)
        if target is not None:
            return target
        if address in self._own:
            router = self._marked.get(message.to_tag[-MARK_DIGITS:])
            if router is None:
                raise RefusedError(481)
            return self._in_dialog[router]
        raise RefusedError(403, "Not a router of this cluster")

    def to_user(self, message: Message, uri: Uri, held: Held | None, bearer: str) -> Target | Sought:
        """Where a request of the cluster goes; `Sought`: to a name.

        Raises:
            RefusedError: 430, the flow is not there; 404, its URI names nothing but us.
            MessageError: the Route cannot be read.
        """
        if held is None:
            hop = self._hop(message, uri)
            address = (hop.host, hop.port or 5060)
            if address in self._own:
                replaced = self._replaced(message)
                if replaced is None:
                    raise RefusedError(404)
                return self._in_dialog[replaced]
            if address in self._in_dialog:
                return self._in_dialog[address]
            if not self._serves_public and not self._shards and not self.relayed(message):
                return Target(Flow("udp", "sip-udp", *self._public_address), relay_route=f"<sip:{self._public};lr>", user=True)
            sought = Sought(hop.parameter("maddr") or hop.host, hop.port, hop.transport, hop.scheme == "sips")
            direct = literal(*sought)
            if direct is None:
                return sought
            return self.outside(direct)
        flow = held.flow
        if flow.socket == "public-udp":
            if self._serves_public or self._shards or self._mixed or self.relayed(message):
                return Target(flow, user=True, outside=";outside" in bearer)
            return Target(Flow("udp", "sip-udp", *self._public_address), relay_route=bearer, user=True)
        if held.holder == self.holder:
            return Target(flow, user=True)
        if self.relayed(message):
            raise RefusedError(430)
        return Target(Flow("udp", "sip-udp", *host_port(held.holder)), relay_route=bearer, user=True)

    def is_user(self, message: Message, uri: Uri) -> bool:
        """A request of the cluster names a user of ours by the address of record alone: where they are has to be looked up."""
        if message.to_tag or message.has("route") or message.has("replaces"):
            return False
        return bool(uri.user) and (uri.host == self._realm or self.is_self(uri))

    def bindings(self, message: Message, bindings: Iterable[Binding]) -> list[Target]:
        """Targets for a user's bindings, best q first; of several flows of one instance the others follow the first one."""
        found: list[Target] = []
        instances: dict[str, Target] = {}
        for binding in bindings:
            try:
                first, *routes = split(binding.path, ",")
                bearer = first.strip()
                held = self.tokens.read(Address.parse(bearer).uri.user)
                target = self.to_user(message, Uri.parse(binding.contact), held, bearer) if held is not None else None
            except (ValueError, RefusedError):
                continue
            if not isinstance(target, Target):
                continue
            target.q, target.uri, target.routes = binding.q, binding.contact, [route.strip() for route in routes]
            before = instances.get(binding.instance) if binding.instance else None
            if before is None:
                found.append(target)
            else:
                before.next_flow = target
            if binding.instance:
                instances[binding.instance] = target
        return found

    def outside(self, hop: Hop) -> Target:
        """What was found outside.

        Raises:
            RefusedError: 502, we have no such transport.
        """
        if hop.transport not in self.transports:
            raise RefusedError(502, "No such transport")
        side = "public" if self._serves_public or self._shards else "sip"
        return Target(Flow(hop.transport, f"{side}-{hop.transport}", hop.host, hop.port), outside=True, user=True)

    def at_hearer(self, message: Message, target: Target) -> Target:
        """What goes to a peer of the public UDP address leaves through the proxy that will hear its answer."""
        flow = target.flow
        if not self._shards or flow.socket != "public-udp":
            return target
        hearer = self._shards[self._share(flow)]
        if hearer == self._address or self.relayed(message):
            return target
        route = f"<sip:{self.tokens.make(flow)}@{self._public};lr{';outside' if target.outside else ''}>"
        relay = Target(Flow("udp", "sip-udp", *hearer), relay_route=route, user=target.user)
        relay.uri, relay.routes = target.uri, target.routes
        return relay

    def maker(self, branch: str) -> tuple[str, int] | None:
        """The other proxy that made a branch of the cluster's; None: none that is there, or ourselves."""
        return self._makers.get(branch[-2 * MARK_DIGITS : -MARK_DIGITS])

    def former(self, flow: Flow) -> tuple[str, int] | None:
        """The proxy that heard this peer before us; None: nobody did, or it is gone."""
        return self._formers[self._share(flow)] if self._formers and flow.socket == "public-udp" else None

    def _share(self, flow: Flow) -> int:
        count = len(self._shards)
        return shard_of(flow.host, flow.port, count) if count > 1 else 0

    def stream(self, target: Target, uri: Uri) -> Target:
        """The same place over TCP (RFC 3261 section 18.1.1); itself where only UDP leads there, as to who is behind a NAT."""
        flow = target.flow
        here = target.outside or (uri.host, uri.port or 5060) == (flow.host, flow.port)
        if flow.transport != "udp" or target.router is not None or target.relay_route or not here:
            return target
        if (flow.host, flow.port) in self.cluster:
            return target
        stream = Target(flow._replace(transport="tcp", socket=flow.socket.replace("udp", "tcp")), outside=target.outside, user=target.user)
        stream.q, stream.uri, stream.routes = target.q, target.uri, target.routes
        stream.datagram = stream.next_flow = target
        return stream

    def routers(self, message: Message, now: float) -> list[Target]:
        """Routers for a new request, in the order in which to try them; empty: there is none for its platform."""
        choice = self._choices.get(self._platforms.get(message.method or "", self._default_platform))
        if choice is None:
            return []
        targets = self._targets[choice]
        found = [targets[router.id] for router in choice.order(message.call_id, now)]
        replaced = self._replaced(message)
        if replaced is not None:
            found.sort(key=lambda target: (target.flow.host, target.flow.port) != replaced)
        return found

    def record_route(self, message: Message, target: Target, source: Flow) -> None:
        """Stay in the dialog: our public address with the token of the user's flow, which is the target's or the source.

        Towards users over a connection there are two, one for each side's transport (RFC 5658): the one that the
        receiver meets first on top. A sips request keeps its scheme (RFC 3261 section 16.6 step 4). What is outside is
        reached by the dialog's own route: no token. Between two routers there is no user: our own address alone.
        """
        to_user = target.router is None
        user = (target.datagram or target).flow if to_user else source
        if (user.host, user.port) in self._trusted:
            message.prepend_line(f"Record-Route: <sip:{self.sent_by[0]};lr>")
            return
        token = "" if target.outside else f"{self.tokens.make(user)}@"
        plain = f"Record-Route: <sip:{token}{self._inner};lr>"
        if user.transport == "udp" and not self._mixed:
            message.prepend_line(plain)
            return
        scheme = "sips" if message.uri.startswith("sips:") and user.transport in ("tls", "wss") else "sip"
        other = f"Record-Route: <{scheme}:{token}{self._entries[user.transport]};lr>"
        for line in (plain, other) if to_user else (other, plain):
            message.prepend_line(line)

    def path(self, flow: Flow) -> str:
        """URI by which a user is reached over this flow."""
        return f"<sip:{self.tokens.make(flow)}@{self._inner};lr;ob>"

    def put_via(self, message: Message, target: Target, token: str) -> str:
        """Put our Via on top; its branch."""
        branch = token + self._mark + _loop_mark(message)
        line = f"{self._vias[target.flow.socket]}{branch}"
        if target.flow.socket == "sip-udp":
            line += OFFER
        branch = COOKIE + branch
        proofs = self._proofs
        if target.relay_route:
            if proofs is None or target.flow[2:4] in self._unproven:
                line += f";relay={self.tokens.proof(branch, message.call_id)}"
            else:
                line += f";relay={proofs.mark(message, branch)}"
            message.prepend("route", target.relay_route)
        elif proofs is not None and (target.router is not None or (target.flow[2:4] in self._trusted and not message.to_tag)):
            line += f"{PROOF}{proofs.mark(message, branch)}"
        message.prepend_line(line)
        return branch

    def _replaced(self, message: Message) -> tuple[str, int] | None:
        """The router that has the dialog which Replaces names (RFC 3891): its To tag bears that one's mark."""
        value = message.get("replaces")
        return None if value is None else self._marked.get((parameter(value, "to-tag") or "")[-MARK_DIGITS:])

    def _hop(self, message: Message, uri: Uri) -> Uri:
        if not message.has("route"):
            return uri
        try:
            return Address.parse(message.get_all("route")[0]).uri
        except (ValueError, IndexError):
            raise MessageError("bad Route", 400, message) from None

    def _read_route(self, value: str, message: Message) -> tuple[bool, Held | None]:
        try:
            uri = Address.parse(value).uri
        except ValueError:
            raise MessageError("bad Route", 400, message) from None
        known = (True, self.tokens.read(uri.user) if uri.user else None) if self.is_self(uri) else (False, None)
        if len(value) <= CACHED_CHARACTERS_MAX:
            if len(self._routes) >= ROUTES_CACHED_MAX:
                self._routes.clear()
            self._routes[value] = known
        return known

    def _undo_strict(self, message: Message) -> None:
        """A strict router before us has put our Record-Route into the Request-URI, and the target last (section 16.4)."""
        if "@" not in message.uri or not any(address in message.uri for address in self.sent_by):
            return
        uri = request_uri(message)
        if self.is_self(uri) and self.tokens.read(uri.user) is not None:
            routes = message.get_all("route")
            message.remove("route")
            for value in [f"<{message.uri}>", *routes[:-1]]:
                message.add("route", value)
            try:
                message.retarget(str(Address.parse(routes[-1]).uri))
            except ValueError:
                raise MessageError("bad Route", 400, message) from None


def _former(share: int, hearer: tuple[str, int], before: Way | None, others: Collection[tuple[str, int]]) -> tuple[str, int] | None:
    """Which of the other proxies heard a share before its present hearer."""
    if before is None or share >= len(before._shards):
        return None
    found = before._formers[share] if before._shards[share] == hearer else before._shards[share]
    return found if found in others else None


def request_uri(message: Message) -> Uri:
    """The Request-URI.

    Raises:
        MessageError: it cannot be read (400), or its scheme is not ours (416).
    """
    try:
        uri = Uri.parse(message.uri)
    except ValueError as error:
        raise MessageError(f"bad Request-URI: {error}", 400, message) from None
    if uri.scheme not in ("sip", "sips"):
        raise MessageError("Unsupported URI Scheme", 416, message)
    return uri


def _loop_mark(message: Message) -> str:
    """What decides where a request goes: its Request-URI, and the Routes that are left (RFC 5393 section 4.2.1)."""
    fields = message.uri
    if message.has("route"):
        fields = "\0".join((fields, *message.get_lines("route")))
    return _checksum(fields) if len(fields) <= CACHED_CHARACTERS_MAX else _crc(fields)


def _crc(text: str) -> str:
    return f"{crc32(text.encode('utf-8', 'surrogateescape')):08x}"


_checksum = lru_cache(CHECKSUMS_CACHED_MAX)(_crc)


def _bracketed(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
