"""Sources that guess, flood and scan are banned; good ones, and users elsewhere, are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.effects import Close, Send
from telephony.proxy import defence as module
from telephony.proxy.defence import Ban, Defence, Limits, source_of
from telephony.sip.digest import Credentials
from telephony.sip.events import Rejected, ResponseReceived
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from tests.telephony.proxy.setting import PHONE, PUBLIC, ROUTERS, Setting, configuration, user

EVIL = Flow("udp", "public-udp", "198.51.100.7", 5060)
GOOD = Flow("udp", "public-udp", "192.0.2.1", 5060)
ROUTER = Flow("udp", "sip-udp", *ROUTERS[0])


def options(agent: str = "", from_: str = "<sip:a@b>;tag=1", branch: str = "1", to: str = "sip:9196@192.0.2.100") -> bytes:
    line = f"User-Agent: {agent}\r\n" if agent else ""
    return (
        f"OPTIONS {to} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{branch}\r\nFrom: {from_}\r\nTo: <{to}>\r\n"
        f"Call-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{line}\r\n"
    ).encode()


def test_guessing_bans_and_each_ban_is_longer() -> None:
    defence = Defence()
    now = 1000.0
    for turn, seconds in enumerate((30.0, 60.0, 120.0)):
        for number in range(50):
            assert not defence.drops(EVIL, now)
            defence.guessed(EVIL, f"{number}", now)
        assert defence.bans[-1] == Ban("198.51.100.7", seconds, "guessing")
        assert defence.bans_total == turn + 1
        assert defence.drops(EVIL._replace(port=9), now + seconds - 0.001)
        assert not defence.drops(GOOD, now)
        assert not defence.drops(EVIL, now + seconds)
        assert not defence.banned
        now += seconds
    now += module.FORGOTTEN_SECONDS + 1
    for number in range(50):
        defence.guessed(EVIL, f"{number}", now)
    assert defence.bans[-1].seconds == 30.0


def test_a_ban_has_a_longest_time() -> None:
    defence = Defence()
    now = 0.0
    for _ in range(2000):
        defence._count(EVIL, 50.0, "guessing", now)
        now = defence.banned["198.51.100.7"]
    assert defence.bans[-1].seconds == module.BAN_SECONDS_MAX


def test_what_is_broken_weighs_a_tenth_and_is_forgiven() -> None:
    defence = Defence()
    for number in range(10_000):
        defence.broken(EVIL, number / 20)
    assert not defence.banned
    slow = defence.bans_total
    for _ in range(500):
        defence.broken(EVIL, 500.0)
    assert defence.bans_total == slow + 1
    assert defence.bans[-1].cause == "broken"


def test_a_pair_is_locked_and_the_user_elsewhere_is_not() -> None:
    defence = Defence()
    for number in range(9):
        defence.guessed(EVIL, "1001", 1000.0 + number)
    assert not defence.locked(EVIL, "1001", 1009.0)
    defence.guessed(EVIL, "1001", 1009.0)
    assert defence.locked(EVIL, "1001", 1038.9)
    assert not defence.locked(EVIL, "1001", 1039.0)
    assert not defence.locked(EVIL, "1002", 1010.0)
    assert not defence.locked(GOOD, "1001", 1010.0)
    defence.guessed(EVIL, "1001", 1020.0)
    assert not defence.locked(EVIL, "1001", 1039.0), "what comes during the lock does not prolong it"
    defence.guessed(EVIL, "1001", 1040.0)
    assert defence.locked(EVIL, "1001", 1099.9), "the next one is twice as long"
    defence.proved(EVIL, "1001", 1101.0)
    defence.guessed(EVIL, "1001", 1102.0)
    assert not defence.locked(EVIL, "1001", 1102.0)


def test_a_proven_source_has_more_room() -> None:
    defence = Defence()
    defence.proved(GOOD, "1001", 1000.0)
    for _ in range(499):
        defence.guessed(GOOD, "1002", 1000.0)
    assert not defence.banned
    defence.guessed(GOOD, "1002", 1000.0)
    assert defence.drops(GOOD, 1000.0)
    defence = Defence()
    defence.proved(GOOD, "1001", 1000.0)
    for _ in range(50):
        defence.guessed(GOOD, "1002", 1001.0 + module.PROVEN_SECONDS)
    assert defence.banned


def test_new_requests_have_no_limit_unless_one_is_set() -> None:
    defence = Defence()
    assert all(defence.admits(EVIL, 1000.0) for _ in range(10_000))
    assert not defence._sources
    defence = Defence(Limits(requests_per_second=10.0))
    assert [defence.admits(EVIL, 1000.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert defence.admits(GOOD, 1000.0)
    assert [defence.admits(EVIL, 1000.5) for _ in range(6)] == [True] * 5 + [False]
    for _ in range(500):
        defence.admits(EVIL, 1000.5)
    assert defence.bans[-1].cause == "rate"


def test_a_user_has_no_rate_unless_one_is_set() -> None:
    defence = Defence()
    assert not any(defence.wait_seconds("1001", 1000.0) for _ in range(10_000))
    assert not defence._users
    defence = Defence(Limits(user_requests_per_second=0.5, ban_seconds=20.0))
    assert [defence.wait_seconds("1001", 1000.0) for _ in range(3)] == [0, 2, 2]
    assert defence.wait_seconds("1002", 1000.0) == 0
    assert defence.wait_seconds("1001", 1002.0) == 0
    assert defence.bans_total == 0


def test_a_user_who_goes_on_is_refused_for_longer_each_time() -> None:
    defence = Defence(Limits(user_requests_per_second=10.0, ban_seconds=20.0))
    now = 1000.0
    for turn, seconds in enumerate((20, 40, 80)):
        said = [defence.wait_seconds("1001", now) for _ in range(10 + module.EXCESS_MAX)]
        assert said == [0] * 10 + [1] * (module.EXCESS_MAX - 1) + [seconds]
        assert defence.bans[-1] == Ban("user 1001", float(seconds), "rate")
        assert defence.wait_seconds("1001", now + seconds - 0.5) == 1
        assert defence.wait_seconds("1002", now) == 0
        assert defence.bans_total == turn + 1
        now += seconds
    assert not defence.banned, "nobody else at that address is stopped"


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=200), st.floats(0.1, 50))
def test_within_the_rate_nobody_waits_and_above_it_no_more_get_through(gaps: list[tuple[float, str]], rate: float) -> None:
    defence = Defence(Limits(user_requests_per_second=rate, ban_seconds=1.0))
    now = 1000.0
    let: dict[str, int] = {"a": 0, "b": 0}
    for gap, name in gaps:
        now += gap
        let[name] += defence.wait_seconds(name, now) == 0
        assert let[name] <= max(1.0, rate) + (now - 1000.0) * rate + 1e-6
    for number in range(20):
        assert defence.wait_seconds("steady", now + number / rate * 1.01) == 0


def test_the_cluster_is_exempt_and_bans_can_be_off() -> None:
    for limits in (Limits(exempt=frozenset([ROUTERS[0]]), requests_per_second=1.0), Limits(failures=0)):
        defence = Defence(limits)
        for _ in range(1000):
            defence.broken(ROUTER, 1.0)
            defence.guessed(ROUTER, "1001", 1.0)
            assert defence.admits(ROUTER, 1.0)
        assert not defence.scanned(Message.parse(options("friendly-scanner")), ROUTER, 1.0)
        assert not defence.locked(ROUTER, "1001", 1.0)
        assert not defence.banned
    defence = Defence(Limits(exempt=frozenset([ROUTERS[0]])))
    defence.scanned(Message.parse(options("sipvicious")), ROUTER._replace(port=9), 1.0)
    assert defence.drops(ROUTER._replace(port=9), 1.0)
    assert not defence.drops(ROUTER, 1.0), "its neighbour's ban is not its own"


def test_a_source_is_an_address_or_a_network_of_version_6() -> None:
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") == "2001:db8:0:1::/64"
    assert source_of("fe80::1%lo") != ""
    assert source_of("no:address") == "no:address"


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOURCES_MAX", "USERS_MAX", "PROVEN_MAX", "BANNED_MAX", "GUESSED_MAX"):
        monkeypatch.setattr(module, name, 20)
    defence = Defence(Limits(user_requests_per_second=1.0))
    for number in range(100):
        flow = EVIL._replace(host=f"198.51.100.{number}")
        defence.wait_seconds(f"{number}", 1.0)
        defence.proved(flow, "1", 1.0)
        defence.guessed(flow, f"{number}", 1.0)
        defence._count(flow, 500.0, "guessing", 1.0)
    assert (len(defence._sources), len(defence._proven), len(defence._guessed), len(defence.banned)) == (20, 20, 20, 20)
    assert len(defence._users) == 20
    assert len(defence.bans) == module.BANS_KEPT_MAX
    assert defence.bans_total == 100


@pytest.mark.parametrize(
    ("agent", "from_"),
    [
        ("friendly-scanner", "<sip:a@b>;tag=1"),
        ("SIPVicious/0.3", "<sip:a@b>;tag=1"),
        ("sipcli/v1.8", "<sip:a@b>;tag=1"),
        ("", '"sipvicious"<sip:100@1.1.1.1>;tag=1'),
    ],
)
def test_a_scanner_gets_no_answer_and_is_banned(agent: str, from_: str) -> None:
    setting = Setting()
    setting.proxy.receive(options(agent, from_), EVIL, setting.now)
    setting.proxy.receive(b"no SIP at all", EVIL, setting.now)
    setting.proxy.receive(options(branch="2"), EVIL, setting.now)
    assert not [effect for effect in setting.proxy.take() if isinstance(effect, Send)]
    assert setting.proxy.counters.banned == 3
    assert setting.proxy.counters.broken == 0
    setting.at_rest()


def test_a_banned_connection_is_closed() -> None:
    setting = Setting()
    flow = EVIL._replace(transport="tcp", socket="public-tcp", connection=4)
    setting.proxy.receive(options("friendly-scanner"), flow, setting.now)
    assert Close(flow) in setting.proxy.take()


def test_a_flood_of_garbage_is_banned() -> None:
    setting = Setting()
    for number in range(1000):
        setting.proxy.receive(b"INVITE sip:x SIP/2.0\r\nVia: " + b"%d" % number, EVIL, setting.now)
    assert setting.proxy.counters.broken == 500
    assert setting.proxy.counters.banned == 500


def ask(setting: Setting, user: str, password: str, target: str = "sip:9197@192.0.2.100") -> int:
    """Status of a MESSAGE with these credentials."""
    setting.phone.request(
        "MESSAGE", target, f"<sip:{user}@hotswitch>", f"<{target}>", setting.outside, now=setting.now,
        credentials=Credentials(user, password), headers=[("Content-Type", "text/plain")], body=b"x",
    )  # fmt: skip
    setting.network.run(0.1)
    (event,) = setting.network.happened(*PHONE)
    assert isinstance(event, ResponseReceived)
    return event.status


def test_who_guesses_is_answered_alike_for_users_and_others_and_at_last_not_at_all() -> None:
    setting = Setting()
    answers: dict[str, list[bytes]] = {"1001": [], "1099": []}
    first_lines: list[bytes] = []

    def watch(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        if source == PUBLIC:
            first_lines.append(data.split(b"\r\n")[0])
        return False

    setting.network.drop = watch
    for current, lines in answers.items():
        for _ in range(12):
            assert ask(setting, current, "wrong") == 407
        lines += first_lines
        first_lines.clear()
    assert answers["1001"] == answers["1099"]
    assert setting.proxy.defence.locked(GOOD, "1001", setting.now)
    assert ask(setting, "1001", "one") == 407, "locked: the right password helps no more"
    assert setting.proxy.counters.failed == 25
    assert not setting.proxy.defence.locked(EVIL, "1001", setting.now)


def test_numbers_that_are_not_given_away_are_challenged_like_users() -> None:
    setting = Setting()
    for sender in ("1001", "1099"):
        setting.invite(from_=f"<sip:{sender}@192.0.2.1>")
        setting.run(1)
    assert setting.proxy.counters.challenged == 2
    setting.invite(from_="<sip:100@192.0.2.1>")
    setting.run(1)
    assert setting.proxy.counters.challenged == 2


def test_names_are_no_oracle_where_guests_may_call() -> None:
    """Whether there is such a user or not: without credentials it is a guest, with wrong ones it is challenged."""
    users = [user("alice", "secret"), user("1001", "one")]
    for name in ("alice", "mallory"):
        for credentials, status in ((None, 0), (Credentials(name, "wrong"), 407)):
            setting = Setting()
            setting.proxy.configure(configuration(users=users), setting.now)
            call = setting.phone.invite(
                "sip:9196@192.0.2.100", f"<sip:{name}@hotswitch>", "<sip:9196@hotswitch>", setting.outside, now=setting.now,
                headers=[("Proxy-Authorization", 'Digest username="x", realm="hotswitch", nonce="1", response="1"')] if credentials else [],
            )  # fmt: skip
            at_phone, at_router = setting.run()
            assert [event.status for event in at_phone] == ([status] if status else [])  # type: ignore[attr-defined]
            assert len(at_router) == (0 if status else 1)
            assert call.state == ("ended" if status else "calling")


def test_a_name_that_is_proved_is_believed() -> None:
    setting = Setting()
    setting.proxy.configure(configuration(users=[user("alice", "secret")]), setting.now)
    setting.invite("sip:9197@192.0.2.100", "<sip:alice@hotswitch>", credentials=Credentials("alice", "secret"))
    _, at_router = setting.run()
    assert at_router[0].message.get("p-asserted-identity") == "<sip:alice@hotswitch>"  # type: ignore[attr-defined]


def test_a_user_asks_too_often_from_wherever() -> None:
    setting = Setting()
    setting.proxy.configure(configuration(user_requests_per_second_max=2.0), setting.now)
    events = []
    for _ in range(4):
        setting.invite("sip:9197@192.0.2.100", "<sip:1001@hotswitch>", credentials=Credentials("1001", "one"))
        events += setting.run(0.05)[0]
    refused = [event.message for event in events if isinstance(event, Rejected)]
    assert [(message.status, message.reason, message.get("retry-after")) for message in refused if message is not None] == [
        (503, "Too many requests of yours", "1")
    ] * len(refused)
    assert len(refused) >= 2
    setting.invite("sip:9197@192.0.2.100", "<sip:1002@hotswitch>", credentials=Credentials("1002", "two"))
    assert not [event for event in setting.run(0.05)[0] if isinstance(event, Rejected)]


def test_the_configuration_says_the_limits() -> None:
    setting = Setting()
    given = configuration(
        proxies=["192.0.2.11:5060"],
        source_failures_max=7,
        source_ban_seconds=5.0,
        source_requests_per_second_max=1.0,
        user_requests_per_second_max=4.0,
    )
    setting.proxy.configure(given, setting.now)
    assert setting.proxy.defence.limits == Limits(7, 5.0, 1.0, frozenset([*ROUTERS, ("192.0.2.11", 5060)]), 4.0)
    for branch in ("1", "2"):
        setting.proxy.receive(options(branch=branch, to="sip:9197@192.0.2.100"), EVIL, setting.now)
    first, second = (effect.data.split(b"\r\n")[0] for effect in setting.proxy.take() if isinstance(effect, Send))
    assert first.startswith(b"SIP/2.0 407")
    assert second == b"SIP/2.0 503 Too many requests from your address"
