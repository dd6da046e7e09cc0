"""The resolver against a zone, message by message under a fake clock: both ends are made of real DNS messages."""

import random

import pytest

from telephony.dns import codec
from telephony.dns.locator import RESOLUTION_SECONDS, Locator
from telephony.dns.resolver import EXCHANGES_MAX, FAILED_SECONDS, QUESTIONS_MAX, STRANGE_MAX, Exchange, Resolver
from telephony.dns.system import System
from telephony.sip.resolution import FAILED, FOUND, NOTHING, Answer, Hop, Located, Question, Sought, Srv
from tests.telephony.dns.name_server import SOA, TTL_SECONDS, Zone

SERVERS = (("192.0.2.53", 53), ("192.0.2.54", 53))
A = Question("server.example.org", "A")
RECORDS = {
    "server.example.org A": ["192.0.2.1"],
    "_sip._udp.example.org SRV": ["10 60 5060 server.example.org."],
    "alias.example.org CNAME": ["second.example.org."],
    "second.example.org CNAME": ["server.example.org."],
    "round.example.org CNAME": ["about.example.org."],
    "about.example.org CNAME": ["round.example.org."],
    "far.example.org CNAME": ["elsewhere.example.net."],
    "elsewhere.example.net A": ["198.51.100.1"],
    "dangling.example.org CNAME": ["nowhere.example.org."],
    "example.org NAPTR": ['10 20 "s" "SIP+D2U" "" _sip._udp.example.org.', '10 10 "S" "sips+d2t" "" _sips._tcp.example.org.'],
}


class Setting:
    """A resolver and its name servers."""

    def __init__(self, zones: list[Zone], **system: object) -> None:
        self.zones = zones
        self.now = 1000.0
        self.resolver = Resolver(codec, System(SERVERS[: len(zones)], **system), random.Random(1).randbytes)  # type: ignore[arg-type]
        self.answers: list[Answer] = []
        self.exchanges: list[Exchange] = []

    def ask(self, question: Question) -> Answer | None:
        """The answer, if it came without waiting."""
        before = len(self.answers)
        self.resolver.ask(question, self.now, lambda answer, now: self.answers.append(answer))
        self.work()
        return self.answers[-1] if len(self.answers) > before else None

    def work(self) -> None:
        while taken := self.resolver.take():
            for one in taken:
                if isinstance(one, Exchange):
                    self.exchanges.append(one)
                    zone = self.zones[SERVERS.index(one.server)]
                    for reply in zone.answer(one.data, one.transport == "tcp"):
                        self.resolver.received(one.number, reply, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.resolver.deadline()) is not None and deadline <= end:
            self.now = deadline
            self.resolver.timeout(self.now)
            self.work()
        self.now = end

    @property
    def asked(self) -> list[str]:
        return [query for zone in self.zones for query in zone.asked]


def setting(fault: str = "", name: str = A.name) -> Setting:
    return Setting([Zone(RECORDS, {name: fault} if fault else {})])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (A, Answer(FOUND, ("192.0.2.1",))),
        (Question("_sip._udp.example.org", "SRV"), Answer(FOUND, (Srv(10, 60, 5060, "server.example.org"),))),
        (Question("alias.example.org", "A"), Answer(FOUND, ("192.0.2.1",))),
        (Question("far.example.org", "A"), Answer(FOUND, ("198.51.100.1",))),
        (Question("round.example.org", "A"), Answer(FAILED)),
        (Question("dangling.example.org", "A"), Answer(NOTHING)),
        (Question("nobody.example.org", "A"), Answer(NOTHING)),
        (Question("server.example.org", "AAAA"), Answer(NOTHING)),
        (Question("a" * 64 + ".example.org", "A"), Answer(NOTHING)),
        (Question("a..b", "A"), Answer(NOTHING)),
    ],
)  # fmt: skip
def test_answers(question: Question, answer: Answer) -> None:
    assert setting().ask(question) == answer


