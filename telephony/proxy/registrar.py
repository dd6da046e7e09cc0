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

import re

from telephony.jobs.resource import Bind, BindingChange, Reached
from telephony.sip.address import Address
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.text import safe

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
_PLAIN_CONTACT = re.compile(
    r"<(sips?:[A-Za-z0-9\-_.!~*'()&=+$,]+@[a-z0-9](?:[a-z0-9\-.]*[a-z0-9])?(?::[1-9][0-9]{0,3})?"
    r"(?:;[a-z0-9\-]+(?:=[A-Za-z0-9\-_.!~*+]+)?)*)>(?:;expires=([0-9]+))?"
).fullmatch
"""Most contacts: a URI whose one spelling is this one, and its expiry."""


class TooBriefError(Exception):
    """An expiry below `EXPIRES_MIN_SECONDS`."""


def read_register(message: Message, user: str, path: str, flow: Flow) -> Bind:
    """What the resource database is asked for.

    Raises:
        MessageError: a Contact or Expires that cannot be taken.
        TooBriefError: answer 423.
    """
    general = _seconds(message.get("expires"))
    if message.has("path"):
        path = ", ".join((path, *_path(message)))
    contacts = message.get_all("contact")
    if len(contacts) > CONTACTS_MAX:
        raise MessageError(f"more than {CONTACTS_MAX} contacts", 413, message)
    wildcard = "*" in contacts
    if wildcard and (len(contacts) != 1 or general != 0):
        raise MessageError("Contact * goes with Expires 0 alone", 400, message)
    received = f"{flow.host}:{flow.port}"
    changes = []
    for contact in () if wildcard else contacts:
        if len(contact) > CONTACT_BYTES_MAX:
            raise MessageError("Contact is too long", 400, message)
        plain = _PLAIN_CONTACT(contact)
        address = None if plain is not None else _contact(contact, message)
        own = _seconds(plain[2] if plain is not None else address.parameter("expires") if address is not None else None)
        seconds = own if own is not None else general if general is not None else EXPIRES_DEFAULT_SECONDS
        if 0 < seconds < EXPIRES_MIN_SECONDS:
            raise TooBriefError
        seconds = min(seconds, EXPIRES_MAX_SECONDS)
        if plain is not None:
            changes.append(BindingChange(contact=plain[1], path=path, expires_seconds=seconds, received=received))
        elif address is not None:
            changes.append(_change(address, path, seconds, received, message))
    return Bind(aor=user, call_id=message.call_id, cseq=message.cseq, bindings=changes, wildcard=wildcard)


def _contact(text: str, message: Message) -> Address:
    """
    Raises:
        MessageError: it cannot be read.
    """
    try:
        return Address.parse(text)
    except ValueError as error:
        raise MessageError(f"bad Contact: {error}", 400, message) from None


def _change(address: Address, path: str, seconds: float, received: str, message: Message) -> BindingChange:
    """
    Raises:
        MessageError: its q is no number.
    """
    try:
        quality = min(1.0, max(0.0, float(address.parameter("q") or "1")))
    except ValueError as error:
        raise MessageError(f"bad Contact: {error}", 400, message) from None
    instance = (address.parameter("+sip.instance") or "").strip('"')
    return BindingChange(
        contact=str(address.uri),
        path=path,
        expires_seconds=seconds,
        q=quality if quality == quality else 1.0,
        instance=instance,
        reg_id=_reg_id(address) if instance and outbound(message) else 0,
        received=received,
        ice=address.parameter("+sip.ice") is not None,
    )


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


def answer_lines(bindings: list[Reached], message: Message, now: float) -> str:
    """What the 200 says of contacts and flows: header lines, each with its line end.

    Raises:
        ValueError: a binding would break the message.
    """
    lines = ""
    flows = False
    for binding in bindings:
        left = int(binding.expires_at - now)
        if left > 0:
            more = "" if binding.q == 1.0 else f";q={binding.q:.3g}"
            if binding.instance:
                more += f';+sip.instance="{safe(binding.instance)}"'
            if binding.reg_id:
                more += f";reg-id={binding.reg_id}"
                flows = True
            lines += f"Contact: <{safe(binding.contact)}>{more};expires={left}\r\n"
    if flows and outbound(message):
        lines += f"Require: outbound\r\nFlow-Timer: {FLOW_TIMER_SECONDS}\r\n"
    if message.has("path"):
        lines += "".join([f"Path: {value}\r\n" for value in message.get_all("path")])
    return lines


def _reg_id(address: Address) -> int:
    text = address.parameter("reg-id") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= REG_ID_MAX else 0


def _seconds(text: str | None) -> int | None:
    """An expiry; None: not given. What cannot be read counts as the default (RFC 3261 section 10.2.1.1)."""
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return EXPIRES_DEFAULT_SECONDS
    return min(int(digits[:11]), 0xFFFFFFFF)
