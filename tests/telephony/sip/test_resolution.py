"""RFC 3263: which questions are asked, and what their answers lead to."""

from collections import Counter
from collections.abc import Sequence

import pytest

from telephony.sip.resolution import (
    FAILED,
    FOUND,
    HOPS_MAX,
    NOTHING,
    Answer,
    Hop,
    Located,
    Naptr,
    Question,
    Record,
    Sought,
    Srv,
    hops,
    in_order,
    literal,
)

ALL = ("udp", "tcp", "tls")
Zone = dict[str, list[Record]]
NAPTRS: list[Record] = [
    Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.org"),
    Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.org"),
    Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.org"),
    Naptr(10, 10, "u", "E2U+SIP", ""),
    Naptr(10, 10, "s", "SIP+D2S", "_sip._sctp.example.org"),
]
"""The example of RFC 3263 section 4.1, with two that are not for us."""
FULL: Zone = {
    "example.org NAPTR": NAPTRS,
    "_sips._tcp.example.org SRV": [Srv(0, 1, 5061, "server1.example.org")],
    "_sip._tcp.example.org SRV": [Srv(0, 1, 5060, "server1.example.org"), Srv(1, 1, 5070, "server2.example.org")],
    "_sip._udp.example.org SRV": [Srv(0, 1, 5066, "server2.example.org")],
    "server1.example.org A": ["192.0.2.1"],
    "server2.example.org A": ["192.0.2.2", "192.0.2.3"],
    "server1.example.org AAAA": ["2001:db8::1"],
    "example.org A": ["192.0.2.9"],
}


def locate(zone: Zone, sought: Sought, transports: Sequence[str] = ALL, families: Sequence[str] = ("A",)) -> tuple[Located, list[str]]:
    """What is found, and what was asked; ``FAILED`` instead of records: the servers are silent."""
    asked: list[str] = []

    def answer(question: Question) -> Answer:
        asked.append(" ".join(question))
        records = zone.get(" ".join(question))
        if records == [FAILED]:
            return Answer(FAILED)
        return Answer(FOUND, tuple(records)) if records else Answer(NOTHING)

    steps = hops(sought, transports, families, lambda n: n - 1)
    try:
        questions = next(steps)
        while True:
            questions = steps.send([answer(question) for question in questions])
    except StopIteration as stop:
        return stop.value, asked


def found(zone: Zone, sought: Sought, transports: Sequence[str] = ALL) -> list[tuple[str, str, int]]:
    return [tuple(hop) for hop in locate(zone, sought, transports)[0].hops]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sought", "hop"),
    [
        (Sought("192.0.2.7"), Hop("udp", "192.0.2.7", 5060)),
        (Sought("192.0.2.7", 5080), Hop("udp", "192.0.2.7", 5080)),
        (Sought("192.0.2.7", None, "tcp"), Hop("tcp", "192.0.2.7", 5060)),
        (Sought("2001:db8::7", None, "tls"), Hop("tls", "2001:db8::7", 5061)),
        (Sought("192.0.2.7", secure=True), Hop("tls", "192.0.2.7", 5061)),
        (Sought("192.0.2.7", None, "tcp", True), Hop("tls", "192.0.2.7", 5061)),
    ],
)
def test_an_address_needs_no_question(sought: Sought, hop: Hop) -> None:
    assert literal(*sought) == hop
    assert locate({}, sought) == (Located([hop]), [])


def test_naptr_chooses_the_transport_and_all_that_is_left_follows() -> None:
    assert found(FULL, Sought("Example.ORG.")) == [
        ("tls", "192.0.2.1", 5061),
        ("tcp", "192.0.2.1", 5060), ("tcp", "192.0.2.2", 5070), ("tcp", "192.0.2.3", 5070),
        ("udp", "192.0.2.2", 5066), ("udp", "192.0.2.3", 5066),
    ]  # fmt: skip


def test_naptr_of_transports_that_we_do_not_have_is_passed_over() -> None:
    assert found(FULL, Sought("example.org"), ("udp",)) == [("udp", "192.0.2.2", 5066), ("udp", "192.0.2.3", 5066)]


