"""A phone of a scenario: an endpoint, and the verbs that a scenario has for it."""

import random
from collections.abc import Callable

from telephony.effects import Send
from telephony.sip.digest import Credentials
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event, InviteReceived, Rejected, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.session import Session
from telephony.sip.subscriber import Subscriber
from tests.telephony.voice.simulation import sdp

Address = tuple[str, int]


class Phone:
    """One user agent. Nothing is done by itself but what the endpoint does."""

    def __init__(self, name: str, user: str, address: Address, server: Address | None, realm: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.user = user
        self.address = address
        self.server = server
        """Where its requests go; None: to whom it calls."""
        self.realm = realm or address[0]
        self.password = f"{user} secret"
        self.endpoint = Endpoint(f"{address[0]}:{address[1]}", user=user, random=random.Random(name).randbytes)
        self.events: list[Event] = []
        self.session: Session | None = None
        """Its newest call."""
        self.watching: list[Subscriber] = []
        """What it has subscribed to."""
        self._clock = clock
        self._cseq = 1

    # A node of the link

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self.endpoint.receive(data, flow, now)

    def timeout(self, now: float) -> None:
        self.endpoint.timeout(now)

    def deadline(self) -> float | None:
        return self.endpoint.deadline()

    def take(self) -> list[Send]:
        sends: list[Send] = []
        for one in self.endpoint.take():
            if isinstance(one, Send):
                sends.append(one)
                continue
            self.events.append(one)
            if isinstance(one, InviteReceived):
                self.session = one.session
            elif isinstance(one, ResponseReceived) and one.message is not None and one.message.cseq_method == "REGISTER":
                self._cseq = one.message.cseq + 1
        return sends

    # What it does

    def register(self, contacts: list[str], expires: str = "", password: str = "") -> None:
        """REGISTER; the contacts as written, none of them: a query."""
        headers = [("Contact", contact) for contact in contacts]
        if expires:
            headers.append(("Expires", expires))
        party = f"<sip:{self.user}@{self.realm}>"
        self.endpoint.request(
            "REGISTER", f"sip:{self.realm}", party, party, self.flow(self.server), now=self._clock(), headers=headers,
            credentials=Credentials(self.user, password or self.password), call_id=f"registration-of-{self.name}", cseq=self._cseq,
        )  # fmt: skip

    def call(self, uri: str, through: Address | None, offer: bool) -> None:
        """INVITE."""
        self.session = self.endpoint.invite(
            uri, f"<sip:{self.user}@{self.realm}>", f"<{uri}>", self.flow(through), now=self._clock(), body=self.sdp if offer else b"",
            credentials=Credentials(self.user, self.password),
        )  # fmt: skip

    def message(self, uri: str, text: str) -> None:
        """MESSAGE outside of any call."""
        self.endpoint.request(
            "MESSAGE", uri, f"<sip:{self.user}@{self.realm}>", f"<{uri}>", self.flow(self.server), now=self._clock(),
            body=text.encode(), content_type="text/plain", credentials=Credentials(self.user, self.password),
        )  # fmt: skip

    def watch(self, uri: str, package: str) -> None:
        """SUBSCRIBE."""
        self.watching.append(
            self.endpoint.subscribe(
                package, uri, f"<sip:{self.user}@{self.realm}>", f"<{uri}>", self.flow(self.server), now=self._clock(),
                credentials=Credentials(self.user, self.password),
            )
        )  # fmt: skip

    def move(self, address: Address) -> None:
        """It has another address from now on."""
        self.address = address
        self.endpoint.sent_by = f"{address[0]}:{address[1]}"
        self.endpoint._contact = f"{self.user}@{self.endpoint.sent_by}"

    @property
    def call_of(self) -> Session:
        """Its newest call, which there must be."""
        assert self.session is not None, f"{self.name} has no call"
        return self.session

    @property
    def sdp(self) -> bytes:
        """Its offer or answer."""
        return sdp(40000 + 2 * int(self.user))

    @property
    def refused(self) -> int:
        """Status by which its last call or request was refused; 0: none was."""
        found = [one.status for one in self.events if isinstance(one, Rejected | ResponseReceived) and one.status >= 300]
        return found[-1] if found else 0

    @property
    def contacts(self) -> int:
        """Contacts in the last answer to its REGISTER."""
        answers = [one.message for one in self.events if isinstance(one, ResponseReceived) and one.message is not None]
        registered = [message for message in answers if message.cseq_method == "REGISTER"]
        return len(registered[-1].get_all("contact")) if registered else 0

    def flow(self, to: Address | None) -> Flow:
        """The way to an address."""
        assert to is not None, f"{self.name} has no way there"
        return Flow("udp", "sip", *to)
