"""Bindings, claims, busy marks, members, and what survives."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telephony.jobs.resource import (
    Bind,
    Binding,
    BindingChange,
    Bound,
    Busy,
    Claim,
    Holder,
    Lookup,
    Mark,
    Members,
    MemberState,
    MemberStates,
    Unbind,
    Unclaim,
)
from telephony.resource_database.bindings import CONTACTS_MAX
from tests.telephony.resource_database.databases import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def register(
    database: Database, contact: str, seconds: float = 60.0, cseq: int = 1, call_id: str = "c", aor: str = "1001", **more: object
) -> str:
    change = BindingChange(contact=contact, path=f"<sip:{contact}@proxy;lr>", expires_seconds=seconds, **more)  # type: ignore[arg-type]
    return database.ask("bind", Bind(aor=aor, call_id=call_id, cseq=cseq, bindings=[change]))[0]


def contacts(database: Database, aor: str = "1001") -> list[str]:
    status, bound = database.ask("lookup", Lookup(aor=aor))
    assert status == "ok"
    assert isinstance(bound, Bound)
    return [binding.contact for binding in bound.bindings]


def members(database: Database, *users: str, watch: bool = False) -> list[MemberState]:
    _, states = database.ask("members", Members(users=list(users), watch=watch), "queue-1")
    assert isinstance(states, MemberStates)
    return states.members


def test_flows_of_one_instance_are_bindings_of_their_own(database: Database) -> None:
    for number, contact in ((1, "a"), (2, "a"), (1, "b")):
        assert register(database, contact, cseq=number, call_id=f"{contact}{number}", instance="<urn:uuid:1>", reg_id=number) == "ok"
    _, bound = database.ask("lookup", Lookup(aor="1001"))
    assert isinstance(bound, Bound)
    assert sorted((binding.contact, binding.reg_id) for binding in bound.bindings) == [("a", 2), ("b", 1)]
    assert register(database, "c", instance="<urn:uuid:1>") == "ok"  # without a flow it takes the place of all
    assert contacts(database) == ["c"]


def test_what_was_bound_through_a_dead_flow_is_removed(database: Database) -> None:
    for contact in ("a", "b"):
        register(database, contact, call_id=contact)
    watched = members(database, "1001", watch=True)
    assert watched[0].registered
    _, left = database.ask("unbind", Unbind(aor="1001", token="a"))
    assert isinstance(left, Bound)
    assert contacts(database) == [binding.contact for binding in left.bindings] == ["b"]
    database.ask("unbind", Unbind(aor="1001", token="other"))
    database.ask("unbind", Unbind(aor="nobody", token="b"))
    assert contacts(database) == ["b"]
    database.ask("unbind", Unbind(aor="1001", token="b"))
    assert contacts(database) == []
    assert not members(database, "1001")[0].registered


def test_a_binding_is_found_until_it_expires(database: Database) -> None:
    assert register(database, "a", 60.0) == "ok"
    assert database.ask("lookup", Lookup(aor="1001")) == (
        "ok",
        Bound(bindings=[Binding(contact="a", path="<sip:a@proxy;lr>", expires_at=1060.0, call_id="c", cseq=1)]),
    )
    database.now += 59.9
    assert contacts(database) == ["a"]
    database.now += 0.1
    assert contacts(database) == []


def test_several_contacts_best_first(database: Database) -> None:
    register(database, "a", 60.0, 1, q=0.3)
    register(database, "b", 60.0, 2, q=0.9)
    register(database, "c", 70.0, 3, q=0.3)
    assert contacts(database) == ["b", "c", "a"]
    register(database, "b", 0.0, 4)
    assert contacts(database) == ["c", "a"]


def test_an_instance_replaces_its_contact(database: Database) -> None:
    register(database, "a", 60.0, 1, instance="<urn:uuid:1>")
    register(database, "b", 60.0, 2, instance="<urn:uuid:1>")
    assert contacts(database) == ["b"]


def test_one_contact_may_be_written_in_several_ways(database: Database) -> None:
    """RFC 3261 section 19.1.4."""
    assert register(database, "sip:a@Phone.Example;transport=udp;x=1") == "ok"
    assert register(database, "SIP:a@phone.example;x=1;Transport=UDP", cseq=2) == "ok"
    assert contacts(database) == ["SIP:a@phone.example;x=1;Transport=UDP"]
    assert register(database, "sip:A@phone.example;transport=udp", cseq=3) == "ok"
    assert register(database, "sip:a@phone.example;transport=tcp", cseq=3) == "ok"
    assert len(contacts(database)) == 3
    assert register(database, "sip:a@phone.example;transport=udp;x=1", seconds=0.0, cseq=4) == "ok"
    assert len(contacts(database)) == 2


def test_an_older_cseq_is_out_of_order_and_an_equal_one_is_a_repetition(database: Database) -> None:
    assert register(database, "a", 60.0, 5) == "ok"
    assert register(database, "a", 60.0, 4) == "out-of-order"
    assert register(database, "a", 0.0, 4) == "out-of-order"
    assert register(database, "a", 60.0, 5) == "ok"
    assert register(database, "a", 60.0, 1, call_id="another") == "ok"
    assert database.ask("bind", Bind(aor="1001", call_id="another", cseq=0, wildcard=True))[0] == "out-of-order"
    assert database.ask("bind", Bind(aor="1001", call_id="another", cseq=2, wildcard=True)) == ("ok", Bound(bindings=[]))


def test_all_of_a_register_or_nothing(database: Database) -> None:
    register(database, "a", 60.0, 5)
    changes = [BindingChange(contact="b", expires_seconds=60.0), BindingChange(contact="a", expires_seconds=0.0)]
    assert database.ask("bind", Bind(aor="1001", call_id="c", cseq=4, bindings=changes))[0] == "out-of-order"
    assert contacts(database) == ["a"]
    many = [BindingChange(contact=str(number), expires_seconds=60.0) for number in range(CONTACTS_MAX)]
    assert database.ask("bind", Bind(aor="1001", call_id="x", cseq=1, bindings=many))[0] == "full"
    assert contacts(database) == ["a"]


@pytest.mark.parametrize("aor", ["", "x" * 2000])
def test_a_name_that_cannot_be_kept_is_refused(database: Database, aor: str) -> None:
    assert register(database, "a", aor=aor) == "bad-request"
    assert database.ask("lookup", Lookup(aor=aor))[0] == "bad-request"


def test_the_first_claim_wins_until_it_lapses(database: Database) -> None:
    assert database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))
    database.now += 20.0
    assert database.ask("claim", Claim(key="room:1", value="media-2", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))
    assert database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))
    database.now += 20.0
    assert database.ask("claim", Claim(key="room:1", value="media-2", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))
    database.now += 10.0
    assert database.ask("claim", Claim(key="room:1", value="media-2", ttl_seconds=30.0)) == ("ok", Holder(value="media-2"))
    database.ask("release", Unclaim(key="room:1", value="media-1"))
    assert database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=30.0)) == ("ok", Holder(value="media-2"))
    database.ask("release", Unclaim(key="room:1", value="media-2"))
    assert database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))


def busy(database: Database, is_busy: bool, *marks: tuple[str, str]) -> None:
    assert database.ask("busy", Busy(marks=[Mark(*mark) for mark in marks], busy=is_busy))[0] == "ok"


def test_a_member_is_busy_while_any_mark_lasts(database: Database) -> None:
    register(database, "a", 600.0, aor="1003")
    assert members(database, "1003", "1004") == [
        MemberState(user="1003", registered=True, busy=False),
        MemberState(user="1004", registered=False, busy=False),
    ]
    busy(database, True, ("1003", "call-1"), ("1003", "call-2"))
    busy(database, False, ("1003", "call-1"))
    assert members(database, "1003")[0].busy
    database.now += 5.0
    busy(database, False, ("1003", "call-2"), ("1003", "call-2"))
    assert members(database, "1003") == [MemberState(user="1003", registered=True, busy=False, idle_since=1005.0)]


def test_marks_of_a_dead_router_lapse(database: Database) -> None:
    busy(database, True, ("1003", "call-1"))
    database.run(89.0)
    assert members(database, "1003")[0].busy
    database.run(2.0)
    assert not members(database, "1003")[0].busy


def test_who_watches_is_told_of_changes_once(database: Database) -> None:
    members(database, "1003", watch=True)
    register(database, "a", 3.0, aor="1003")
    register(database, "a", 3.0, 2, aor="1003")
    busy(database, True, ("1003", "call-1"), ("1001", "call-1"))
    assert [(one.client, one.operation) for one in database.told] == [("queue-1", "member-changed")] * 2
    database.run(4.5)
    assert len(database.told) == 3  # it is not registered any longer
    database.run(20.0)
    busy(database, False, ("1003", "call-1"))
    assert len(database.told) == 3  # nobody watches any longer


def test_what_was_answered_survives_a_kill(database: Database, tmp_path: Path) -> None:
    register(database, "a", 600.0)
    database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=300.0))
    database.kill()
    again = Database(tmp_path, now=database.now + 1)
    assert contacts(again) == ["a"]
    assert again.ask("claim", Claim(key="room:1", value="media-2", ttl_seconds=30.0)) == ("ok", Holder(value="media-1"))


def test_a_broken_file_is_put_aside(database: Database, tmp_path: Path) -> None:
    register(database, "a", 600.0)
    database.core.close()
    (database.folder / "resources.lmdb").write_bytes(b"noise" * 5000)
    again = Database(tmp_path)
    assert contacts(again) == []
    assert (database.folder / "resources.lmdb.broken").exists()


def test_a_full_file_refuses_and_goes_on(tmp_path: Path) -> None:
    database = Database(tmp_path, size_bytes=1 << 16)
    statuses = [register(database, "a" * 500, 600.0, aor=f"user-{number}") for number in range(200)]
    assert statuses[0] == "ok"
    assert statuses[-1] == "full"
    assert contacts(database, "user-0") == ["a" * 500]


def test_expired_records_are_swept(database: Database) -> None:
    for number in range(600):
        register(database, "a", 10.0, aor=f"user-{number}")
    database.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=5.0))
    busy(database, True, ("1003", "call-1"))
    store = database.core._store
    assert store is not None
    assert [store.count(table) for table in ("bindings", "claims", "busy")] == [600, 1, 1]
    database.run(100.0)
    assert [store.count(table) for table in ("bindings", "claims", "busy")] == [0, 0, 1]  # it is remembered since when 1003 is idle


@pytest.mark.parametrize(("operation", "body"), [("lookup", b"noise"), ("bind", b"\x80"), ("fly", b""), ("claim", b"\xc0")])
def test_noise_is_a_bad_request(database: Database, operation: str, body: bytes) -> None:
    assert database.raw(operation, body)[0] == "bad-request"


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["1001", "1002"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0.0, 5.0, 50.0]),
        st.floats(0, 20),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_it_does_what_a_dictionary_would(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, float, float]]) -> None:
    database = Database(tmp_path_factory.mktemp("model"))
    model: dict[tuple[str, str], float] = {}
    for cseq, (aor, contact, seconds, pause) in enumerate(changes):
        database.run(pause)
        assert register(database, contact, seconds, cseq, aor=aor) == "ok"
        model[aor, contact] = database.now + seconds
        for user in ("1001", "1002"):
            expected = {name for (of, name), until in model.items() if of == user and until > database.now}
            assert set(contacts(database, user)) == expected
    database.core.close()
