"""A phone of the tests: the endpoint of `telephony.sip` on a real UDP socket, driven by the test."""

import select
import socket
import time
from collections.abc import Callable

from telephony.effects import Send
from telephony.sip.digest import Credentials
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event, InviteReceived, RequestReceived, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.request import ClientRequest
from telephony.sip.session import Session

WAIT_SECONDS = 10.0
REALM = "hotswitch"


class Phone:
    """One user at one address.

    Args:
        proxy: address that users know.
    """

    def __init__(self, proxy: tuple[str, int], user: str, password: str = "") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))
        self.user = user
        self.flow = Flow("udp", "phone", *proxy)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.endpoint = Endpoint(self.address, user=user)
        self.credentials = Credentials(user, password) if password else None
        self.events: list[Event] = []
        self.own = f"<sip:{user}@{REALM if password else self.address}>"
        """What it says it is; a guest is nobody of the realm."""
        self.answers = True
        """It answers calls at once."""
        self.messages: list[bytes] = []
        self.sessions: list[Session] = []

    @property
    def sdp(self) -> bytes:
        port = self.rtp.getsockname()[1]
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=audio {port} RTP/AVP 0", "a=sendrecv", ""]
        return "\r\n".join(lines).encode()

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> ClientRequest:
        """Send a request and wait for its final response (`status`)."""
        request = self.endpoint.request(
            method,
            target,
            self.own,
            self.own if method == "REGISTER" else f"<{target}>",
            self.flow,
            now=time.time(),
            headers=list(headers.items()),
            body=body,
            content_type="text/plain" if body else "",
            credentials=self.credentials,
        )
        self.until(lambda: self.status(request) >= 200)
        return request

    def status(self, request: ClientRequest) -> int:
        """Status of the last response to a request; 0: none came."""
        return max([event.status for event in self.events if isinstance(event, ResponseReceived) and event.request is request], default=0)

    def register(self, seconds: int = 300) -> int:
        request = self.request("REGISTER", f"sip:{REALM}", Contact=f"<sip:{self.user}@{self.address}>", Expires=str(seconds))
        return self.status(request)

    def call(self, user: str, wait: bool = True) -> Session:
        """Call somebody; wait until it is answered or refused."""
        session = self.endpoint.invite(
            f"sip:{user}@{REALM}",
            self.own,
            f"<sip:{user}@{REALM}>",
            self.flow,
            now=time.time(),
            body=self.sdp,
            credentials=self.credentials,
        )
        self.sessions.append(session)
        if wait:
            self.until(lambda: session.state in ("established", "ended"))
        return session

    def hang_up(self, session: Session) -> None:
        session.end(now=time.time())
        self.until(lambda: session.state == "ended")

    def named(self, name: str) -> list[Event]:
        """Events of this name."""
        return [event for event in self.events if type(event).__name__ == name]

    def until(self, condition: Callable[[], bool], *others: "Phone", seconds: float = WAIT_SECONDS) -> None:
        """Go on until the condition holds; other phones go on meanwhile."""
        end = time.monotonic() + seconds
        phones = [self, *others]
        while not condition():
            assert time.monotonic() < end, f"{self.user} waited in vain; events {[type(event).__name__ for event in self.events]}"
            for phone in phones:
                phone.work()
            select.select([phone.socket for phone in phones], [], [], 0.02)

    def work(self) -> None:
        """Send what is to be sent, read what is there."""
        while select.select([self.socket], [], [], 0)[0]:
            data, (host, port) = self.socket.recvfrom(65535)
            self.endpoint.receive(data, Flow("udp", "phone", host, port), time.time())
            self._take()
        self.endpoint.timeout(time.time())
        self._take()

    def close(self) -> None:
        self.socket.close()
        self.rtp.close()

    def _take(self) -> None:
        while taken := self.endpoint.take():
            for one in taken:
                if isinstance(one, Send):
                    self.socket.sendto(one.data, (one.flow.host, one.flow.port))
                    continue
                self.events.append(one)
                if isinstance(one, InviteReceived):
                    self.sessions.append(one.session)
                    one.session.progress(180, now=time.time())
                    if self.answers:
                        one.session.accept(self.sdp, now=time.time())
                elif isinstance(one, RequestReceived):
                    self.messages.append(one.message.body)
                    one.request.respond(200, now=time.time())
