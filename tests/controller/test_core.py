"""Controller and machines over links that drop: everything arrives, nothing is said to those whom it does not concern."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.wire import broker as broker_wire
from agent.wire import messages
from agent.wire.envelope import Envelope, read_header
from agent.wire.keys import MachineKeys
from controller.effects import Request
from controller.enrolment import invite
from controller.health import all_healthy
from controller.instructions import put_user, remove_machine, replace
from controller.state import Audit, Delivery, Machine, Operation, Outbox, Subject, Unit
from controller.tables import decode
from tests.controller.simulation import FakeMachine, Simulation


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    simulation = Simulation(tmp_path)
    simulation.run(6.0)
    yield simulation
    simulation.close()


def healthy(simulation: Simulation) -> bool:
    ready, units = all_healthy(simulation.core.tables)
    return ready == units > 0


MOMENTS = 12
"""Of 5 s, in which a cluster over bad links must be whole once."""


def missing(simulation: Simulation) -> list[str]:
    """What has not arrived."""
    tables = simulation.core.tables
    late = [
        subject.id
        for subject in tables.all(Subject).values()
        if simulation.machines[subject.machine].replica.held[subject.id] != subject.generation
    ]
    return [*([] if healthy(simulation) else ["health"]), *map(str, tables.all(Outbox)), *late]


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_everything_arrives_whatever_is_lost(tmp_path: Path, loss: float) -> None:
    """Where much is lost a machine may be missed for a moment at any time; all is well again soon after."""
    simulation = Simulation(tmp_path, loss=loss, seed=3)
    simulation.run(10.0 if loss == 0 else 120.0)
    for _ in range(0 if loss == 0 else MOMENTS):
        if not missing(simulation):
            break
        simulation.run(5.0)
    assert missing(simulation) == []
    simulation.close()


def test_a_replacement_over_a_bad_link(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, loss=0.15, seed=5)
    simulation.run(60.0)
    target = simulation.record("machine-1")
    operations, _ = simulation.core.change(lambda draft: replace(draft, [target], "messaging", simulation.now, actor="t"), simulation.now)
    simulation.run(120.0)
    assert simulation.core.tables.all(Operation)[operations[0].id].phase == "done"
    document = simulation.named("machine-1").states[target.id]
    assert isinstance(document, messages.MachineDocument)
    assert document.platform == "messaging"
    simulation.close()


def test_only_those_concerned_hear_of_a_change(simulation: Simulation) -> None:
    for machine in simulation.machines.values():
        machine.heard_states = 0
    media = next(unit for unit in simulation.core.tables.all(Unit).values() if unit.kind == "media_processor")
    simulation.machines[media.machine].sick.add(media.id)
    simulation.run(2.0)
    balancers = {unit.machine for unit in simulation.core.tables.all(Unit).values() if unit.kind == "load_balancer"}
    assert {machine.id for machine in simulation.machines.values() if machine.heard_states} == balancers
    assert all(machine.heard_states <= 1 for machine in simulation.machines.values())


def test_a_dependents_state_goes_through_its_balancers_machine_unread(simulation: Simulation) -> None:
    simulation.published.clear()
    simulation.core.change(lambda draft: put_user(draft, "1002", "password", simulation.now, actor="t"), simulation.now)
    simulation.run(3.0)
    relayed = [
        subject for subject in simulation.core.tables.all(Subject).values() if subject.via and subject.id.startswith(("proxy", "routing"))
    ]
    assert relayed
    for subject in relayed:
        recipient, hop = simulation.machines[subject.machine], simulation.machines[subject.via]
        header = read_header(Envelope.unpack(recipient.envelopes[subject.id]))
        assert (header.via, header.recipient, header.generation) == (subject.via, subject.machine, subject.generation)
        assert subject.id not in hop.states
        kept = {(each.machine, each.subject): each for each in hop.relay.status()}
        assert kept[subject.machine, subject.id].delivered == subject.generation


def test_a_silent_balancers_machine_is_passed_by(simulation: Simulation) -> None:
    subject = next(each for each in simulation.core.tables.all(Subject).values() if each.via and each.id.startswith("proxy"))
    simulation.machines[subject.via].on = False
    simulation.core.change(lambda draft: put_user(draft, "1003", "password", simulation.now, actor="t"), simulation.now)
    simulation.run(3.0)
    now = simulation.core.tables.all(Subject)[subject.id]
    assert now.generation > subject.generation
    assert simulation.machines[subject.machine].replica.held[subject.id] == now.generation


def test_refused_content_is_held_until_it_changes(simulation: Simulation) -> None:
    unit = next(unit for unit in simulation.core.tables.all(Unit).values() if unit.kind == "load_balancer")
    machine = simulation.machines[unit.machine]
    machine.refuses.add(unit.id)
    media = next(each for each in simulation.core.tables.all(Unit).values() if each.kind == "media_processor")
    simulation.machines[media.machine].sick.add(media.id)
    simulation.run(2.0)
    delivery = simulation.core.tables.all(Delivery)[unit.id]
    assert delivery.failure_code == "bad"
    assert delivery.failed_hash == simulation.core.tables.all(Subject)[unit.id].content_hash
    simulation.published.clear()
    machine.heard_states = 0
    simulation.run(40.0)
    assert machine.heard_states == 0
    simulation.machines[media.machine].sick.clear()
    machine.refuses.clear()
    simulation.run(3.0)
    assert machine.heard_states >= 1
    assert simulation.core.tables.all(Delivery)[unit.id].failure == ""


def test_a_controller_that_restarts_finds_everything(simulation: Simulation) -> None:
    generations = {id: subject.generation for id, subject in simulation.core.tables.all(Subject).items()}
    term = simulation.core.speaker.term
    simulation.restart()
    assert simulation.core.speaker.term == term + 1
    simulation.run(40.0)
    assert healthy(simulation)
    assert {id: subject.generation for id, subject in simulation.core.tables.all(Subject).items()} == generations


def test_a_dead_machine_is_replaced_within_ten_seconds(simulation: Simulation) -> None:
    lost = simulation.named("machine-2")
    lost.on = False
    simulation.run(10.0)
    assert simulation.record("machine-2").presence == "dead"
    assert not list(simulation.core.tables.units(f"@{lost.id}"))
    simulation.run(5.0)
    assert healthy(simulation)
    lost.on = True
    simulation.run(60.0)
    assert simulation.record("machine-2").presence == "alive"
    assert healthy(simulation)


def test_bundles_come_in_chunks_that_were_asked_for(simulation: Simulation) -> None:
    chunks = [frames for frames in simulation.published if frames[0].startswith(b"b/")]
    assert len(chunks) == simulation.core.chunks_published()
    for machine in simulation.machines.values():
        for hash, reader in machine.packages.items():
            assert reader.package([simulation.release.public]).hash == hash
    # All four fetch the same at the same time: it is not said four times.
    assert len(chunks) < 4 * sum(reader.count for reader in next(iter(simulation.machines.values())).packages.values())


class TestEnrolment:
    def ask(self, simulation: Simulation, request: bytes) -> list[tuple[bytes, ...]]:
        simulation.core.take()
        simulation.core.requested([broker_wire.ENROL, b"handle", request], simulation.now)
        return [effect.frames for effect in simulation.core.take() if isinstance(effect, Request)]

    def code(self, frames: list[tuple[bytes, ...]]) -> str:
        answer = next(each[2] for each in frames if each[0] == broker_wire.ENROL)
        return str(msgspec.msgpack.decode(msgspec.msgpack.decode(answer)["answer"])["code"])

    def audit(self, simulation: Simulation) -> list[Audit]:
        return [record for entry in simulation.store.range("audit/") if isinstance(record := decode(entry.key, entry.value), Audit)]

    def newcomer(self, simulation: Simulation) -> tuple[FakeMachine, bytes]:
        (token, _), _ = simulation.core.change(
            lambda draft: invite(draft, simulation.core.trust, simulation.now, name="new"), simulation.now
        )
        machine = FakeMachine("new", "127.0.1.9", simulation.now, simulation.rng)
        self.token = token
        return machine, machine.request(token)

    def test_let_in_before_answered(self, simulation: Simulation) -> None:
        machine, request = self.newcomer(simulation)
        frames = self.ask(simulation, request)
        kinds = [each[0] for each in frames]
        allowed = next(
            broker_wire.decode_command(each[1]) for each in frames if each[0] == broker_wire.BROKER and machine.id.encode() in each[1]
        )
        assert allowed.allow == {machine.id: machine.keys.transport.public}
        assert kinds.index(broker_wire.ENROL) > kinds.index(broker_wire.BROKER)
        assert self.code(frames) == "ok"
        assert simulation.core.tables.all(Machine)[machine.id].security_key == machine.keys.security.public

    def test_asked_again_is_answered_again(self, simulation: Simulation) -> None:
        _, request = self.newcomer(simulation)
        assert self.code(self.ask(simulation, request)) == "ok"
        count = len(simulation.core.tables.all(Machine))
        assert self.code(self.ask(simulation, request)) == "ok"
        assert len(simulation.core.tables.all(Machine)) == count

    def test_another_machine_with_a_used_token_is_an_alarm(self, simulation: Simulation) -> None:
        machine, request = self.newcomer(simulation)
        self.ask(simulation, request)
        machine.keys = MachineKeys.generate()
        assert self.code(self.ask(simulation, machine.request(self.token))) == "used"
        last = self.audit(simulation)[-1]
        assert (last.action, last.alarm) == ("enrolment-refused", True)
        assert machine.keys.identity.id not in simulation.core.tables.all(Machine)

    def test_late(self, simulation: Simulation) -> None:
        _, request = self.newcomer(simulation)
        simulation.now += 901.0
        assert self.code(self.ask(simulation, request)) == "expired"

    def test_unknown_token(self, simulation: Simulation) -> None:
        machine, _ = self.newcomer(simulation)
        other = msgspec.structs.replace(self.token, secret=b"x" * 32)
        before = len(self.audit(simulation))
        assert self.code(self.ask(simulation, machine.request(other))) == "unknown-token"
        assert len(self.audit(simulation)) == before

    @pytest.mark.parametrize("noise", [b"", b"\x00" * 100, b"\x81\xa5token", b"x" * 9000])
    def test_noise_is_counted(self, simulation: Simulation, noise: bytes) -> None:
        assert self.code(self.ask(simulation, noise)) == "malformed"
        assert simulation.core.refused()["enrolment-malformed"] == 1

    def test_the_token_is_not_kept(self, simulation: Simulation) -> None:
        self.newcomer(simulation)
        assert all(self.token.secret not in entry.value for entry in simulation.store.range(""))


class TestHostile:
    """What comes from the network is counted, and nothing else happens."""

    @pytest.mark.parametrize(
        "frames",
        [
            [b""],
            [b"m/nobody/beat", b"", b"", b""],
            [b"c/controller/x", b"\x01\x90", b"", b""],
            [b"m//", b"x", b"y", b"z"],
            [b"m/a/b", b"h" * 2000, b"", b""],
            [b"\xff\xfe", b"", b"", b"", b""],
        ],
    )
    def test_noise(self, simulation: Simulation, frames: list[bytes]) -> None:
        before = sum(simulation.core.refused().values())
        simulation.core.published(frames, simulation.now)
        simulation.core.requested(frames, simulation.now)
        assert sum(simulation.core.refused().values()) > before
        simulation.run(1.0)
        assert healthy(simulation)

    def test_replayed_forged_and_misdirected(self, simulation: Simulation) -> None:
        machine, other = simulation.named("machine-1"), simulation.named("machine-2")
        envelope = machine.conversation.say(messages.Beat(revision=1), simulation.now)
        assert envelope is not None
        simulation.core.published(list(envelope), simulation.now)
        counted = simulation.core.refused()
        simulation.core.published(list(envelope), simulation.now)
        assert simulation.core.refused()["replayed"] == counted["replayed"] + 1
        simulation.core.published([envelope.topic.replace(machine.id.encode(), other.id.encode()), *envelope[1:]], simulation.now)
        assert simulation.core.refused()["wrong-recipient"] == counted["wrong-recipient"] + 1
        forged = machine.conversation.say(messages.Beat(revision=2), simulation.now)
        assert forged is not None
        simulation.core.published([*forged[:3], bytes(64)], simulation.now)
        assert simulation.core.refused()["bad-signature"] == counted["bad-signature"] + 1
        late = machine.conversation.say(messages.Beat(revision=2), simulation.now - 100)
        assert late is not None
        simulation.core.published(list(late), simulation.now)
        assert simulation.core.refused()["expired"] == counted["expired"] + 1

    def test_a_machine_speaks_for_its_own_units_alone(self, simulation: Simulation) -> None:
        one, two = simulation.record("machine-1"), simulation.record("machine-2")
        foreign = next(unit for unit in simulation.core.tables.all(Unit).values() if unit.machine == two.id)
        report = messages.MachineReport(
            revision=99,
            units=[messages.UnitReport(id=foreign.id, state="failed")],
            subjects=[messages.SubjectStatus(subject=foreign.id, accepted=0, applied=0)],
            bundles=[],
        )
        envelope = simulation.machines[one.id].conversation.say(report, simulation.now)
        assert envelope is not None
        before = simulation.core.tables.all(Delivery)[foreign.id]
        simulation.core.published(list(envelope), simulation.now)
        assert simulation.core.tables.all(Delivery)[foreign.id] == before
        assert foreign.id in simulation.core.tables.all(Unit)

    def test_a_removed_machine_is_put_out(self, simulation: Simulation) -> None:
        gone = simulation.named("machine-3")
        simulation.core.take()
        simulation.core.change(
            lambda draft: remove_machine(draft, simulation.record("machine-3"), simulation.now, actor="t", force=True), simulation.now
        )
        commands = [
            broker_wire.decode_command(effect.frames[1]) for effect in simulation.core.take() if effect.frames[0] == broker_wire.BROKER
        ]
        assert [command.revoke for command in commands if command.revoke] == [[gone.id]]
        simulation.run(10.0)
        assert healthy(simulation)
        assert gone.id not in {subject.machine for subject in simulation.core.tables.all(Subject).values()}
