"""STUN on a SIP socket: keepalive of flows over UDP (RFC 5626 sections 4.4.2 and 8, RFC 8489).

Rules:
- Only a Binding request is answered, with the address that it came from (XOR-MAPPED-ADDRESS). No authentication, no FINGERPRINT:
  a SIP message starts with a letter, a STUN message with two zero bits.
- An attribute that has to be understood and is not gets 420 with its type (RFC 8489 section 6.3.1).
- What is no whole, well-formed request is not answered.
"""

import ipaddress
import struct

COOKIE = 0x2112A442
_BINDING_REQUEST, _BINDING_SUCCESS, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _UNKNOWN_ATTRIBUTES, _XOR_MAPPED_ADDRESS = 0x0009, 0x000A, 0x0020
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_UNDERSTOOD = frozenset((0x0006, 0x0008, 0x0014, 0x0015))
"""USERNAME, MESSAGE-INTEGRITY, REALM and NONCE: known, and of no use here."""
_COMPREHENSION_OPTIONAL = 0x8000
UNKNOWN_MAX = 16
"""Attributes that an error names."""


def answer_binding(data: bytes, host: str, port: int) -> bytes | None:
    """The answer to a Binding request from ``host`` (IP literal) and ``port``; None: there is none to give."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != COOKIE or length % 4 or length != len(data) - _HEADER.size:
        return None
    unknown: list[int] = []
    at = _HEADER.size
    while at < len(data):
        attribute, size = _ATTRIBUTE.unpack_from(data, at)
        at += _ATTRIBUTE.size + size + -size % 4
        if at > len(data):
            return None
        if attribute < _COMPREHENSION_OPTIONAL and attribute not in _UNDERSTOOD:
            unknown.append(attribute)
    if unknown:
        reason = b"Unknown Attribute"
        body = _attribute(_ERROR_CODE, struct.pack("!HBB", 0, 4, 20) + reason)
        body += _attribute(_UNKNOWN_ATTRIBUTES, b"".join(struct.pack("!H", each) for each in unknown[:UNKNOWN_MAX]))
        kind = _BINDING_ERROR
    else:
        address = ipaddress.ip_address(host.partition("%")[0])
        mask = struct.pack("!I", COOKIE) + transaction
        mixed = bytes(one ^ other for one, other in zip(address.packed, mask, strict=False))
        family = 1 if address.version == 4 else 2
        body = _attribute(_XOR_MAPPED_ADDRESS, struct.pack("!BBH", 0, family, port ^ (COOKIE >> 16)) + mixed)
        kind = _BINDING_SUCCESS
    return _HEADER.pack(kind, len(body), COOKIE, transaction) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
