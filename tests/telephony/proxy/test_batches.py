"""Registrations on their way to the resource database together: each as if it were alone."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telephony.jobs import resource
from telephony.jobs.resource import Bind, BindEach, Bound, BoundEach, BoundOne, Lookup, Unbind
from telephony.proxy import registration
from telephony.proxy.registration import LINGER_SECONDS
from telephony.resource_database import bindings
from telephony.sip.flow import Flow
from tests.telephony.proxy.registering import UDP, Registrar, binds, bound
from tests.telephony.resource_database.databases import Database

CONTACT = ("Contact", "<sip:a@192.0.2.1>")


@pytest.fixture
def registrar(tmp_path: Path) -> Registrar:
    return Registrar(tmp_path)


def found(registrar: Registrar, user: str) -> list[resource.Binding]:
    _, read = registrar.database.ask("lookup", Lookup(aor=user))
    assert isinstance(read, Bound)
    return read.bindings


def test_one_goes_at_once_and_the_next_ones_together(registrar: Registrar) -> None:
    for number in range(4):
        registrar.register(CONTACT, call_id=str(number))
    assert [len(binds(ask)) for ask in registrar.asks] == [1]
    deadline = registrar.proxy.deadline()
    assert deadline is not None
    assert deadline == pytest.approx(registrar.now + LINGER_SECONDS)
    registrar.proxy.timeout(deadline)
    registrar.take()
    assert [[bind.call_id for bind in binds(ask)] for ask in registrar.asks] == [["0"], ["1", "2", "3"]]
    assert not registrar.responses
    registrar.serve()
    assert registrar.answers() == [(200, ["<sip:a@192.0.2.1>;expires=3600"])] * 4
    registrar.database.now += 1.0
    registrar.register(CONTACT, call_id="later")
    assert len(registrar.asks) == 1


def test_a_full_batch_does_not_wait(registrar: Registrar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "BINDS_MAX", 3)
    for number in range(8):
        registrar.register(CONTACT, call_id=str(number))
    assert [len(binds(ask)) for ask in registrar.asks] == [1, 3, 3]
    assert registrar.proxy.remaining() == 8
    registrar.linger()
    assert [len(binds(ask)) for ask in registrar.asks] == [1, 3, 3, 1]
    registrar.serve()
    assert [status for status, _ in registrar.answers()] == [200] * 8
    assert registrar.proxy.remaining() == 0


def test_a_long_one_leaves_its_batch_behind(registrar: Registrar) -> None:
    for call_id in ("first", "second", "x" * 40_000, "y" * 40_000):
        registrar.register(CONTACT, call_id=call_id)
    registrar.linger()
    assert [[bind.call_id[:6] for bind in binds(ask)] for ask in registrar.asks] == [["first"], ["second", "xxxxxx"], ["yyyyyy"]]


def test_what_the_database_puts_off_goes_with_the_next_batch(registrar: Registrar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "BOUND_BYTES_MAX", 10)
    for number in range(5):
        registrar.register(("Contact", f"<sip:{number}@192.0.2.1>"), call_id=str(number))
    registrar.linger()
    for _ in range(5):
        registrar.serve()
        registrar.linger()
    assert [len(contacts) for _, contacts in registrar.answers()] == [1, 2, 3, 4, 5]
    assert len(found(registrar, "1001")) == 5


def test_one_that_is_out_of_order_or_too_much_does_not_hurt_the_others(registrar: Registrar) -> None:
    registrar.register(CONTACT, cseq=5)
    registrar.register(CONTACT, cseq=4)
    registrar.register(CONTACT, cseq=6)
    for number in range(bindings.CONTACTS_MAX):
        registrar.register(("Contact", f"<sip:{number}@192.0.2.1>"), user="1002", call_id=str(number))
    registrar.register(("Contact", "<sip:more@192.0.2.1>"), user="1002", call_id="more")
    registrar.register(("Contact", "<sip:0@192.0.2.1>"), user="1002", call_id="again")
    registrar.linger()
    registrar.serve()
    statuses = [status for status, _ in registrar.answers()]
    assert statuses == [200, 500, 200] + [200] * bindings.CONTACTS_MAX + [503, 200]
    assert found(registrar, "1001")[0].cseq == 6


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        ("timeout", b"", 503),
        ("unavailable", b"", 503),
        ("bad-request", b"no such operation", 503),
        ("fault", b"", 503),
        ("ok", b"", 500),
        ("ok", b"\xc1", 500),
        ("ok", bound(None), 500),
        ("ok", bound(None, None, None), 500),
        ("ok", bound(BoundOne("full"), BoundOne("bad-request")), 503),
        ("ok", bound(BoundOne("out-of-order"), BoundOne("out-of-order")), 500),
    ],
)
def test_a_job_that_comes_to_nothing_is_answered_for_each(registrar: Registrar, status: str, body: bytes, answer: int) -> None:
    registrar.register(CONTACT)
    registrar.serve()
    for cseq in (2, 3):
        registrar.register(CONTACT, cseq=cseq)
    registrar.linger()
    (ask,) = registrar.asks
    registrar.proxy.reply(ask.id, status, body, "database-1", registrar.now)
    registrar.take()
    assert [status for status, _ in registrar.answers()] == [200, answer, answer]
    assert registrar.proxy.remaining() == 0
    registrar.proxy.reply(ask.id, "ok", bound(None, None), "database-1", registrar.now)
    assert registrar.proxy.take() == []


def test_as_asked_is_no_answer_to_what_asked_for_something_else(registrar: Registrar) -> None:
    for headers in ([], [CONTACT, ("Contact", "<sip:b@192.0.2.1>")], [("Contact", "*"), ("Expires", "0")]):
        registrar.database.now += 1.0
        registrar.register(*headers)
        registrar.proxy.reply(registrar.asks.pop().id, "ok", bound(None), "database-1", registrar.now)
        registrar.take()
    assert [status for status, _ in registrar.answers()] == [500] * 3


def test_a_flow_that_ends_takes_along_what_has_not_left_yet(registrar: Registrar) -> None:
    stream = Flow("tcp", "public-tcp", "192.0.2.1", 5060, 7)
    registrar.register(CONTACT, call_id="a")
    registrar.register(("Contact", "<sip:b@192.0.2.1;transport=tcp>"), call_id="b", flow=stream)
    registrar.proxy.closed(stream, registrar.now)
    registrar.take()
    assert [ask.operation for ask in registrar.asks] == ["bind-each", "bind-each", "unbind"]
    assert msgspec.msgpack.decode(registrar.asks[2].body, type=Unbind).aor == "1001"
    registrar.serve()
    assert [binding.contact for binding in found(registrar, "1001")] == ["sip:a@192.0.2.1"]


def test_a_database_that_dies_over_a_batch_has_it_done_once_or_twice(registrar: Registrar, tmp_path: Path) -> None:
    """Killed after its commit, before its answer: the job is repeated, and nobody sees a difference."""
    for user, call_id in (("1001", "x"), ("1001", "y"), ("1002", "x"), ("1002", "y")):
        registrar.register(CONTACT, user=user, call_id=call_id)
    registrar.linger()
    for ask in registrar.asks:
        assert registrar.database.raw(ask.operation, ask.body)[0] == "ok"
    registrar.database.kill()
    registrar.database = Database(tmp_path, now=registrar.now)
    registrar.serve()
    assert registrar.answers() == [(200, ["<sip:a@192.0.2.1>;expires=3600"])] * 4
    assert [len(found(registrar, user)) for user in ("1001", "1002")] == [1, 1]


def test_what_cannot_be_read_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path)
    change = resource.BindingChange(contact="sip:a@h", expires_seconds=60.0)
    good = msgspec.Raw(msgspec.msgpack.encode(Bind(aor="1001", bindings=[change])))
    bad = [msgspec.Raw(body) for body in (b"\xc0", msgspec.msgpack.encode({"aor": 1}), msgspec.msgpack.encode(Bind(aor="")))]
    status, each = database.ask("bind-each", BindEach([bad[0], good, *bad[1:], good]))
    assert status == "ok"
    assert isinstance(each, BoundEach)
    assert each.bound == [BoundOne("bad-request"), None, BoundOne("bad-request"), BoundOne("bad-request"), None]
    assert database.ask("bind-each", BindEach([good] * (resource.BINDS_MAX + 1)))[0] == "bad-request"
    assert database.raw("bind-each", b"\x91\x05")[0] == "bad-request"


@dataclasses.dataclass(frozen=True)
class Step:
    """One REGISTER."""

    user: str
    call_id: str
    cseq: int
    headers: tuple[tuple[str, str], ...]
    leaves: bool
    """What has gathered leaves after it."""


_CONTACT = st.builds(
    lambda name, tail: ("Contact", f"<sip:{name}@192.0.2.1>{tail}"),
    st.sampled_from("abc"),
    st.sampled_from(("", ";q=0.5", ";expires=0", ";expires=90", ';+sip.instance="<urn:uuid:1>"', ';+sip.instance="<urn:uuid:1>";reg-id=1')),
)
_HEADERS = st.one_of(
    st.lists(_CONTACT, min_size=0, max_size=3).map(tuple),
    st.just((("Contact", "*"), ("Expires", "0"))),
    _CONTACT.map(lambda contact: (contact, ("Supported", "outbound"), ("Path", "<sip:edge;lr>"))),
)
_STEPS = st.lists(
    st.builds(Step, st.sampled_from(("1001", "1002")), st.sampled_from("xy"), st.integers(1, 9), _HEADERS, st.booleans()), max_size=10
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(_STEPS)
def test_together_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> None:
    """Any mix of registrations ends with the same bindings and the same answers."""
    seen = []
    for together in (True, False):
        registrar = Registrar(tmp_path_factory.mktemp("registrar"))
        for step in steps:
            registrar.register(*step.headers, user=step.user, call_id=step.call_id, cseq=step.cseq, flow=UDP)
            if step.leaves or not together:
                registrar.linger()
                registrar.serve()
        registrar.linger()
        registrar.serve()
        kept = [[(one.contact, one.cseq, one.call_id, one.expires_at) for one in found(registrar, user)] for user in ("1001", "1002")]
        seen.append((registrar.answers(), kept))
        registrar.database.core.close()
    assert seen[0] == seen[1]
