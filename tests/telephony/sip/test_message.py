"""Messages: reading, editing in place, building; whatever comes is a message or a typed error."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telephony.proxy.core import Proxy
from telephony.sip import parsing
from telephony.sip.build import make_answer
from telephony.sip.endpoint import Endpoint
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import HEADERS_MAX, Message, make_request, make_response
from tests.telephony.proxy.setting import configuration

INVITE = (
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33;branch=z9hG4bKa\r\nVia:  SIP/2.0/TCP x;branch=z9hG4bKb , SIP/2.0/UDP y\r\n"
    b"MAX-FORWARDS:70\r\nf: Alice <sip:alice@atlanta.com>;tag=1928301774\r\nTo: Bob <sip:bob@biloxi.com>\r\n"
    b"Call-ID: a84b4c76e66710@pc33\r\nCSeq: 314159 INVITE\r\nX-Odd :  \xff kept \r\nRoute: <sip:a;lr>, <sip:b;lr>\r\nRoute: <sip:c;lr>\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
)


def test_reading() -> None:
    message = Message.parse(INVITE)
    assert (message.method, message.uri, message.status) == ("INVITE", "sip:bob@biloxi.com", 0)
    assert (message.branch, message.call_id, message.from_tag, message.to_tag) == ("z9hG4bKa", "a84b4c76e66710@pc33", "1928301774", "")
    assert (message.cseq, message.cseq_method, message.body) == (314159, "INVITE", b"hello")
    assert message.get_all("via") == ["SIP/2.0/UDP pc33;branch=z9hG4bKa", "SIP/2.0/TCP x;branch=z9hG4bKb", "SIP/2.0/UDP y"]
    assert message.get_all("route") == ["<sip:a;lr>", "<sip:b;lr>", "<sip:c;lr>"]
    assert message.number("max-forwards") == 70
    assert message.get("subject") is None
    assert message.passed_on
    assert message.serialize() == INVITE


def test_editing_touches_nothing_else() -> None:
    message = Message.parse(INVITE)
    message.retarget("sip:bob@192.0.2.4")
    assert message.spend_hop() == 70
    assert message.pop("route") == "<sip:a;lr>"
    assert message.pop("route") == "<sip:b;lr>"
    assert message.pop("via") == "SIP/2.0/UDP pc33;branch=z9hG4bKa"
    message.prepend("record-route", "<sip:us;lr>")
    message.prepend("via", "SIP/2.0/UDP us;branch=z9hG4bKc")
    message.add("route", "<sip:d;lr>")
    message.set("subject", "one")
    message.set("subject", "two")
    message.remove("content-type")
    assert message.get("via") == "SIP/2.0/UDP us;branch=z9hG4bKc"
    assert message.get_all("route") == ["<sip:c;lr>", "<sip:d;lr>"]
    data = message.serialize()
    assert data == (
        b"INVITE sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKc\r\nRecord-Route: <sip:us;lr>\r\n"
        b"Via:  SIP/2.0/TCP x;branch=z9hG4bKb , SIP/2.0/UDP y\r\nMax-Forwards: 69\r\n"
        b"f: Alice <sip:alice@atlanta.com>;tag=1928301774\r\nTo: Bob <sip:bob@biloxi.com>\r\nCall-ID: a84b4c76e66710@pc33\r\n"
        b"CSeq: 314159 INVITE\r\nX-Odd :  \xff kept \r\n"
        b"Route: <sip:c;lr>\r\nContent-Length: 5\r\nRoute: <sip:d;lr>\r\nSubject: two\r\n\r\nhello"
    )
    # messages of the same shape are not touched
    assert Message.parse(INVITE).serialize() == INVITE
    assert Message.parse(INVITE).get_all("route") == ["<sip:a;lr>", "<sip:b;lr>", "<sip:c;lr>"]


def test_copies_are_independent() -> None:
    message = Message.parse(INVITE)
    message.prepend("via", "SIP/2.0/UDP us")
    copy = message.copy()
    copy.unprepend()
    copy.remove("route")
    copy.set_body(b"")
    assert copy.get_all("via")[0] == "SIP/2.0/UDP pc33;branch=z9hG4bKa"
    assert copy.get("content-type") is None
    assert message.get("via") == "SIP/2.0/UDP us"
    assert len(message.get_all("route")) == 3
    assert message.body == b"hello"


@pytest.mark.parametrize("value", ["a\r\nVia: evil", "a\nb", "a\rb", "a\0b"])
def test_nothing_can_be_injected(value: str) -> None:
    message = Message.parse(INVITE)
    for action in (message.set, message.add, message.prepend):
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            action("subject", value)
    with pytest.raises(ValueError, match=r"."):
        message.add(value, "x")
    with pytest.raises(ValueError, match=r"."):
        message.retarget(value)
    with pytest.raises(ValueError, match=r"."):
        make_response(message, 200, value)
    with pytest.raises(ValueError, match=r"."):
        make_response(message, 200, headers=[("Subject", value)])
    with pytest.raises(ValueError, match=r"."):
        make_request("OPTIONS", value, [])
    assert message.serialize() == INVITE


def test_response() -> None:
    message = Message.parse(INVITE)
    response = make_response(message, 180, to_tag="t", headers=[("Contact", "<sip:us>")])
    assert response.serialize() == (
        b"SIP/2.0 180 Ringing\r\nf: Alice <sip:alice@atlanta.com>;tag=1928301774\r\nTo: Bob <sip:bob@biloxi.com>;tag=t\r\n"
        b"Call-ID: a84b4c76e66710@pc33\r\nCSeq: 314159 INVITE\r\nVia: SIP/2.0/UDP pc33;branch=z9hG4bKa\r\n"
        b"Via: SIP/2.0/TCP x;branch=z9hG4bKb , SIP/2.0/UDP y\r\nContact: <sip:us>\r\nContent-Length: 0\r\n\r\n"
    )
    assert response.to_tag == "t"
    assert make_response(message, 100, to_tag="t").to_tag == ""
    assert make_response(message, 299).reason == "OK"


def test_bounds() -> None:
    start, _, rest = INVITE.partition(b"\r\n")
    Message.parse(start + b"\r\n" + b"X: y\r\n" * (HEADERS_MAX - 12) + rest)
    with pytest.raises(MessageError, match="headers"):
        Message.parse(start + b"\r\n" + b"X: y\r\n" * HEADERS_MAX + rest)
    with pytest.raises(MessageError) as error:
        Message.parse(INVITE + b"x" * 65536)
    assert error.value.status == 513


TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~", min_size=1, max_size=12)
VALUES = st.text(alphabet=st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=30)
KNOWN = {"via", "from", "to", "call-id", "cseq", "content-length", "v", "f", "t", "i", "l", "max-forwards"}


@given(TOKENS, st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in KNOWN), VALUES), max_size=8), st.binary(max_size=50))
def test_what_we_build_reads_back(method: str, headers: list[tuple[str, str]], body: bytes) -> None:
    needed = [("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"), ("From", "<sip:a@b>;tag=1"), ("To", "<sip:c@d>"), ("Call-ID", "x")]
    message = make_request(method, "sip:c@d", [*needed, ("CSeq", f"1 {method}"), *headers], body)
    again = Message.parse(message.serialize())
    assert again.serialize() == message.serialize()
    assert (again.method, again.uri, again.body) == (method, "sip:c@d", body)
    for name, value in headers:
        assert value.strip() in again.get_lines(canonical(name))


def canonical(name: str) -> str:
    from telephony.sip.names import COMPACT

    return COMPACT.get(name.lower(), name.lower())


MUTATIONS = st.lists(st.tuples(st.integers(0, len(INVITE)), st.integers(0, 8), st.binary(max_size=6)), max_size=6)


def mutated(mutations: list[tuple[int, int, bytes]]) -> bytes:
    data = INVITE
    for at, size, new in mutations:
        data = data[:at] + new + data[at + size :]
    return data


@given(st.binary(max_size=300) | MUTATIONS.map(mutated))
@example(b"")
@example(b"\r\n")
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example(b"INVITE sip:a SIP/2.0\r\n:\r\n\r\n")
def test_any_bytes_give_a_message_or_a_typed_error(data: bytes) -> None:
    try:
        message = Message.parse(data)
    except MessageError as error:
        if error.message is not None:
            make_response(error.message, error.status, to_tag="t").serialize()
        return
    again = Message.parse(message.serialize())
    assert again.serialize() == message.serialize()
    assert (again.branch, again.call_id, again.cseq) == (message.branch, message.call_id, message.cseq)


FLOW = Flow("udp", "public-udp", "192.0.2.1", 5060)


@given(st.lists(MUTATIONS.map(mutated), max_size=3), st.booleans())
def test_no_bytes_break_a_core(messages: list[bytes], from_router: bool) -> None:
    proxy = Proxy()
    proxy.configure(configuration(), 0.0)
    endpoint = Endpoint("192.0.2.1:5060")
    flow = FLOW._replace(host="192.0.2.20", socket="sip-udp") if from_router else FLOW
    for data in messages:
        for method in (b"INVITE", b"ACK", b"BYE", b"CANCEL", b"REGISTER", b"MESSAGE"):
            proxy.receive(data.replace(b"INVITE", method), flow, 0.0)
            endpoint.receive(data.replace(b"INVITE", method), flow, 0.0)
        response = data.replace(b"INVITE sip:bob@biloxi.com SIP/2.0", b"SIP/2.0 200 OK")
        proxy.receive(response, flow, 0.0)
        endpoint.receive(response, flow, 0.0)
    proxy.take()
    endpoint.take()
    proxy.timeout(1000.0)
    endpoint.timeout(1000.0)


@pytest.mark.parametrize("status", [100, 200, 401])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"To: Bob <sip:bob@biloxi.com>", b"t: <sip:bob@biloxi.com>;tag=7"),
        (b"Via:  SIP/2.0/TCP x;branch=z9hG4bKb , SIP/2.0/UDP y\r\n", b""),
        (b"Via:  SIP/2.0/TCP x;branch=z9hG4bKb , SIP/2.0/UDP y\r\n", b"Record-Route: <sip:r;lr>\r\n"),
    ],
)
def test_an_answer_of_the_shortest_way_is_the_same(status: int, old: bytes, new: bytes) -> None:
    message = Message.parse(INVITE.replace(old, new))
    headers = [("x-y", "z"), ("www-authenticate", "Digest a=b"), ("X-Y", "1")]
    expected = make_response(message, status, "Well", to_tag="9", headers=headers).serialize()
    assert make_answer(message, status, "Well", "9", headers) == expected
    with pytest.raises(ValueError, match="CR"):
        make_answer(message, status, None, "9", [("a", "b\r\nc: d")])


_LINE = st.sampled_from(
    ["Subject: a", "subject: b", "s: c", "X: 1", "X : 2", "X", "Route: <sip:a;lr>", " folded", "Via: SIP/2.0/UDP b", "l: 0"]
)


@given(st.lists(st.lists(_LINE, max_size=3), min_size=2, max_size=6))
def test_what_came_before_changes_nothing(bodies: list[list[str]]) -> None:
    """The shape of a message is guessed by those before it; a wrong guess is noticed."""
    head = (
        "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS"
    )
    several = ["\r\n".join([head, *lines, "", ""]).encode() for lines in bodies]

    def seen(data: bytes) -> object:
        try:
            message = Message.parse(data)
        except MessageError as error:
            return str(error)
        return [(name, message.get_lines(name)) for name in message.names()], message.serialize()

    alone = []
    for data in several:
        parsing._guesses.clear()
        alone.append(seen(data))
    assert [seen(data) for data in several] == alone


def test_lines_are_taken_off_in_any_order() -> None:
    data = (
        b"BYE sip:b SIP/2.0\r\nRoute: <sip:1>\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nRoute: <sip:2>\r\nVia: SIP/2.0/UDP b\r\n"
        b"From: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\nCall-ID: c\r\nCSeq: 2 BYE\r\nRoute: <sip:3>\r\nContent-Length: 0\r\n\r\n"
    )
    message = Message.parse(data)
    other = message.copy()
    assert [message.pop(name) for name in ("route", "via", "route", "via", "route", "route")] == [
        "<sip:1>", "SIP/2.0/UDP a;branch=z9hG4bK1", "<sip:2>", "SIP/2.0/UDP b", "<sip:3>", None,
    ]  # fmt: skip
    left = b"BYE sip:b SIP/2.0\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\nCall-ID: c\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    assert message.serialize() == left
    assert other.serialize() == data
    assert (other.get("route"), other.line("cseq")) == ("<sip:1>", "CSeq: 2 BYE")
