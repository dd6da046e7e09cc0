"""The proxy core: what comes from users goes to call routers, what comes from call routers goes to users (RFC 3261 section 16).

    user -> [public socket] parse, transaction, authenticate, Record-Route -> [own socket] -> call router
    call router -> [own socket] token of the user's flow, Record-Route -> [the flow's socket] -> user

Rules:
- From users: a new request is authenticated (guests reach `guest_targets` alone) and goes to a router of the platform that
  serves its method; a request within a dialog goes where its Request-URI says, if that is a router. Nothing else: the
  proxy is no open relay.
- From routers (`trusted` addresses): the token in the Route names the user's flow.
- Whatever reaches users bears the public address; in-dialog requests come back through whichever proxy serves it then.
  A flow that another proxy holds (a connection, or the public address) is reached through that proxy, with a proof in
  our Via that it is one of us who asks.
- `P-Asserted-Identity` says who was authenticated; one from outside is removed (RFC 3325).
- Sources that misbehave are not heard for a while (`telephony.proxy.defence`).
- Responses without a transaction go on by their Via, but only from routers or to routers (section 16.7).
"""

import secrets
from collections.abc import Callable

import msgspec

from telephony.config import Configuration, ProxyConfiguration
from telephony.core import Job
from telephony.dns import system
from telephony.effects import Admit, Ask, Close, Effect, Reply, Send
from telephony.jobs.resource import Bound, Lookup
from telephony.proxy.authentication import MD5_LAST, NOTHING_CHECKED, Authentication
from telephony.proxy.counters import Counters
from telephony.proxy.defence import Defence, Limits
from telephony.proxy.flows import Flows, keepalive
from telephony.proxy.forwarding import Forwarding
from telephony.proxy.handing import HANDED, Handing
from telephony.proxy.outside import Outside, Sending
from telephony.proxy.registration import RETRY, Registrations, owner
from telephony.proxy.report import Report
from telephony.proxy.shortcut import Shortcut
from telephony.proxy.way import DIALOG_METHODS, RefusedError, Target, Way, request_uri
from telephony.sip.address import Address
from telephony.sip.build import answer_broken, make_answer
from telephony.sip.client_transaction import ClientTransaction
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.overload import ADAPT_SECONDS, Emergencies, Overload, Restrictions
from telephony.sip.resolution import Located, Sought, literal
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.timers import Timers
from telephony.sip.tokens import Tokens
from telephony.sip.transaction import Transactions
from telephony.sip.uri import Uri
from telephony.sip.via import Via

PATIENCE_SECONDS = 0.02
"""How long registrations may wait in the socket while nothing else comes: nobody hears silence meanwhile."""
URGENT_SECONDS = 1.0
"""After any other message there is no such patience."""
STREAMLESS_SECONDS = 600.0
STREAMLESS_MAX = 10_000
"""Places without TCP that are remembered."""
LENIENT_SECONDS = 30.0
"""After a change of who proves requests (`telephony.sip.proof`), so that configurations reach everybody."""
BROKEN_ANSWERS_PER_SECOND_MAX = 100
"""Broken requests that are answered; more are only counted."""
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK, REFER, NOTIFY, SUBSCRIBE, MESSAGE"
_encode = msgspec.msgpack.Encoder().encode
_decode_bound = msgspec.msgpack.Decoder(Bound).decode
LOOKUPS_MAX = 10_000
"""Requests that wait for the bindings of their user; more are answered 503."""


