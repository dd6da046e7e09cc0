"""A user agent, both client and server, without a socket (RFC 3261 sections 8, 9, 12 to 15).

`receive`, `closed` and `timeout` put bytes and time in; `take` gives what shall happen, in order: `Send` and `Close`
(effects for the shell) and the events of `telephony.sip.events` (for the owner).
"""

import secrets
from collections.abc import Callable, Sequence

from telephony.effects import Close, Send
from telephony.sip.digest import Credentials
from telephony.sip.events import Event
from telephony.sip.flow import Flow
from telephony.sip.message import Headers
from telephony.sip.request import ClientRequest
from telephony.sip.session import Session


class Endpoint:
    """One user agent with any number of sessions; the cost of a message does not depend on their number."""

    sessions: dict[str, Session]
    """Every session that is not over, by its id."""

    def __init__(
        self,
        contact: str,
        *,
        user_agent: str = "Hotswitch",
        user: str = "",
        random: Callable[[int], bytes] = secrets.token_bytes,
        next_hop: "Callable[[str, Flow], Flow] | None" = None,
    ) -> None:
        """
        Args:
            contact: ``host:port`` for Contact and Via sent-by.
            user_agent: value of User-Agent and Server; empty: neither is sent.
            user: user part of the Contact; empty: none.
            random: gives that many unguessable bytes (tags, branches, Call-IDs).
            next_hop: flow for a request within a dialog, given the URI it goes to first (top Route or remote target)
                and the flow of the dialog's last message; None: the URI where it is an IP address reached by the
                same transport, else the flow.
        """

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One datagram or framed message; what is broken is answered (requests) or dropped, never raised."""

    def closed(self, flow: Flow, now: float) -> None:
        """A connection ended or could not be opened: requests in flight on it fail with 503."""

    def timeout(self, now: float) -> None:
        """Run the timers that are due."""

    def deadline(self) -> float | None:
        """When `timeout` is wanted next; None: never."""
        return None

    def take(self) -> list[Send | Close | Event]:
        """What shall happen, in order, since the last call."""
        return []

    def invite(
        self,
        target: str,
        from_: str,
        to: str,
        flow: Flow,
        *,
        now: float,
        route: Sequence[str] = (),
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "application/sdp",
        credentials: Credentials | None = None,
        call_id: str = "",
    ) -> Session:
        """Start a call.

        Args:
            target: Request-URI.
            from_: From value without tag (``"Alice" <sip:1001@example.com>``).
            to: To value.
            flow: where the INVITE is sent.
            route: Route values, ``<sip:...;lr>``.
            body: offer; empty: a late offer is asked for (see `Session.acknowledge`).
            credentials: answers 401 and 407 without a word to the owner.

        Raises:
            ValueError: a value would break the message.
        """
        raise RuntimeError

    def request(
        self,
        method: str,
        target: str,
        from_: str,
        to: str,
        flow: Flow,
        *,
        now: float,
        route: Sequence[str] = (),
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        credentials: Credentials | None = None,
        call_id: str = "",
        cseq: int = 0,
        contact: bool = False,
    ) -> ClientRequest:
        """Send a request outside of any session (REGISTER, MESSAGE, OPTIONS, ...); `ResponseReceived` follows.

        ``call_id`` and ``cseq`` continue an earlier one (REGISTER refreshes); ``contact`` adds our Contact.
        """
        raise RuntimeError
