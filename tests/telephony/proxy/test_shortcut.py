"""A plain REGISTER takes the shortest way, and any other comes to the same by the usual one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.effects import Ask, Send
from telephony.jobs.resource import BindingChange
from telephony.proxy.core import PATIENCE_SECONDS, URGENT_SECONDS, Proxy
from telephony.proxy.registrar import _PLAIN_CONTACT, _change, _contact, read_register
from telephony.proxy.registration import owner
from telephony.proxy.shortcut import PLAIN_TO
from telephony.sip import digest
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_request
from tests.telephony.proxy.registering import UDP, binds
from tests.telephony.proxy.setting import OWN, ROUTERS, configuration


def proxy(**changes: object) -> Proxy:
    core = Proxy()
    core.configure(configuration(**changes), 1000.0)  # type: ignore[arg-type]
    return core


def request(*headers: tuple[str, str], to: str = "<sip:1001@h>", uri: str = "sip:192.0.2.100", branch: str = "z9hG4bK1") -> Message:
    given = {"Via": f"SIP/2.0/UDP 192.0.2.1:5060;branch={branch}", "Max-Forwards": "70", "From": "<sip:1001@h>;tag=1", "To": to}
    given |= {"Call-ID": "c", "CSeq": "1 REGISTER", "Contact": "<sip:a@192.0.2.1>", "User-Agent": "phone"}
    given |= dict(headers)
    return make_request("REGISTER", uri, [(name, value) for name, value in given.items() if value])


def sent(core: Proxy) -> list[Message]:
    return [Message.parse(effect.data) for effect in core.take() if isinstance(effect, Send)]


def challenged(core: Proxy, message: Message, flow: Flow = UDP) -> Message:
    core.receive(message.serialize(), flow, 1000.0)
    (answer,) = sent(core)
    return answer


def test_a_challenge_leaves_nothing_behind() -> None:
    core = proxy()
    first, again, other = (challenged(core, request(branch=branch)) for branch in ("z9hG4bK1", "z9hG4bK1", "z9hG4bK2"))
    assert not core.transactions.servers
    assert core.deadline() is None
    assert [answer.status for answer in (first, again, other)] == [401] * 3
    assert first.to_tag == again.to_tag != other.to_tag
    assert len({answer.get("www-authenticate") for answer in (first, again, other)}) == 3
    assert [value.rpartition("=")[2] for value in first.get_lines("www-authenticate")] == ["MD5", "SHA-256"]
    assert (core.counters.challenged, core.overload.accepted) == (3, 3)
    assert first.via == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"


def test_both_ways_challenge_alike() -> None:
    """What is not plain only by its form has the same answer but for chance and time."""
    answers = []
    for to in ("<sip:1001@h>", "1001 <sip:1001@h>"):
        core = proxy()
        answer = challenged(core, request(("Via", "SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1"), to=to))
        values = [digest.fields(value) for value in answer.get_lines("www-authenticate")]
        assert all(value is not None and value.pop("nonce") for value in values)
        assert len(core.transactions.servers) == (to[0] != "<")
        answers.append((answer.status, answer.reason, answer.via, answer.names(), values, answer.call_id, answer.cseq, answer.get("from")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (request(("Max-Forwards", "0")), 483),
        (request(("Max-Forwards", "x")), 400),
        (request(("Max-Forwards", "")), 401),
        (request(("Proxy-Require", "telepathy")), 420),
        (request(("Max-Breadth", "0")), 440),
        (request(("Route", "<sip:192.0.2.100;lr>")), 401),
        (request(uri="tel:1"), 416),
        (request(uri="sip:192.0.2.100;lr"), 401),
        (request(to="sip:1001@h"), 401),
        (request(to="<sip:1001@h"), 400),
        (request(to="<sip:1001@h>;tag=2"), 481),
        (request(("Via", "SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK2")), 401),
    ],
)
def test_what_is_not_plain_goes_the_usual_way(message: Message, status: int) -> None:
    core = proxy()
    answer = challenged(core, message)
    assert answer.status == status
    assert len(core.transactions.servers) == 1


def test_who_is_not_to_be_challenged_is_not() -> None:
    for core in (proxy(), proxy(source_requests_per_second_max=1.0)):
        core.drain(2000.0, 1000.0)
        assert challenged(core, request()).status == 503
    core = proxy(source_requests_per_second_max=1.0)
    assert [challenged(core, request(branch=f"z9hG4bK{number}")).status for number in range(2)] == [401, 503]
    core = proxy()
    for place in (ROUTERS[0], OWN):
        core.receive(request().serialize(), Flow("udp", "sip-udp", *place), 1000.0)
        assert 401 not in [answer.status for answer in sent(core)]


def test_a_scanner_is_not_answered_on_either_way() -> None:
    for to in ("<sip:1001@h>", "1001 <sip:1001@h>"):
        core = proxy()
        core.receive(request(("User-Agent", "friendly-scanner"), to=to).serialize(), UDP, 1000.0)
        assert sent(core) == []
        assert core.defence.bans_total == 1
        assert not core.transactions.servers


def test_a_phone_that_takes_md5_alone() -> None:
    core = proxy()
    answer = challenged(core, request(("User-Agent", "baresip v1.0.0")))
    assert [value.rpartition("=")[2] for value in answer.get_lines("www-authenticate")] == ["MD5"]
    answer = challenged(core, request(), Flow("wss", "public-wss", "192.0.2.1", 5060, 3))
    assert [value.rpartition("=")[2] for value in answer.get_lines("www-authenticate")] == ["SHA-256", "MD5"]


def test_a_proof_is_counted_once() -> None:
    core = proxy()
    values = challenged(core, request()).get_lines("www-authenticate")
    for password, status in (("wrong", 401), ("one", 0)):
        proof = digest.answer(values, digest.Credentials("1001", password), "REGISTER", "sip:192.0.2.100", "c")
        assert proof is not None
        message = request(("Authorization", proof), branch=f"z9hG4bK{password}")
        for _ in range(3):
            core.receive(message.serialize(), UDP, 1000.0)
        effects = core.take()
        if status:
            assert len({effect.data for effect in effects if isinstance(effect, Send)}) == 1
            assert core.counters.failed == 1
        else:
            (ask,) = effects
            assert isinstance(ask, Ask)
            assert binds(ask)[0].aor == "1001"


@given(st.from_regex(PLAIN_TO.__self__, fullmatch=True))  # type: ignore[attr-defined]
def test_a_plain_to_names_its_user(to: str) -> None:
    match = PLAIN_TO(to)
    assert match is not None
    assert owner(request(to=to)) == match[1]


@given(st.from_regex(_PLAIN_CONTACT.__self__, fullmatch=True))  # type: ignore[attr-defined]
def test_a_plain_contact_is_read_as_any_other(contact: str) -> None:
    match = _PLAIN_CONTACT(contact)
    assert match is not None
    message = request()
    address = _contact(contact, message)
    assert _change(address, "p", 60.0, "r", message) == BindingChange(contact=match[1], path="p", expires_seconds=60.0, received="r")
    assert address.parameter("expires") == match[2]


def test_expiry_of_contacts_on_both_ways() -> None:
    for tail in ("", ";q=1.0"):
        for own, general, wanted in (("", "", 3600), ("", "90", 90), (";expires=61", "90", 61), (";expires=99999", "", 7200)):
            message = request(("Contact", f"<sip:a@192.0.2.1:5060;transport=udp;ob>{own}{tail}"), ("Expires", general))
            (change,) = read_register(message, "1001", "p", UDP).bindings
            assert (change.expires_seconds, change.contact) == (wanted, "sip:a@192.0.2.1:5060;transport=udp;ob")


def test_a_proxy_is_patient_while_phones_only_register() -> None:
    core = proxy()
    challenged(core, request())
    core.receive(b"\r\n\r\n", UDP, 1000.0)
    assert core.patience(1000.0) == PATIENCE_SECONDS
    copied = [(name, request().get(name.lower()) or "") for name in ("Via", "From", "To", "Call-ID")]
    options = make_request("OPTIONS", "sip:192.0.2.100", [*copied, ("CSeq", "1 OPTIONS")])
    core.receive(options.serialize(), UDP, 1000.0)
    assert core.patience(1000.0) == core.patience(1000.0 + URGENT_SECONDS - 0.01) == 0.0
    assert core.patience(1000.0 + URGENT_SECONDS) == PATIENCE_SECONDS
