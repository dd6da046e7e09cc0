"""Steps of a transfer: one side sends the other one elsewhere by REFER (RFC 3515, RFC 5589), and is told how that goes.

| state | waits for | then |
| --- | --- | --- |
| transferring | where the target is (routing) | referring; or the states of a call to a service |
| referring | an answer | completing |
| completing | both legs to hear each other | talking |

Rules:
- We carry it out ourselves; REFER is not passed on. Who is sent elsewhere takes the caller's part, who sent it the callee's.
- The target's INVITE bears Referred-By (RFC 3892), and Replaces where the Refer-To says so (attended, RFC 3891): it goes to the
  router whose mark the replaced dialog bears, which may be this one.
- Who transfers may hang up at once; the other side then hears music or ringing until there is an answer.
- A transfer that fails leaves the call as it was; without the one who began it, it ends.
- After the last NOTIFY we wait `LEAVE_SECONDS` for the BYE of who transferred, then send one.
- NOTIFY says the best that is known (RFC 3515 section 2.4.5); none is sent for ``Refer-Sub: false`` (RFC 4488).
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Bridge, Echo, Play
from telephony.call_router import failure
from telephony.call_router.desk import Result
from telephony.jobs.routing import Decision, Route, Target
from telephony.sip.address import Address
from telephony.sip.message import Message
from telephony.sip.notifier import Notifier
from telephony.sip.refer import FRAGMENT, ReferTo, fragment, read_refer
from telephony.sip.request import ServerRequest
from telephony.sip.session import Session
from telephony.sip.uri import Uri
from telephony.voice import callee, conference, leaving, talking, waiting
from telephony.voice.ringing import Fork
from telephony.voice.step import Step

if TYPE_CHECKING:
    from telephony.voice.call import Call

LEAVE_SECONDS = 4.0
NOTIFY_SECONDS = 240
"""How long a transfer may be told of: longer than anybody is rung."""
_decode_decision = msgspec.msgpack.Decoder(Decision).decode
_DONE = (("Reason", 'SIP;cause=200;text="Call transferred"'),)


class Transfer:
    """One REFER that is being carried out."""

    def __init__(self, transferor: Fork, notifier: Notifier | None, before: Decision, headers: tuple[tuple[str, str], ...]) -> None:
        self.transferor: Fork | None = transferor
        """Who asked; None: gone."""
        self.by = transferor.user
        self.before = before
        """What the call was routed to until now."""
        self.headers = headers
        """Of the INVITE to the target."""
        self.joining: Fork | None = None
        """The target that has answered."""
        self.rang = False
        self._notifier = notifier
        self._said = 0

    def say(self, status: int, now: float) -> None:
        """Tell how it goes: a provisional status, or the final one."""
        if self._notifier is None or status == self._said:
            return
        self._said = status
        if status < 200:
            self._notifier.notify(fragment(status), FRAGMENT, now=now)
        else:
            self._notifier.end("noresource", now=now, body=fragment(status), content_type=FRAGMENT)


def caller_referred(call: "Call", now: float, request: ServerRequest, message: Message) -> str:
    """REFER of the caller."""
    return _referred(call, now, call.caller, request, message)


def callee_referred(call: "Call", now: float, fork: Fork, request: ServerRequest, message: Message) -> str:
    """REFER of the callee."""
    if fork is not call.peer or fork.session is None:
        request.respond(481, now=now)
        return call.state
    return _referred(call, now, fork.session, request, message)


def _referred(call: "Call", now: float, session: Session, request: ServerRequest, message: Message) -> str:
    refer = read_refer(message)
    if isinstance(refer, int):
        request.respond(refer, now=now)
        return call.state
    if call.transfer is not None:
        request.respond(491, now=now)
        return call.state
    if call.state != "talking" or call.peer is None or session.state != "established":
        request.respond(603, "There is nobody to send elsewhere", now=now)
        return call.state
    endpoint = call.desk.endpoint
    silent = refer.silent
    contact = ("Contact", endpoint.contact_for(session.flow))
    request.respond(202, now=now, headers=(contact, ("Refer-Sub", "false")) if silent else (contact,))
    notifier: Notifier | None = None
    if not silent:
        notifier = Notifier(endpoint, session.dialog, session.flow, f"refer;id={message.cseq}", NOTIFY_SECONDS, None)
        endpoint.subscriptions.add(notifier)
        notifier.accept(NOTIFY_SECONDS, now=now)
    if session is call.caller:
        _turn_round(call)
    return _begin(call, now, refer, notifier, message.get("referred-by"))


def _begin(call: "Call", now: float, refer: ReferTo, notifier: Notifier | None, referred_by: str | None) -> str:
    assert call.peer is not None
    by = call.peer.user
    realm = call.desk.configuration.realm
    headers: list[tuple[str, str]] = []
    if referred_by or by:
        headers.append(("Referred-By", referred_by or f"<{Uri.of(by, realm)}>"))
    if refer.replaces:
        headers += [("Replaces", refer.replaces), ("Require", "replaces")]
    call.transfer = Transfer(call.peer, notifier, call.decision, tuple(headers))
    call.transfer.say(100, now)
    user = refer.uri.username
    if refer.replaces:
        configuration = call.desk.configuration
        target = Target(contact=str(Uri.of(user, configuration.public_host, configuration.public_port)), path="")
        return _go(call, now, Decision(action="user", target=user, targets=[target]))
    route = Route(method="INVITE", user=user, host=refer.uri.host, caller=by, hops=call.hops)
    call.ask("routing", "route", route, "transfer-routed")
    return "transferring"


def routed(call: "Call", now: float, result: Result) -> str:
    """Where the target is."""
    if not result.ok:
        return failed(call, failure.of_job("routing", result.status), now)
    return _go(call, now, _decode_decision(result.body))


def _go(call: "Call", now: float, decision: Decision) -> str:
    assert call.transfer is not None
    call.decision = decision
    if decision.action == "conference":
        return conference.begin(call)
    if decision.action == "queue":
        return waiting.begin(call)
    if decision.action in ("user", "outside"):
        callee.ring(call, decision.target, callee.RING_SECONDS, now, call.transfer.headers)
        return "referring"
    return call.connect(Echo() if decision.action == "echo" else Play(source="music"))


def rang(call: "Call", now: float, fork: Fork, status: int, message: Message) -> str:
    """The target rings: who waits alone, or on hold, hears it."""
    transfer = call.transfer
    assert transfer is not None
    transfer.say(status, now)
    call.advance(callee.rung(call), "early")
    sdp = fork.keep_early(message)
    if call.peer is not None and call.peer.leg not in call.held:
        return call.state  # the two go on talking until there is an answer
    if sdp:
        call.legs.accept(fork.leg, sdp, None)
        call.legs.connect(call.leg, Bridge(leg=fork.leg), None)
    elif not transfer.rang:
        call.legs.connect(call.leg, Play(source="ring-back"), None)
    transfer.rang = True
    return call.state


def answered(call: "Call", now: float, fork: Fork, message: Message) -> str:
    """The target has answered."""
    transfer = call.transfer
    if fork.over or call.ringing is None or transfer is None:
        return callee.too_late(call, now, fork)
    call.ringing.won(fork, now)
    call.ringing = None
    transfer.joining = fork
    fork.user = callee.rung(call)
    call.advance(fork.user, "confirmed")
    callee.join_legs(call, fork, message)
    return "completing"


def bridged(call: "Call", now: float, result: Result) -> str:
    """Both hear each other, or cannot."""
    transfer = call.transfer
    assert transfer is not None
    fork, transfer.joining = transfer.joining, None
    assert fork is not None
    if not result.ok:
        callee.drop(call, fork, now, 488)
        return failed(call, failure.of_job("media_processor", result.status), now)
    arrived(call, call.decision.target, now)
    call.peer = fork
    talking.join(call, now)
    return "talking"


def ended(call: "Call", now: float, fork: Fork, reason: str, message: Message | None) -> str:
    """The target hung up while it was being joined, or who transferred did."""
    transfer = call.transfer
    if transfer is None or fork is not transfer.joining:
        return leaving.left(call, now, fork)
    transfer.joining = None
    callee.drop(call, fork, now, 480)
    return failed(call, 480, now)


def nobody(call: "Call", now: float, status: int) -> str:
    """The target did not answer."""
    return failed(call, status, now)


def arrived(call: "Call", by: str, now: float) -> None:
    """Who was sent elsewhere is there."""
    transfer, call.transfer = call.transfer, None
    assert transfer is not None
    transfer.say(200, now)
    call.record.transferred(transfer.by, by, now)
    fork = transfer.transferor
    call.peer = None
    call.held.clear()
    if fork is not None:
        call.unmark(fork.user)
        call.leave(fork, LEAVE_SECONDS, _DONE, now)
    call.tell(call.caller, call.leg, "sendrecv", now)


def failed(call: "Call", status: int, now: float) -> str:
    """It came to nothing: back to who began it, if he is still there."""
    transfer, call.transfer = call.transfer, None
    assert transfer is not None
    transfer.say(status, now)
    if call.ringing is not None:
        call.ringing.stop(now)
        call.ringing = None
    if call.room:
        call.calls.rooms.leave(call)
        call.room = ""
    if call.decision is not transfer.before:
        call.unmark(callee.rung(call))
        call.decision = transfer.before
    fork = transfer.transferor
    if fork is None or not call.legs.has(fork.leg):
        return call.finish("transfer-failed", status, now, (("Reason", f"SIP;cause={status}"),))
    call.peer = fork
    talking.join(call, now)
    return "talking"


def abandon(call: "Call", now: float, headers: tuple[tuple[str, str], ...]) -> None:
    """The call is over while it is under way."""
    transfer, call.transfer = call.transfer, None
    assert transfer is not None
    transfer.say(487, now)
    if transfer.joining is not None and transfer.joining.session is not None:
        transfer.joining.session.end(now=now, headers=headers)


def _turn_round(call: "Call") -> None:
    """Caller and callee change parts."""
    peer = call.peer
    assert peer is not None and peer.session is not None
    fork = Fork(call.leg, Target(contact="", path=""))
    fork.session, fork.user = call.caller, call.user
    call.caller, call.leg, call.user = peer.session, peer.leg, peer.user
    call.from_ = Address.parse(peer.session.remote)._replace(parameters=())
    call.caller.context = (call, None)
    fork.session.context = (call, fork)
    call.peer = fork


STEPS: dict[tuple[str, str], Step] = {
    ("transferring", "transfer-routed"): routed,
    ("referring", "callee-rang"): rang,
    ("referring", "callee-answered"): answered,
    ("referring", "callee-rejected"): callee.rejected,
    ("referring", "failed"): nobody,
    ("completing", "bridged"): bridged,
    ("completing", "callee-ended"): ended,
}
ANYWHERE: dict[str, Step] = {
    "caller-referred": caller_referred,
    "callee-referred": callee_referred,
    "callee-ended": leaving.left,
}
