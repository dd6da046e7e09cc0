"""STUN messages (RFC 8489) as ICE uses them (RFC 8445 section 7): read, checked, written. No socket, no clock.

Rules:
- What can't be read raises `StunError`, nothing else. Of ICE's messages all carry FINGERPRINT; one without it is none.
- Attributes behind MESSAGE-INTEGRITY don't count (RFC 8489 section 14.5). At most `ATTRIBUTES_MAX` are read.
- Integrity is HMAC-SHA1 with the password of who is asked (short-term credentials, section 9.1).
"""

import hmac
import ipaddress
import struct
import zlib
from typing import NamedTuple

COOKIE = 0x2112A442
REQUEST, INDICATION, SUCCESS, ERROR = 0x0001, 0x0011, 0x0101, 0x0111
"""Message types of the method Binding."""
USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0009, 0x000A, 0x0020
PRIORITY, USE_CANDIDATE, FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x0024, 0x0025, 0x8028, 0x8029, 0x802A
KNOWN = frozenset({
    USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE,
})  # fmt: skip
"""Those that must be understood (below 0x8000), and are."""
MESSAGE_BYTES_MAX = 1500
ATTRIBUTES_MAX = 32
TRANSACTION_BYTES = 12
_HEADER = struct.Struct(">HHI12s")
_FINGERPRINT_MASK = 0x5354554E
_INTEGRITY_BYTES = 24
_FINGERPRINT_BYTES = 8

Address = tuple[str, int]
"""Host (IP literal) and port."""


class StunError(ValueError):
    """Not a message of STUN as ICE sends it."""


class Message(NamedTuple):
    """One message."""

    kind: int
    """Its type."""
    transaction: bytes
    attributes: dict[int, bytes]
    """The first of each type; integrity and fingerprint are left out."""
    signed: bytes = b""
    """What the integrity covers, with the length as it was then; empty: it has none."""
    integrity: bytes = b""

    def authentic(self, password: str) -> bool:
        """Its integrity holds under this password."""
        return bool(self.signed) and hmac.compare_digest(hmac.digest(password.encode(), self.signed, "sha1"), self.integrity)

    def number(self, attribute: int, size: int) -> int | None:
        """A numeric attribute of ``size`` bytes; None: it is not there, or of another size."""
        value = self.attributes.get(attribute, b"")
        return int.from_bytes(value, "big") if len(value) == size else None

    def unknown(self) -> list[int]:
        """Attributes that must be understood and are not."""
        return [kind for kind in self.attributes if kind < 0x8000 and kind not in KNOWN]

    def code(self) -> int:
        """Of an error; 0: none is given."""
        value = self.attributes.get(ERROR_CODE, b"")
        return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def parse(data: bytes) -> Message:
    """Read a datagram.

    Raises:
        StunError: it is none, or its fingerprint does not hold.
    """
    if not 20 <= len(data) <= MESSAGE_BYTES_MAX:
        raise StunError(f"{len(data)} bytes")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind & 0xC000 or cookie != COOKIE or length % 4 or length != len(data) - 20:
        raise StunError("not STUN")
    attributes: dict[int, bytes] = {}
    signed = integrity = b""
    place = 20
    for _ in range(ATTRIBUTES_MAX):
        if place + 4 > len(data):
            break
        name, size = struct.unpack_from(">HH", data, place)
        value = data[place + 4 : place + 4 + size]
        if len(value) != size:
            raise StunError(f"attribute {name:#06x} is cut")
        if name == FINGERPRINT:
            if size != 4 or place + _FINGERPRINT_BYTES != len(data):
                raise StunError("the fingerprint is not the last attribute")
            if int.from_bytes(value, "big") != zlib.crc32(data[:place]) ^ _FINGERPRINT_MASK:
                raise StunError("the fingerprint does not hold")
            return Message(kind, transaction, attributes, signed, integrity)
        if name == MESSAGE_INTEGRITY and not signed:
            if size != 20:
                raise StunError("integrity of another length")
            # As if the message ended behind it.
            signed, integrity = data[:2] + struct.pack(">H", place + _INTEGRITY_BYTES - 20) + data[4:place], value
        elif not signed:
            attributes.setdefault(name, value)
        place += 4 + size + -size % 4
    raise StunError("no fingerprint")


def write(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], password: str = "") -> bytes:
    """A message with integrity, where there is a password, and fingerprint."""
    body = b"".join(struct.pack(">HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes)

    def head(more: int) -> bytes:
        return _HEADER.pack(kind, len(body) + more, COOKIE, transaction)

    if password:
        digest = hmac.digest(password.encode(), head(_INTEGRITY_BYTES) + body, "sha1")
        body += struct.pack(">HH", MESSAGE_INTEGRITY, len(digest)) + digest
    whole = head(_FINGERPRINT_BYTES) + body
    return whole + struct.pack(">HHI", FINGERPRINT, 4, zlib.crc32(whole) ^ _FINGERPRINT_MASK)


def mapped(address: Address, transaction: bytes) -> tuple[int, bytes]:
    """XOR-MAPPED-ADDRESS (section 14.2)."""
    host = ipaddress.ip_address(address[0]).packed
    mask = COOKIE.to_bytes(4, "big") + transaction
    family = 1 if len(host) == 4 else 2
    hidden = bytes(one ^ other for one, other in zip(host, mask, strict=False))
    return XOR_MAPPED_ADDRESS, struct.pack(">BBH", 0, family, address[1] ^ (COOKIE >> 16)) + hidden


def mapped_address(message: Message) -> Address | None:
    """Where the answerer saw us."""
    value = message.attributes.get(XOR_MAPPED_ADDRESS, b"")
    if len(value) != {1: 8, 2: 20}.get(value[1] if len(value) > 1 else 0):
        return None
    mask = COOKIE.to_bytes(4, "big") + message.transaction
    host = bytes(one ^ other for one, other in zip(value[4:], mask, strict=False))
    return str(ipaddress.ip_address(host)), int.from_bytes(value[2:4], "big") ^ (COOKIE >> 16)


def error(code: int, reason: str) -> tuple[int, bytes]:
    """ERROR-CODE (section 14.8)."""
    return ERROR_CODE, bytes((0, 0, code // 100, code % 100)) + reason.encode()
