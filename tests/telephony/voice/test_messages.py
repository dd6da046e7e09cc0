"""MESSAGE within a call: one dialog's message is passed on in the other's, with its answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.sip.session import Session
from telephony.voice.messages import BODY_BYTES_MAX, UNDER_WAY_MAX
from tests.telephony.voice.simulation import Simulation
from tests.telephony.voice.test_dialogs import said, talk


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path)
    one.register("1002")
    yield one
    for phone in one.phones.values():
        for session in phone.sessions:
            session.end(now=one.now)
    one.run(70.0)
    assert one.router.remaining() == 0, "a call is left"
    transactions = one.router._desk.endpoint.transactions  # type: ignore[union-attr]
    assert not (transactions.clients or transactions.servers), "a transaction is left"
    one.close()


def send(simulation: Simulation, session: Session, body: bytes = "schön".encode(), **headers: str) -> None:
    session.request("MESSAGE", body, now=simulation.now, headers=list(headers.items()), content_type="text/plain;charset=utf-8")
    simulation.run(0.2)


def statuses(simulation: Simulation, user: str = "1001") -> list[int]:
    return [event.status for event in simulation.phones[user].named("ResponseReceived")]  # type: ignore[union-attr]


def test_both_ways(simulation: Simulation) -> None:
    caller, callee = talk(simulation)
    send(simulation, caller, **{"Content-Language": "de", "Subject": "not passed on"})
    send(simulation, callee, b"and back")
    (message,) = simulation.phones["1002"].messages
    assert (message.body.decode(), message.get("content-type")) == ("schön", "text/plain;charset=utf-8")
    assert (message.get("content-language"), message.get("subject")) == ("de", None)
    assert message.call_id == callee.call_id != caller.call_id
    assert [message.body for message in simulation.phones["1001"].messages] == [b"and back"]
    assert statuses(simulation, "1001") == statuses(simulation, "1002") == [200]


def test_the_other_sides_answer_is_the_senders(simulation: Simulation) -> None:
    caller, _ = talk(simulation)
    simulation.phones["1002"].message_status = 415
    send(simulation, caller)
    assert statuses(simulation) == [415]
    assert caller.state == "established"


def test_a_side_that_takes_none(simulation: Simulation) -> None:
    simulation.phones["1002"].endpoint.allow = "INVITE, ACK, BYE, CANCEL"
    caller, _ = talk(simulation)
    send(simulation, caller)
    (answer,) = said(simulation.phones["1001"], "ResponseReceived")
    assert (answer.status, answer.get("allow")) == (405, "INVITE, ACK, BYE, CANCEL")
    assert simulation.phones["1002"].messages == []


def test_nobody_to_pass_it_on_to(simulation: Simulation) -> None:
    for target in ("9196", "3000"):
        session = simulation.phones["1003"].call(target)
        simulation.run(0.5)
        send(simulation, session)
        session.bye(now=simulation.now)
    simulation.phones["1002"].ring_seconds = None
    early = simulation.phones["1001"].call("1002")
    simulation.run(0.5)
    send(simulation, early)
    assert statuses(simulation, "1003") == [480, 480]
    assert statuses(simulation) == [480]


def test_what_is_too_much(simulation: Simulation) -> None:
    caller, _ = talk(simulation)
    send(simulation, caller, b"x" * (BODY_BYTES_MAX + 1))
    simulation.phones["1002"].answers_messages = False
    for _ in range(UNDER_WAY_MAX + 1):
        send(simulation, caller, b"one of many")
    assert statuses(simulation) == [413, 500]
    assert len(simulation.phones["1002"].messages) == UNDER_WAY_MAX


@pytest.mark.parametrize("who", ["1001", "1002"])
def test_the_call_ends_while_one_is_under_way(simulation: Simulation, who: str) -> None:
    caller, callee = talk(simulation)
    simulation.phones["1002"].answers_messages = False
    send(simulation, caller)
    (caller if who == "1001" else callee).bye(now=simulation.now)
    simulation.run(40.0)
    assert statuses(simulation)[-1] in (408, 504)
    assert simulation.phones["1001"].endpoint.transactions.clients == {}
