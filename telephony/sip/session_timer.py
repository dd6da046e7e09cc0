"""Session timers (RFC 4028): a session whose peer has vanished ends by itself.

Rules:
- One side refreshes, by UPDATE without a body, or by re-INVITE with the last body where the peer takes no UPDATE; at
  half of the interval. The other one ends the session by BYE shortly before the interval is over (section 10).
- As callee we take the caller's interval; the caller refreshes if it can. Where the owner wants an interval (`Endpoint`'s
  ``session_seconds``) we ask for it as caller, and use it as callee of a caller that asks for none; whoever knows no
  session timers is refreshed by us all the same. 422 is answered by the interval that it names.
- A refresh that meets the peer's re-INVITE (491) is tried again (RFC 3261 section 14.1).
- Refreshes are our own matter: the owner hears of none of ours.
"""

from typing import TYPE_CHECKING

from telephony.sip.errors import MessageError, StateError
from telephony.sip.message import Message
from telephony.sip.text import parameter
from telephony.sip.timers import Timer, cancel

if TYPE_CHECKING:
    from telephony.sip.session import Session

INTERVAL_SECONDS_MIN = 90
"""Section 5: the smallest Min-SE."""
MARGIN_SECONDS_MAX = 32.0
"""Section 10: BYE goes out so long before the interval is over, or a third of it if that is less."""


class SessionTimer:
    """The timer of one session; idle until an interval has been agreed on."""

    __slots__ = ("_refreshing", "_seconds", "_session", "_timer")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._seconds = 0
        self._refreshing = False
        self._timer: Timer | None = None

    @property
    def seconds(self) -> int:
        """The interval; 0: none is agreed on."""
        return self._seconds if self._timer is not None else 0

    @property
    def refreshing(self) -> bool:
        """It is us who refresh."""
        return self._refreshing

    def resume(self, seconds: int, refreshing: bool, now: float) -> None:
        """Go on in another process: as if it had been refreshed now."""
        if seconds:
            self._start(seconds, refreshing, now)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What our INVITE and our refreshes ask for."""
        if not self._seconds:
            return []
        return [("Session-Expires", f"{self._seconds};refresher=uac" if self._refreshing else f"{self._seconds}")]

    def ask(self, seconds: int) -> list[tuple[str, str]]:
        """Headers of an INVITE that asks for an interval; none for 0."""
        self._seconds = seconds
        if not seconds:
            return []
        return [("Session-Expires", str(seconds)), ("Min-SE", str(INTERVAL_SECONDS_MIN))]

    def answer(self, request: Message, now: float) -> list[tuple[str, str]]:
        """Headers of our 2xx to the peer's INVITE or UPDATE; (re)starts the timer.

        An interval that cannot be read counts as none.
        """
        seconds, refresher = _read(request)
        if not seconds:
            seconds, refresher = max(self._seconds or self._session.endpoint.session_seconds, minimum(request)), "uas"
        if not seconds:
            return []
        can = any(tag.strip().lower() == "timer" for value in request.get_lines("supported") for tag in value.split(","))
        ours = refresher == "uas" or not can
        self._start(seconds, ours, now)
        headers = [("Session-Expires", f"{seconds};refresher={'uas' if ours else 'uac'}")]
        return headers if ours else [*headers, ("Require", "timer")]

    def answered(self, response: Message, now: float) -> None:
        """The peer's 2xx to an INVITE or UPDATE of ours."""
        seconds, refresher = _read(response)
        if seconds:
            self._start(seconds, refresher != "uas", now)
        elif self._seconds:
            self._start(self._seconds, True, now)

    def refused(self, status: int, now: float) -> None:
        """A refresh by re-INVITE was refused: after 491 it is tried again; after all else the interval runs out."""
        if status == 491 and self._refreshing:
            self._session.endpoint.timers.start(now, self._session.glare_seconds(), self._again)

    def stop(self) -> None:
        """The session is over."""
        cancel(self._timer)
        self._timer = None

    def _start(self, seconds: int, refreshing: bool, now: float) -> None:
        self._seconds = seconds
        self._refreshing = refreshing
        self.stop()
        wait = seconds / 2 if refreshing else seconds - _margin(seconds)
        self._timer = self._session.endpoint.timers.start(now, wait, self._due)

    def _due(self, now: float) -> None:
        self._timer = None
        if self._session.state != "established":
            return
        if not self._refreshing:
            self._session.expired(now)
            return
        self._timer = self._session.endpoint.timers.start(
            now, self._seconds / 2 - min(MARGIN_SECONDS_MAX, self._seconds / 3), self._unrefreshed
        )
        self._again(now)

    def _again(self, now: float) -> None:
        if self._session.state != "established":
            return
        try:
            self._session.refresh(now)
        except StateError:  # a re-INVITE is under way: that refreshes as well
            return

    def _unrefreshed(self, now: float) -> None:
        """No refresh of ours was answered."""
        self._timer = None
        if self._session.state == "established":
            self._session.expired(now)


def _margin(seconds: int) -> float:
    return min(MARGIN_SECONDS_MAX, seconds / 3)


def too_small(request: Message) -> int:
    """The interval that we want at least, where a request asks for less (answer 422 with Min-SE); 0: it is fine."""
    seconds, _ = _read(request)
    return INTERVAL_SECONDS_MIN if 0 < seconds < INTERVAL_SECONDS_MIN else 0


def minimum(response: Message) -> int:
    """Min-SE of a 422; 0: it cannot be read."""
    try:
        return response.number("min-se") or 0
    except MessageError:
        return 0


def _read(message: Message) -> tuple[int, str]:
    try:
        seconds = message.number("session-expires") or 0
    except MessageError:
        return 0, ""
    value = message.get("session-expires") or ""
    return min(seconds, 86400), (parameter(value, "refresher") or "").lower()
