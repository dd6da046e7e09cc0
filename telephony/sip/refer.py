"""What REFER and Replaces say (RFC 3515, RFC 3891, RFC 4488), and the sipfrag that tells of a transfer (RFC 3420)."""

from typing import NamedTuple

from telephony.sip.address import Address
from telephony.sip.errors import MessageError
from telephony.sip.message import Message
from telephony.sip.status import reason_phrase
from telephony.sip.text import parameter, unescape
from telephony.sip.uri import Uri

FRAGMENT = "message/sipfrag;version=2.0"
HEADERS_CHARACTERS_MAX = 1024
"""Of the headers within a Refer-To URI."""


class Replaces(NamedTuple):
    """A dialog, as the one who receives the header knows it."""

    call_id: str
    local_tag: str
    remote_tag: str
    early_only: bool
    """Only as long as it is not answered."""


class ReferTo(NamedTuple):
    """A REFER that can be carried out."""

    uri: Uri
    """The target, without headers."""
    replaces: str
    """Value of the Replaces header for the INVITE to it; empty: none."""
    silent: bool
    """No NOTIFY is wanted (``Refer-Sub: false``)."""


def read_refer(message: Message) -> ReferTo | int:
    """What a REFER wants, or the status that refuses it: 400 for a Refer-To that is missing, double or broken, 416 for a URI of
    another scheme, 501 for a method other than INVITE."""
    try:
        values = message.get_all("refer-to")
    except MessageError:
        return 400
    if len(values) != 1:
        return 400
    try:
        uri = Address.parse(values[0]).uri
        if not uri.is_sip:
            return 416
        replaces = _header(uri.headers, "replaces")
        if replaces:
            read_replaces(replaces)
    except ValueError:
        return 400
    if (uri.parameter("method") or "INVITE").upper() != "INVITE":
        return 501
    silent = (message.get("refer-sub") or "").partition(";")[0].strip().lower() == "false"
    return ReferTo(uri._replace(headers="", parameters=()), replaces, silent)


def read_replaces(value: str) -> Replaces:
    """A Replaces header.

    Raises:
        ValueError: it names no dialog.
    """
    call_id = value.partition(";")[0].strip()
    to_tag, from_tag = parameter(value, "to-tag"), parameter(value, "from-tag")
    if not call_id or not to_tag or not from_tag:
        raise ValueError(f"expected call-id;to-tag=...;from-tag=..., got {value[:80]!r}")
    return Replaces(call_id, to_tag, from_tag, parameter(value, "early-only") is not None)


def fragment(status: int) -> bytes:
    """How a transfer goes."""
    return f"SIP/2.0 {status} {reason_phrase(status)}\r\n".encode()


def _header(headers: str, wanted: str) -> str:
    if len(headers) > HEADERS_CHARACTERS_MAX:
        raise ValueError(f"more than {HEADERS_CHARACTERS_MAX} characters of headers in a URI")
    for part in headers.split("&"):
        name, _, value = part.partition("=")
        if name.strip().lower() == wanted:
            text = unescape(value)
            if not text.isprintable():
                raise ValueError(f"bad {wanted} in a URI")
            return text
    return ""
