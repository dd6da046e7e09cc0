"""Getting a bundle over a link that loses; and the machine's store of bundles on a real disk."""

import os
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundles import KEPT_MAX, RETRY_SECONDS, Bundles
from agent.fetch import RETRY_SECONDS_MAX, Ask, Fetch
from agent.wire.archive import bytecode, write_archive
from agent.wire.bundle import CHUNK_BYTES, CREDIT_CHUNKS_MAX, BundleReader, BundleWriter, pack
from agent.wire.envelope import Header
from agent.wire.keys import Identity, MachineKeys
from agent.wire.messages import BundleReference

KEYS = MachineKeys.generate()
RELEASE = Identity.generate()
ME = KEYS.identity.id


def writer(content: bytes = b"", version: str = "1", release: Identity = RELEASE) -> BundleWriter:
    files = {"tiny/__init__.py": b"", "tiny/main.py": b"def main(arguments): return 0\n", "data": content}
    return BundleWriter(pack(files, platform="voice", version=version, release=release))


BIG = writer(random.Random(1).randbytes(CHUNK_BYTES * 40))


def header(of: BundleWriter, index: int) -> Header:
    return Header(type="chunk", cluster="c", sender="controller", recipient="*", subject=of.hash, sequence=index + 1, generation=of.count)


def fetch(of: BundleWriter) -> Fetch:
    return Fetch(BundleReader(of.hash, of.seal_key(ME, KEYS.security.public), ME, KEYS.security), random.Random(1))


def test_asks_for_no_more_than_its_credit() -> None:
    under_way = fetch(BIG)
    under_way.begin(0)
    assert under_way.take() == [Ask(BIG.hash, [0])]
    under_way.chunk(header(BIG, 0), BIG.chunk(0), 0)
    (ask,) = under_way.take()
    assert ask.chunks == list(range(1, 1 + CREDIT_CHUNKS_MAX))
    for index in ask.chunks[:-1]:
        under_way.chunk(header(BIG, index), BIG.chunk(index), 0)
    assert under_way.take() == []
    under_way.chunk(header(BIG, ask.chunks[-1]), BIG.chunk(ask.chunks[-1]), 0)
    assert under_way.take() == [Ask(BIG.hash, list(range(17, 33)))]


def test_what_does_not_open_is_asked_for_again() -> None:
    small = writer()
    under_way = fetch(small)
    under_way.begin(0)
    under_way.take()
    under_way.chunk(header(small, 0), b"noise", 0)
    under_way.chunk(header(BIG, 0), BIG.chunk(0), 0)
    assert (under_way.refused, under_way.complete, under_way.take()) == (1, False, [])
    due = under_way.deadline()
    assert due is not None
    under_way.timeout(due)
    assert under_way.take() == [Ask(small.hash, [0])]
    under_way.chunk(header(small, 0), small.chunk(0), due)
    assert under_way.complete and under_way.deadline() is None
    assert under_way.stored == {0: small.chunk(0)}


def test_silence_backs_off_and_no_session_waits() -> None:
    under_way = fetch(BIG)
    under_way.begin(0)
    now = last = 0.0
    for _ in range(12):
        last, now = now, under_way.deadline() or 0.0
        under_way.timeout(now)
    assert RETRY_SECONDS_MAX <= now - last <= RETRY_SECONDS_MAX * 1.25
    under_way.pause()
    assert under_way.deadline() is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.floats(0, 0.7))
def test_whole_over_any_link(seed: int, loss: float) -> None:
    rng = random.Random(seed)
    under_way = fetch(BIG)
    under_way.begin(0)
    now = 0.0
    for _ in range(3000):
        asks = under_way.take()
        for ask in asks:
            chunks = [index for index in ask.chunks if rng.random() >= loss]
            rng.shuffle(chunks)
            for index in chunks * rng.choice([1, 2]):
                under_way.chunk(header(BIG, index), BIG.chunk(index), now)
        if under_way.complete:
            break
        if not asks:
            now = under_way.deadline() or now
            under_way.timeout(now)
    assert under_way.reader.package([RELEASE.public]) == BIG.package


class Store:
    """Bundles of one machine in a folder, and what they said."""

    def __init__(self, folder: Path) -> None:
        self.settled: list[tuple[str, str]] = []
        self.bundles = Bundles(
            folder, ME, KEYS.security, [RELEASE.public], lambda hash, error: self.settled.append((hash, error)), random.Random(1)
        )

    def want(self, *writers: BundleWriter, now: float = 0.0) -> None:
        self.bundles.want([reference(each) for each in writers], now)

    def deliver(self, of: BundleWriter, now: float = 0.0) -> None:
        for index in range(of.count):
            self.bundles.chunk(header(of, index), of.chunk(index), now)


