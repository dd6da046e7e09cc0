"""MESSAGE between users who are online."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony.sip.events import ResponseReceived
from telephony.sip.flow import Flow
from tests.telephony.voice.simulation import PROXY, Simulation


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    one = Simulation(tmp_path, platform="messaging", media=0)
    yield one
    one.run(40.0)
    assert one.router.remaining() == 0
    one.close()


def send(simulation: Simulation, to: str, body: bytes = b"hello", method: str = "MESSAGE", **headers: str) -> int:
    """Status of the final response; 0: none came within 30 s."""
    phone = simulation.phones["1001"]
    phone.events.clear()
    phone.endpoint.request(
        method,
        f"sip:{to}@hotswitch",
        '"Alice" <sip:1001@hotswitch>',
        f"<sip:{to}@hotswitch>",
        Flow("udp", "sip-udp", *PROXY),
        now=simulation.now,
        headers=[("P-Asserted-Identity", "<sip:1001@hotswitch>"), *((name.replace("_", "-"), value) for name, value in headers.items())],
        body=body,
        content_type="text/plain;charset=utf-8",
    )
    simulation.run(30.0)
    finals = [event.status for event in phone.events if isinstance(event, ResponseReceived) and event.status >= 200]
    return finals[0] if finals else 0


def test_it_arrives_as_it_was_sent(simulation: Simulation) -> None:
    simulation.register("1002")
    assert send(simulation, "1002", "grüße\r\n\x00".encode(), subject="About lunch") == 200
    (message,) = simulation.phones["1002"].messages
    assert message.body == "grüße\r\n\x00".encode()
    assert message.get("content-type") == "text/plain;charset=utf-8"
    assert message.get("subject") == "About lunch"
    assert (
        message.get(
            "from",
        ).split(";")[0]
        == '"Alice" <sip:1001@hotswitch>'
    )  # type: ignore[union-attr]
    assert message.get("p-asserted-identity") == "<sip:1001@hotswitch>"
    assert message.get("route") == f"<sip:token@{PROXY[0]}:{PROXY[1]};lr>"
    (record,) = simulation.records("message-ended")
    assert (record["from"], record["to"], record["status"]) == ("1001", "1002", 200)


@pytest.mark.parametrize(("to", "status"), [("1002", 480), ("5555", 404), ("3000", 404), ("9196", 404)])
def test_what_leads_nowhere(simulation: Simulation, to: str, status: int) -> None:
    assert send(simulation, to) == status


@pytest.mark.parametrize(("answer", "status"), [(486, 486), (415, 415), (603, 603), (401, 480), (202, 200)])
def test_the_recipients_answer_is_the_senders(simulation: Simulation, answer: int, status: int) -> None:
    simulation.register("1002")
    simulation.phones["1002"].message_status = answer
    assert send(simulation, "1002") == status


def test_all_contacts_get_it_and_one_is_enough(simulation: Simulation) -> None:
    simulation.register("1002")
    other = simulation.phones["1003"]
    simulation.register("1002", contact=f"sip:1002@{other.address[0]}:{other.address[1]}")
    other.message_status = 486
    assert send(simulation, "1002") == 200
    assert len(other.messages) == len(simulation.phones["1002"].messages) == 1
    assert len(simulation.records("message-ended")) == 1


def test_flows_of_one_phone_are_tried_one_after_the_other(simulation: Simulation) -> None:
    one, other = (simulation.phones[user] for user in ("1002", "1003"))
    for number, phone in enumerate((one, other), 1):
        contact = f"sip:1002@{phone.address[0]}:{phone.address[1]}"
        simulation.register("1002", contact=contact, instance="<urn:uuid:1>", reg_id=number)
    assert send(simulation, "1002") == 200
    assert len(one.messages) + len(other.messages) == 1
    (first, second) = (one, other) if one.messages else (other, one)
    first.message_status = 430
    assert send(simulation, "1002") == 200
    assert (len(first.messages), len(second.messages)) == (2, 1)
    second.message_status = 430
    assert send(simulation, "1002") == 480


def test_a_recipient_who_is_gone(simulation: Simulation) -> None:
    simulation.register("1002", contact="sip:1002@203.0.113.9:5060")
    assert send(simulation, "1002") == 408


def test_a_message_that_goes_in_circles(simulation: Simulation) -> None:
    simulation.register("1002")
    assert send(simulation, "1002", hotswitch_hops="9") == 482


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("SUBSCRIBE", 405)])
def test_other_requests(simulation: Simulation, method: str, status: int) -> None:
    assert send(simulation, "1002", b"", method) == status


def test_there_are_no_calls_here(simulation: Simulation) -> None:
    simulation.phones["1001"].call("9196")
    simulation.run(1.0)
    assert [event.status for event in simulation.phones["1001"].named("Rejected")] == [488]  # type: ignore[union-attr]


def test_draining(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.router.drain(simulation.now + 5.0, simulation.now)
    assert send(simulation, "1002") == 503


def test_a_message_repeated_by_its_sender_is_delivered_once(simulation: Simulation) -> None:
    simulation.register("1002")
    simulation.slow["route"] = 1.2  # the sender repeats it meanwhile
    assert send(simulation, "1002") == 200
    assert len(simulation.phones["1002"].messages) == 1
