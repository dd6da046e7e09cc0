"""What the packets of a leg travel in: the clear, or SRTP with keys from its descriptions or from a handshake; and how its peer is reached.

Rules:
- Each side's key is for what that side sends. A key of ours is kept through renegotiations as long as the suite is the same.
- A proposal offers all suites of ours; once one was agreed on, later ones offer that one alone, with the same key.
- An offer with ICE is answered by a lite agent, for our address is what we say it is; one whose own agent is lite by a full one.
- New credentials of the peer are a restart of ICE (RFC 8839 section 4.4.1.1.1): ours are new too. A new fingerprint is a new handshake;
  while it is the same, its keys hold (RFC 8842 section 4).
"""

import base64
import secrets
from typing import NamedTuple

from media.control import MediaError
from media.engine import Engine
from media.negotiation import DTLS_PROTOCOLS, SECURE_PROTOCOLS, Agreement
from media.record import LegRecord
from media.srtp import sdes
from media.srtp.library import SrtpMissingError, library
from media.srtp.sdes import Crypto
from media.webrtc import candidates
from media.webrtc.candidates import Credentials
from media.webrtc.link import LinkNote

_MID = "0"
"""Of the only section of our offers."""


class Attributes(NamedTuple):
    """What our description says of it, ``name:value``."""

    media: list[str]
    session: list[str]


class Transports:
    """Security and reachability of all legs, as the desk wants them."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._guard, self._links = engine, engine.guard, engine.links

    def host(self, leg: int) -> str:
        """What our descriptions and candidates name."""
        return self._engine.sockets.host(bool(self._engine.legs.six[leg]))

    def propose(self, record: LegRecord, protocol: str) -> tuple[str, Attributes]:
        """The protocol of our next offer for a leg, and what goes with it.

        Raises:
            MediaError: ``not-acceptable``: it can't be had here.
        """
        agreement, leg = record.agreement, record.leg
        if agreement is not None:
            protocol = agreement.protocol
            record.keys = []
            if agreement.crypto is not None:
                suite = sdes.suite_of(agreement.crypto)
                record.keys = [Crypto(1, suite.name, self._guard.key_out(leg, suite))]
        elif protocol in SECURE_PROTOCOLS and not record.keys:
            self._need()
            record.keys = sdes.offer(secrets.token_bytes)
        elif protocol in DTLS_PROTOCOLS and record.link is None:
            self._need()
            record.link = LinkNote(_credentials(), lite=False, controlling=True)
            self._links.make(leg, record.link)
            self._engine.legs.ice[leg] = True
            self._guard.expect(leg)
        said = Attributes([f"crypto:{key}" for key in record.keys], [])
        if record.link is not None:
            self._reachable(record, record.link, self.by_dtls(record), "actpass", said)
            mid = agreement.mid if agreement is not None and agreement.mid else _MID
            said.media.append(f"mid:{mid}")
            said.session.append(f"group:BUNDLE {mid}")
        return protocol, said

    @staticmethod
    def by_dtls(record: LegRecord) -> bool:
        """The keys of a leg that we made an offer for come by DTLS."""
        return record.link is not None and (record.agreement is None or bool(record.agreement.fingerprints))

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
        if agreement.crypto is not None or agreement.fingerprints:
            self._need()

    def apply(self, record: LegRecord, agreement: Agreement, answers: bool, now: float) -> Attributes:
        """Let a leg's packets travel as was agreed on; for our answer, where it is we who answer."""
        crypto, leg = agreement.crypto, record.leg
        said = Attributes([], [])
        if crypto is not None:
            suite = sdes.suite_of(crypto)
            own = next((key.key for key in record.keys if key.tag == crypto.tag and key.suite == crypto.suite), b"")
            own = own or self._guard.key_out(leg, suite) or secrets.token_bytes(suite.key_bytes)
            self._guard.begin(leg, suite, crypto.key, own)
            said.media.append(f"crypto:{Crypto(crypto.tag, crypto.suite, own)}")
        elif not agreement.fingerprints:
            self._guard.forget(leg)
        if not agreement.linked:
            self._links.forget(leg)
            self._engine.legs.ice[leg] = False
            record.link = None
            return said
        note = self._link(record, agreement, answers, now)
        self._reachable(record, note, bool(agreement.fingerprints), "active" if agreement.client else "passive", said)
        if agreement.mid:
            said.media.append(f"mid:{agreement.mid}")
        if agreement.bundle:
            said.session.append(f"group:BUNDLE {agreement.mid}")
        return said

    def _link(self, record: LegRecord, agreement: Agreement, answers: bool, now: float) -> LinkNote:
        leg, before, old = record.leg, record.link, self._links.get(record.leg)
        same_keys = before is not None and before.fingerprints == agreement.fingerprints
        if old is not None and before is not None and same_keys and before.remote == agreement.remote:
            self._links.want(leg, agreement.sends, now)
            return before
        kept = before is not None and (not answers or before.remote == agreement.remote)
        local = before.local if before is not None and kept else _credentials()
        note = record.link = LinkNote(
            local=local if agreement.remote.ufrag else Credentials(),
            remote=agreement.remote,
            lite=answers and not agreement.lite,
            controlling=not answers or agreement.lite,
            client=agreement.client,
            fingerprints=agreement.fingerprints,
            wants=agreement.sends,
        )
        if agreement.fingerprints and not same_keys:
            self._guard.forget(leg)
            self._guard.expect(leg)
        link = self._links.make(leg, note)
        if old is not None and same_keys:
            link.association, link.source = old.association, old.source
        self._engine.legs.ice[leg] = link.agent is not None
        self._links.begin(link, agreement.candidates, agreement.lite, now)
        return note

    def _reachable(self, record: LegRecord, note: LinkNote, dtls: bool, setup: str, said: Attributes) -> None:
        """Say how we are reached."""
        if note.local.ufrag:
            said.media.extend((f"ice-ufrag:{note.local.ufrag}", f"ice-pwd:{note.local.password}"))
            candidate = candidates.write(self.host(record.leg), int(self._engine.legs.port[record.leg]))
            said.media.extend((f"candidate:{candidate}", "end-of-candidates"))
            if note.lite:
                said.session.append("ice-lite")
        if dtls:
            said.media.extend((f"fingerprint:sha-256 {self._links.certificate().fingerprint}", f"setup:{setup}"))

    def take_over(self, record: LegRecord, now: float) -> None:
        """Go on with a leg that another process left."""
        if record.link is not None:
            self._links.go_on(record.leg, record.link, now)

    def vacate(self, record: LegRecord) -> None:
        """A leg ends."""
        self._links.forget(record.leg)
        self._guard.forget(record.leg)


def _credentials() -> Credentials:
    """Ours, by chance (RFC 8445 section 5.3: at least 24 and 128 bits)."""
    return Credentials(base64.b64encode(secrets.token_bytes(6)).decode(), base64.b64encode(secrets.token_bytes(18)).decode())
