"""Overload: when new requests are refused, how, and what others are told (RFC 7339)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip import overload as module
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.overload import OFFER, Emergencies, Overload, Restriction, Restrictions
from telephony.sip.server_transaction import ServerTransaction
from telephony.sip.text import parameter
from telephony.sip.timers import Timers
from telephony.sip.transaction import Transactions

FLOW = Flow("udp", "public-udp", "192.0.2.1", 5060)


class User:
    """Takes what gets through."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.acknowledgements: list[Message] = []

    def request_received(self, transaction: ServerTransaction, message: Message, now: float) -> None:
        self.requests.append(message)

    def acknowledged(self, message: Message, flow: Flow, now: float) -> None:
        self.acknowledgements.append(message)

    def stray(self, message: Message, flow: Flow, now: float) -> None: ...

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None: ...


def layer() -> Transactions:
    return Transactions(User(), [], Timers())


def request(
    method: str = "INVITE", via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1", to: str = "<sip:b@b>", extra: str = "", more: str = ""
) -> bytes:
    return (
        f"{method} sip:b@b SIP/2.0\r\nVia: {via}\r\n{extra}From: <sip:a@a>;tag=1\r\nTo: {to}\r\nCall-ID: x\r\nCSeq: 1 {method}\r\n"
        f"Max-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode()


def busy(now: float = 1000.0) -> Overload:
    overload = Overload("0123456789abcdef")
    overload.waited(1.0, now - 0.2)
    overload.waited(1.0, now)
    assert overload.shedding
    return overload


def test_only_lasting_delay_is_overload() -> None:
    overload = Overload("0" * 16)
    overload.waited(5.0, 1000.0)
    assert not overload.shedding, "the process was stopped for a while, perhaps"
    overload.waited(0.3, 1000.05)
    overload.waited(0.0, 1000.08)
    overload.waited(0.3, 1000.09)
    overload.waited(0.3, 1000.18)
    assert not overload.shedding
    overload.waited(0.021, 1000.2)
    assert overload.shedding
    overload.waited(0.02, 1000.3)
    assert not overload.shedding, "the queue is short again"
    overload.waited(0.021, 1001.19)
    assert overload.shedding, "it was busy a moment ago"
    overload.waited(0.0, 1001.2)
    overload.waited(0.021, 1003.0)
    assert not overload.shedding


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE"])
def test_a_new_request_is_refused_without_a_transaction(method: str) -> None:
    overload, transactions = busy(), layer()
    assert overload.sheds(request(method), FLOW, transactions, 1000.0)
    (sent,) = transactions.out
    assert sent.flow == FLOW
    answer = Message.parse(sent.data)
    assert (answer.status, answer.get("retry-after"), answer.cseq_method) == (503, "2", method)
    assert answer.via == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"
    assert answer.get("from") == "<sip:a@a>;tag=1"
    assert answer.to_tag.startswith("01234567")
    assert not transactions.servers
    overload.sheds(request(method), FLOW, transactions, 1000.0)
    assert transactions.out[1].data == sent.data, "the same request, the same tag"
    assert overload.refused == 2


def test_what_is_under_way_goes_on() -> None:
    overload, transactions = busy(), layer()
    transactions.receive(Message.parse(request()), FLOW, 1000.0)
    for data in (
        request(),
        request("ACK", to="<sip:b@b>;tag=9"),
        request("BYE", to="<sip:b@b>;tag=9"),
        request("INVITE", via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK2", to="<sip:b@b>;tag=9"),
        request("CANCEL"),
        b"SIP/2.0 200 OK\r\n\r\n",
        b"INVITE nonsense",
    ):
        assert not overload.sheds(data, FLOW, transactions, 1000.0), data
    assert not transactions.out


def test_the_ack_of_a_refusal_goes_nowhere() -> None:
    overload, transactions = busy(), layer()
    overload.sheds(request(), FLOW, transactions, 1000.0)
    to = Message.parse(transactions.out[0].data).get("to") or ""
    overload.waited(0.0, 1001.0)
    assert overload.sheds(request("ACK", to=to), FLOW, transactions, 1001.0)
    assert overload.touched_until > 1031.0
    assert not overload.sheds(request("INVITE", via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK3"), FLOW, transactions, 1001.0)


VIAS = [
    "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
    "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport",
    "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport",
    "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1",
    "SIP/2.0/UDP host.example;branch=z9hG4bK1",
    "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1, SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK0",
    f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1{OFFER}",
]


@given(
    st.sampled_from(VIAS),
    st.sampled_from(["", "Via: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK0\r\n"]),
    st.sampled_from(["X: y\r\n", "", "To2: z\r\n"]),
)
def test_the_quick_way_says_what_the_exact_one_says(via: str, extra: str, more: str) -> None:
    overload, transactions = busy(), layer()
    data = request(via=via, extra=extra, more=more)
    exact = overload._exactly(data, FLOW, transactions, 1000.0)
    assert exact is not None
    quick = overload._quickly(data, FLOW, transactions)
    if quick is not None:
        one, other = Message.parse(quick.data), Message.parse(exact.data)
        assert quick.flow == exact.flow
        for name in ("from", "to", "call-id", "cseq", "retry-after"):
            assert one.get(name) == other.get(name)
        assert sorted(one.via.split(";")) == sorted(other.via.split(";"))
    assert (quick is None) == (via not in VIAS[:3] or bool(extra))


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_any_bytes_are_refused_or_left_alone(noise: bytes, at: int, cut: int) -> None:
    overload, transactions = busy(), layer()
    data = request()
    data = data[:at] + noise + data[at + cut :]
    if overload.sheds(data, FLOW, transactions, 1000.0) and transactions.out:
        assert isinstance(transactions.out[0], Send)
        assert transactions.out[0].data.startswith(b"SIP/2.0 503 Service Unavailable\r\nVia:")


def test_clients_that_ask_learn_by_how_much_to_reduce() -> None:
    overload, transactions = busy(), layer()
    via = f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1{OFFER}"
    for _ in range(30):
        overload.sheds(request(), FLOW, transactions, 1000.0)
    overload.accepted += 10
    transactions.out.clear()
    overload.sheds(request(via=via), FLOW, transactions, 1000.0)
    answer = Message.parse(transactions.out[0].data)
    assert parameter(answer.via, "oc") == "75"
    assert parameter(answer.via, "oc-algo") == '"loss"'
    assert parameter(answer.via, "oc-validity") == "500"
    restriction = Restriction()
    assert restriction.heed(answer.via, 1000.0)
    held = sum(restriction.holds_back(f"call-{number}", 1000.4) for number in range(1000))
    assert 700 < held < 800
    assert not any(restriction.holds_back(f"call-{number}", 1000.5) for number in range(1000))
    assert restriction.over(1000.5)
    # what is held back already adds up with what has to be refused all the same
    overload.accepted += 10
    for _ in range(10):
        overload.sheds(request(), FLOW, transactions, 1000.3)
    assert overload.loss(1000.3) == 88
    losses = [overload.loss(1000.3 + module.STEP_SECONDS * step) for step in range(1, 30)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0


def test_nobody_is_told_who_has_not_asked() -> None:
    overload = busy()
    message = Message.parse(request())
    overload.stamp(message, 1000.0)
    assert message.via == VIAS[0]
    transactions = layer()
    transactions.overload = Overload("1" * 16)
    message = Message.parse(request(via=VIAS[6]))
    transactions.receive(message, FLOW, 1000.0)
    assert message.via == VIAS[6], "while all is well there is nothing to say"
    overload.reduce(30, 1000.0, 1.0)
    said = []
    for now in (1000.5, 1001.0, 1001.6):
        message = Message.parse(request(via=VIAS[6]))
        overload.stamp(message, now)
        said.append(message.via.removeprefix(VIAS[0]))
    assert said == [
        ';oc=30;oc-algo="loss";oc-validity=500;oc-seq=1000.500',
        ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=1001.000',
        OFFER,
    ], "its end is said to those who may believe in it still"


def test_what_somebody_behind_asks_for_is_refused_and_handed_on() -> None:
    overload, transactions = Overload("0123456789abcdef"), layer()
    overload.reduce(40, 1000.0, 1.0)

    def refused(now: float) -> set[int]:
        calls = (request(via=VIAS[0] + str(number)).replace(b"Call-ID: x", b"Call-ID: %d" % number) for number in range(200))
        return {number for number, data in enumerate(calls) if overload.sheds(data, FLOW, transactions, now)}

    first = refused(1000.1)
    assert 50 < len(first) < 110
    restriction = Restriction()
    message = Message.parse(request(via=VIAS[6]))
    overload.stamp(message, 1000.1)
    assert restriction.heed(message.via, 1000.1)
    assert first == {number for number in range(200) if restriction.holds_back(str(number), 1000.2)}, "whoever heeds it is refused nothing"
    assert overload.loss(1000.9) == 40, "and what was refused for it does not add up"
    assert refused(1001.0) == set()
    assert overload.loss(1001.0) == 0
    overload.reduce(100, 1002.0, 1.0)
    overload.reduce(0, 1002.1, 1.0)
    assert refused(1002.2) == set()


def test_emergency_calls_get_through_but_nobody_gets_past_by_calling_for_help() -> None:
    overload, transactions = busy(), layer()
    overload.reduce(100, 1000.0, 10.0)
    for uri in (b"sip:112@b", b"sip:911@b;user=phone", b"sips:112@b", b"urn:service:sos", b"urn:service:sos.police", b"SIP:112;x@b"):
        assert not overload.sheds(request().replace(b"sip:b@b", uri, 1), FLOW, transactions, 1000.0), uri
    for uri in (b"sip:1120@b", b"sip:b@112", b"sip:x112@b", b"urn:service:sosage", b"urn:service:counseling"):
        assert overload.sheds(request().replace(b"sip:b@b", uri, 1), FLOW, transactions, 1000.0), uri
    assert overload.sheds(request("OPTIONS").replace(b"sip:b@b", b"sip:112@b", 1), FLOW, transactions, 1000.0)
    overload.emergencies = Emergencies(["15", "+*"])
    assert overload.sheds(request().replace(b"sip:b@b", b"sip:112@b", 1), FLOW, transactions, 1000.0)
    assert not overload.sheds(request().replace(b"sip:b@b", b"sip:+*@b", 1), FLOW, transactions, 1000.0)
    call = request().replace(b"sip:b@b", b"sip:15@b", 1)
    through = sum(not overload.sheds(call, FLOW, transactions, 1005.0 + number / 100) for number in range(500))
    assert module.EMERGENCIES_PER_SECOND_MAX * 5 <= through <= module.EMERGENCIES_PER_SECOND_MAX * 6
    assert not Emergencies([]).spares(b"INVITE sip:112@b", 0.0)


def test_several_servers_each_have_their_say_and_nobody_else() -> None:
    restrictions = Restrictions()
    restrictions.servers = frozenset({("a", 1), ("b", 1)})
    restrictions.heed("SIP/2.0/UDP h;branch=z;oc=100;oc-validity=1000", ("a", 1), 1.0)
    restrictions.heed("SIP/2.0/UDP h;branch=z;oc=100;oc-validity=1000", ("stranger", 1), 1.0)
    assert restrictions.holds_back(("a", 1), "x", 1.5)
    assert not restrictions.holds_back(("b", 1), "x", 1.5)
    assert not restrictions.holds_back(("stranger", 1), "x", 1.5)
    assert restrictions
    restrictions.heed("SIP/2.0/UDP h;branch=z;oc=0;oc-validity=0", ("a", 1), 1.6)
    assert not restrictions, "who asks for nothing takes no room, and no time"
    restrictions.heed("SIP/2.0/UDP h;branch=z;oc=100;oc-validity=1000", ("b", 1), 2.0)
    assert not restrictions.holds_back(("b", 1), "x", 3.0)
    assert not restrictions


@pytest.mark.parametrize(
    "parameters", [";oc=", ";oc=101", ";oc=-1", ";oc=x", ";oc=50;oc-seq=nan", ";oc=50;oc-validity=x", ';oc=50;oc-algo="rate"', ""]
)
def test_what_makes_no_sense_is_not_heeded(parameters: str) -> None:
    restriction = Restriction()
    assert not restriction.heed(f"SIP/2.0/UDP h;branch=z{parameters}", 1.0)
    assert not restriction.holds_back("x", 1.0)


def test_an_older_word_does_not_undo_a_newer_one() -> None:
    restriction = Restriction()
    assert restriction.heed("SIP/2.0/UDP h;branch=z;oc=100;oc-validity=1000;oc-seq=2.0", 1.0)
    assert not restriction.heed("SIP/2.0/UDP h;branch=z;oc=0;oc-seq=1.0", 1.0)
    assert restriction.holds_back("x", 1.5)
    assert restriction.heed("SIP/2.0/UDP h;branch=z;oc=0;oc-validity=0;oc-seq=3.0", 1.6)
    assert not restriction.holds_back("x", 1.6)


def test_the_share_that_is_read_fits_what_can_be_done() -> None:
    """A hundred can be accepted in each step; a thousand come; a refusal is worth a tenth of that."""
    overload = busy()
    capacity, offered = 100.0, 1000.0
    shares = []
    now = 1000.0
    for _ in range(200):
        now += module.ADAPT_SECONDS
        read = offered * overload.share
        accepted = min(read, (capacity - 0.1 * read) / 0.9)
        overload.accepted += round(accepted)
        overload.refused += round(read - accepted)
        if read > accepted:
            overload.waited(0.1, now)
        assert overload.adapt(now)
        shares.append(min(read, accepted))
    assert min(shares[50:]) > 90
    for _ in range(100):
        now += module.ADAPT_SECONDS
        overload.accepted += 50
        overload.adapt(now)
    assert overload.share == 1.0
    assert not overload.adapt(now + 2.0)
