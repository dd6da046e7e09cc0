"""Records of calls in a memory file, found again by the process that comes after."""

import os
from collections.abc import Iterator

import pytest

from telephony.call_router import ledger
from telephony.call_router.ledger import RECORD_BYTES_MAX, SLOT_BYTES, Ledger


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("calls")
    yield descriptor
    os.close(descriptor)


def fresh(memory: int) -> Ledger:
    one = Ledger(memory)
    one.settle() if one.read() else None
    return one


def records(memory: int) -> list[bytes]:
    return [record for _, record in Ledger(memory).read()]


def test_the_newest_record_of_each_call_is_found_again(memory: int) -> None:
    one = fresh(memory)
    one.keep("a", b"1")
    one.keep("b", b"2")
    one.keep("a", b"3" * RECORD_BYTES_MAX)
    one.forget("b")
    one.forget("b")
    assert records(memory) == [b"3" * RECORD_BYTES_MAX]


def test_what_goes_on_keeps_its_slot_and_the_rest_is_gone(memory: int) -> None:
    one = fresh(memory)
    for call in "abc":
        one.keep(call, call.encode())
    other = Ledger(memory)
    found = {record.decode(): slot for slot, record in other.read()}
    other.adopt("b", found["b"])
    other.settle()
    assert records(memory) == [b"b"]
    other.keep("d", b"d")
    other.keep("e", b"e")
    assert sorted(records(memory)) == [b"b", b"d", b"e"]
    assert os.fstat(memory).st_size == SLOT_BYTES * 4


def test_free_slots_are_used_again(memory: int) -> None:
    one = fresh(memory)
    for number in range(100):
        one.keep(str(number), b"x")
        one.forget(str(number))
    assert os.fstat(memory).st_size == SLOT_BYTES * 2
    assert records(memory) == []


def test_what_is_too_large_is_not_kept_and_no_older_record_stands_for_it(memory: int) -> None:
    one = fresh(memory)
    one.keep("a", b"small")
    one.keep("a", b"x" * (RECORD_BYTES_MAX + 1))
    assert (records(memory), one.refused) == ([], 1)


def test_so_many_at_most(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CALLS_MAX", 2)
    one = fresh(memory)
    for call in "abc":
        one.keep(call, call.encode())
    assert (records(memory), one.refused) == ([b"a", b"b"], 1)
    one.forget("a")
    one.keep("c", b"c")
    assert sorted(records(memory)) == [b"b", b"c"]


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_record_that_was_not_written_to_its_end_counts_as_none(memory: int, at: int) -> None:
    one = fresh(memory)
    one.keep("a", b"first")
    one.keep("b", b"second")
    os.pwrite(memory, b"\xff", SLOT_BYTES + at)
    assert records(memory) == [b"second"]


@pytest.mark.parametrize("content", [b"noise", b"HSCALL\x00\x02" + b"x" * 3 * SLOT_BYTES, b"\x00" * SLOT_BYTES * 2])
def test_a_file_of_another_version_is_begun_anew(memory: int, content: bytes) -> None:
    os.write(memory, content)
    one = Ledger(memory)
    assert one.read() == []
    one.keep("a", b"a")
    assert records(memory) == [b"a"]
