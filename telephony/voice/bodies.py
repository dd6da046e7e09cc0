"""Bodies of requests that a call can do something with (RFC 3261 sections 8.2.3 and 20.1)."""

from typing import NamedTuple

from telephony.sip.message import Message
from telephony.sip.session import SDP
from telephony.voice.ringing import sdp_of

_TAKEN = frozenset(("*/*", "application/*", SDP))


class Unfit(NamedTuple):
    """Why a request is refused."""

    status: int
    headers: tuple[tuple[str, str], ...]


def unfit(invite: Message) -> Unfit | None:
    """What keeps an INVITE from becoming a call: a body that is no SDP or is packed (415), or a caller who takes no SDP (406)."""
    encoding = (invite.get("content-encoding") or "identity").strip().lower()
    if invite.body and encoding != "identity":
        return Unfit(415, (("Accept-Encoding", "identity"),))
    if invite.body and not sdp_of(invite):
        return Unfit(415, (("Accept", SDP),))
    taken = [part.partition(";")[0].strip().lower() for value in invite.get_lines("accept") for part in value.split(",")]
    if taken and not _TAKEN.intersection(taken):
        return Unfit(406, (("Accept", SDP),))
    return None
