"""The other side of a core that is fuzzed: it takes what the core sends and makes messages that fit, so that the fuzzer gets deep.

An input is a list of records, cut at `CUT`; the first byte of each says what it is.
"""

import re

from telephony.effects import Send
from telephony.sip.build import make_ack, make_cancel
from telephony.sip.digest import Credentials, answer
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_response

CUT = b"\x1e"
RECORDS_MAX = 24
"""Records of one input."""
MESSAGE_BYTES_MAX = 8192
REFUSAL = re.compile(rb"SIP/2\.0 [45][0-9]{2} [ -~]+\r\n")


class Peer:
    """What was sent and received so far."""

    def __init__(self) -> None:
        self.requests: list[tuple[Message, Flow]] = []
        """Requests that the core has sent, ACK aside."""
        self.responses: list[tuple[Message, Flow]] = []
        """Responses that it has sent."""
        self.asked: list[tuple[Message, Flow]] = []
        """Requests that it was sent and could read."""

    def saw(self, effect: Send) -> None:
        """One message of the core's; it has to be one, unless it repeats the broken lines of a request that it refuses."""
        assert len(effect.data) <= 2 * MESSAGE_BYTES_MAX
        try:
            message = Message.parse(effect.data)
        except MessageError:
            assert REFUSAL.match(effect.data), effect.data
            return
        if message.method is None:
            self.responses.append((message, effect.flow))
        elif message.method != "ACK":
            self.requests.append((message, effect.flow))

    def response(self, rest: bytes, back: int) -> tuple[bytes, Flow] | None:
        """A response to a request of the core's, the last one or one before; status, and more headers or a body."""
        if len(self.requests) < back or not rest[:3].isdigit() or not 100 <= int(rest[:3]) <= 699:
            return None
        request, flow = self.requests[-back]
        data = make_response(request, int(rest[:3]), to_tag="peer", headers=[("Contact", "<sip:peer@192.0.2.99:5070>")]).serialize()
        return _extended(data, rest[3:]), flow

    def follow(self, method: str, rest: bytes) -> tuple[bytes, Flow] | None:
        """A request that goes with the last one that the core was sent: ACK, CANCEL, or one within the dialog that its answer made."""
        if not self.asked:
            return None
        request, flow = self.asked[-1]
        if method == "CANCEL":
            return make_cancel(request).serialize(), flow
        answers = [response for response, _ in self.responses if response.call_id == request.call_id and response.to_tag]
        if not answers:
            return None
        if method == "ACK" and answers[-1].status >= 300:
            return make_ack(request, answers[-1]), flow
        number = request.cseq if method == "ACK" else request.cseq + 1
        routes = "".join(f"Route: {value}\r\n" for value in answers[-1].get_lines("record-route"))
        text = (
            f"{method} {request.uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK{method}{len(self.asked)}\r\n{routes}"
            f"Max-Forwards: 70\r\nFrom: {request.get('from')}\r\nTo: {answers[-1].get('to')}\r\nCall-ID: {request.call_id}\r\n"
            f"CSeq: {number} {method}\r\nContact: <sip:peer@192.0.2.99:5070>\r\nContent-Length: 0\r\n\r\n"
        )
        return _extended(text.encode("utf-8", "surrogateescape"), rest), flow

    def authenticated(self, credentials: Credentials) -> tuple[bytes, Flow] | None:
        """The last request once more, with an answer to the last challenge."""
        if not self.asked or not self.responses:
            return None
        request, flow = self.asked[-1]
        response, _ = self.responses[-1]
        header, proof = ("www-authenticate", "authorization") if response.status == 401 else ("proxy-authenticate", "proxy-authorization")
        value = answer(response.get_lines(header), credentials, request.method or "", request.uri, "cnonce")
        if value is None:
            return None
        again = request.copy()
        again.set(proof, value)
        again.replace_first("via", f"SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKproof{len(self.responses)}")
        return again.serialize(), flow


def records(data: bytes) -> list[bytes]:
    """The records of an input."""
    return [record[:MESSAGE_BYTES_MAX] for record in data.split(CUT)[:RECORDS_MAX] if record]


def number(rest: bytes, most: float) -> float:
    """What the digits in front say, ``most`` at most."""
    digits = bytes(byte for byte in rest[:4] if byte in b"0123456789")
    return min(float(digits or b"0"), most)


def _extended(data: bytes, more: bytes) -> bytes:
    """More header lines, and perhaps a body, before Content-Length and what follows it."""
    if not more:
        return data
    head, body = (more.partition(b"\r\n\r\n")[0].strip(b"\r\n"), more.partition(b"\r\n\r\n")[2])
    start = data.rpartition(b"Content-Length:")[0]
    return start + (head + b"\r\n" if head else b"") + b"Content-Length: %d\r\n\r\n" % len(body) + body
