"""The outbound legs of a call: targets rung together or one group after the other, until one answers.

Rules:
- Targets of one q are rung together, best q first (RFC 3261 section 16.6); `TARGETS_MAX` in all.
- The first to answer wins; the others get CANCEL, and BYE where their answer crosses it.
- A 6xx ends the search. When nobody is left the best of the failures is handed back (`failure.better`).
- Phones are offered RTP in the clear. One that refuses that (488) is offered SRTP with keys in the description (RFC 4568), once.
- `STEP_SECONDS` without an answer ends one group's turn if there is another one.
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from media.control import Proposal
from telephony.call_router import failure
from telephony.call_router.desk import Desk, Result
from telephony.jobs.routing import Target
from telephony.sip.message import Message
from telephony.sip.session import Session
from telephony.sip.timers import Timer, cancel
from telephony.voice.legs import KIND, Legs, Protocol

TARGETS_MAX = 8
EARLY_MAX = 8
"""Branches of one leg's fork whose early answers are kept."""
STEP_SECONDS = 20.0
ELSEWHERE = (("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),)
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode


class Invitation(NamedTuple):
    """What all outbound legs of a search have in common."""

    from_: str
    """From value without tag."""
    to: str
    headers: tuple[tuple[str, str], ...]


class Fork:
    """One outbound leg."""

    __slots__ = ("early", "leg", "over", "protocol", "session", "target", "user")

    def __init__(self, leg: str, target: Target, protocol: Protocol | None = None) -> None:
        self.leg = leg
        """Its name on the media processor."""
        self.target = target
        # Who registered with RFC 5768's feature tag is a browser, or wants what one does.
        self.protocol: Protocol = protocol or ("UDP/TLS/RTP/SAVPF" if target.ice else "RTP/AVP")
        self.session: Session | None = None
        self.over = False
        self.user = ""
        """Who it is, once that is known; empty: a guest."""
        self.early: dict[str, bytes] = {}
        """Tag of a peer to its answer in a provisional response: a 2xx need not repeat it (RFC 6337 section 3.1.1)."""

    def keep_early(self, message: Message) -> bytes:
        """The answer in a provisional response, if it has one."""
        sdp = sdp_of(message)
        if sdp and (message.to_tag in self.early or len(self.early) < EARLY_MAX):
            self.early[message.to_tag] = sdp
        return sdp


class Ringing:
    """One search for somebody who answers.

    Args:
        owner: the call; first half of its sessions' ``context``, the fork is the second.
        targets: best first; at least one.
        seconds: after this it fails with ``no_answer``.
        failed: called with the status when nobody answers, once; not after `stop` or `won`.
    """

    def __init__(
        self,
        desk: Desk,
        legs: Legs,
        owner: object,
        name: str,
        targets: list[Target],
        invitation: Invitation,
        seconds: float,
        failed: Callable[[int, float], None],
    ) -> None:
        self._desk = desk
        self._legs = legs
        self._owner = owner
        self._name = name
        self._invitation = invitation
        self._failed = failed
        self._seconds = seconds
        ordered = sorted(targets, key=lambda target: -target.q)[:TARGETS_MAX]
        self._groups = [list(group) for _, group in groupby(ordered, key=lambda target: target.q)]
        self._forks: list[Fork] = []
        self._count = 0
        self._worst = 0
        self.reasons: tuple[tuple[str, str], ...] = ()
        """Reason headers of the failure that is handed back (RFC 6432)."""
        self._timer: Timer | None = None
        self._step: Timer | None = None
        self._over = False

    def start(self, now: float) -> None:
        """Ring the first group."""
        self._timer = self._desk.after(self._seconds, now, self._silent)
        self._next(now)

    @property
    def forks(self) -> list[Fork]:
        """Legs that are rung now."""
        return [fork for fork in self._forks if not fork.over]

    def rejected(self, fork: Fork, status: int, now: float, reasons: tuple[tuple[str, str], ...] = ()) -> None:
        """A leg failed."""
        if fork.over:
            return
        fork.over = True
        self._legs.release(fork.leg)
        if status in failure.FLOW_FAILED and fork.target.others and not self._over:
            first, *others = fork.target.others
            self._ring(replace(first, others=others))
            return
        if status == 488 and fork.protocol == "RTP/AVP" and fork.session is not None and not self._over:
            self._ring(fork.target, "RTP/SAVP")
            return
        self._blame(failure.of_peer(status), reasons)
        if status >= 600:
            self._end(now)
            self._failed(self._worst, now)
        elif not self.forks and not self._over:
            self._next(now)

    def won(self, fork: Fork, now: float) -> None:
        """This leg answered: it is the call's from now on, and the others are given up."""
        self._over = True
        self._forks.remove(fork)
        cancel(self._timer)
        cancel(self._step)
        for other in self.forks:
            self._give_up(other, now, ELSEWHERE)

    def stop(self, now: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Nobody shall be rung any longer; `failed` is not called."""
        self._end(now, headers)

    def _next(self, now: float) -> None:
        cancel(self._step)
        if self._over:
            return
        if not self._groups:
            self._end(now)
            self._failed(self._worst or 480, now)
            return
        if len(self._groups) > 1:
            self._step = self._desk.after(STEP_SECONDS, now, self._step_over)
        for target in self._groups.pop(0):
            self._ring(target)

    def _ring(self, target: Target, protocol: Protocol | None = None) -> None:
        self._count += 1
        fork = Fork(f"{self._name}.{self._count}", target, protocol)
        self._forks.append(fork)
        self._propose(fork)

    def _propose(self, fork: Fork) -> None:
        self._legs.propose(fork.leg, lambda result, now: self._proposed(fork, result, now), protocol=fork.protocol)

    def _proposed(self, fork: Fork, result: Result, now: float) -> None:
        if fork.over:
            self._legs.release(fork.leg)
            return
        if not result.ok:
            self.rejected(fork, failure.of_job(KIND, result.status), now)
            return
        target = fork.target
        try:
            path = target.path.strip()
            route = [path if path.startswith("<") else f"<{path}>"] if path else []
            fork.session = self._desk.endpoint.invite(
                target.contact,
                self._invitation.from_,
                self._invitation.to,
                self._desk.flow_to(target.path),
                now=now,
                route=route,
                headers=self._invitation.headers,
                body=_decode_proposal(result.body).sdp,
            )
        except (LookupError, ValueError):
            self.rejected(fork, 503, now)
            return
        fork.session.context = (self._owner, fork)

    def _blame(self, status: int, reasons: tuple[tuple[str, str], ...]) -> None:
        worst = failure.better(self._worst, status) if self._worst else status
        if worst != self._worst:
            self._worst, self.reasons = worst, reasons

    def _give_up(self, fork: Fork, now: float, headers: tuple[tuple[str, str], ...]) -> None:
        fork.over = True
        self._legs.release(fork.leg)
        if fork.session is not None:
            fork.session.end(now=now, headers=headers)

    def _end(self, now: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._over = True
        cancel(self._timer)
        cancel(self._step)
        for fork in self.forks:
            self._give_up(fork, now, headers)

    def _silent(self, now: float) -> None:
        self._end(now)
        self._failed(480, now)

    def _step_over(self, now: float) -> None:
        for fork in self.forks:
            self._give_up(fork, now, ())
        self._next(now)


def sdp_of(message: Message) -> bytes:
    """SDP of a message, if it has one."""
    return message.body if (message.get("content-type") or "").lower().startswith("application/sdp") else b""
