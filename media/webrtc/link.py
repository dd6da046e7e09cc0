"""Legs that have to be reached first: their ICE agents and DTLS associations, and what comes of them for the legs' arrays.

Rules:
- A leg's datagrams are told apart by their first byte (RFC 7983): 0 to 3 STUN, 20 to 63 DTLS, 128 to 191 RTP and RTCP.
- A leg with ICE sends to where ICE says, and to nobody else; what is authentic is taken from any address. No packet changes its address.
- Without ICE the handshake of DTLS is the proof: who begins it from elsewhere than the description says is answered, and is where packets
  go once the fingerprint was right (RFC 5763 section 6.7.1); only one at a time is answered, until it has failed.
- A leg hears and says nothing before its keys are known.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from media.addresses import sockaddr, text
from media.legs import Legs
from media.sockets import Sockets
from media.srtp.guard import Guard
from media.webrtc.candidates import Candidate, Credentials
from media.webrtc.ice import Agent, Datagram
from media.webrtc.stun import Address

if TYPE_CHECKING:
    from media.webrtc.certificate import Certificate
    from media.webrtc.dtls import Association  # loads OpenSSL: only where a leg needs it

STUN_MAX, DTLS_MIN, DTLS_MAX = 3, 20, 63
"""First bytes (RFC 7983 section 7)."""
TIMER_SECONDS = 0.02
CALM_SECONDS = 0.5
"""How often a link that stands is looked at."""


@dataclass
class LinkNote:
    """What another process has to know to be in this one's place."""

    local: Credentials = field(default_factory=Credentials, repr=False)
    remote: Credentials = field(default_factory=Credentials, repr=False)
    lite: bool = True
    controlling: bool = False
    client: bool = False
    """Of DTLS."""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    """The peer's; empty: there is no DTLS."""
    wants: bool = True
    """The peer wants to hear us."""


class Link:
    """One leg's way to its peer."""

    def __init__(self, leg: int, note: LinkNote) -> None:
        self.leg, self.note = leg, note
        self.agent: Agent | None = None
        self.association: Association | None = None
        self.source: Address | None = None
        """Who does the handshake, where there is no ICE."""
        self.due = 0.0
        """When the association wants to be called."""
        self.calm_until = 0.0
        """Nothing is due before."""


