"""One association of DTLS-SRTP (RFC 5763, 5764): a handshake that yields the keys of SRTP. No socket: datagrams in, datagrams out.

Rules:
- OpenSSL does the protocol (pyOpenSSL, memory BIOs); its timer of retransmission is the one thing here that reads a clock.
- Both sides show a certificate, and who it is of is the fingerprint that the peer's description names (RFC 8122); any other ends it.
- A datagram longer than `DATAGRAM_BYTES_MAX` is never sent: flights are split between records.
- Whatever comes in, nothing raises: an association fails, and says why.
"""

from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from media.srtp.suites import BY_PROFILE, PROFILES, Suite
from media.webrtc.candidates import FUNCTIONS
from media.webrtc.certificate import Certificate, fingerprint

DATAGRAM_BYTES_MAX = 1200
RECORDS_BYTES_MAX = 65536
"""Of one flight."""
_RECORD_BYTES = 13
_LABEL = b"EXTRACTOR-dtls_srtp"


class Keys(NamedTuple):
    """What a handshake agreed on."""

    suite: Suite
    inward: bytes
    """Master key and salt of what the peer sends."""
    outward: bytes


@cache
def _context(certificate: Certificate) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.use_privatekey(certificate.key)
    context.use_certificate(certificate.certificate)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!PSK")
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tlsext_use_srtp(PROFILES.encode())
    return context


class Association:
    """One handshake and what comes of it.

    Args:
        client: it sends the first message (``a=setup:active``).
        fingerprints: of the peer's certificate: hash function (of `candidates.FUNCTIONS`) and value in upper case.
    """

    def __init__(self, certificate: Certificate, *, client: bool, fingerprints: list[tuple[str, str]]) -> None:
        self._connection = SSL.Connection(_context(certificate), None)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self._connection.set_ciphertext_mtu(DATAGRAM_BYTES_MAX)
        self._client = client
        self._fingerprints = fingerprints
        self.keys: Keys | None = None
        """Once the handshake is over."""
        self.failed = ""
        """Why it never will be."""
        self.closed = False
        """The peer said that it ends."""
        self.started = False

    def start(self) -> list[bytes]:
        """Say the first message, where it is ours."""
        self.started = True
        return self._step()

    def receive(self, data: bytes) -> list[bytes]:
        """A datagram; what is to be sent for it."""
        if self.failed or self.closed:
            return []
        self.started = True
        self._connection.bio_write(data)
        if self.keys is None:
            return self._step()
        try:
            # No data travels here: alerts, and flights that the peer sends again because it missed ours.
            self._connection.recv(DATAGRAM_BYTES_MAX)
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.failed = _reason(error)
        return self._datagrams()

    def wait_seconds(self) -> float | None:
        """Until `timeout` wants to be called; None: it does not."""
        if self.failed or self.keys is not None or not self.started:
            return None
        return self._connection.DTLSv1_get_timeout()

    def timeout(self) -> list[bytes]:
        """Send a flight again, if its time has come."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self.failed = _reason(error)
        return self._datagrams()

    def _step(self) -> list[bytes]:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return self._datagrams()
        except SSL.Error as error:
            self.failed = _reason(error)
            return self._datagrams()
        out = self._datagrams()
        self._finish()
        return out

    def _finish(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        der = certificate.public_bytes(Encoding.DER) if certificate is not None else b""
        # The strongest hash function decides (RFC 8122 section 5).
        strongest = max((FUNCTIONS.index(name) for name, _ in self._fingerprints), default=-1)
        wanted = [(name, value) for name, value in self._fingerprints if FUNCTIONS.index(name) == strongest]
        if not der or all(fingerprint(der, name) != value for name, value in wanted):
            self.failed = "the certificate has another fingerprint than the description"
            return
        profile = self._connection.get_selected_srtp_profile().decode()
        suite = BY_PROFILE.get(profile)
        if suite is None:
            self.failed = "no protection profile was agreed on"
            return
        salt = 14 if suite.key_bytes == 30 else 12
        size = suite.key_bytes - salt
        material = self._connection.export_keying_material(_LABEL, 2 * suite.key_bytes)
        client = material[:size] + material[2 * size : 2 * size + salt]
        server = material[size : 2 * size] + material[2 * size + salt :]
        self.keys = Keys(suite, server, client) if self._client else Keys(suite, client, server)

    def _datagrams(self) -> list[bytes]:
        """What OpenSSL wrote, as datagrams of whole records."""
        try:
            data = self._connection.bio_read(RECORDS_BYTES_MAX)
        except SSL.Error:
            return []
        found: list[bytes] = []
        place = 0
        while place + _RECORD_BYTES <= len(data):
            end = place + _RECORD_BYTES + int.from_bytes(data[place + 11 : place + 13], "big")
            if found and len(found[-1]) + end - place <= DATAGRAM_BYTES_MAX:
                found[-1] += data[place:end]
            else:
                found.append(data[place:end])
            place = end
        return found


def _reason(error: SSL.Error) -> str:
    """In OpenSSL's words."""
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(each[-1]) for each in details) or "the handshake failed"
