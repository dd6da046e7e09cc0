"""STUN: read or refused; what is read is written back to the same message, and every question about it has an answer."""

import ipaddress
import zlib

from media.webrtc import stun

TRANSACTION = bytes(range(12))
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"


def seeds() -> list[bytes]:
    """Requests and answers as ICE has them, without their fingerprints, which `check` makes; and one as it goes over the wire."""
    attributes = [(stun.USERNAME, b"abcd:efgh1"), (stun.PRIORITY, b"\x6e\x00\x01\xff"), (stun.ICE_CONTROLLED, bytes(8))]
    wire = [
        stun.write(stun.REQUEST, TRANSACTION, [*attributes, (stun.USE_CANDIDATE, b"")], PASSWORD),
        stun.write(stun.SUCCESS, TRANSACTION, [stun.mapped(("192.0.2.1", 32853), TRANSACTION)], PASSWORD),
        stun.write(stun.SUCCESS, TRANSACTION, [stun.mapped(("2001:db8::1", 9), TRANSACTION)]),
        stun.write(stun.ERROR, TRANSACTION, [stun.error(487, "Role Conflict"), (0x7FFF, b"?")]),
        stun.write(stun.INDICATION, TRANSACTION, []),
    ]
    return [b"f" + one[:-8] for one in wire] + [b"w" + wire[0]]


def check(data: bytes) -> None:
    kind, data = data[:1], data[1:]
    if kind == b"f" and 20 <= len(data) <= stun.MESSAGE_BYTES_MAX - 8:
        # The right length and fingerprint, past which chance alone would hardly come.
        data = data[:2] + (len(data) - 12).to_bytes(2, "big") + stun.COOKIE.to_bytes(4, "big") + data[8:]
        data += b"\x80\x28\x00\x04" + (zlib.crc32(data) ^ 0x5354554E).to_bytes(4, "big")
    try:
        message = stun.parse(data)
    except stun.StunError:
        return
    assert len(message.attributes) <= stun.ATTRIBUTES_MAX
    again = stun.parse(stun.write(message.kind, message.transaction, list(message.attributes.items())))
    assert (again.kind, again.transaction, again.attributes) == (message.kind, message.transaction, message.attributes)
    assert 0 <= message.code() <= 7 * 100 + 255
    message.unknown()
    if message.authentic(PASSWORD):
        assert message.signed
    address = stun.mapped_address(message)
    if address is not None:
        ipaddress.ip_address(address[0])
        assert 0 <= address[1] <= 65535
