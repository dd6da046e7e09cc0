"""An established session as a value, and back: for a process that goes on with the calls of the one before.

Rules:
- Requests of ours after it are numbered from well above the last number that was noted: a peer takes a gap (RFC 3261 section
  12.2.2), but no number twice.
- A re-INVITE that was under way is not resumed: its sender repeats it, or gives up.
"""

from typing import TYPE_CHECKING, NamedTuple

from telephony.sip.dialog import Dialog
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_request
from telephony.sip.session import Session

if TYPE_CHECKING:
    from telephony.sip.endpoint import Endpoint

GAP = 1000
"""Added to the number of our last request."""


class Kept(NamedTuple):
    """What has to be known of an established session."""

    id: str
    call_id: str
    local: str
    remote: str
    local_cseq: int
    remote_cseq: int
    remote_target: str
    route_set: list[str]
    transport: str
    socket: str
    host: str
    port: int
    outgoing: bool
    allow: str
    """Methods of the peer."""
    seconds: int
    """Interval of the session timer; 0: none."""
    refreshing: bool
    body: bytes
    """Our last offer or answer."""


def keep(session: Session) -> Kept:
    """A session as it is now."""
    dialog, flow, timer = session.dialog, session.flow, session.timer
    return Kept(
        session.id,
        dialog.call_id,
        dialog.local,
        dialog.remote,
        dialog.local_cseq,
        dialog.remote_cseq,
        dialog.remote_target,
        dialog.route_set,
        flow.transport,
        flow.socket,
        flow.host,
        flow.port,
        session.outgoing,
        session.peer_allow,
        timer.seconds,
        timer.refreshing,
        session.last_body,
    )


def resume(endpoint: "Endpoint", kept: Kept, now: float) -> Session:
    """The session again.

    Raises:
        ValueError: it is not one that `keep` has made.
    """
    dialog = Dialog(kept.call_id, kept.local, kept.remote, kept.local_cseq + GAP, kept.remote_target)
    dialog.remote_cseq = kept.remote_cseq
    dialog.route_set = kept.route_set
    if not dialog.local_tag or not dialog.remote_tag:
        raise ValueError("a session without tags")
    invite = _invite(kept)
    session = Session(endpoint, kept.id, dialog, Flow(kept.transport, kept.socket, kept.host, kept.port), invite, kept.outgoing)
    session.resumed(kept.body, invite)
    session.timer.resume(kept.seconds, kept.refreshing, now)
    endpoint.add(session)
    return session


def _invite(kept: Kept) -> Message:
    """What is still asked of the first INVITE, or of its answer: the peer's methods."""
    from_, to = (kept.local, kept.remote) if kept.outgoing else (kept.remote, kept.local)
    lines = [
        ("Via", "SIP/2.0/UDP resumed;branch=z9hG4bKresumed"),
        ("From", from_),
        ("To", to),
        ("Call-ID", kept.call_id),
        ("CSeq", "0 INVITE"),
    ]
    if kept.allow:
        lines.append(("Allow", kept.allow))
    return make_request("INVITE", kept.remote_target, lines)
