"""A real broker in a process of its own; its users are sockets of the test."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest
import zmq

from agent.wire import broker as protocol
from agent.wire import topics
from agent.wire.keys import TransportKey
from agent.wire.link import Link, connect_enrolment, unused_ports
from agent.wire.token import BrokerAddress
from controller.broker import Gate, run_broker

WAIT_MILLISECONDS = 10_000
CONTROLLER_KEY = TransportKey.generate()
ONE, TWO = TransportKey.generate(), TransportKey.generate()


class Running:
    """A broker process, its address, and the controller's sockets."""

    def __init__(self) -> None:
        self.key = TransportKey.generate()
        ports = unused_ports("127.0.0.1", 4)
        self.address = BrokerAddress(*(f"tcp://127.0.0.1:{port}" for port in ports), self.key.public)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.process: BaseProcess | None = None
        self.links: list[Link] = []
        self.start()
        self.controller = self.link(CONTROLLER_KEY)

    def start(self) -> None:
        self.process = multiprocessing.get_context("spawn").Process(target=run_broker, args=(self.address, self.key, CONTROLLER_KEY.public))
        self.process.start()

    def kill(self, number: int) -> int | None:
        assert self.process is not None and self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join(10)
        return self.process.exitcode

    def link(self, key: TransportKey) -> Link:
        opened = Link.open(self.context, self.address, key)
        self.links.append(opened)
        for each in opened:
            each.setsockopt(zmq.RCVTIMEO, WAIT_MILLISECONDS)
            each.setsockopt(zmq.SNDTIMEO, WAIT_MILLISECONDS)
        return opened

    def command(self, command: protocol.BrokerCommand) -> protocol.BrokerStatus:
        self.controller.request.send_multipart([protocol.BROKER, protocol.encode(command)])
        kind, data = self.controller.request.recv_multipart()
        assert kind == protocol.BROKER
        return protocol.decode_status(data)

    def subscribed(self, subscriber: Link, publisher: Link, topic: bytes) -> None:
        """Wait until what one publishes under a topic reaches the other."""
        subscriber.subscribe.setsockopt(zmq.RCVTIMEO, 50)
        for _ in range(200):
            publisher.publish.send_multipart([topic, b"probe"])
            try:
                while subscriber.subscribe.recv_multipart()[1] != b"probe":
                    pass
                break
            except zmq.Again:
                continue
        else:
            pytest.fail(f"{topic!r} never arrived")
        try:
            while True:
                subscriber.subscribe.recv_multipart()
        except zmq.Again:
            subscriber.subscribe.setsockopt(zmq.RCVTIMEO, WAIT_MILLISECONDS)


@pytest.fixture
def running() -> Iterator[Running]:
    broker = Running()
    try:
        yield broker
    finally:
        assert broker.kill(signal.SIGTERM) == 0
        broker.context.destroy(0)


def allow(**keys: TransportKey) -> protocol.BrokerCommand:
    return protocol.BrokerCommand(allow={name: key.public for name, key in keys.items()})


@pytest.mark.process
def test_requests_pass_both_ways_and_only_to_the_controller(running: Running) -> None:
    one = running.link(ONE)
    one.request.send_multipart([b"controller", b"early"])
    assert running.command(allow(m1=ONE)).machines == 1
    assert running.controller.request.recv_multipart() == [b"m1", b"early"]
    running.controller.request.send_multipart([b"m1", b"answer", b"2"])
    assert one.request.recv_multipart() == [b"controller", b"answer", b"2"]
    one.request.send_multipart([b"m1", b"to a machine"])
    one.request.send_multipart([b"broker", protocol.encode(protocol.BrokerCommand(replace={}))])
    one.request.send_multipart([b"controller", b"last"])
    assert running.controller.request.recv_multipart() == [b"m1", b"last"]
    status = running.command(protocol.BrokerCommand())
    assert (status.machines, status.counters["request-refused"]) == (1, 2)


@pytest.mark.process
def test_publications_are_held_to_their_senders_and_receivers(running: Running) -> None:
    running.command(allow(m1=ONE, m2=TWO))
    one, two = running.link(ONE), running.link(TWO)
    running.controller.subscribe.subscribe(b"m/")
    one.subscribe.subscribe(topics.to_machine("m1"))
    one.subscribe.subscribe(topics.to_machine("m2"))
    one.subscribe.subscribe(b"m/")
    one.subscribe.subscribe(b"")
    two.subscribe.subscribe(topics.to_machine("m2"))
    two.subscribe.subscribe(topics.relayed("m2"))
    running.subscribed(one, running.controller, b"c/m1/probe")
    running.subscribed(two, running.controller, b"c/m2/probe")
    running.subscribed(running.controller, one, b"m/m1/probe")
    running.subscribed(running.controller, two, b"m/m2/probe")
    running.subscribed(two, one, b"x/m2/m1/probe")

    for topic in (b"m/m2/report", b"c/m2/state", b"b/hash/chunk", b"x/m2/m2/state", b"m/m1", b"", b"m//report", b"c/m1/" + b"x" * 300):
        one.publish.send_multipart([topic, b"forged"])
    one.publish.send_multipart([b"m/m1/report", *[b"frame"] * 10])
    running.controller.publish.send_multipart([b"m/m1/report", b"forged"])
    running.controller.publish.send_multipart([b"c/m2/x", b"for two"])
    running.controller.publish.send_multipart([b"c/m1/x", b"for one"])
    one.publish.send_multipart([b"m/m1/report", b"true"])
    one.publish.send_multipart([b"x/m2/m1/state", b"relayed"])
    assert running.controller.subscribe.recv_multipart() == [b"m/m1/report", b"true"]
    assert one.subscribe.recv_multipart() == [b"c/m1/x", b"for one"]
    assert sorted(two.subscribe.recv_multipart() for _ in range(2)) == [[b"c/m2/x", b"for two"], [b"x/m2/m1/state", b"relayed"]]
    counters = running.command(protocol.BrokerCommand()).counters
    assert counters["publication-not-own"] == 9
    assert counters["publication-refused"] == 1
    assert counters["subscription-refused"] == 3


