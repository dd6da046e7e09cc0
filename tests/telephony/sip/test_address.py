"""Addresses and Via (RFC 3261 sections 20.10, 20.42)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.address import Address, tag_of
from telephony.sip.uri import Uri
from telephony.sip.via import Via

BOB = Uri.parse("sip:bob@biloxi.com")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<sip:bob@biloxi.com>", Address(BOB)),
        ("sip:bob@biloxi.com;tag=1;x", Address(BOB, "", (("tag", "1"), ("x", None)))),
        ("Bob Smith <sip:bob@biloxi.com> ; TAG = a", Address(BOB, "Bob Smith", (("tag", "a"),))),
        ('"Mr. \\"B\\" <x>, y" <sip:bob@biloxi.com>;q=0.5', Address(BOB, 'Mr. "B" <x>, y', (("q", "0.5"),))),
        ("<sip:bob@biloxi.com;lr>", Address(Uri.parse("sip:bob@biloxi.com;lr"))),
    ],
)
def test_parse(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address
    assert tag_of(text) == address.tag


@pytest.mark.parametrize(
    "text",
    ["", "<sip:bob@biloxi.com", '"Bob <sip:bob@biloxi.com>', "Bell, A <sip:bob@biloxi.com>", 'a"b" <sip:bob@biloxi.com>', "< sip:b@c >",
     "sip:bob@biloxi.com?a=b", "<sip:bob@biloxi.com> x", "<sip:bob@biloxi.com>;;", "<sip:bob@biloxi.com>;tag=", "bob"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Address.parse(text)


def test_list() -> None:
    assert Address.parse_list('"a,b" <sip:bob@biloxi.com>;q=1,<sip:bob@biloxi.com>') == [Address(BOB, "a,b", (("q", "1"),)), Address(BOB)]


@given(st.text(alphabet=st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"])))
def test_any_display_name(name: str) -> None:
    assert Address.parse(str(Address(BOB, name))).display_name == name


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    tag_of(text)
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "via", "address"),
    [
        ("SIP/2.0/UDP pc33.a.com;branch=z9hG4bKa", Via("UDP", "pc33.a.com", None, (("branch", "z9hG4bKa"),)), ("pc33.a.com", 5060)),
        ("SIP / 2.0 / tcp [::1]:70 ;rport", Via("TCP", "::1", 70, (("rport", None),)), ("::1", 70)),
        ("SIP/2.0/UDP h:70;received=::1;rport=99", Via("UDP", "h", 70, (("received", "::1"), ("rport", "99"))), ("::1", 99)),
        ("SIP/2.0/TLS h", Via("TLS", "h", None, ()), ("h", 5061)),
    ],
)  # fmt: skip
def test_via(text: str, via: Via, address: tuple[str, int]) -> None:
    assert Via.parse(text) == via
    assert Via.parse(str(via)) == via
    assert via.response_address == address


@pytest.mark.parametrize("text", ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "SIP/2.0/UDP h;;", "SIP/2.0/UDP h:x", "UDP h"])
def test_bad_via(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Via.parse(text)
