"""Certificates for tests, made once, and the client's side of TLS in memory."""

import datetime
import functools
import ssl

from controller.certificate import self_signed


@functools.cache
def pair(name: str = "first", host: str = "127.0.0.1") -> tuple[bytes, bytes]:
    """A certificate and its private key, PEM; another one for each name."""
    return self_signed(host, datetime.datetime.now(datetime.UTC))


def trusting(certificate: bytes) -> ssl.SSLContext:
    """A client's context that trusts this certificate alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate.decode())
    return context


class TlsClient:
    """A client without a socket."""

    def __init__(self, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.shaken = False

    def take(self, data: bytes) -> bytes:
        """Bytes of the server; the plain text in them."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
            while True:
                piece = self.tls.read(65536)
                if not piece:
                    return plain
                plain += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            return plain

    def say(self, plain: bytes = b"") -> bytes:
        """Bytes for the server."""
        if plain:
            self.tls.write(plain)
        return self._outgoing.read()
