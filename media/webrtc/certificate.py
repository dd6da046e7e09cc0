"""The certificate that this process shows in DTLS (RFC 8827 section 6.5): self-signed, ECDSA on P-256, made when it is first needed.

Who it is of is proven by its fingerprint in SDP (RFC 8122), so its names and dates say nothing. It lives in the memory file beside the
legs: another process that takes them over keeps its fingerprint.
"""

import hashlib
import secrets
import zlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from media.arrays import U8

_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280 section 4.1.2.5: no end."""
_HEAD_BYTES = 8


class Certificate:
    """A key and its certificate, both DER."""

    def __init__(self, key: bytes, certificate: bytes) -> None:
        loaded = serialization.load_der_private_key(key, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self.key = loaded
        self.certificate = x509.load_der_x509_certificate(certificate)
        self.fingerprint = fingerprint(certificate, "sha-256")
        """``AB:CD:...``"""


def fingerprint(certificate: bytes, name: str) -> str:
    """Of a DER certificate, by one of `media.webrtc.candidates.FUNCTIONS`."""
    return hashlib.new(name.replace("-", ""), certificate).digest().hex(":").upper()


def _make() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _FIRST, _LAST)
    plain = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def load(memory: U8) -> Certificate:
    """The certificate that lies in some bytes of memory; made and laid there where there is none."""
    key_bytes, bytes_, check = _head(memory)
    body = memory[_HEAD_BYTES : _HEAD_BYTES + key_bytes + bytes_].tobytes()
    if not key_bytes or zlib.crc32(body) != check:
        key, certificate = _make()
        body = key + certificate
        head = len(key).to_bytes(2, "big") + len(certificate).to_bytes(2, "big") + zlib.crc32(body).to_bytes(4, "big")
        memory[: _HEAD_BYTES + len(body)] = bytearray(head + body)
        key_bytes = len(key)
    return Certificate(body[:key_bytes], body[key_bytes:])


def _head(memory: U8) -> tuple[int, int, int]:
    head = memory[:_HEAD_BYTES].tobytes()
    return int.from_bytes(head[:2], "big"), int.from_bytes(head[2:4], "big"), int.from_bytes(head[4:], "big")