def test_sips_goes_over_tls_alone() -> None:
    assert found(FULL, Sought("example.org", secure=True)) == [("tls", "192.0.2.1", 5061)]
    assert found(FULL, Sought("example.org", secure=True), ("udp", "tcp")) == []
    plain = {key: value for key, value in FULL.items() if "NAPTR" not in key}
    assert found(plain, Sought("example.org", secure=True)) == [("tls", "192.0.2.1", 5061)]


def test_without_naptr_srv_of_each_transport_is_asked_udp_first() -> None:
    plain = {key: value for key, value in FULL.items() if "NAPTR" not in key}
    located, asked = locate(plain, Sought("example.org"))
    assert [hop.transport for hop in located.hops] == ["udp", "udp", "tcp", "tcp", "tcp"]
    assert asked[:3] == ["example.org NAPTR", "_sip._udp.example.org SRV", "_sip._tcp.example.org SRV"]


def test_without_srv_the_name_itself_at_the_default_port() -> None:
    zone: Zone = {"example.org A": ["192.0.2.9"]}
    assert found(zone, Sought("example.org")) == [("udp", "192.0.2.9", 5060)]
    assert found(zone, Sought("example.org", None, "tcp")) == [("tcp", "192.0.2.9", 5060)]
    assert found(zone, Sought("example.org", secure=True)) == [("tls", "192.0.2.9", 5061)]


def test_a_port_or_a_transport_in_the_uri_leaves_questions_out() -> None:
    assert locate(FULL, Sought("example.org", 5090)) == (Located([Hop("udp", "192.0.2.9", 5090)]), ["example.org A"])
    located, asked = locate(FULL, Sought("example.org", None, "tcp"))
    assert located.hops[0] == Hop("tcp", "192.0.2.1", 5060)
    assert asked[0] == "_sip._tcp.example.org SRV"


def test_a_transport_that_we_do_not_have_leads_nowhere() -> None:
    assert locate(FULL, Sought("example.org", None, "sctp")) == (Located([]), [])


def test_both_families_where_both_can_be_used() -> None:
    located, _ = locate(FULL, Sought("server1.example.org", 5060), families=("AAAA", "A"))
    assert located.hops == [Hop("udp", "2001:db8::1", 5060), Hop("udp", "192.0.2.1", 5060)]


def test_srv_that_says_no() -> None:
    zone: Zone = {"_sip._udp.example.org SRV": [Srv(0, 0, 0, "")], "example.org A": ["192.0.2.9"]}
    assert found(zone, Sought("example.org")) == []


def test_silent_name_servers_are_told_from_names_without_records() -> None:
    assert locate({}, Sought("example.org"))[0] == Located([])
    assert locate({"example.org A": [FAILED]}, Sought("example.org"))[0] == Located([], failed=True)
    silent_naptr: Zone = {"example.org NAPTR": [FAILED], "example.org A": ["192.0.2.9"]}
    assert found(silent_naptr, Sought("example.org")) == [("udp", "192.0.2.9", 5060)]


def test_what_a_zone_can_make_us_do_is_bounded() -> None:
    zone: Zone = {
        "example.org NAPTR": [Naptr(1, number, "s", "SIP+D2U", f"_sip._udp.n{number}.example.org") for number in range(100)],
        **{f"_sip._udp.n{number}.example.org SRV": [Srv(0, 0, 5060, f"s{at}.example.org") for at in range(60)] for number in range(100)},
        **{f"s{at}.example.org A": [f"192.0.2.{last}" for last in range(64)] for at in range(60)},
    }
    located, asked = locate(zone, Sought("example.org"))
    assert len(located.hops) == HOPS_MAX
    assert len(asked) < 25


def test_weights_count() -> None:
    from random import Random

    records = [Srv(1, 60, 1, "heavy"), Srv(1, 30, 1, "light"), Srv(1, 0, 1, "none"), Srv(0, 0, 1, "first"), Srv(2, 9, 1, "last")]
    random = Random(4)
    firsts: Counter[str] = Counter()
    for _ in range(3000):
        ordered = [record.target for record in in_order(records, random.randrange)]
        assert ordered[0] == "first"
        assert ordered[-1] == "last"
        assert sorted(ordered) == ["first", "heavy", "last", "light", "none"]
        firsts[ordered[1]] += 1
    assert 0.61 < firsts["heavy"] / 3000 < 0.71
    assert 0.28 < firsts["light"] / 3000 < 0.38
    assert 0 < firsts["none"] / 3000 < 0.03
