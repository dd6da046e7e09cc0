"""A session: one INVITE and the dialog that it makes, seen from one user agent (RFC 3261 sections 12 to 15)."""

from typing import Any

from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message
from telephony.sip.request import ClientRequest


class Session:
    """Made by `Endpoint.invite` or handed out by `InviteReceived`. Every action takes the time (`now`, seconds)."""

    id: str
    """Unique within the endpoint, unguessable."""
    outgoing: bool
    """True: we sent the INVITE."""
    state: str
    """``calling``, ``ringing``, ``established``, ``ending``, ``ended``."""
    local: str
    """Our From/To value, with our tag."""
    remote: str
    """The peer's From/To value; with its tag once it is known."""
    remote_target: str
    """URI of the peer's Contact: Request-URI of what we send within the dialog."""
    call_id: str
    flow: Flow
    """Where requests within the dialog go by now."""
    invite: Message
    """The INVITE, as sent or received."""
    context: Any
    """For the owner: whatever it wants to find again in an event."""

    def progress(
        self, status: int = 180, body: bytes = b"", *, now: float, headers: Headers = (), content_type: str = "application/sdp"
    ) -> None:
        """Send a provisional response (incoming, not answered yet)."""

    def accept(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = "application/sdp") -> None:
        """Answer 200; it is repeated until the ACK comes (`Acknowledged`), for 32 s at most (then `Ended`, ``no-ack``)."""

    def reject(self, status: int, reason: str | None = None, *, now: float, headers: Headers = ()) -> None:
        """Refuse an incoming INVITE by a final response of 300 or above."""

    def cancel(self, *, now: float, headers: Headers = ()) -> None:
        """Give up an outgoing INVITE. CANCEL waits for the first provisional response; the end is always `Rejected`.

        A 2xx that crosses it is acknowledged and ended by BYE without a word to the owner but `Rejected` with 487.
        """

    def bye(self, *, now: float, headers: Headers = ()) -> None:
        """End an established session; `ByeAnswered` follows. Add a Reason header by ``headers`` (RFC 3326)."""

    def end(self, status: int = 480, *, now: float, headers: Headers = ()) -> None:
        """Whatever ends the session in its present state: reject with ``status``, cancel, or bye; nothing if it is over."""

    def acknowledge(self, body: bytes, *, now: float, content_type: str = "application/sdp") -> None:
        """Send the ACK of a 2xx whose INVITE (or re-INVITE) had no body: ``body`` is the answer to the offer in the 2xx."""

    def reinvite(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = "application/sdp") -> None:
        """Change the session by a re-INVITE; an empty body asks for the peer's offer. `ReinviteAnswered` follows.

        Raises:
            StateError: another re-INVITE is under way in either direction, or the session is not established.
        """

    def update(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = "application/sdp") -> None:
        """Change the session by UPDATE (RFC 3311), early or established. `ReinviteAnswered` follows."""

    def answer_reinvite(self, body: bytes, *, now: float, headers: Headers = (), content_type: str = "application/sdp") -> None:
        """Answer `ReinviteReceived` by 200."""

    def reject_reinvite(self, status: int = 488, reason: str | None = None, *, now: float, headers: Headers = ()) -> None:
        """Refuse `ReinviteReceived`; the session goes on as before."""

    def info(self, body: bytes, *, now: float, content_type: str = "application/dtmf-relay", headers: Headers = ()) -> ClientRequest:
        """Send INFO; `ResponseReceived` follows."""
        raise RuntimeError

    def request(self, method: str, body: bytes = b"", *, now: float, headers: Headers = (), content_type: str = "") -> ClientRequest:
        """Send another request within the dialog (REFER, NOTIFY, OPTIONS, MESSAGE); `ResponseReceived` follows."""
        raise RuntimeError
