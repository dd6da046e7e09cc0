"""What the behaviour of a platform works with: SIP, jobs, timers, notifications. It belongs to one call router."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from telephony.call_router.ledger import Ledger
from telephony.config import CallRouterConfiguration
from telephony.effects import Ask, Effect, Notify
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.timers import Timer
from telephony.sip.uri import Uri

JOB_SECONDS = 3.0
HOPS_HEADER = "hotswitch-hops"
"""How often a request has gone through a call router: a B2BUA starts Max-Forwards afresh, so it counts by itself."""

encode = msgspec.msgpack.Encoder().encode


class Result(NamedTuple):
    """The answer to a job."""

    status: str
    """``ok``, or an error word."""
    body: bytes
    worker: str
    """Who did it."""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


Done = Callable[[Result, float], None]


class Desk:
    """One call router's means.

    Args:
        endpoint: its SIP side.
        configuration: changes with `CallRouter.configure`.
        ledger: where calls are noted that shall outlive this process; None: none shall.
    """

    def __init__(self, endpoint: Endpoint, configuration: CallRouterConfiguration, ledger: Ledger | None = None) -> None:
        self.ledger = ledger
        self.endpoint = endpoint
        self.configuration = configuration
        self.draining = False
        self.effects: list[Effect] = []
        self._number = 0
        self._asked: dict[int, Done | None] = {}
        self._at_end: list[Callable[[], None]] = []

    def ask(
        self,
        kind: str,
        operation: str,
        body: msgspec.Struct,
        done: Done | None,
        *,
        worker: str = "",
        key: str = "",
        timeout_seconds: float = JOB_SECONDS,
    ) -> None:
        """Submit a job; ``done(result, now)`` is called once, at its time limit at the latest. None: nobody waits for it."""
        self._number = number = self._number + 1
        self._asked[number] = done
        self.effects.append(Ask(number, kind, operation, encode(body), worker, key, timeout_seconds))

    def answered(self, number: int, result: Result, now: float) -> None:
        """A job has its answer."""
        done = self._asked.pop(number, None)
        if done is not None:
            done(result, now)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call this when all that came in this turn is handled: several jobs for one service become one."""
        self._at_end.append(callback)

    def end_turn(self) -> None:
        """All that came in this turn is handled."""
        while self._at_end:
            callbacks, self._at_end = self._at_end, []
            for callback in callbacks:
                callback()

    def notify(self, body: dict[str, object]) -> None:
        """Tell the controller."""
        self.effects.append(Notify(body))

    def after(self, seconds: float, now: float, callback: Callable[[float], None]) -> Timer:
        """Call ``callback(now)`` in so many seconds; see `telephony.sip.timers.cancel`."""
        return self.endpoint.timers.start(now, seconds, callback)

    def flow_to(self, path: str) -> Flow:
        """Where a request with this Route goes first: the address that it names, else a proxy of ours.

        Raises:
            LookupError: it names no address, and no proxy is known.
        """
        if path:
            first = path.strip()
            uri = Uri.parse(first[1 : first.index(">")] if first.startswith("<") and ">" in first else first)
            if uri.host and uri.host.replace(".", "").replace(":", "").isalnum() and uri.host[-1] in "0123456789abcdef:":
                return Flow("udp", "sip-udp", uri.host, uri.port or 5060)
        if not self.configuration.proxies:
            raise LookupError("no proxy takes outbound requests")
        proxy = self.configuration.proxies[0]
        return Flow("udp", "sip-udp", proxy.host, proxy.port)


class Behaviour(Protocol):
    """What a platform's call router does."""

    def sip(self, event: Event, now: float) -> None:
        """Something happened on the SIP side."""

    def told(self, sender: str, operation: str, body: bytes, now: float) -> None:
        """A dependent told something."""

    def resume(self, now: float) -> None:
        """Go on with what the process before has left; called once, first."""

    def end_all(self, now: float) -> None:
        """End what is still there, in order, with its cause."""

    def remaining(self) -> int:
        """Calls, or whatever it carries."""


def caller_of(message: Message) -> str:
    """The authenticated user who sent a request, as the proxy asserts it (RFC 3325); empty: a guest."""
    value = message.get("p-asserted-identity")
    if value is None:
        return ""
    try:
        return Uri.parse(value.strip().strip("<>")).username
    except ValueError:
        return ""


def hops_of(message: Message) -> int:
    """How often a request has gone through a call router."""
    value = message.get(HOPS_HEADER) or "0"
    return int(value) if value.isascii() and value.isdigit() and len(value) < 4 else 0
