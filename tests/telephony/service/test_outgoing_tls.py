"""TLS connections that we open: to a domain that proves itself, or not at all (RFC 5922)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.service.channel import PlainChannel
from telephony.service.secure import EARLY_BYTES_MAX, SecureChannel, make_client_context
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from tests.telephony.service.pairs import pair
from tests.telephony.service.test_channel import ONE
from tests.telephony.service.test_streams import Side

DOMAIN = "localhost"
"""A name that certificates of the tests have, beside an address."""
ELSEWHERE = "192.0.2.1"


def turn(we: Side, they: Side, until: object) -> None:
    assert callable(until)
    for _ in range(400):
        if until():
            return
        we.loop.turn(0.01)
        they.loop.turn(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Side, Side, Flow]]:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(pair("domain", ELSEWHERE)[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    we, they = Side(transports=("tls",)), Side(transports=("tls",))
    they.streams.certify(*pair("domain", ELSEWHERE))
    yield we, they, Flow("tls", "public-tls", *they.addresses["tls"])
    we.close()
    they.close()


def test_messages_both_ways_with_a_domain_that_proves_itself(sides: tuple[Side, Side, Flow]) -> None:
    we, they, flow = sides
    we.streams.expect(flow.host, flow.port, DOMAIN)
    we.streams.send(ONE, flow)
    we.streams.send(ONE, flow)
    turn(we, they, lambda: len(they.messages) == 2)
    assert they.messages[0][0] == ONE
    they.streams.send(ONE, they.messages[0][1])
    turn(we, they, lambda: we.messages)
    data, back = we.messages[0]
    assert data == ONE
    assert back._replace(connection=0) == flow
    assert we.streams.connections() == they.streams.connections() == 1, "one connection for all"
    assert we.gone == []


@pytest.mark.parametrize("domain", ["", "other.example.org", "example.org"])
def test_who_is_somebody_else_gets_nothing(sides: tuple[Side, Side, Flow], domain: str) -> None:
    we, they, flow = sides
    if domain:
        we.streams.expect(flow.host, flow.port, domain)
    we.streams.send(ONE, flow)
    turn(we, they, lambda: we.gone)
    assert we.gone[0]._replace(connection=0) == flow
    assert they.messages == []


def test_who_is_not_trusted_gets_nothing(sides: tuple[Side, Side, Flow]) -> None:
    we, they, flow = sides
    they.streams.certify(*pair("forged", ELSEWHERE))
    we.streams.expect(flow.host, flow.port, DOMAIN)
    we.streams.send(ONE, flow)
    turn(we, they, lambda: we.gone)
    assert they.messages == []


def test_authorities_of_the_configuration_are_asked_instead(sides: tuple[Side, Side, Flow]) -> None:
    we, they, flow = sides
    we.streams.expect(flow.host, flow.port, DOMAIN)
    with pytest.raises(ValueError, match="authorities"):
        we.streams.trust(b"nobody")
    we.streams.trust(pair("own authority", ELSEWHERE)[0])
    we.streams.send(ONE, flow)
    turn(we, they, lambda: we.gone)
    assert they.messages == [], "whom the machine trusts is not enough"
    they.streams.certify(*pair("own authority", ELSEWHERE))
    we.streams.send(ONE, flow)
    turn(we, they, lambda: they.messages)
    we.streams.trust(b"")
    assert we.streams.connections() == 1, "those that are there stay"


def test_what_waits_for_the_handshake_is_bounded() -> None:
    channel = SecureChannel(make_client_context(), PlainChannel(), DOMAIN)
    assert channel.outgoing()[0] == 22, "a handshake record: ours begins it"
    message = b"x" * 60_000
    with pytest.raises(MessageError):
        for _ in range(EARLY_BYTES_MAX // len(message) + 1):
            channel.wrap(message)
