"""Messages that follow from another one: ACK and CANCEL of an INVITE, 100 Trying, stamped Via, answers to broken requests."""

import contextlib

from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Headers, Message, make_response
from telephony.sip.names import spelling
from telephony.sip.status import reason_phrase
from telephony.sip.text import safe
from telephony.sip.via import Via


def make_ack(invite: Message, response: Message) -> bytes:
    """ACK of a failure response: hop by hop, the INVITE's own branch (RFC 3261 section 17.1.1.3)."""
    return _follow(invite, "ACK", response.get("to") or "")


def make_cancel(invite: Message, headers: tuple[tuple[str, str], ...] = ()) -> Message:
    """CANCEL of an INVITE that is under way (RFC 3261 section 9.1)."""
    return Message.parse(_follow(invite, "CANCEL", invite.get("to") or "", headers))


def _follow(invite: Message, method: str, to: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    via = invite.get("via") or ""
    if "," in via:
        via = invite.get_all("via")[0]
    routes = "".join(f"Route: {value}\r\n" for value in invite.get_lines("route")) if invite.has("route") else ""
    more = "".join(f"{name}: {safe(value)}\r\n" for name, value in headers)
    return (
        f"{method} {invite.uri} SIP/2.0\r\nVia: {via}\r\n{routes}Max-Forwards: 70\r\nFrom: {invite.get('from')}\r\nTo: {to}\r\n"
        f"Call-ID: {invite.call_id}\r\nCSeq: {invite.cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode("utf-8", "surrogateescape")


def make_trying(request: Message) -> bytes:
    """100 Trying (RFC 3261 section 8.2.6)."""
    return f"SIP/2.0 100 Trying\r\n{request.identity()}Content-Length: 0\r\n\r\n".encode("utf-8", "surrogateescape")


def make_answer(request: Message, status: int, reason: str | None, to_tag: str, headers: Headers) -> bytes:
    """What `make_response` makes of a request as it came, without a body, on the shortest way.

    Raises:
        ValueError: a value would break the message.
    """
    if request.passed_on or (status < 300 and request.has("record-route")):
        return make_response(request, status, reason, to_tag=to_tag, headers=headers).serialize()
    to = request.line("to")
    tag = f";tag={to_tag}" if to_tag and status != 100 and not request.to_tag else ""
    more = "".join([f"{spelling(name)}: {safe(value)}\r\n" for name, value in headers])
    return (
        f"SIP/2.0 {status} {reason_phrase(status) if reason is None else safe(reason)}\r\n{request.line('via')}\r\n"
        f"{request.line('from')}\r\n{to}{tag}\r\n{request.line('call-id')}\r\n{request.line('cseq')}\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode("utf-8", "surrogateescape")


def stamp_via(message: Message, flow: Flow) -> Flow:
    """Note the source of a request in its topmost Via: received and rport (RFC 3261 section 18.2.1, RFC 3581 section 4).

    Returns the flow that responses take: over UDP, to the source's host and to its port where rport asks for it or
    the sender is behind a NAT, else to the port of the sent-by (RFC 3261 section 18.2.2).
    """
    via = message.via
    start = via.find(" ") + 1
    end = via.find(";")
    sent_by = (via[start:] if end < 0 else via[start:end]).strip()
    host = flow.host
    asked = ";rport" in via
    if not asked:
        if sent_by == f"{host}:{flow.port}":
            return flow
        try:
            parsed = Via.parse(via)
        except ValueError:
            raise MessageError("bad Via", 400, message) from None
        sent_host, sent_port = parsed.host, parsed.port or 5060
        if sent_host == host:
            if sent_port == flow.port or flow.transport != "udp":
                return flow
            return flow._replace(port=sent_port)
    parts = [part for part in via.split(";") if part.strip() != "rport" and not part.strip().startswith(("received=", "rport="))]
    message.restamp(";".join(parts) + f";received={host}" + (f";rport={flow.port}" if asked else ""))
    return flow


def answer_broken(request: Message, status: int, reason: str, flow: Flow, tag: str) -> bytes:
    """Response to a request that could not be taken as a whole, made without a transaction (RFC 3261 section 8.2.7)."""
    with contextlib.suppress(MessageError):
        stamp_via(request, flow)
    text = "".join(character if character.isprintable() and ord(character) < 128 else "?" for character in reason)[:100]
    return make_response(request, status, text or reason_phrase(status), to_tag=tag).serialize()
