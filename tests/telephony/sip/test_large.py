"""A user agent's requests that are too large for a datagram (RFC 3261 section 18.1.1)."""

import random

from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Event, Rejected, ResponseReceived
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message, make_response

FLOW = Flow("udp", "sip-udp", "192.0.2.1", 5060)
STREAM = Flow("tcp", "sip-tcp", "192.0.2.1", 5060)
BODY = b"x" * 1400


def endpoint(stream: str = "sip-tcp") -> Endpoint:
    return Endpoint("192.0.2.9:5060", random=random.Random(1).randbytes, stream=stream)


def sent(one: Endpoint) -> list[tuple[str, Flow, str]]:
    """Method, flow and Via transport of what was sent since."""
    messages = [(Message.parse(effect.data), effect.flow) for effect in one.take() if isinstance(effect, Send)]
    return [(message.method or "", flow, message.via.split(" ")[0]) for message, flow in messages]


def invite(one: Endpoint, body: bytes = BODY) -> None:
    one.invite("sip:b@192.0.2.1", "<sip:a@x>", "<sip:b@x>", FLOW, now=0.0, body=body)


def test_an_invite_over_tcp_and_over_udp_where_that_is_refused() -> None:
    one = endpoint()
    invite(one)
    assert sent(one) == [("INVITE", STREAM, "SIP/2.0/TCP")]
    one.closed(STREAM._replace(connection=3), 0.0)
    assert sent(one) == [("INVITE", FLOW, "SIP/2.0/UDP")]
    invite(one)
    assert sent(one) == [("INVITE", FLOW, "SIP/2.0/UDP")]


def test_a_message_likewise() -> None:
    one = endpoint()
    request = one.request("MESSAGE", "sip:b@192.0.2.1", "<sip:a@x>", "<sip:b@x>", FLOW, now=0.0, body=BODY, content_type="text/plain")
    assert sent(one) == [("MESSAGE", STREAM, "SIP/2.0/TCP")]
    before = request.message.branch
    one.closed(STREAM, 0.0)
    [again] = [effect for effect in one.take() if isinstance(effect, Send)]
    assert Message.parse(again.data).branch != before
    one.receive(make_response(Message.parse(again.data), 200).serialize(), FLOW, 0.1)
    events: list[Event] = [event for event in one.take() if isinstance(event, ResponseReceived)]
    assert [event.status for event in events] == [200]  # type: ignore[union-attr]


def test_cancel_and_ack_go_the_way_of_their_invite() -> None:
    one = endpoint()
    session = one.invite("sip:b@192.0.2.1", "<sip:a@x>", "<sip:b@x>", FLOW, now=0.0, body=BODY)
    [first] = [effect for effect in one.take() if isinstance(effect, Send)]
    one.receive(make_response(Message.parse(first.data), 180, to_tag="t").serialize(), STREAM, 0.1)
    session.cancel(now=0.2)
    assert sent(one)[-1:] == [("CANCEL", STREAM, "SIP/2.0/TCP")]
    one.receive(make_response(Message.parse(first.data), 487, to_tag="t").serialize(), STREAM, 0.3)
    taken = one.take()
    assert [effect.flow for effect in taken if isinstance(effect, Send)] == [STREAM]
    assert [type(event) for event in taken if not isinstance(event, Send)] == [Rejected]


def test_a_503_over_tcp_is_the_answer() -> None:
    one = endpoint()
    invite(one)
    [first] = [effect for effect in one.take() if isinstance(effect, Send)]
    one.receive(make_response(Message.parse(first.data), 503, to_tag="t").serialize(), STREAM, 0.1)
    assert [type(event) for event in one.take() if not isinstance(event, Send)] == [Rejected]


def test_what_fits_and_what_has_no_stream_stays_in_datagrams() -> None:
    one = endpoint()
    invite(one, b"x" * 300)
    assert sent(one) == [("INVITE", FLOW, "SIP/2.0/UDP")]
    one = endpoint(stream="")
    invite(one)
    assert sent(one) == [("INVITE", FLOW, "SIP/2.0/UDP")]


def test_the_size_of_a_message_is_known_without_writing_it() -> None:
    one = endpoint()
    invite(one)
    [first] = [effect for effect in one.take() if isinstance(effect, Send)]
    message = Message.parse(first.data)
    assert message.size() == len(first.data) == len(message.serialize())
