"""URIs (RFC 3261 section 19.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.uri import Uri, host_port


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:alice@atlanta.com", Uri("sip", "alice", "", "atlanta.com", None, (), "")),
        ("sip:alice:secret@Atlanta.com;transport=TCP", Uri("sip", "alice", "secret", "atlanta.com", None, (("transport", "TCP"),), "")),
        (
            "SIPS:alice@atlanta.com?subject=x&priority=urgent",
            Uri("sips", "alice", "", "atlanta.com", None, (), "subject=x&priority=urgent"),
        ),
        (
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            Uri("sip", "+1-212-555-1212", "1234", "gateway.com", None, (("user", "phone"),), ""),
        ),
        ("sip:[2001:db8::1]:5070;lr", Uri("sip", "", "", "2001:db8::1", 5070, (("lr", None),), "")),
        ("sip:alice;day=tuesday@atlanta.com", Uri("sip", "alice;day=tuesday", "", "atlanta.com", None, (), "")),
        ("sip:%00@host", Uri("sip", "%00", "", "host", None, (), "")),
        ("tel:+358-555-1234567", Uri("tel", "", "", "+358-555-1234567", None, (), "")),
    ],
)
def test_parse(text: str, uri: Uri) -> None:
    assert Uri.parse(text) == uri
    assert Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    ["", "sip:", "alice", "sip:a@", "sip:a b@c", "sip:a@b:0", "sip:a@b:65536", "sip:a@b:x", "sip:a@[::1", "sip:2001:db8::1", "<sip:a@b>",
     "sip:@b", "sip:a@b;;x", "sip:a@b;x=", "sip:a%zz@b", "sip:a@b\r\nX: y", "sip:a\x00@b", "1sip:a@b", "tel:", "sip:a@b_c", "sip:a@-b"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Uri.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", True),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", True),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", True),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", False),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", False),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", False),
    ],
)
def test_comparison_of_rfc_3261(one: str, other: str, same: bool) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(other)) is same
    assert Uri.parse(other).equivalent(Uri.parse(one)) is same


@given(st.text())
def test_any_text_is_a_uri_or_a_value_error(text: str) -> None:
    try:
        uri = Uri.parse(text)
    except ValueError:
        return
    assert Uri.parse(str(uri)) == uri


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_any_user_part_is_escaped(user: str) -> None:
    uri = Uri.of(user, "example.com", 5070, (("lr", None),))
    assert Uri.parse(str(uri)).username == user


def test_host_port() -> None:
    assert host_port("Example.com") == ("example.com", 5060)
    assert host_port("[::1]:70") == ("::1", 70)
    for text in ("", "a:b", "::1", "a b"):
        with pytest.raises(ValueError, match="host"):
            host_port(text)
