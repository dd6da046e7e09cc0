"""What the packets of a leg travel in: the clear, or SRTP with keys from its descriptions.

Rules:
- Each side's key is for what that side sends. A key of ours is kept through renegotiations as long as the suite is the same.
- A proposal offers all suites of ours; once one was agreed on, later ones offer that one alone, with the same key.
"""

import secrets

from media.control import MediaError
from media.engine import Engine
from media.negotiation import Agreement
from media.record import LegRecord
from media.srtp import sdes
from media.srtp.library import SrtpMissingError, library
from media.srtp.sdes import Crypto


class Transports:
    """Security of all legs, as the desk wants it."""

    def __init__(self, engine: Engine) -> None:
        self._guard = engine.guard

    def propose(self, record: LegRecord, protocol: str) -> tuple[str, list[str]]:
        """The protocol of our next offer for a leg, and the attributes that go with it.

        Raises:
            MediaError: ``not-acceptable``: it can't be had here.
        """
        agreement = record.agreement
        if agreement is not None:
            protocol = agreement.protocol
            record.keys = record.keys[:0]
            if agreement.crypto is not None:
                suite = sdes.suite_of(agreement.crypto)
                record.keys = [Crypto(1, suite.name, self._guard.key_out(record.leg, suite))]
        elif protocol == "RTP/SAVP" and not record.keys:
            self._need()
            record.keys = sdes.offer(secrets.token_bytes)
        return protocol, [f"crypto:{key}" for key in record.keys]

    @staticmethod
    def _need() -> None:
        try:
            library()
        except SrtpMissingError as error:
            raise MediaError("not-acceptable", str(error)) from None

    def check(self, agreement: Agreement) -> None:
        """See that it can be had here.

        Raises:
            MediaError: ``not-acceptable``.
        """
        if agreement.crypto is not None:
            self._need()

    def apply(self, record: LegRecord, agreement: Agreement) -> list[str]:
        """Let a leg's packets travel as was agreed on; attributes of our answer, where we answer."""
        crypto = agreement.crypto
        if crypto is None:
            self._guard.forget(record.leg)
            return []
        suite = sdes.suite_of(crypto)
        own = next((key.key for key in record.keys if key.tag == crypto.tag and key.suite == crypto.suite), b"")
        own = own or self._guard.key_out(record.leg, suite) or secrets.token_bytes(suite.key_bytes)
        self._guard.begin(record.leg, suite, crypto.key, own)
        return [f"crypto:{Crypto(crypto.tag, crypto.suite, own)}"]