def test_naptr_is_read_whatever_its_spelling() -> None:
    answer = setting().ask(Question("example.org", "NAPTR"))
    assert answer is not None
    assert sorted((record.preference, record.flags, record.service, record.replacement) for record in answer.records) == [  # type: ignore[union-attr]
        (10, "s", "SIPS+D2T", "_sips._tcp.example.org"),
        (20, "s", "SIP+D2U", "_sip._udp.example.org"),
    ]


def test_an_answer_is_kept_for_its_time() -> None:
    one = setting()
    one.ask(A)
    one.run(TTL_SECONDS - 0.1)
    assert one.ask(A) == Answer(FOUND, ("192.0.2.1",))
    assert len(one.asked) == 1
    one.run(0.1)
    assert one.ask(A) == Answer(FOUND, ("192.0.2.1",))
    assert len(one.asked) == 2


def test_that_there_is_nothing_is_kept_for_the_time_of_the_soa() -> None:
    one = setting()
    seconds = int(SOA.split()[-1])
    nobody = Question("nobody.example.org", "A")
    one.ask(nobody)
    one.run(seconds - 0.1)
    assert one.ask(nobody) == Answer(NOTHING)
    assert len(one.asked) == 1
    one.run(0.1)
    one.ask(nobody)
    assert len(one.asked) == 2


def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    one = setting("silent")
    assert one.ask(A) is None
    assert one.ask(A) is None
    one.zones[0].faults.clear()
    one.run(1.5)
    assert one.answers == [Answer(FOUND, ("192.0.2.1",))] * 2
    assert len(one.asked) == 2


@pytest.mark.parametrize("fault", ["wrong-id", "wrong-question", "garbage"])
def test_what_is_not_the_reply_is_waited_past(fault: str) -> None:
    one = setting(fault)
    answer = one.ask(A)
    assert one.resolver.strange >= 1
    if fault == "garbage":
        one.zones[0].faults.clear()
        one.run(2)
        answer = one.answers[-1]
    assert answer == Answer(FOUND, ("192.0.2.1",))


def test_somebody_who_guesses_is_evaded_over_tcp() -> None:
    one = setting("silent")
    one.ask(A)
    [exchange] = one.exchanges
    one.zones[0].faults.clear()
    for _ in range(STRANGE_MAX):
        one.resolver.received(exchange.number, b"\x00" * 30, one.now)
    one.work()
    assert one.asked == ["udp server.example.org A", "tcp server.example.org A"]
    assert one.answers == [Answer(FOUND, ("192.0.2.1",))]


def test_ids_and_exchanges_differ() -> None:
    one = setting("silent")
    for number in range(50):
        one.ask(Question(f"n{number}.example.org", "A"))
    ids = {exchange.data[:2] for exchange in one.exchanges}
    assert len(ids) >= 49
    assert len({exchange.number for exchange in one.exchanges}) == 50


def test_truncated_is_asked_for_again_over_tcp() -> None:
    one = setting("truncated")
    assert one.ask(A) == Answer(FOUND, ("192.0.2.1",))
    assert one.asked == ["udp server.example.org A", "tcp server.example.org A"]


def test_a_server_without_edns_is_asked_in_the_old_form() -> None:
    one = setting("old")
    assert one.ask(A) == Answer(FOUND, ("192.0.2.1",))
    assert len(one.asked) == 2


@pytest.mark.parametrize("fault", ["servfail", "silent"])
def test_the_next_server_is_asked(fault: str) -> None:
    one = Setting([Zone(RECORDS, {A.name: fault}), Zone(RECORDS)])
    one.ask(A)
    one.run(1.0)
    assert one.answers == [Answer(FOUND, ("192.0.2.1",))]
    assert [len(zone.asked) for zone in one.zones] == [1, 1]


def test_a_server_that_refuses_is_passed_over_at_once() -> None:
    one = Setting([Zone(RECORDS, {A.name: "silent"}), Zone(RECORDS)])
    one.ask(A)
    one.resolver.broken(one.exchanges[0].number, one.now)
    one.work()
    assert one.answers == [Answer(FOUND, ("192.0.2.1",))]


