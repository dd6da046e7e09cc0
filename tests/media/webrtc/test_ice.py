"""ICE agents joined by a link that loses, and what strangers send them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.webrtc import stun
from media.webrtc.candidates import Candidate, Credentials, read, write
from media.webrtc.ice import CONSENT_SECONDS_MAX, PAIRS_MAX, Agent
from media.webrtc.stun import Address

ONE, OTHER = Credentials("oneone", "1" * 24), Credentials("otherr", "2" * 24)
HERE, THERE = ("192.0.2.1", 1000), ("192.0.2.2", 2000)


class Net:
    """Two agents, each at its addresses; what is sent to an address that nobody has is lost."""

    def __init__(self, one: Agent, other: Agent, loss: float = 0.0, seed: int = 1) -> None:
        self.now = 100.0
        self.loss, self.chance = loss, random.Random(seed)
        self.agents: dict[Address, Agent] = {HERE: one, THERE: other}

    def carry(self, datagrams: list[tuple[bytes, Address]], source: Address) -> None:
        for data, to in datagrams:
            agent = self.agents.get(to)
            if agent is not None and self.chance.random() >= self.loss:
                self.carry(agent.receive(data, source, self.now), to)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            for address, agent in list(self.agents.items()):
                self.carry(agent.timeout(self.now), address)


def pair(*, lite: bool = False, controlling: tuple[bool, bool] = (True, False), loss: float = 0.0, seed: int = 1) -> Net:
    chance = random.Random(seed)
    one = Agent(ONE, lite=False, controlling=controlling[0], draw=chance.randbytes)
    other = Agent(OTHER, lite=lite, controlling=controlling[1], draw=chance.randbytes)
    net = Net(one, other, loss, seed)
    one.begin(OTHER, [Candidate("198.51.100.1", 9, 500), Candidate(*THERE, 400)], lite, net.now)
    other.begin(ONE, [Candidate(*HERE, 400)], False, net.now)
    return net


@pytest.mark.parametrize("lite", [False, True])
def test_two_agents_find_each_other(lite: bool) -> None:
    net = pair(lite=lite)
    net.run(1.0)
    assert (net.agents[HERE].selected, net.agents[THERE].selected) == (THERE, HERE)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.booleans(), st.tuples(st.booleans(), st.booleans()), st.floats(0.0, 0.3))
def test_they_do_whatever_is_lost_and_whatever_roles_they_begin_with(
    seed: int, lite: bool, controlling: tuple[bool, bool], loss: float
) -> None:
    net = pair(lite=lite, controlling=(True, False) if lite else controlling, loss=loss, seed=seed)
    net.run(25.0)
    one, other = net.agents[HERE], net.agents[THERE]
    assert (one.selected, other.selected) == (THERE, HERE)
    assert one.controlling != other.controlling
    net.loss = min(loss, 0.05)
    net.run(60.0)  # consent goes on
    assert (one.selected, other.selected) == (THERE, HERE)


def test_an_address_behind_a_nat_is_learned() -> None:
    net = pair()
    net.agents[HERE].begin(OTHER, [], False, net.now)  # the peer named nothing that can be reached
    net.agents[HERE]._pairs.clear()
    net.run(1.0)
    assert net.agents[HERE].selected == THERE


@pytest.mark.parametrize("lite", [False, True])
def test_consent_ends_with_silence(lite: bool) -> None:
    net = pair(lite=lite)
    net.run(1.0)
    other = net.agents[THERE]
    net.loss = 1.0
    net.run(CONSENT_SECONDS_MAX - 6.0)
    assert other.selected == HERE
    net.run(8.0)
    assert other.selected is None
    if not lite:
        assert net.agents[HERE].selected is None


def request(user: str, password: str, *more: tuple[int, bytes]) -> bytes:
    return stun.write(stun.REQUEST, bytes(12), [(stun.USERNAME, user.encode()), *more], password)


def test_who_does_not_know_the_password_changes_nothing() -> None:
    net = pair(lite=True)
    other = net.agents[THERE]
    for data, code in (
        (request("otherr:oneone", "3" * 24, (stun.USE_CANDIDATE, b"")), 401),
        (request("nobody:oneone", OTHER.password, (stun.USE_CANDIDATE, b"")), 401),
        (request("otherr:oneone", "", (stun.USE_CANDIDATE, b"")), 400),
        (request("otherr:oneone", OTHER.password, (0x7ABC, b"")), 420),
        (request("otherr:oneone", OTHER.password, (stun.ICE_CONTROLLED, bytes(8))), 487),
    ):
        ((answer, to),) = other.receive(data, ("203.0.113.9", 9), net.now)
        assert (stun.parse(answer).code(), to) == (code, ("203.0.113.9", 9))
    assert other.selected is None
    assert other.refused == 5
    net.run(1.0)
    assert other.selected == HERE
    forged = stun.write(stun.SUCCESS, bytes(12), [], "4" * 24)
    assert net.agents[HERE].receive(forged, THERE, net.now) == []


def test_a_new_nomination_moves_the_leg() -> None:
    net = pair(lite=True)
    net.run(1.0)
    other = net.agents[THERE]
    other.receive(request("otherr:oneone", OTHER.password, (stun.USE_CANDIDATE, b"")), ("203.0.113.9", 9), net.now)
    assert other.selected == ("203.0.113.9", 9)
    other.receive(request("otherr:oneone", OTHER.password), HERE, net.now)
    assert other.selected == ("203.0.113.9", 9)


def test_addresses_are_bounded() -> None:
    net = pair()
    for port in range(100):
        net.agents[HERE].receive(request("oneone:otherr", ONE.password), ("203.0.113.9", 1 + port), net.now)
    assert len(net.agents[HERE]._pairs) == PAIRS_MAX


@given(st.binary(max_size=100), st.booleans())
def test_whatever_comes_nothing_raises(data: bytes, lite: bool) -> None:
    net = pair(lite=lite)
    for kind in (stun.REQUEST, stun.SUCCESS, stun.ERROR, stun.INDICATION, 0x0002):
        for key in (OTHER.password, ONE.password, ""):
            message = stun.write(kind, data[:12].ljust(12, b"\0"), [(stun.USERNAME, b"otherr:x"), (stun.ERROR_CODE, data)], key)
            net.agents[THERE].receive(message, ("203.0.113.9", 9), net.now)
    net.agents[THERE].receive(data, HERE, net.now)
    net.run(0.5)


def test_candidates_of_sdp() -> None:
    assert read("842163049 1 udp 1677729535 192.0.2.3 46154 typ srflx raddr 10.0.0.1 rport 46154 generation 0") == Candidate(
        "192.0.2.3", 46154, 1677729535
    )
    assert read(write("192.0.2.1", 4000)) == Candidate("192.0.2.1", 4000, 2130706431)
    for line in (
        "1 2 udp 1 192.0.2.3 46154 typ host",
        "1 1 tcp 1 192.0.2.3 9 typ host tcptype active",
        "1 1 udp 1 3a7b7d4e-0b1b-4a3f-8c11-2f44c0ef1d7a.local 46154 typ host",
        "1 1 udp 1 192.0.2.3 0 typ host",
        "1 1 udp 1 224.0.0.1 4000 typ host",
        "1 1 udp x 192.0.2.3 4000 typ host",
        "1 1 udp 1 192.0.2.3 4000 typ mine",
        "",
    ):
        assert read(line) is None, line


@given(st.text(max_size=100))
def test_any_candidate_is_read_or_passed_over(text: str) -> None:
    read(text)
    read(f"1 1 udp {text}")
    read(f"1 1 udp 1 {text} typ host")
