"""REGISTER: what a user's phone says about where it is reached (RFC 3261 section 10.3, RFC 3327, RFC 5626).

Rules:
- The bindings live in the resource database: a REGISTER becomes a `Bind`, what the database says of it the response.
- A contact's Path is our public address with the token of the flow that the REGISTER came over: calls go back there,
  through any NAT, whatever the contact says.
  Proxies between us, which say so in a Path of their own, come after it in the route (RFC 3327); the answer repeats them.
- Expiry: `EXPIRES_DEFAULT_SECONDS` if none is asked for, `EXPIRES_MAX_SECONDS` at most, 423 below `EXPIRES_MIN_SECONDS`.
- ``Contact: *`` removes all, with ``Expires: 0`` alone.
- A phone that supports ``outbound`` numbers its flows (``reg-id``): each is a binding of its own, and the answer says so, and how
  often the flow is to be kept alive (RFC 5626 sections 4.4.1, 5.4 and 6).
"""

from telephony.jobs.resource import Bind, BindingChange, Reached
from telephony.sip.address import Address
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message

EXPIRES_DEFAULT_SECONDS = 3600
EXPIRES_MIN_SECONDS = 60
EXPIRES_MAX_SECONDS = 7200
CONTACTS_MAX = 10
"""Contacts of one REGISTER."""
CONTACT_BYTES_MAX = 512
PATHS_MAX = 8
PATH_BYTES_MAX = 1024
"""Path headers of one REGISTER, together."""
FLOW_TIMER_SECONDS = 120
"""A flow that is silent for longer may be taken for dead."""
REG_ID_MAX = 2**31 - 1


class TooBriefError(Exception):
    """An expiry below `EXPIRES_MIN_SECONDS`."""


def read_register(message: Message, user: str, path: str, flow: Flow) -> Bind:
    """What the resource database is asked for.

    Raises:
        MessageError: a Contact or Expires that cannot be taken.
        TooBriefError: answer 423.
    """
    general = _seconds(message.get("expires"), message)
    if message.has("path"):
        path = ", ".join((path, *_path(message)))
    changes = []
    flows = outbound(message)
    contacts = message.get_all("contact")
    if len(contacts) > CONTACTS_MAX:
        raise MessageError(f"more than {CONTACTS_MAX} contacts", 413, message)
    wildcard = "*" in contacts
    if wildcard and (len(contacts) != 1 or general != 0):
        raise MessageError("Contact * goes with Expires 0 alone", 400, message)
    for contact in () if wildcard else contacts:
        try:
            address = Address.parse(contact)
            quality = min(1.0, max(0.0, float(address.parameter("q") or "1")))
        except ValueError as error:
            raise MessageError(f"bad Contact: {error}", 400, message) from None
        if len(contact) > CONTACT_BYTES_MAX:
            raise MessageError("Contact is too long", 400, message)
        own = _seconds(address.parameter("expires"), message)
        seconds = own if own is not None else general if general is not None else EXPIRES_DEFAULT_SECONDS
        if 0 < seconds < EXPIRES_MIN_SECONDS:
            raise TooBriefError
        changes.append(
            BindingChange(
                contact=str(address.uri),
                path=path,
                expires_seconds=min(seconds, EXPIRES_MAX_SECONDS),
                q=quality if quality == quality else 1.0,
                instance=(instance := (address.parameter("+sip.instance") or "").strip('"')),
                reg_id=_reg_id(address) if flows and instance else 0,
                received=f"{flow.host}:{flow.port}",
                ice=address.parameter("+sip.ice") is not None,
            )
        )
    return Bind(aor=user, call_id=message.call_id, cseq=message.cseq, bindings=changes, wildcard=wildcard)


def _path(message: Message) -> list[str]:
    """Proxies between the phone and us, the one nearest to us first (RFC 3327 section 5.3).

    Raises:
        MessageError: one cannot be read, or they are too many or too long.
    """
    values = message.get_all("path")
    if len(values) > PATHS_MAX or sum(map(len, values)) > PATH_BYTES_MAX:
        raise MessageError("Path is too long", 400, message)
    try:
        if any(not Address.parse(value).uri.is_sip for value in values):
            raise ValueError("not a SIP URI")
    except ValueError as error:
        raise MessageError(f"bad Path: {error}", 400, message) from None
    return values


def outbound(message: Message) -> bool:
    """The phone manages flows."""
    return "outbound" in (tag.lower() for tag in message.get_all("supported"))


def as_asked(bind: Bind, now: float) -> list[Reached]:
    """What a user has after a `Bind` of one contact, and nothing besides."""
    (change,) = bind.bindings
    return [Reached(change.contact, now + change.expires_seconds, change.q, change.instance, change.reg_id)]


def answer_headers(bindings: list[Reached], message: Message, now: float) -> list[tuple[str, str]]:
    """Contact headers of the 200, and what it says of flows."""
    headers = []
    flows = False
    for binding in bindings:
        left = int(binding.expires_at - now)
        if left > 0:
            quality = "" if binding.q == 1.0 else f";q={binding.q:.3g}"
            instance = f';+sip.instance="{binding.instance}"' if binding.instance else ""
            if binding.reg_id:
                instance += f";reg-id={binding.reg_id}"
                flows = True
            headers.append(("Contact", f"<{binding.contact}>{quality}{instance};expires={left}"))
    if flows and outbound(message):
        headers += (("Require", "outbound"), ("Flow-Timer", str(FLOW_TIMER_SECONDS)))
    if message.has("path"):
        headers += (("Path", value) for value in message.get_all("path"))
    return headers


def _reg_id(address: Address) -> int:
    text = address.parameter("reg-id") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= REG_ID_MAX else 0


def _seconds(text: str | None, message: Message) -> int | None:
    """An expiry; None: not given. What cannot be read counts as the default (RFC 3261 section 10.2.1.1)."""
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return EXPIRES_DEFAULT_SECONDS
    return min(int(digits[:11]), 0xFFFFFFFF)
