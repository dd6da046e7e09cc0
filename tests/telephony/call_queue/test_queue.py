"""The call queue: order, offers, outcomes, and what is left when somebody dies."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.call_queue.core import GRACE_SECONDS, CallQueue
from telephony.call_queue.strategies import STRATEGIES
from telephony.call_queue.strategies.candidate import Candidate
from telephony.config import CallQueueConfiguration, Jobs, Queue
from telephony.core import Job
from telephony.effects import Ask, Reply, Tell
from telephony.jobs.queue import LEASE_SECONDS, Join, Leave, Offered, Outcome, Position, Withdrawn
from telephony.jobs.resource import MemberChanged, MemberState, MemberStates

encode = msgspec.msgpack.encode


class Desk:
    """A queue under a fake clock, with a resource database of a few lines."""

    def __init__(self, members: list[str], **options: object) -> None:
        self.now = 1000.0
        self.states = {member: MemberState(user=member, registered=True, busy=False) for member in members}
        self.configuration = CallQueueConfiguration(
            id="queue-1",
            platform="voice",
            jobs=Jobs(curve_public="", curve_secret=""),
            queues=[Queue(name="4000", members=members, **options)],  # type: ignore[arg-type]
        )
        self.offers: list[Offered] = []
        self.withdrawn: list[int] = []
        self.database = True
        self.restart()

    def restart(self) -> None:
        """A new process."""
        self.core = CallQueue()
        self.core.configure(self.configuration, self.now)
        self.settle()

    def settle(self) -> list[Reply]:
        replies: list[Reply] = []
        while taken := self.core.take():
            for effect in taken:
                if isinstance(effect, Ask):
                    states = MemberStates(members=list(self.states.values()))
                    status = "ok" if self.database else "timeout"
                    self.core.reply(effect.id, status, encode(states), "database-1", self.now)
                elif isinstance(effect, Tell) and effect.operation == "offered":
                    self.offers.append(msgspec.msgpack.decode(effect.body, type=Offered))
                elif isinstance(effect, Tell):
                    self.withdrawn.append(msgspec.msgpack.decode(effect.body, type=Withdrawn).offer)
                elif isinstance(effect, Reply):
                    replies.append(effect)
        return replies

    def job(self, operation: str, body: msgspec.Struct) -> tuple[str, int]:
        self.core.job(Job(1, "router-1", operation, encode(body)), self.now)
        (reply,) = self.settle()
        return reply.status, msgspec.msgpack.decode(reply.body, type=Position).position

    def join(self, call: str, joined_at: float | None = None, offer: int = 0, member: str = "") -> tuple[str, int]:
        return self.job("join", Join(queue="4000", call=call, joined_at=joined_at or self.now, offer=offer, member=member))

    def outcome(self, offered: Offered, result: str) -> tuple[str, int]:
        return self.job(
            "outcome",
            Outcome(queue="4000", call=offered.call, offer=offered.offer, member=offered.member, result=result),  # type: ignore[arg-type]
        )

    def change(self, member: str, **changes: object) -> None:
        self.states[member] = msgspec.structs.replace(self.states[member], **changes)
        self.core.event("database-1", "member-changed", encode(MemberChanged(member=self.states[member])), self.now)
        self.settle()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.core.deadline()) is not None and deadline <= end:
            self.now = deadline
            self.core.timeout(self.now)
            self.settle()
        self.now = end


def test_a_caller_is_offered_to_a_free_member_at_once() -> None:
    desk = Desk(["1003"])
    assert desk.join("call-1") == ("ok", 1)
    (offered,) = desk.offers
    assert (offered.call, offered.member, offered.ring_seconds) == ("call-1", "1003", 20.0)
    assert desk.outcome(offered, "answered") == ("ok", 0)
    assert desk.core.remaining() == 0


@pytest.mark.parametrize("change", [{"busy": True}, {"registered": False}])
def test_callers_wait_in_order_until_a_member_is_free(change: dict[str, bool]) -> None:
    desk = Desk(["1003"])
    desk.change("1003", **change)
    assert [desk.join(f"call-{number}", 1000.0 + number) for number in range(3)] == [("ok", 1), ("ok", 2), ("ok", 3)]
    assert desk.offers == []
    desk.change("1003", busy=False, registered=True)
    assert [offered.call for offered in desk.offers] == ["call-0"]


def test_a_member_found_free_by_asking() -> None:
    desk = Desk(["1003"])
    desk.states["1003"] = MemberState(user="1003", registered=False, busy=False)
    desk.join("call-1")
    desk.states["1003"] = MemberState(user="1003", registered=True, busy=False)  # and nobody says so
    desk.run(4.0)
    assert [offered.call for offered in desk.offers] == ["call-1"]


@pytest.mark.parametrize("result", ["busy", "no-answer", "unreachable", "refused"])
def test_a_member_who_does_not_answer_is_passed_over_for_a_while(result: str) -> None:
    desk = Desk(["1003", "1004"])
    desk.join("call-1")
    desk.outcome(desk.offers[0], result)
    assert [offered.member for offered in desk.offers] == ["1003", "1004"]
    desk.outcome(desk.offers[1], result)
    assert len(desk.offers) == 2
    desk.run(3.0)
    assert [offered.member for offered in desk.offers] == ["1003", "1004", "1003"]
    assert {offered.call for offered in desk.offers} == {"call-1"}


def test_a_member_who_was_joined_is_not_offered_before_the_database_knows() -> None:
    desk = Desk(["1003"])
    desk.join("call-1")
    desk.join("call-2")
    desk.outcome(desk.offers[0], "answered")
    assert len(desk.offers) == 1
    desk.change("1003", busy=True)
    desk.run(5.0)
    assert len(desk.offers) == 1
    desk.join("call-2", 1000.0)
    desk.change("1003", busy=False)
    assert [offered.call for offered in desk.offers] == ["call-1", "call-2"]


def test_an_outcome_that_does_not_come_is_taken_as_silence() -> None:
    desk = Desk(["1003"], ring_seconds=10.0)
    desk.join("call-1")
    desk.run(10.0 + GRACE_SECONDS - 1)
    assert desk.core.remaining() == 1
    assert desk.join("call-1", 1000.0, desk.offers[0].offer, "1003") == ("ok", 1)
    desk.run(2.0)
    assert desk.withdrawn == [desk.offers[0].offer]
    desk.join("call-1", 1000.0)
    desk.run(3.0)
    assert len(desk.offers) == 2


def test_a_router_that_does_not_know_of_its_offer_is_told_again() -> None:
    desk = Desk(["1003"])
    desk.join("call-1")
    desk.run(3.0)
    desk.join("call-1", 1000.0)
    assert len(desk.offers) == 2
    assert desk.offers[0] == desk.offers[1]


def test_a_caller_who_is_not_renewed_is_gone() -> None:
    desk = Desk(["1003"])
    desk.change("1003", busy=True)
    desk.join("call-1")
    desk.run(6.0)
    desk.join("call-2")
    desk.run(LEASE_SECONDS - 5.0)
    assert desk.join("call-2", 1006.0) == ("ok", 1)


def test_who_hangs_up_leaves() -> None:
    desk = Desk(["1003"])
    desk.join("call-1")
    desk.join("call-2")
    assert desk.job("leave", Leave(queue="4000", call="call-1")) == ("ok", 0)
    assert [offered.call for offered in desk.offers] == ["call-1", "call-2"]
    assert desk.outcome(desk.offers[1], "caller-left") == ("ok", 0)
    assert desk.core.remaining() == 0


def test_after_a_restart_everybody_is_back_in_order() -> None:
    desk = Desk(["1003", "1004"])
    desk.change("1004", busy=True)
    desk.join("call-1", 1000.0)
    desk.run(1.0)
    desk.join("call-2", 1001.0)
    desk.join("call-3", 1001.5)
    offered = desk.offers[0]
    desk.restart()
    assert desk.join("call-3", 1001.5, 0) == ("ok", 1)
    desk.offers.clear()
    assert desk.join("call-1", 1000.0, offered.offer, offered.member) == ("ok", 1)
    assert desk.join("call-2", 1001.0) == ("ok", 2)
    assert desk.join("call-3", 1001.5) == ("ok", 3)


def test_an_offer_under_way_survives_a_restart() -> None:
    desk = Desk(["1003"])
    desk.join("call-1", 1000.0)
    offered = desk.offers.pop()
    desk.restart()
    desk.join("call-1", 1000.0, offered.offer, offered.member)
    desk.run(1.0)
    assert desk.offers == []
    desk.outcome(offered, "answered")
    assert desk.core.remaining() == 0


def test_a_full_and_an_unknown_queue() -> None:
    desk = Desk([], callers_max=2)
    assert [desk.join(f"call-{number}")[0] for number in range(3)] == ["ok", "ok", "full"]
    assert desk.join("call-1")[0] == "ok"
    assert desk.job("join", Join(queue="5000", call="call-9", joined_at=1.0)) == ("not-found", 0)


def test_draining_sends_callers_elsewhere_and_finishes_offers() -> None:
    desk = Desk(["1003"])
    desk.join("call-1")
    desk.join("call-2")
    desk.core.drain(desk.now + 60.0, desk.now)
    assert desk.join("call-2")[0] == "retry"
    assert desk.core.remaining() == 1
    assert desk.join("call-1", 1000.0, desk.offers[0].offer, "1003")[0] == "ok"
    desk.outcome(desk.offers[0], "answered")
    assert desk.core.remaining() == 0
    desk.core.undrain(desk.now)
    assert desk.join("call-2")[0] == "ok"


def test_an_unknown_strategy_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="'lottery'"):
        Desk(["1003"], strategy="lottery")


@pytest.mark.parametrize(("strategy", "chosen"), [("longest-idle", "c"), ("round-robin", "b"), ("in-order", "a")])
def test_strategies(strategy: str, chosen: str) -> None:
    candidates = [Candidate("a", 0, 50.0, 20.0), Candidate("b", 1, 40.0, 10.0), Candidate("c", 2, 30.0, 30.0)]
    assert STRATEGIES[strategy](candidates).user == chosen


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(0, 5)),
            st.tuples(st.just("leave"), st.integers(0, 5)),
            st.tuples(st.just("outcome"), st.sampled_from(["answered", "busy", "caller-left"])),
            st.tuples(st.just("busy"), st.sampled_from(["1003", "1004"])),
            st.tuples(st.just("free"), st.sampled_from(["1003", "1004"])),
            st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 30.0])),
            st.tuples(st.just("restart"), st.none()),
        ),
        max_size=40,
    )
)
def test_one_offer_a_caller_and_one_a_member(actions: list[tuple[str, object]]) -> None:
    desk = Desk(["1003", "1004"])
    for action, detail in actions:
        if action == "join":
            desk.join(f"call-{detail}", 1000.0 + float(str(detail)))
        elif action == "leave":
            desk.job("leave", Leave(queue="4000", call=f"call-{detail}"))
        elif action == "outcome" and desk.offers:
            desk.outcome(desk.offers.pop(0), str(detail))
        elif action == "busy":
            desk.change(str(detail), busy=True)
        elif action == "free":
            desk.change(str(detail), busy=False)
        elif action == "wait":
            desk.run(float(str(detail)))
        elif action == "restart":
            desk.restart()
        offers = desk.core._offers
        assert len({offer.member for offer in offers.values()}) == len(offers)
        assert len({offer.call for offer in offers.values()}) == len(offers)
        waiting = desk.core._waiting["4000"]
        assert all(waiting.get(offer.call) is not None for offer in offers.values())
        order = [caller.joined_at for caller in waiting.without_offer()]
        assert order == sorted(order)
    desk.run(60.0)
    assert desk.core.remaining() == 0
    assert len(desk.core._waiting["4000"]) == 0
    assert desk.core.deadline() is None
