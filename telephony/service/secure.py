"""TLS below any other channel (RFC 3261 section 26.2.1, RFC 5246, RFC 8446), on both sides.

Rules:
- TLS 1.2 and newer, no compression, no renegotiation; clients are asked for no certificate: users prove themselves by digest.
- As a client we ask for a certificate of the domain that was called, not of the host that it led to (RFC 5922 section 7), signed by
  whom the machine trusts. What is to be sent waits until it has proved itself, `EARLY_BYTES_MAX` at most.
- A context is made from a certificate chain and key in memory; they touch no disk. Another pair is another context: connections
  that are there keep theirs.
"""

import contextlib
import os
import ssl

from telephony.service.channel import Channel
from telephony.sip.errors import MessageError

EARLY_BYTES_MAX = 256 * 1024
READ_BYTES = 16384
"""One TLS record."""


def make_context(certificate: bytes, private_key: bytes) -> ssl.SSLContext:
    """A server's context from PEM: certificate chain (ours first) and private key.

    Raises:
        ValueError: they cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        content = memoryview(certificate.rstrip() + b"\n" + private_key)
        while content:
            content = content[os.write(descriptor, content) :]
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise ValueError(f"certificate and private key cannot be used: {error.reason or error}") from error
    finally:
        os.close(descriptor)
    return context


def make_client_context(authorities: bytes = b"") -> ssl.SSLContext:
    """A client's context: servers prove themselves by what ``authorities`` (PEM) have signed.

    Without any it is whom the machine trusts (``SSL_CERT_FILE``, ``SSL_CERT_DIR``, else the system's).

    Raises:
        ValueError: the authorities cannot be read.
    """
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") or None)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError(f"authorities cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


class SecureChannel:
    """A channel within TLS.

    Args:
        context: of a server; of a client where ``name`` is given.
        inner: what is carried.
        name: domain or address that the server has to have a certificate for; empty: we are the server.
    """

    __slots__ = ("_client", "_early", "_ended", "_incoming", "_inner", "_outgoing", "_shaken", "_tls")

    def __init__(self, context: ssl.SSLContext, inner: Channel, name: str = "") -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=not name, server_hostname=name or None)
        self._client = bool(name)
        self._early = b""
        """What a client has been given before the server has proved itself."""
        self._shaken = False
        self._ended = False
        if name:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()

    @property
    def opened(self) -> bool:
        return self._shaken and self._inner.opened

    @property
    def ended(self) -> bool:
        return self._ended or self._inner.ended

    @property
    def waiting(self) -> bool:
        return self._inner.waiting

    def receive(self, data: bytes) -> list[bytes]:
        self._incoming.write(data)
        messages: list[bytes] = []
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                early, self._early = self._early, b""
                if early:
                    self._write(early)
            while not self.ended:
                plain = self._tls.read(READ_BYTES)
                if not plain:
                    self._ended = True
                    break
                messages += self._inner.receive(plain)
                self._pass_on()
        except ssl.SSLWantReadError:
            return messages
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            raise MessageError(f"TLS: {error.reason or error}") from None
        except MessageError:
            self._pass_on()
            raise
        return messages

    def wrap(self, message: bytes) -> bytes:
        data = self._inner.wrap(message)
        if self._shaken or not self._client:
            self._write(data)
        elif len(self._early) + len(data) > EARLY_BYTES_MAX:
            raise MessageError("TLS: too much waits for the handshake")
        else:
            self._early += data
        return self._outgoing.read()

    def outgoing(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def ping(self) -> None:
        self._inner.ping()
        self._pass_on()

    def leave(self) -> None:
        if not self._shaken or self._ended:
            return
        self._inner.leave()
        self._pass_on()
        try:
            self._tls.unwrap()  # leaves its close_notify, then wants the peer's
        except ssl.SSLError:
            self._ended = True

    def _pass_on(self) -> None:
        data = self._inner.outgoing()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise MessageError(f"TLS: {error.reason or error}") from None