def reference(of: BundleWriter) -> BundleReference:
    return BundleReference(hash=of.hash, platform="voice", version="1", sealed_key=of.seal_key(ME, KEYS.security.public))


def test_fetched_opened_and_kept_sealed(tmp_path: Path) -> None:
    store, one = Store(tmp_path), writer()
    store.bundles.connected(True, 0)
    store.want(one)
    assert (store.bundles.topics(), store.bundles.take()) == ({one.hash}, [Ask(one.hash, [0])])
    store.deliver(one)
    assert (store.settled, store.bundles.topics()) == ([(one.hash, "")], set())
    opened = store.bundles.opened[one.hash]
    assert opened.packages == ["data", "tiny"]
    with open(f"/proc/self/fd/{opened.descriptor}", "rb") as archive:
        assert archive.read() == one.package.archive
    with pytest.raises(PermissionError):
        os.write(opened.descriptor, b"x")
    assert b"main" not in (tmp_path / one.hash).read_bytes()
    store.bundles.close()

    again = Store(tmp_path)
    again.want(one)
    assert (again.settled, again.bundles.topics()) == ([(one.hash, "")], set())
    again.want()
    assert again.bundles.opened == {}


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    one = writer()
    for content in (b"", b"noise", msgspec.msgpack.encode([b"noise"]), msgspec.msgpack.encode([])):
        (tmp_path / one.hash).write_bytes(content)
        store = Store(tmp_path)
        store.bundles.connected(True, 0)
        store.want(one)
        assert (store.settled, store.bundles.topics()) == ([], {one.hash})
        store.deliver(one)
        assert store.settled == [(one.hash, "")]
        store.bundles.close()


def test_who_signed_it_matters(tmp_path: Path) -> None:
    store, forged = Store(tmp_path), writer(release=Identity.generate())
    store.bundles.connected(True, 0)
    store.want(forged)
    store.deliver(forged)
    assert store.settled == [(forged.hash, "signed by an unknown release key")]
    assert (store.bundles.opened, list(tmp_path.iterdir())) == ({}, [])
    assert store.bundles.deadline() == RETRY_SECONDS
    store.bundles.timeout(RETRY_SECONDS)
    assert store.bundles.topics() == {forged.hash}


def test_a_key_for_somebody_else_opens_nothing(tmp_path: Path) -> None:
    store, one = Store(tmp_path), writer()
    sealed = one.seal_key("mother", KEYS.security.public)
    store.bundles.want([BundleReference(hash=one.hash, platform="voice", version="1", sealed_key=sealed)], 0)
    assert [hash for hash, error in store.settled if error] == [one.hash]
    store.bundles.want([BundleReference(hash="../../etc/passwd", platform="voice", version="1", sealed_key=sealed)], 0)
    assert (store.bundles.topics(), store.bundles.deadline()) == (set(), None)


def test_only_the_newest_stay_on_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    writers = [writer(version=str(number)) for number in range(KEPT_MAX + 3)]
    for each in writers:
        store.want(each)
        store.deliver(each)
    store.want(writers[-1])
    assert len(list(tmp_path.iterdir())) == KEPT_MAX + 1
    assert (tmp_path / writers[-1].hash).exists()
    store.bundles.close()


def test_without_a_session_nothing_is_asked(tmp_path: Path) -> None:
    store, one = Store(tmp_path), writer()
    store.want(one)
    assert (store.bundles.take(), store.bundles.deadline()) == ([], None)
    store.bundles.connected(True, 5)
    assert store.bundles.take() == [Ask(one.hash, [0])]
    store.bundles.connected(False, 6)
    assert store.bundles.deadline() is None
    store.want()
    assert store.bundles.topics() == set()


def test_an_archive_is_the_same_each_time_and_runs(tmp_path: Path) -> None:
    files = {"b.py": b"VALUE = 'x' in {'x', 'y', 'z'}\n", "a/__init__.py": b"from b import VALUE\n"}
    archive, contents = write_archive(files)
    assert archive == write_archive(dict(reversed(files.items())))[0]
    assert list(contents) == ["a/__init__.py", "a/__init__.pyc", "b.py", "b.pyc"]
    (tmp_path / "bundle").write_bytes(archive)
    program = "import sys, a; assert a.VALUE; assert sys.path[0] in a.__file__ and a.__file__.endswith('.pyc'), a.__file__"
    path = os.pathsep.join([str(tmp_path / "bundle")])
    assert os.spawnve(os.P_WAIT, os.sys.executable, ["python", "-c", f"import sys; sys.path.insert(0, {path!r}); {program}"], {}) == 0  # type: ignore[attr-defined]
    with pytest.raises(SyntaxError):
        bytecode("bad.py", b"def")
    for wrong in ("/etc/passwd", "../x", "a\\b"):
        with pytest.raises(ValueError, match="inside the archive"):
            write_archive({wrong: b""})
