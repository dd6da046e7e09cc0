"""Where a leg's packets come from and go to: the shared pair, or a pair of its own.

Rules:
- A leg shares the pair if its peer's address tells it apart: nobody else has it, and it is of the same scope as ours (a private address
  seen from a public one is behind a NAT, and so is whatever the SDP says about a loopback host).
- Otherwise, and where the address is not known yet because we offer first, it has a pair of its own.
- A leg that ICE or DTLS has to reach first has a pair of its own.
- So has one that speaks IPv6; where the peer comes to speak the other protocol, it has a new pair.
- A leg whose source was learned keeps it as long as the peer names the same address.
"""

import ipaddress

import numpy as np

from media.addresses import ADDRESS_BYTES, key, same, sockaddr
from media.engine import Engine
from media.negotiation import Agreement
from media.sockets import PortsExhaustedError


def scope(host: str) -> str:
    """``loopback``, ``private`` or ``public``."""
    address = ipaddress.ip_address(host)
    return "loopback" if address.is_loopback else "private" if address.is_private else "public"


def place(engine: Engine, leg: int, host: str, agreement: Agreement | None) -> None:
    """Give a leg its sockets and its addresses for what was agreed on (None: nothing yet).

    Raises:
        PortsExhaustedError: it needs a pair of its own, and there is none; nothing was changed then.
    """
    legs = engine.legs
    new = not legs.port[leg]
    told = sockaddr(agreement.host, agreement.port) if agreement and agreement.host else bytes(ADDRESS_BYTES)
    six = agreement.six if agreement else ":" in host
    linked = agreement is not None and agreement.linked
    source = key(told)
    if new or not legs.own[leg] or bool(legs.six[leg]) != six:
        apart = agreement is not None and bool(agreement.host) and scope(host) == scope(agreement.host)
        owner = engine.rtp.get(source)
        # On hold without an address a leg stays where it was.
        held = not new and not source
        if six or legs.six[leg] or linked or (not held and not (apart and owner in (-1, leg))):
            legs.port[leg] = engine.sockets.open(leg, six=six)
            legs.six[leg] = six
            legs.own[leg] = True
            legs.latched[leg] = False
            _forget(engine, leg)
        elif new:
            legs.port[leg] = engine.sockets.port
    if agreement is None:
        return
    if source and not same(told, legs.told[leg]):
        legs.told[leg] = bytearray(told)
        legs.address[leg] = bytearray(told)
        legs.latched[leg] = False
        if not legs.own[leg]:
            _forget(engine, leg)
            engine.rtp.add(source, leg)
    legs.mux[leg] = agreement.mux
    if agreement.mux:
        legs.address_rtcp[leg] = legs.address[leg]
    elif agreement.fingerprints:
        legs.address_rtcp[leg] = 0  # its reports would need a handshake of their own
    elif agreement.host and agreement.rtcp_host:
        reports = sockaddr(agreement.rtcp_host, agreement.rtcp_port & 0xFFFF)
        legs.address_rtcp[leg] = bytearray(reports)
        if not legs.own[leg]:
            engine.rtcp.remove(leg)
            engine.rtcp.add(key(reports), leg)


def _forget(engine: Engine, leg: int) -> None:
    engine.rtp.remove(leg)
    engine.rtcp.remove(leg)


def take_over(engine: Engine) -> list[int]:
    """Know the addresses of all legs that another process left; their own ports, where they were not given, are bound again. Returns those
    whose port somebody else has."""
    legs = engine.legs
    for table, address in ((engine.rtp, legs.address), (engine.rtcp, legs.address_rtcp)):
        shared = np.flatnonzero(legs.used & ~legs.own & (address[:, 0] != 0))
        table.fill(address.view(np.uint64)[shared, 0], shared)
    lost = []
    own = np.flatnonzero(legs.used & legs.own)
    for leg, port, six in zip(own.tolist(), legs.port[own].tolist(), legs.six[own].tolist(), strict=True):
        try:
            engine.sockets.open(leg, port, six)
        except PortsExhaustedError:
            lost.append(leg)
    engine.sockets.taken_over()
    return lost


def vacate(engine: Engine, leg: int) -> None:
    """Take a leg's addresses and sockets back."""
    _forget(engine, leg)
    engine.sockets.shut(leg)
