"""The journal survives whatever happens to the end of its file."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import journal
from agent.journal import Journal


def test_the_newest_value_of_each_key(tmp_path: Path) -> None:
    path = tmp_path / "machine" / "journal"
    kept = Journal(path)
    kept.append({"a": b"1", "b": b"2"})
    kept.append({"a": b"3", "b": b""})
    size = path.stat().st_size
    kept.append({"a": b"3", "c": b""})
    assert path.stat().st_size == size
    assert kept.values == {"a": b"3"}
    kept.close()
    assert Journal(path).values == {"a": b"3"}
    assert path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=20)), max_size=12), st.data())
def test_a_file_cut_or_spoilt_anywhere_keeps_what_was_before(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    kept = Journal(path)
    states: list[tuple[int, dict[str, bytes]]] = [(0, {})]
    for key, value in changes:
        kept.append({key: value})
        states.append((path.stat().st_size, dict(kept.values)))
    kept.close()
    content = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(content)))
    if content[:cut] and data.draw(st.booleans()):
        cut -= 1
        content[cut] ^= 0x55
        path.write_bytes(content)
    else:
        path.write_bytes(content[:cut])
    expected = [values for size, values in states if size <= cut][-1]
    again = Journal(path)
    assert again.values == expected
    again.append({"new": b"1"})
    again.close()
    assert Journal(path).values == {**expected, "new": b"1"}


def test_written_anew_when_it_is_mostly_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "GARBAGE_BYTES_MAX", 10_000)
    path = tmp_path / "journal"
    kept = Journal(path)
    kept.append({"stays": b"here"})
    for number in range(100):
        kept.append({"a": bytes(1000) + bytes([number])})
    assert path.stat().st_size < 15_000
    kept.append({"b": b"after"})
    kept.close()
    assert Journal(path).values == {"stays": b"here", "a": bytes(1000) + bytes([99]), "b": b"after"}


def test_noise_is_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"noise" * 100)
    assert Journal(path).values == {}


def test_what_the_disk_does_not_take_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    kept = Journal(path)
    kept.append({"a": b"1"})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "fdatasync", full)
        with pytest.raises(OSError, match="No space"):
            kept.append({"b": b"2"})
    assert kept.values == {"a": b"1"}
    kept.append({"c": b"3"})
    kept.close()
    assert Journal(path).values == {"a": b"1", "c": b"3"}