class Links:
    """Links of all legs.

    Args:
        changed: called when a leg begins or ceases to be sent to.
    """

    def __init__(self, legs: Legs, sockets: Sockets, guard: Guard, changed: Callable[[], None]) -> None:
        self._legs, self._sockets, self._guard, self._changed = legs, sockets, guard, changed
        self._links: dict[int, Link] = {}
        self._certificate: Certificate | None = None
        self._due = 0.0
        self.refused = 0
        """Datagrams that no link took."""

    def _associate(self, note: LinkNote) -> "Association":
        from media.webrtc.dtls import Association

        return Association(self.certificate(), client=note.client, fingerprints=note.fingerprints)

    def certificate(self) -> "Certificate":
        """What we show in handshakes."""
        from media.webrtc import certificate

        if self._certificate is None:
            self._certificate = certificate.load(self._legs.identity)
        return self._certificate

    def __len__(self) -> int:
        return len(self._links)

    def get(self, leg: int) -> Link | None:
        """A leg's link, if it needs one."""
        return self._links.get(leg)

    # Legs

    def make(self, leg: int, note: LinkNote) -> Link:
        """A leg's link, in place of the one that it had."""
        link = self._links[leg] = Link(leg, note)
        if note.local.ufrag:
            link.agent = Agent(note.local, lite=note.lite, controlling=note.controlling, draw=secrets.token_bytes)
        return link

    def want(self, leg: int, wants: bool, now: float) -> None:
        """Whether the peer wants to hear us has changed."""
        link = self._links[leg]
        link.note.wants = wants
        self._settle(link, now)

    def begin(self, link: Link, candidates: list[Candidate], peer_lite: bool, now: float) -> None:
        """Both descriptions are known: `Link.note` says what of."""
        note = link.note
        if link.agent is not None:
            link.agent.begin(note.remote, candidates, peer_lite, now)
        if note.fingerprints and link.association is None:
            link.association = self._associate(note)
            if link.agent is None and note.client:
                self._say(link, link.association.start(), text(self._legs.address[link.leg]))
        self._settle(link, now)

    def go_on(self, leg: int, note: LinkNote, now: float) -> None:
        """The link of a leg that another process left."""
        link = self.make(leg, note)
        address = text(self._legs.address[leg]) if self._legs.address[leg, 0] else None
        if link.agent is not None:
            link.agent.go_on(note.remote, address, now)
        if note.fingerprints and not self._legs.suite[leg]:
            link.association = self._associate(note)

    def forget(self, leg: int) -> None:
        """The leg ends, or needs none any more."""
        self._links.pop(leg, None)

    # What comes in

    def receive(self, leg: int, data: bytes, address: Address, now: float) -> None:
        """A datagram of a leg's own socket that is no RTP."""
        link = self._links.get(leg)
        if link is None or not data:
            self.refused += 1
        elif data[0] <= STUN_MAX and link.agent is not None:
            self._send(leg, link.agent.receive(data, address, now))
            self._settle(link, now)
        elif DTLS_MIN <= data[0] <= DTLS_MAX and link.association is not None:
            self._handshake(link, link.association, data, address, now)
        else:
            self.refused += 1

    def _handshake(self, link: Link, association: "Association", data: bytes, address: Address, now: float) -> None:
        if link.agent is not None:
            if link.agent.selected is None:
                # The peer knows already that its check was answered; we may not.
                self.refused += 1
                return
            address = link.agent.selected
        elif link.source not in (None, address):
            self.refused += 1
            return
        link.source = address
        self._say(link, association.receive(data), address)
        self._settle(link, now)

    # Time

    def tick(self, now: float) -> None:
        """Checks and flights whose time has come."""
        if now < self._due:
            return
        self._due = now + TIMER_SECONDS
        for link in self._links.values():
            if now < link.calm_until:
                continue
            if link.agent is not None:
                self._send(link.leg, link.agent.timeout(now))
            association = link.association
            if association is not None and association.keys is None and not association.failed and association.started and now >= link.due:
                self._say(link, association.timeout(), self._peer(link))
                self._wait(link, association, now)
            self._settle(link, now)
            if self._legs.sends[link.leg]:
                link.calm_until = now + CALM_SECONDS

    def _wait(self, link: Link, association: "Association", now: float) -> None:
        wait = association.wait_seconds()
        link.due = now + (wait if wait is not None else 1.0)

    def _peer(self, link: Link) -> Address | None:
        if link.agent is not None:
            return link.agent.selected
        return link.source or text(self._legs.address[link.leg])

    def _say(self, link: Link, datagrams: list[bytes], address: Address | None) -> None:
        if address is not None:
            self._send(link.leg, [(data, address) for data in datagrams])

    def _send(self, leg: int, datagrams: list[Datagram]) -> None:
        for data, address in datagrams:
            self._sockets.send_one(leg, data, address)

    def _settle(self, link: Link, now: float) -> None:
        """Let the arrays say what agent and association came to."""
        legs, leg, agent, association = self._legs, link.leg, link.agent, link.association
        if agent is not None:
            selected = agent.selected
            if selected is not None and (not legs.address[leg, 0] or text(legs.address[leg]) != selected):
                self._reach(leg, selected)
            if selected is not None and association is not None and link.note.client and not association.started:
                self._say(link, association.start(), selected)
                self._wait(link, association, now)
        if association is not None:
            if association.keys is not None and not legs.suite[leg]:
                self._guard.begin(leg, *association.keys)
                if agent is None and link.source is not None:
                    self._reach(leg, link.source)
            if association.failed and agent is None and link.source is not None and not legs.suite[leg]:
                link.association, link.source = self._associate(link.note), None
        reached = agent is None or agent.selected is not None
        sends = link.note.wants and reached and (association is None or bool(legs.suite[leg]))
        if bool(legs.sends[leg]) != sends:
            legs.sends[leg] = sends
            self._changed()

    def _reach(self, leg: int, address: Address) -> None:
        """Packets of a leg go there from now on."""
        legs = self._legs
        legs.address[leg] = np.frombuffer(sockaddr(*address), np.uint8)
        legs.latched[leg] = True
        if legs.mux[leg]:
            legs.address_rtcp[leg] = legs.address[leg]