@pytest.mark.process
def test_one_who_leaves_takes_no_topic_from_the_others(running: Running) -> None:
    running.command(allow(m1=ONE, m2=TWO))
    one, two = running.link(ONE), running.link(TWO)
    for each in (one, two):
        each.subscribe.subscribe(b"b/hash/chunk")
        running.subscribed(each, running.controller, b"b/hash/chunk")
    one.close()
    running.links.remove(one)
    again = running.link(ONE)
    again.subscribe.subscribe(b"b/hash/chunk")
    running.subscribed(again, running.controller, b"b/hash/chunk")
    again.subscribe.unsubscribe(b"b/hash/chunk")
    running.subscribed(two, running.controller, b"b/hash/chunk")


@pytest.mark.process
def test_a_revoked_machine_is_not_passed_on(running: Running) -> None:
    running.command(allow(m1=ONE))
    one = running.link(ONE)
    running.controller.subscribe.subscribe(b"m/")
    running.subscribed(running.controller, one, b"m/m1/probe")
    assert running.command(protocol.BrokerCommand(revoke=["m1"])).machines == 0
    one.publish.send_multipart([b"m/m1/report", b"revoked"])
    one.request.send_multipart([b"controller", b"revoked"])
    running.command(allow(m2=TWO))
    two = running.link(TWO)
    running.subscribed(running.controller, two, b"m/m2/probe")
    two.request.send_multipart([b"controller", b"true"])
    assert running.controller.request.recv_multipart() == [b"m2", b"true"]


@pytest.mark.process
def test_newcomers_reach_the_controller_and_nothing_else(running: Running) -> None:
    first = running.command(protocol.BrokerCommand())
    newcomer = connect_enrolment(running.context, running.address)
    newcomer.setsockopt(zmq.RCVTIMEO, WAIT_MILLISECONDS)
    newcomer.send(b"let me in")
    kind, handle, request = running.controller.request.recv_multipart()
    assert (kind, request) == (protocol.ENROL, b"let me in")
    running.controller.request.send_multipart([protocol.ENROL, handle, b"welcome"])
    assert newcomer.recv() == b"welcome"
    running.controller.request.send_multipart([protocol.ENROL, b"nobody", b"welcome"])
    assert running.command(protocol.BrokerCommand()).instance == first.instance
    newcomer.close(0)


@pytest.mark.process
def test_everyone_comes_back_after_a_restart(running: Running) -> None:
    before = running.command(allow(m1=ONE))
    one = running.link(ONE)
    one.subscribe.subscribe(topics.to_machine("m1"))
    running.subscribed(one, running.controller, b"c/m1/probe")
    assert running.kill(signal.SIGKILL) == -signal.SIGKILL
    running.start()
    after = running.command(protocol.BrokerCommand(replace={"m1": ONE.public}))
    assert after.instance != before.instance
    running.subscribed(one, running.controller, b"c/m1/probe")
    one.request.send_multipart([b"controller", b"again"])
    assert running.controller.request.recv_multipart() == [b"m1", b"again"]


@pytest.mark.process
def test_a_command_that_is_none_is_counted(running: Running) -> None:
    running.controller.request.send_multipart([protocol.BROKER, b"noise"])
    assert running.command(protocol.BrokerCommand()).counters["command-refused"] == 1


def test_gate_knows_ids_by_their_keys() -> None:
    gate = Gate("controller-key")
    assert gate.user("controller-key") == topics.CONTROLLER
    assert gate.obey(protocol.BrokerCommand(allow={"m1": "k1", "m2": "k2", topics.CONTROLLER: "k3"})) == []
    assert (gate.user("k1"), gate.user("k3"), gate.holds("m2")) == ("m1", None, True)
    assert gate.obey(protocol.BrokerCommand(allow={"m1": "k4"}, revoke=["m2"])) == ["m1", "m2"]
    assert (gate.user("k1"), gate.user("k4")) == (None, "m1")
    assert gate.obey(protocol.BrokerCommand(replace={})) == ["m1"]


@pytest.mark.parametrize(
    ("topic", "sender"),
    [
        (b"c/m1/x", "controller"),
        (b"b/h/chunk", "controller"),
        (b"m/m1/beat", "m1"),
        (b"x/m2/m1/state", "m1"),
        (b"m//x", None),
        (b"x/m2/m1", None),
    ],
)
def test_owner_of_a_topic(topic: bytes, sender: str | None) -> None:
    assert topics.sender_of(topic) == sender
