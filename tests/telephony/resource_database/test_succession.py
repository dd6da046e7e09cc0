"""One database takes over from another: nothing is lost, and there is no moment in which both serve."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.core import Job
from telephony.effects import Ask, Reply
from telephony.jobs.resource import Bind, BindingChange, Bound, Claim, Holder, Lookup
from tests.telephony.resource_database.databases import Database


def register(database: Database, aor: str, contact: str = "a", cseq: int = 1) -> str:
    change = BindingChange(contact=contact, expires_seconds=600.0)
    return database.ask("bind", Bind(aor=aor, call_id="c", cseq=cseq, bindings=[change]))[0]


def contacts(database: Database, aor: str) -> list[str]:
    status, bound = database.ask("lookup", Lookup(aor=aor))
    assert status == "ok", status
    assert isinstance(bound, Bound)
    return [binding.contact for binding in bound.bindings]


def carry(old: Database | None, new: Database, status: str = "unavailable") -> bool:
    """Carry one question of the successor to the predecessor, and the answer back; False: there is none."""
    if not new.asked:
        return False
    asked = new.asked.pop(0)
    assert isinstance(asked, Ask)
    assert (asked.kind, asked.worker) == ("resource_database", "database-1")
    if old is None:
        new.core.reply(asked.id, status, b"", "", new.now)
    else:
        old.core.job(Job(9, new.id, asked.operation, asked.body), old.now)
        (reply,) = [one for one in old.effects() if isinstance(one, Reply)]
        new.core.reply(asked.id, reply.status, reply.body, old.id, new.now)
    new.effects()
    return True


def test_all_content_passes_and_the_old_one_says_moved(tmp_path: Path) -> None:
    old = Database(tmp_path)
    for number in range(700):
        register(old, f"user-{number}")
    old.ask("claim", Claim(key="room:1", value="media-1", ttl_seconds=60.0))
    new = Database(tmp_path, "database-2", successor_of="database-1")
    assert not new.core.ready()
    assert new.raw("lookup", b"")[0] == "retry"
    while carry(old, new):
        pass
    assert new.core.ready()
    assert old.raw("lookup", b"") == ("moved", b"database-2")
    assert old.core.remaining() == 0
    assert contacts(new, "user-0") == contacts(new, "user-699") == ["a"]
    assert new.ask("claim", Claim(key="room:1", value="media-2", ttl_seconds=60.0)) == ("ok", Holder(value="media-1"))
    assert [one.body["event"] for one in (*old.notified, *new.notified)] == ["database-handed-over", "database-taken-over"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["register", "remove", "carry", "kill new"]), st.integers(0, 450)), max_size=60))
def test_what_is_written_meanwhile_passes_too(tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("succession")
    old = Database(folder)
    model: dict[str, str] = {}
    for number in range(430):
        register(old, f"user-{number:04}")
        model[f"user-{number:04}"] = "a"
    new = Database(folder, "database-2", successor_of="database-1")
    for cseq, (action, number) in enumerate(actions, 2):
        name = f"user-{number:04}"
        if action == "carry":
            carry(old, new)
        elif action == "kill new":
            new.kill()
            new = Database(folder, "database-2", successor_of="database-1")
        else:
            seconds = 600.0 if action == "register" else 0.0
            change = BindingChange(contact=f"b{cseq}", expires_seconds=seconds)
            status, _ = old.ask("bind", Bind(aor=name, call_id="c", cseq=cseq, wildcard=action == "remove", bindings=[change]))
            if status == "moved":
                assert new.core.ready()
                break
            if action == "register":
                model[name] = model.get(name, "") + f" b{cseq}"
            else:
                model.pop(name, None)
    while carry(old, new):
        pass
    assert new.core.ready()
    for number in range(451):
        name = f"user-{number:04}"
        assert sorted(contacts(new, name)) == sorted(model.get(name, "").split()), name
    old.core.close()
    new.core.close()


def test_a_successor_waits_for_a_predecessor_that_is_away(tmp_path: Path) -> None:
    old = Database(tmp_path)
    register(old, "1001")
    new = Database(tmp_path, "database-2", successor_of="database-1")
    for _ in range(5):
        assert carry(None, new)
        assert not new.asked
        new.run(0.3)
    while carry(old, new):
        pass
    assert contacts(new, "1001") == ["a"]


def test_the_controller_can_end_the_wait(tmp_path: Path) -> None:
    new = Database(tmp_path, "database-2", successor_of="database-1")
    carry(None, new)
    new.configure("")
    assert new.core.ready()
    assert contacts(new, "1001") == []


def test_a_successor_that_restarts_after_the_takeover_is_ready_at_once(tmp_path: Path) -> None:
    old = Database(tmp_path)
    register(old, "1001")
    new = Database(tmp_path, "database-2", successor_of="database-1")
    while carry(old, new):
        pass
    register(new, "1002")
    new.kill()
    again = Database(tmp_path, "database-2", successor_of="database-1")
    assert again.core.ready()
    assert contacts(again, "1001") == contacts(again, "1002") == ["a"]


def test_a_predecessor_that_restarts_still_says_moved_until_it_is_called_off(tmp_path: Path) -> None:
    old = Database(tmp_path)
    register(old, "1001")
    new = Database(tmp_path, "database-2", successor_of="database-1")
    while carry(old, new):
        pass
    old.kill()
    again = Database(tmp_path)
    assert again.raw("lookup", b"") == ("moved", b"database-2")
    again.core.undrain(again.now)
    assert contacts(again, "1001") == ["a"]


def test_a_predecessor_that_restarts_in_between_is_read_from_the_beginning(tmp_path: Path) -> None:
    old = Database(tmp_path)
    for number in range(500):
        register(old, f"user-{number}")
    new = Database(tmp_path, "database-2", successor_of="database-1")
    for _ in range(5):
        carry(old, new)
    old.kill()
    old = Database(tmp_path, now=2000.0)
    register(old, "late")
    while carry(old, new):
        pass
    assert new.core.ready()
    assert contacts(new, "late") == ["a"]
