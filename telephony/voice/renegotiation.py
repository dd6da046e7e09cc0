"""Offers of ours to one party of a call that is established: it is told that it is on hold, or no longer (RFC 3264 section 8.4).

Rules:
- One offer at a time; what is wanted meanwhile is said after it.
- 491, or an offer of the party that has not been answered: again after the time of RFC 3261 section 14.1.
- A party that refuses is left as it is: what it hears does not depend on it.
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Proposal
from telephony.call_router.desk import Result
from telephony.sip.errors import StateError
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.sip.timers import Timer, cancel
from telephony.voice.legs import Direction
from telephony.voice.ringing import sdp_of

if TYPE_CHECKING:
    from telephony.voice.call import Call

_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode


class Renegotiation:
    """What one party is told.

    Args:
        leg: the party's, on the call's media processor.
    """

    __slots__ = ("_blocked", "_busy", "_call", "_leg", "_said", "_session", "_timer", "_trying", "_wanted")

    def __init__(self, call: "Call", session: Session, leg: str) -> None:
        self._call = call
        self._session = session
        self._leg = leg
        self._wanted: Direction = "sendrecv"
        self._said: Direction = "sendrecv"
        self._trying: Direction = "sendrecv"
        self._busy = False
        self._blocked = False
        """A change of the party's own is under way."""
        self._timer: Timer | None = None

    def want(self, direction: Direction, now: float) -> None:
        """From now on the party shall know this."""
        self._wanted = direction
        self.go_on(now)

    def go_on(self, now: float) -> None:
        """Say what is wanted, if it is not said yet and the party can hear it now."""
        if self._busy or self._wanted == self._said or self._session.state != "established" or not self._call.legs.has(self._leg):
            return
        cancel(self._timer)
        if not self._session.idle:
            self._blocked = True
            self._later(now)
            return
        self._blocked = False
        self._busy = True
        self._trying = self._wanted
        self._call.legs.propose(self._leg, self._proposed, direction=self._trying)

    def acknowledged(self, now: float) -> None:
        """The party's own change is over."""
        if self._blocked:
            self.go_on(now)

    def answered(self, status: int, message: Message | None, now: float) -> None:
        """The party's answer to our re-INVITE."""
        if not self._busy:
            return
        self._busy = False
        if status == 491:
            self._later(now)
            return
        self._said = self._trying
        if message is not None and status < 300 and (sdp := sdp_of(message)):
            self._call.legs.accept(self._leg, sdp, None)
        self.go_on(now)

    def stop(self) -> None:
        """The party has left."""
        cancel(self._timer)
        self._said = self._wanted

    def _proposed(self, result: Result, now: float) -> None:
        if not result.ok or self._session.state != "established":
            self._busy = False
            return
        try:
            self._session.reinvite(_decode_proposal(result.body).sdp, now=now)
        except StateError:
            self._busy = False
            self._later(now)

    def _later(self, now: float) -> None:
        cancel(self._timer)
        self._timer = self._call.desk.after(self._session.glare_seconds(), now, self.go_on)
