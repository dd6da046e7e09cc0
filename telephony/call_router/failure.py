"""What goes wrong elsewhere, as a SIP status and words for a Reason header."""

from telephony.sip.message import Message
from telephony.sip.status import better as better

REASONS_MAX = 4
"""Reason headers that are passed on."""
_WORDS = {"expired": 'SIP;cause=408;text="Session expired"', "no-ack": 'SIP;cause=408;text="No ACK"', "gone": 'SIP;cause=481;text="Gone"'}

_ROUTING = {"not-found": 404, "not-registered": 480, "loop": 482, "refused": 403}
_MEDIA = {"not-acceptable": 488, "bad-sdp": 400, "full": 503, "no-source": 404}
_QUEUE = {"not-found": 404, "full": 486}


FLOW_FAILED = (408, 430, 503)
"""Another flow to the same phone is worth a try (RFC 5626 section 5.3)."""


def of_job(kind: str, status: str) -> int:
    """SIP status for a job that failed; 503 where the service could not be reached, 500 for what is not foreseen."""
    table = {"routing": _ROUTING, "media_processor": _MEDIA, "call_queue": _QUEUE}.get(kind, {})
    if status in table:
        return table[status]
    return 503 if status in ("timeout", "unavailable", "retry") else 500


def reasons(message: Message | None, word: str = "") -> tuple[tuple[str, str], ...]:
    """Reason headers for the other side: those of the message that ended one side, else what ``word`` (`Ended`) means (RFC 3326)."""
    given = [] if message is None else message.get_lines("reason")[:REASONS_MAX]
    if not given and word in _WORDS:
        given = [_WORDS[word]]
    return tuple(("Reason", value) for value in given)


def of_peer(status: int) -> int:
    """Status for the caller, given the one that a callee's side answered with.

    What concerns only our own request to it (redirection, challenges, syntax, routes) is not passed on as it came.
    """
    if 300 <= status < 400 or status in (401, 407, 430):
        return 480
    if status in (400, 405, 416, 420, 421, 423, 481, 482, 483, 485, 493, 494):
        return 502
    return status