class Proxy:
    """One proxy. See `telephony.core.Core` for what each call means."""

    def __init__(self, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self.tokens = Tokens(random)
        self.timers = Timers()
        self.out: list[Effect] = []
        self.transactions = Transactions(self, self.out, self.timers, same_source=True)
        self.overload = self.transactions.overload = Overload(self.tokens.take())
        self._adapting = False
        self._emergency_numbers: tuple[str, ...] = ()
        self.restrictions = Restrictions()
        """What routers and proxies have asked us to hold back (RFC 7339)."""
        self.counters = Counters()
        self.defence = Defence()
        self._report = Report(self.counters, self.defence, self.timers, self.out)
        self.waiting = 0
        """Forwarded requests without a final response."""
        self._random = random
        self._configuration: ProxyConfiguration | None = None
        self._way: Way
        self.outside = Outside(self)
        self._handing = Handing(self)
        self.name_servers: list[str] = []
        self.authentication: Authentication
        self._secret = b""
        self._lenient_until = 0.0
        self._guests: frozenset[str] = frozenset()
        self._registrations = Registrations(self)
        self._shortcut = Shortcut(self, self.tokens.take())
        self.flows = Flows(self.ask)
        self._lookups: dict[int, Forwarding] = {}
        """Requests that wait for the bindings of their user."""
        self._asks = 0
        self._streamless: dict[tuple[str, int], float] = {}
        """Places that cannot be reached over TCP, and until when that is believed."""
        self.draining = False
        self._urgent_until = 0.0
        self._broken_second = 0
        self._broken_answers = 0

    # telephony.core.Core

    def configure(self, configuration: Configuration, now: float) -> None:
        """Take a configuration.

        Raises:
            ValueError: it is not a proxy's, or names an address that cannot be read.
        """
        if not isinstance(configuration, ProxyConfiguration):
            raise ValueError(f"expected the configuration of a proxy, got {type(configuration).__name__}")
        before = self._configuration
        for server in configuration.name_servers:
            system.server(server)
        secret = configuration.nonce_secret or self._secret or self._random(32)
        self._way = way = Way(configuration, secret, self._way if before is not None else None)
        if configuration.proof_keys:
            if before is None or (before.unproven, before.proof_keys) != (configuration.unproven, configuration.proof_keys):
                self._lenient_until = now + LENIENT_SECONDS
            way.lenient = now < self._lenient_until
            if way.lenient:
                self.timers.start(now, self._lenient_until - now, way.insist)
        if before is None or secret != self._secret or (before.realm, before.users) != (configuration.realm, configuration.users):
            self.authentication = Authentication(configuration.realm, {user.name: user.ha1 for user in configuration.users}, secret)
        self.defence.limits = Limits(
            configuration.source_failures_max,
            configuration.source_ban_seconds,
            configuration.source_requests_per_second_max,
            self._way.cluster,
            configuration.user_requests_per_second_max,
        )
        self.restrictions.servers = self._way.cluster
        self._emergency_numbers = tuple(configuration.emergency_numbers)
        self.overload.emergencies = Emergencies(self._emergency_numbers)
        self._guests = frozenset(configuration.guest_targets)
        self._secret = secret
        self.name_servers = configuration.name_servers
        self._configuration = configuration

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One message from the network."""
        counters = self.counters
        counters.received += 1
        if self.defence.banned and self.defence.drops(flow, now):
            self.drop_banned(flow, now)
            return
        if now < self.overload.touched_until and self.overload.sheds(data, flow, self.transactions, now):
            return
        try:
            message = Message.parse(data)
            if message.method != "REGISTER":
                self._urgent_until = now + URGENT_SECONDS
                self.transactions.receive(message, flow, now)
            elif not self._shortcut.challenge(message, flow, now):
                self.transactions.receive(message, flow, now)
        except MessageError as error:
            if data[:1] == HANDED and self._handing.take(data, flow, now):
                return
            if flow.transport == "udp" and (answer := keepalive(data, flow)) is not None:
                if answer:
                    self.out.append(Send(answer, flow))
                return
            counters.broken += 1
            self.defence.broken(flow, now)
            self._report.want(now)
            if error.message is not None and error.message.method is not None:
                self._answer_broken(error, flow, now)

    def waited(self, seconds: float, now: float) -> None:
        """How long what is read now has waited in its socket."""
        self.overload.waited(seconds, now)
        if self.overload.shedding and not self._adapting:
            self._adapting = True
            self._adapt(now)

    def patience(self, now: float) -> float:
        """There is some while phones only register."""
        return PATIENCE_SECONDS if now >= self._urgent_until else 0.0

    def _adapt(self, now: float) -> None:
        """Have as much read as can be dealt with."""
        before = self.overload.share
        self._adapting = self.overload.adapt(now)
        if self.overload.share != before:
            self.out.append(Admit(self.overload.share, self._emergency_numbers))
        if self._adapting:
            self.timers.start(now, ADAPT_SECONDS, self._adapt)

    def closed(self, flow: Flow, now: float) -> None:
        """A connection ended, or a destination refuses."""
        self._registrations.send(now)  # what came over it goes before its end
        self.flows.closed(flow, self._way.tokens)
        self.transactions.closed(flow, now)

    def unsent(self, data: bytes, flow: Flow, now: float) -> None:
        """A connection is gone: a response goes to the address in its Via, by a new one (RFC 3261 section 18.2.2, RFC 3263 section 5)."""
        if flow.transport not in ("tcp", "tls") or not data.startswith(b"SIP/2.0 "):
            return
        try:
            message = Message.parse(data)
            via = Via.parse(message.get_all("via")[0])
        except (ValueError, MessageError):
            return
        sought = Sought((via.parameter("received") or via.host).strip("[]"), via.port, flow.transport)
        direct = literal(*sought)
        if direct is None:
            self.outside.respond(message, sought)
        elif (direct.host, direct.port) not in self._way.cluster:
            self.out.append(Send(data, flow._replace(host=direct.host, port=direct.port, connection=0)))

    def job(self, job: Job, now: float) -> None:
        """A proxy does no jobs."""
        self.out.append(Reply(job.number, "refused", b""))

    def reply(self, ask: int, status: str, body: bytes, worker: str, now: float) -> None:
        """The resource database has answered a registration."""
        forwarding = self._lookups.pop(ask, None)
        if forwarding is not None:
            self._found(forwarding, status, body, now)
        else:
            self._registrations.answered(ask, status, body, now)

    def flow_failed(self, message: Message, flow: Flow) -> None:
        """The connection to a user is gone."""
        self.flows.failed(message, flow, self._way.tokens)

    def ask(self, operation: str, body: bytes, key: str) -> int:
        """A job of the resource database; `reply` brings its answer, under the number that is returned."""
        self._asks += 1
        self.out.append(Ask(self._asks, "resource_database", operation, body, key=key))
        return self._asks

    def located(self, id: int, located: Located, now: float) -> None:
        """Name servers have answered."""
        self.outside.located(id, located, now)

    def _found(self, forwarding: Forwarding, status: str, body: bytes, now: float) -> None:
        message = forwarding.message
        if message is None:
            return
        try:
            bindings = _decode_bound(body).bindings if status == "ok" else []
        except msgspec.DecodeError:
            status = "fault"
        if status == "ok":
            forwarding.located(self._way.bindings(message, bindings), now)
        else:
            forwarding.end(503, now)

    def event(self, sender: str, operation: str, body: bytes, now: float) -> None:
        """A proxy asks for no events."""

    def drain(self, deadline: float, now: float) -> None:
        """New requests are answered 503; those within dialogs go on."""
        self.draining = True

    def undrain(self, now: float) -> None:
        """Take new requests again."""
        self.draining = False

    def ready(self) -> bool:
        """Always: there is nothing to prepare."""
        return True

    def remaining(self) -> int:
        """Requests without a final response."""
        return self.waiting + len(self._registrations) + len(self.outside)

    def timeout(self, now: float) -> None:
        """Run what is due."""
        self.timers.run(now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        return self.timers.deadline()

    def take(self) -> list[Effect]:
        """Effects since the last call."""
        taken = self.out[:]
        self.out.clear()
        return taken

    @property
    def way(self) -> Way:
        """Addresses and tokens of the configuration in force."""
        return self._way

    # From the transaction layer

    def request_received(self, server: ServerTransaction, message: Message, now: float) -> None:
        """A new request."""
        try:
            if message.method == "CANCEL":
                self._cancel(server, message, now)
            else:
                self._request(server, message, now)
        except MessageError as error:
            self.counters.broken += 1
            self.defence.broken(server.source, now)
            self.refuse(server, message, error.status, now, error.reason)
        except RefusedError as refusal:
            self.refuse(server, message, refusal.status, now, refusal.reason, refusal.headers)

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        """ACK of a 2xx: passed on without a transaction (section 16.6)."""
        way = self._way
        if not message.has("route") and self._handing.give(message, flow, way.former(flow)):
            return
        try:
            if message.spend_hop() == 0:
                raise RefusedError(483)
            held, bearer = way.take_routes(message)
            uri = request_uri(message)
            if way.of_cluster(message, flow, held):
                found = way.to_user(message, uri, held, bearer)
                if isinstance(found, Sought):
                    self.outside.acknowledge(message, found)
                    return
                target = found
            else:
                target = way.of_dialog(message, uri)
        except (MessageError, RefusedError):
            self.counters.dropped += 1
            return
        self.send_only(message, target)

    def stray(self, message: Message, flow: Flow, now: float) -> None:
        """A response without a transaction."""
        self._handing.stray(message, flow)

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        """A failure response without ACK: nothing is left to do."""

    # For forwardings

    def send_only(self, message: Message, target: Target) -> None:
        """Send a request without a transaction."""
        target = self._way.at_hearer(message, target)
        self._way.put_via(message, target, self.tokens.take())
        self.out.append(Send(message.serialize(), target.flow))

    def send(self, forwarding: Forwarding, message: Message, target: Target, now: float) -> ClientTransaction:
        """Send a request to a target, in a transaction of its own, below our Via."""
        way = self._way
        target = way.at_hearer(message, target)
        if target.uri:
            message.retarget(target.uri)
            for route in reversed(target.routes):
                message.prepend("route", route)
        if forwarding.records and not target.relay_route:
            way.record_route(message, target, forwarding.server.source)
        branch = way.put_via(message, target, self.tokens.take())
        self.counters.forwarded += 1
        return self.transactions.request(forwarding, message, target.flow, now, branch)

    def stream(self, message: Message, target: Target, now: float) -> Target:
        """Where a request goes that is too large for a datagram to this target: over TCP, or there all the same."""
        until = self._streamless.get((target.flow.host, target.flow.port))
        if until is not None and until > now:
            return target
        return self._way.stream(target, Uri.parse(target.uri) if target.uri else request_uri(message))

    def streamless(self, target: Target, now: float) -> None:
        """No connection could be made to this place: for a while it gets datagrams only."""
        if len(self._streamless) >= STREAMLESS_MAX:
            self._streamless.clear()
        self._streamless[target.flow.host, target.flow.port] = now + STREAMLESS_SECONDS

    def forward(self, server: ServerTransaction, message: Message, targets: list[Target], records: bool, now: float) -> None:
        """Send a request on."""
        forwarding = server.user = Forwarding(self, server, message, targets, records)
        forwarding.start(now)

    def refuse(
        self, server: ServerTransaction, message: Message, status: int, now: float, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Answer a request ourselves."""
        if status >= 400:
            self.counters.refused += 1
            if status not in (401, 407):
                self._report.want(now)
        message.unprepend()
        clean = None if reason is None else "".join(c if " " <= c <= "~" else "?" for c in reason)[:120]
        server.respond(status, make_answer(message, status, clean, self.tokens.take(), headers), now)

    # Requests

    def _request(self, server: ServerTransaction, message: Message, now: float) -> None:
        way = self._way
        method = message.method
        if method == "REGISTER" and (name := self._shortcut.owner(message, server.source)):
            if self._welcome(server, message, now):
                self._register(server, message, name, now)
            return
        if message.spend_hop() == 0:
            raise RefusedError(483)
        if message.has("proxy-require"):
            raise RefusedError(420, headers=(("Unsupported", ", ".join(message.get_all("proxy-require"))),))
        if message.passed_on:
            way.check_loop(message)
        if message.has("max-breadth") and message.number("max-breadth") == 0:
            raise RefusedError(440)
        held, bearer = way.take_routes(message)
        uri = request_uri(message)
        if way.of_cluster(message, server.source, held):
            if method == "OPTIONS" and held is None and not uri.user and way.is_self(uri):
                self._options(server, message, now)
                return
            if held is None and way.is_user(message, uri):
                self._look_up(server, message, uri, now)
                return
            target = way.to_user(message, uri, held, bearer)
            if isinstance(target, Sought):
                if method == "INVITE":
                    self.transactions.trying(server, message, now)
                server.user = self.outside.request(server, message, target)
                return
            targets = [target]
            records = method in DIALOG_METHODS
        elif message.to_tag:
            targets = [way.of_dialog(message, uri)]
            records = False
        else:
            targets = self._new(server, message, uri, now)
            if not targets:
                return
            records = method in DIALOG_METHODS
        if method == "INVITE":
            self.transactions.trying(server, message, now)
        self.forward(server, message, targets, records, now)

    def _look_up(self, server: ServerTransaction, message: Message, uri: Uri, now: float) -> None:
        """A router's request for a user, wherever they are: it is forked to their bindings (section 16.5)."""
        if len(self._lookups) >= LOOKUPS_MAX:
            raise RefusedError(503, headers=RETRY)
        if message.method == "INVITE":
            self.transactions.trying(server, message, now)
        forwarding = server.user = Forwarding(self, server, message, [], message.method in DIALOG_METHODS)
        self._lookups[self.ask("lookup", _encode(Lookup(aor=uri.username)), uri.username)] = forwarding

    def _new(self, server: ServerTransaction, message: Message, uri: Uri, now: float) -> list[Target]:
        """A user's request outside of any dialog: where it goes; empty: it has been answered here."""
        method = message.method
        way = self._way
        if not self._welcome(server, message, now):
            return []
        if not self.defence.admits(server.source, now):
            raise RefusedError(503, "Too many requests from your address", RETRY)
        if method == "REGISTER":
            if self.draining:
                raise RefusedError(503, headers=RETRY)
            self._register(server, message, owner(message), now)
            return []
        if method == "OPTIONS" and not uri.user and way.is_self(uri):
            self._options(server, message, now)
            return []
        if method in ("BYE", "UPDATE", "INFO", "PRACK", "NOTIFY"):
            raise RefusedError(481)
        if self.draining:
            raise RefusedError(503, headers=RETRY)
        if message.has("p-asserted-identity"):
            message.remove("p-asserted-identity")
        sender = self._sender(message)
        authentication = self.authentication
        if uri.user not in self._guests or authentication.claims(sender) or message.has("proxy-authorization"):
            user = self._authenticate(server, message, now, 407)
            if not user:
                return []
            if user != sender:
                raise RefusedError(403, "From names another user")
            authentication.consume(message)
            message.add("p-asserted-identity", f"<{Uri.of(user, authentication.realm)}>")
        targets = way.routers(message, now)
        if not targets:
            raise RefusedError(503, "No call router for this request", RETRY)
        if self.restrictions and not self.overload.emergencies.spares(f"{method} {message.uri} ".encode("utf-8", "surrogateescape"), now):
            targets = [target for target in targets if not self.restrictions.holds_back(target.flow[2:4], message.call_id, now)]
            if not targets:
                raise RefusedError(503, "Call routers are busy", RETRY)
        return targets

    def _welcome(self, server: ServerTransaction, message: Message, now: float) -> bool:
        """Count a new request; False: it is a scanner's."""
        self.overload.accepted += 1
        if self.defence.scanned(message, server.source, now):
            self.drop_banned(server.source, now)
            server.abandon()
            return False
        return True

    def _sender(self, message: Message) -> str:
        """User part of the From URI."""
        value = message.get("from") or ""
        try:
            left = value.find("<")
            if left >= 0 and '"' not in value:
                right = value.find(">", left)
                return Uri.parse(value[left + 1 : right]).username
            return Address.parse(value).uri.username
        except ValueError as error:
            raise MessageError(f"bad From: {error}", 400, message) from None

    def _authenticate(self, server: ServerTransaction, message: Message, now: float, status: int) -> str:
        """The user who sent it; empty: it has been challenged."""
        header, challenge = ("authorization", "WWW-Authenticate") if status == 401 else ("proxy-authorization", "Proxy-Authenticate")
        source = server.source
        defence = self.defence
        if message.has(header):
            checked = self.authentication.check(message, header, now, lambda user: defence.locked(source, user, now))
            if checked.user:
                defence.proved(source, checked.user, now)
                if wait := defence.wait_seconds(checked.user, now):
                    raise RefusedError(503, "Too many requests of yours", (("Retry-After", str(wait)),))
                return checked.user
            if checked.guessed:
                self.counters.failed += 1
                defence.guessed(source, checked.guessed, now)
                self._report.want(now)
        else:
            checked = NOTHING_CHECKED
        self.counters.challenged += 1
        values = self.authentication.challenges(now, checked.stale, message.get("user-agent") or "")
        if source.transport in MD5_LAST:
            values.reverse()
        self.refuse(server, message, status, now, headers=[(challenge, value) for value in values])
        return ""

    def _register(self, server: ServerTransaction, message: Message, name: str, now: float) -> None:
        user = self._authenticate(server, message, now, 401)
        if not user:
            return
        if user != name:
            raise RefusedError(403, "To names another user")
        self._registrations.request(server, message, user, now)

    def _options(self, server: ServerTransaction, message: Message, now: float) -> None:
        """OPTIONS to the proxy itself (section 11)."""
        self.refuse(server, message, 200, now, headers=(("Allow", ALLOW), ("Accept", "application/sdp"), ("Supported", "path, outbound")))

    def _cancel(self, server: ServerTransaction, message: Message, now: float) -> None:
        cancelled = self.transactions.cancelled(message)
        if cancelled is None:
            if self._handing.give(message, server.source, self._way.former(server.source)):
                server.abandon()
                return
            raise RefusedError(481)
        self.refuse(server, message, 200, now)
        forwarding = cancelled.user
        if isinstance(forwarding, Forwarding | Sending):
            forwarding.cancel(now, message.get("reason") or "")

    def drop_banned(self, flow: Flow, now: float) -> None:
        """A message of a banned source: not answered; a connection is closed."""
        self.counters.banned += 1
        self._report.want(now)
        if flow.connection:
            self.out.append(Close(flow))

    def _answer_broken(self, error: MessageError, flow: Flow, now: float) -> None:
        """Answer what could not be taken, within bounds: an answer is no gift to whoever forges sources."""
        assert error.message is not None
        if int(now) != self._broken_second:
            self._broken_second, self._broken_answers = int(now), 0
        self._broken_answers += 1
        if self._broken_answers <= BROKEN_ANSWERS_PER_SECOND_MAX:
            self.out.append(Send(answer_broken(error.message, error.status, error.reason, flow, self.tokens.take()), flow))
