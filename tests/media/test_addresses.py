"""Sources and their legs, against a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from media.addresses import ADDRESS_BYTES, Addresses, key, same, sockaddr, text

ENTRY = st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 12), st.integers(0, 5))


def test_an_address_and_back() -> None:
    address = sockaddr("127.0.0.9", 40_002)
    assert len(address) == ADDRESS_BYTES and text(address) == ("127.0.0.9", 40_002)
    assert key(address) == int(np.frombuffer(address, np.uint64)[0])


def test_an_address_of_ipv6_and_back() -> None:
    address = sockaddr("2001:db8::9", 40_002)
    assert len(address) == ADDRESS_BYTES and text(address) == ("2001:db8::9", 40_002)
    assert key(address) != 0
    assert same(address, sockaddr("2001:DB8:0::9", 40_002)) and not same(address, sockaddr("2001:db8::9", 40_003))
    assert not same(address, bytes(ADDRESS_BYTES))


@settings(max_examples=200, deadline=None)
@given(st.lists(ENTRY, max_size=40))
def test_finds_what_a_dictionary_finds(steps: list[tuple[str, int, int]]) -> None:
    table, expected = Addresses(64), dict[int, int]()
    sources = [key(sockaddr(f"10.0.{number % 3}.{number}", 1000 + number)) for number in range(13)]
    for what, number, leg in steps:
        if what == "add":
            taken = expected.setdefault(sources[number], leg) != leg
            assert table.add(sources[number], leg) == (not taken)
        else:
            table.remove(leg)
            expected = {source: owner for source, owner in expected.items() if owner != leg}
        found = table.find(np.array(sources, np.uint64))
        assert found.tolist() == [expected.get(source, -1) for source in sources]


def test_all_at_once() -> None:
    table = Addresses(3)
    table.add(5, 0)
    table.fill(np.array([30, 10, 30, 20], np.uint64), np.array([1, 2, 3, 4]))
    assert table.find(np.array([5, 10, 20, 30], np.uint64)).tolist() == [-1, 2, 4, 1]
    assert not table.add(40, 7)
    table.remove(1)
    assert table.add(40, 7) and table.get(40) == 7


def test_is_bounded() -> None:
    table = Addresses(3)
    assert [table.add(source, source) for source in (30, 10, 20, 40)] == [True, True, True, False]
    assert table.get(40) == -1 and table.get(10) == 10
    assert table.get(2**64 - 1) == -1