def test_when_nobody_tells_it_has_failed_and_is_not_asked_again_at_once() -> None:
    one = Setting([Zone(RECORDS, {A.name: "silent"}), Zone(RECORDS, {A.name: "servfail"})], timeout_seconds=1.0, rounds=2)
    one.ask(A)
    one.run(2.9)
    assert one.answers == []
    one.run(0.2)
    assert one.answers == [Answer(FAILED)]
    assert [len(zone.asked) for zone in one.zones] == [2, 2]
    assert one.ask(A) == Answer(FAILED)
    one.run(FAILED_SECONDS)
    assert one.ask(A) is None


def test_names_that_the_machine_knows_are_not_asked_for() -> None:
    one = Setting([Zone({})], hosts={"switch.local": ("192.0.2.77", "2001:db8::77")})
    assert one.ask(Question("switch.local", "A")) == Answer(FOUND, ("192.0.2.77",))
    assert one.ask(Question("switch.local", "AAAA")) == Answer(FOUND, ("2001:db8::77",))
    assert one.ask(Question("_sip._udp.switch.local", "SRV")) == Answer(NOTHING)
    assert one.asked == []


def test_bounds() -> None:
    one = Setting([Zone({}, {f"n{number}.example.org": "silent" for number in range(QUESTIONS_MAX)})], rounds=1)
    for number in range(QUESTIONS_MAX):
        assert one.ask(Question(f"n{number}.example.org", "A")) is None
    assert len(one.exchanges) == EXCHANGES_MAX
    assert one.ask(Question("one-more.example.org", "A")) == Answer(FAILED)
    one.run(QUESTIONS_MAX / EXCHANGES_MAX + 1)
    assert len(one.answers) == QUESTIONS_MAX + 1
    assert one.resolver.deadline() is None


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telephony.dns.resolver.CACHE_MAX", 100)
    one = Setting([Zone({})])
    for number in range(250):
        one.ask(Question(f"n{number}.example.org", "A"))
    assert len(one.asked) == 250
    assert one.ask(Question("n249.example.org", "A")) == Answer(NOTHING)
    assert len(one.asked) == 250
    one.ask(Question("n0.example.org", "A"))
    assert len(one.asked) == 251


def test_a_whole_resolution() -> None:
    zone = Zone(
        {
            **RECORDS,
            "_sip._udp.example.org SRV": ["10 60 5060 server.example.org.", "20 0 5070 other.example.org."],
            "example.org NAPTR": ['10 20 "s" "SIP+D2U" "" _sip._udp.example.org.'],
            "other.example.org A": ["192.0.2.5"],
        }
    )
    one = Setting([zone])
    found: list[Located] = []
    locator = Locator(one.resolver, random.Random(1).randrange)
    locator.locate(Sought("example.org"), ("udp", "tcp"), ("A",), one.now, lambda located, now: found.append(located))
    one.work()
    assert found == [Located([Hop("udp", "192.0.2.1", 5060), Hop("udp", "192.0.2.5", 5070)])]
    locator.locate(Sought("example.org"), ("udp", "tcp"), ("A",), one.now, lambda located, now: found.append(located))
    assert found[1] == found[0]


def test_a_resolution_ends_in_time_whatever_name_servers_do() -> None:
    names = ("example.org", "_sip._udp.example.org", "_sip._tcp.example.org")
    one = Setting([Zone({}, dict.fromkeys(names, "silent"))], timeout_seconds=5.0)
    found: list[Located] = []
    locator = Locator(one.resolver, random.Random(1).randrange)
    locator.locate(Sought("example.org"), ("udp", "tcp"), ("A",), one.now, lambda located, now: found.append(located))
    one.work()
    one.run(RESOLUTION_SECONDS)
    assert found == [Located([], failed=True)]
    one.run(100)
    assert len(found) == 1
