"""What a peer may ask within a session, and what is done about it (RFC 3261 sections 12.2.2, 14.2 and 15, RFC 3262, RFC 3311).

| request | answered by | with |
| --- | --- | --- |
| BYE | us | 200, the session is over; an INVITE that waits: 487 |
| re-INVITE, UPDATE with a body | the owner | 500 or 491 by us where one is under way already |
| UPDATE without a body | us | 200: the peer is alive, or has moved |
| PRACK | us | 200 if it acknowledges what we wait for, else 481 |
| INFO, OPTIONS | us | 200; INFO is told to the owner; 415 for a body, 469 for a package that it does not take (RFC 6086) |
| others | the owner | |

A request with a number below the last one is refused with 500.
"""

from typing import TYPE_CHECKING

from telephony.sip.errors import MessageError
from telephony.sip.events import Cancelled, Ended, InfoReceived, ReinviteReceived, Rejected, ReliablyAcknowledged, SessionRequestReceived
from telephony.sip.invitation import IncomingInvite
from telephony.sip.message import Message
from telephony.sip.request import ServerRequest
from telephony.sip.server_transaction import ServerTransaction

if TYPE_CHECKING:
    from telephony.sip.session import Session

RETRY_AFTER_SECONDS = 1
"""Told to a peer whose re-INVITE crosses one that it has under way itself (RFC 3261 section 14.2: 0 to 10)."""
_LATER = (("Retry-After", str(RETRY_AFTER_SECONDS)),)


def receive(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    """A request within the dialog, other than ACK and CANCEL.

    Raises:
        MessageError: a header cannot be read; the session is as before.
    """
    endpoint = session.endpoint
    dialog = session.dialog
    method = message.method
    if message.cseq < dialog.remote_cseq:
        endpoint.refuse(transaction, message, 500, now, _LATER)
        return
    dialog.remote_cseq = message.cseq
    session.flow = transaction.flow
    if method == "BYE":
        _bye(session, transaction, message, now)
    elif session.state not in ("ringing", "established"):
        endpoint.refuse(transaction, message, 481, now)
    elif method == "INVITE":
        _invite(session, transaction, message, now)
    elif method == "UPDATE":
        _update(session, transaction, message, now)
    elif method == "PRACK":
        _prack(session, transaction, message, now)
    elif method == "INFO":
        _info(session, transaction, message, now)
    elif method == "OPTIONS":
        endpoint.refuse(transaction, message, 200, now, (("Allow", endpoint.allow),))
    else:
        endpoint.events.append(SessionRequestReceived(session, ServerRequest(endpoint, transaction, message), message))


def _bye(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    events = session.endpoint.events
    before = session.state
    session.endpoint.refuse(transaction, message, 200, now)
    session.over(now)
    if before in ("calling", "ringing"):
        events.append(Rejected(session, 487, message) if session.outgoing else Cancelled(session, message))
    elif before == "established":
        events.append(Ended(session, message, "bye"))


def _invite(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    endpoint = session.endpoint
    incoming = session.incoming
    if session.state != "established" or _waits(session):
        endpoint.refuse(transaction, message, 500, now, _LATER)
    elif session.offering or (session.sent is not None and not session.sent.done):
        endpoint.refuse(transaction, message, 491, now)
    else:
        endpoint.transactions.trying(transaction, message, now)
        session.dialog.refresh(message)
        if incoming is not None:
            incoming.stop()
        session.incoming = IncomingInvite(session, message, transaction)
        endpoint.events.append(ReinviteReceived(session, message))


def _update(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    endpoint = session.endpoint
    if message.body and _waits(session):
        endpoint.refuse(transaction, message, 500, now, _LATER)
    elif message.body and (session.offering or (session.state == "established" and session.sent is not None and not session.sent.done)):
        endpoint.refuse(transaction, message, 491, now)
    else:
        session.dialog.refresh(message)
        if message.body:
            session.update_received = ServerRequest(endpoint, transaction, message)
            endpoint.events.append(ReinviteReceived(session, message))
        else:
            headers = [("Contact", endpoint.contact_for(session.flow)), *session.timer.answer(message, now)]
            endpoint.refuse(transaction, message, 200, now, headers)


def _info(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    endpoint = session.endpoint
    known = endpoint.info_types
    content_type = (message.get("content-type") or "").partition(";")[0].strip().lower()
    if message.has("info-package"):
        endpoint.refuse(transaction, message, 469, now, (("Recv-Info", ""),))
    elif message.body and known and content_type not in known:
        endpoint.refuse(transaction, message, 415, now, (("Accept", ", ".join(known)),))
    else:
        endpoint.refuse(transaction, message, 200, now)
        endpoint.events.append(InfoReceived(session, message))


def _prack(session: "Session", transaction: ServerTransaction, message: Message, now: float) -> None:
    words = (message.get("rack") or "").split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 11 for word in words[:2]):
        raise MessageError("bad RAck", 400, message)
    incoming = session.incoming
    number, cseq = int(words[0]), int(words[1])
    if incoming is None or cseq != incoming.message.cseq or words[2] != "INVITE" or not incoming.expects(number):
        session.endpoint.refuse(transaction, message, 481, now)
        return
    session.endpoint.refuse(transaction, message, 200, now)
    session.endpoint.events.append(ReliablyAcknowledged(session, message))
    incoming.reliably_acknowledged(now)


def _waits(session: "Session") -> bool:
    """A change that the peer asked for has not been answered."""
    incoming = session.incoming
    return session.update_received is not None or (session.state == "established" and incoming is not None and not incoming.answered)
