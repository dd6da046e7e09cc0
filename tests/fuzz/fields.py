"""Header fields: URI, Via, address, digest, parameters. What can be read reads back equal; all else is a `ValueError`."""

import contextlib

from telephony.sip.address import Address, tag_of
from telephony.sip.digest import Credentials, Nonces, answer, answer_again, fields, realm_of, verify
from telephony.sip.endpoint import default_next_hop
from telephony.sip.flow import Flow
from telephony.sip.text import escape, parameter, parameters, quote, split, unescape, unquote
from telephony.sip.uri import Uri, host_port
from telephony.sip.via import Via
from tests.fuzz.vectors import messages

KEEP = frozenset(b"abc%")
FLOW = Flow("udp", "sip-udp", "192.0.2.77", 5060)
NONCES = Nonces(b"secret", random=bytes)


def seeds() -> list[bytes]:
    """Header values of the vectors, and some of each kind."""
    found = dict.fromkeys(
        line.partition(b":")[2].strip() for data in messages() for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    )
    uris = [data.split(b"\r\n")[0].split(b" ")[1] for data in messages() if data.split(b"\r\n")[0].count(b" ") == 2]
    own = [
        b"sip:a:b@[2001:db8::1]:5060;transport=tcp;lr?subject=x",
        b'"A \\" B" <sips:%41b@example.com;user=phone>;tag=1;q=0.5',
        b"SIP / 2.0 / UDP [2001:db8::1]:5061 ;branch=z9hG4bK1;rport;received=192.0.2.1",
        b'Digest realm="a, b", nonce="c", algorithm=SHA-256, qop="auth,auth-int", opaque="d", stale=TRUE',
        b'Digest username="u", realm="r", nonce="n", uri="sip:a", response="00", qop=auth, nc=00000001, cnonce="x"',
    ]
    return [*own, *dict.fromkeys(uris), *found]


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if any(character in text for character in "\r\n\0"):
        return
    with contextlib.suppress(ValueError):
        uri = Uri.parse(text)
        again = Uri.parse(str(uri))
        assert again == uri, (again, uri)
        assert uri.equivalent(again)
        assert default_next_hop(text, FLOW).port in range(1, 65536)
        uri.username.encode("utf-8", "surrogateescape")
    with contextlib.suppress(ValueError):
        via = Via.parse(text)
        assert Via.parse(str(via)) == via
        host, port = via.response_address
        assert host == host.strip("[]")
        assert 0 < port < 65536, port
    with contextlib.suppress(ValueError):
        address = Address.parse(text)
        assert Address.parse(str(address)) == address, (Address.parse(str(address)), address)
        assert address.tag == tag_of(str(address))
        assert tag_of(text) == address.tag, (tag_of(text), address.tag)
    with contextlib.suppress(ValueError):
        for one in Address.parse_list(text):
            str(one)
    with contextlib.suppress(ValueError):
        host, port = host_port(text)
        assert host
    with contextlib.suppress(ValueError):
        for name, value in parameters(text):
            assert parameter(text, name) is not None
            assert value is None or value
    with contextlib.suppress(ValueError):
        assert ",".join(split(text, ",")) == text
    assert unquote(quote(text)) == text
    assert unescape(escape(text, KEEP - {0x25})) == text
    unescape(text).encode("utf-8", "surrogateescape")
    _digest(text)


def _digest(text: str) -> None:
    NONCES.check(text, 1000.0)
    realm_of(text)
    try:
        given = fields(text) or {}
    except ValueError:
        given = {}
    assert not verify(given, "INVITE", {"MD5": "0" * 32, "SHA-256": "0" * 64}, text)
    answered = answer([text], Credentials("u", "p"), "INVITE", "sip:a", "c")
    if answered is None:
        return
    back = fields(answered)
    assert back is not None
    assert (back["username"], back["realm"], back["nonce"], back["uri"]) == ("u", given["realm"], given["nonce"], "sip:a")
    assert answer_again(answered, Credentials("u", "p"), "INVITE", "sip:a", "c") is not None
