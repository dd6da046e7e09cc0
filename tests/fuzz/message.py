"""Messages: any bytes are a message or a typed error; what is a message reads back equal after every edit."""

from telephony.sip.build import answer_broken, make_ack, make_cancel, make_trying, stamp_via
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_response
from tests.fuzz.vectors import messages

seeds = messages
FLOW = Flow("udp", "sip-udp", "192.0.2.77", 5060)
READ = ("method", "uri", "status", "reason", "via", "branch", "call_id", "cseq", "cseq_method", "body", "from_tag", "to_tag")


def values(message: Message, edited: bool = False) -> dict[str, object]:
    """All that can be read of it; what is read of the topmost Via stays as it came."""
    found: dict[str, object] = {name: getattr(message, name) for name in READ if not edited or name not in ("via", "branch")}
    for name in message.names():
        lines = message.get_lines(name)
        assert lines[0] == message.get(name)
        found[f"lines of {name}"] = lines
        try:
            found[f"all of {name}"] = message.get_all(name)
        except MessageError:
            found[f"all of {name}"] = "bad list"
    return found


def read_back(message: Message, edited: bool = False) -> Message:
    """The same message after it went over the wire."""
    data = message.serialize()
    again = Message.parse(data)
    here, there = values(message, edited), values(again, edited)
    assert here == there, [(name, here.get(name), there.get(name)) for name in {*here, *there} if here.get(name) != there.get(name)]
    assert again.serialize() == data
    return again


def check(data: bytes) -> None:
    try:
        message = Message.parse(data)
    except MessageError as error:
        assert 400 <= error.status < 600
        if error.message is not None:
            answer = answer_broken(error.message, error.status, error.reason, FLOW, "tag")
            assert answer.startswith(b"SIP/2.0 %d " % error.status)
            assert answer.endswith(b"\r\n\r\n")
        return
    again = read_back(message)
    if message.method is not None:
        _request(again)
    edited = message.copy()
    for name in ("via", "route", "contact"):
        try:
            before = edited.get_all(name)
            first = edited.pop(name)
        except MessageError:
            continue
        assert first == (before[0] if before else None)
        if name != "via":
            assert edited.get_all(name) == before[1:]
        edited.prepend(name, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx" if name == "via" else "<sip:a@b>")
    edited.set("subject", "x")
    edited.remove("user-agent")
    edited.set_body(b"body")
    assert edited.get_lines("subject") == ["x"]
    read_back(edited, True)
    assert values(message) == values(again), "an edit of a copy changed the original"


def _request(message: Message) -> None:
    try:
        stamped = message.copy()
        stamp_via(stamped, FLOW)
    except MessageError:
        return
    assert stamped.get_all("via")[1:] == message.get_all("via")[1:]
    stamped = read_back(stamped)
    Message.parse(make_trying(stamped))
    for status in (180, 200, 486):
        response = read_back(make_response(stamped, status, to_tag="mine", headers=[("Contact", "<sip:us>")]))
        assert response.get_all("via") == stamped.get_all("via")
        assert (response.call_id, response.cseq, response.cseq_method) == (message.call_id, message.cseq, message.method)
        assert response.to_tag == (message.to_tag or "mine")
        if message.method == "INVITE":
            ack = Message.parse(make_ack(stamped, response))
            assert (ack.branch, ack.cseq, ack.call_id) == (stamped.branch, stamped.cseq, stamped.call_id)
    if message.method == "INVITE":
        cancel = make_cancel(stamped)
        assert (cancel.method, cancel.branch, cancel.cseq, cancel.uri) == ("CANCEL", stamped.branch, stamped.cseq, stamped.uri)
    try:
        hops = stamped.spend_hop()
    except MessageError:
        return
    assert 0 <= hops <= 255
    read_back(stamped)
