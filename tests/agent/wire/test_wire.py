"""Controller and machine speak to each other through the whole wire, without a socket."""

from typing import Any

import msgspec
import pytest

from agent.wire import broker, topics
from agent.wire.bundle import BundleError, BundleReader, BundleWriter, Package, pack
from agent.wire.enrolment import (
    AnswerError,
    EnrolmentBody,
    EnrolmentError,
    EnrolmentRequest,
    TokenRecord,
    judge,
    make_answer,
    make_request,
    read_answer,
    read_token_id,
)
from agent.wire.envelope import STATE_BYTES_MAX, Envelope
from agent.wire.keys import Identity, MachineKeys, SecurityKey, machine_id
from agent.wire.messages import Beat, Carried, Heads, MachineDocument, UnitConfiguration
from agent.wire.opener import Opener, Recipient, seal_state
from agent.wire.refusal import Replayed, Undecipherable, UnknownSession
from agent.wire.session import PendingSession, Sessions, answer_session
from agent.wire.token import BrokerAddress, JoinToken, TokenError

NOW = 1_800_000_000.0
CLUSTER = "test"
CONTROLLER = Identity.generate()
RELEASE = Identity.generate()
KEYS = MachineKeys.generate()
BROKER = BrokerAddress("tcp://a:1", "tcp://a:2", "tcp://a:3", "tcp://a:4", "x" * 40)


def token() -> JoinToken:
    return JoinToken.generate(CLUSTER, [BROKER], CONTROLLER.public, [RELEASE.public])


def record(of: JoinToken) -> TokenRecord:
    proof = of.proof()
    return TokenRecord(id=proof.id, public=proof.public, cluster=CLUSTER, role="machine", expires=NOW + 900)


def body(keys: MachineKeys) -> EnrolmentBody:
    return EnrolmentBody(
        cluster=CLUSTER,
        role="machine",
        identity=keys.identity.public,
        security=keys.security.public,
        transport=keys.transport.public,
        name="one",
    )


class Pair:
    """Both ends of one machine's control channel."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.session: Any = None
        self.machine = Opener(
            cluster=CLUSTER,
            recipient=KEYS.identity.id,
            sender=topics.CONTROLLER,
            sender_public=CONTROLLER.public,
            channel=lambda name: self.session.channel(name) if self.session else None,
            security={1: KEYS.security},
        )
        self.controller = Opener(
            cluster=CLUSTER,
            recipient=topics.CONTROLLER,
            sender=KEYS.identity.id,
            sender_public=KEYS.identity.public,
            channel=self.sessions.channel,
            term=7,
        )

    def connect(self) -> None:
        pending = PendingSession(KEYS.identity, CLUSTER, 0, NOW)
        opened = self.controller.open(pending.envelope, NOW)
        session, answer = answer_session(opened.message, pending.envelope, opened.header, CONTROLLER, KEYS.security.public, 7, NOW)
        self.sessions.offer(session)
        got = self.machine.open(answer, NOW)
        self.session = pending.finish(got.message, answer, got.header, KEYS.identity, KEYS.security)


def test_session_carries_messages_both_ways() -> None:
    pair = Pair()
    pair.connect()
    beat = pair.session.say.seal(Beat(revision=3), NOW)
    assert beat.topic == topics.from_machine(KEYS.identity.id, "beat")
    opened = pair.controller.open(beat, NOW)
    assert opened.message == Beat(revision=3)
    assert pair.sessions.current is None
    assert pair.sessions.opened(opened.header.session)
    heads = pair.sessions.current.say.seal(Heads(heads={"u": 4}), NOW)
    assert pair.machine.open(heads, NOW).message == Heads(heads={"u": 4})
    lost = pair.sessions.current.say.seal(Heads(heads={}), NOW)
    later = pair.sessions.current.say.seal(Heads(heads={}), NOW)
    assert pair.machine.open(later, NOW).missed == 1
    for old in (heads, lost, later):
        with pytest.raises(Replayed):
            pair.machine.open(old, NOW)
    with pytest.raises(UnknownSession):
        Pair().machine.open(later, NOW)


def test_state_is_sealed_to_the_machine_and_can_be_kept_and_relayed() -> None:
    pair = Pair()
    state = UnitConfiguration(unit="routing-1", body=b"secret")
    recipient = Recipient(KEYS.identity.id, KEYS.security.public)
    envelope = seal_state(CONTROLLER, CLUSTER, 7, recipient, "routing-1", 12, state, NOW, via="mbalancer")
    carried = Carried(machine=KEYS.identity.id, subject="routing-1", generation=12, envelope=envelope.pack())
    arrived = Envelope.unpack(carried.envelope)
    opened = pair.machine.open(arrived, NOW)
    assert opened.message == state
    assert (opened.header.generation, opened.header.via, opened.header.subject) == (12, "mbalancer", "routing-1")
    assert pair.machine.open_stored(arrived).message == state
    other = Opener(
        cluster=CLUSTER,
        recipient=KEYS.identity.id,
        sender=topics.CONTROLLER,
        sender_public=CONTROLLER.public,
        channel=lambda _: None,
        security={1: SecurityKey.generate()},
    )
    with pytest.raises(Undecipherable):
        other.open(arrived, NOW)
    document = MachineDocument(platform="voice")
    assert pair.machine.open(seal_state(CONTROLLER, CLUSTER, 7, recipient, KEYS.identity.id, 1, document, NOW), NOW).message == document


def test_token_prints_and_reads_back() -> None:
    made = token()
    assert JoinToken.parse(str(made)) == made
    assert JoinToken.parse(f" {made}\n").key().public == made.proof().public
    for wrong in ("", "hotswitch-join-", "hotswitch-join-AAAA", "hotswitch-join-é", "x" * 3000, str(made)[:-5]):
        with pytest.raises(TokenError):
            JoinToken.parse(wrong)


def test_enrolment_is_granted_once_and_again_to_the_same_machine() -> None:
    invited = token()
    kept = record(invited)
    request = make_request(invited, KEYS, body(KEYS))
    assert read_token_id(request) == kept.id
    verdict = judge(request, kept, NOW)
    assert (verdict.code, verdict.repeated, verdict.body) == ("ok", False, body(KEYS))
    answer = make_answer(CONTROLLER, request, verdict, CLUSTER, 7)
    granted = read_answer(answer, request, invited, KEYS)
    assert (granted.machine, granted.term) == (machine_id(KEYS.identity.public), 7)

    used = TokenRecord(id=kept.id, public=kept.public, cluster=CLUSTER, role="machine", expires=NOW, used_by=body(KEYS))
    again = judge(request, used, NOW + 10_000)
    assert (again.code, again.repeated, again.alarm) == ("ok", True, False)
    thief = MachineKeys.generate()
    stolen = judge(make_request(invited, thief, body(thief)), used, NOW)
    assert (stolen.code, stolen.alarm) == ("used", True)
    with pytest.raises(EnrolmentError, match="used"):
        stolen_request = make_request(invited, thief, body(thief))
        read_answer(make_answer(CONTROLLER, stolen_request, stolen, CLUSTER, 7), stolen_request, invited, thief)


@pytest.mark.parametrize("change", ["other request", "other controller", "noise"])
def test_an_answer_must_be_ours(change: str) -> None:
    invited = token()
    request = make_request(invited, KEYS, body(KEYS))
    verdict = judge(request, record(invited), NOW)
    signer = Identity.generate() if change == "other controller" else CONTROLLER
    answer = make_answer(signer, b"another" if change == "other request" else request, verdict, CLUSTER, 7)
    with pytest.raises(AnswerError):
        read_answer(b"noise" if change == "noise" else answer, request, invited, KEYS)


def test_enrolment_refusals() -> None:
    invited, other = token(), token()
    kept = record(invited)
    request = make_request(invited, KEYS, body(KEYS))
    assert judge(b"noise", kept, NOW).code == "malformed"
    assert judge(b"x" * 9000, kept, NOW).code == "malformed"
    assert judge(request, None, NOW).code == "unknown-token"
    assert judge(make_request(other, KEYS, body(KEYS)), kept, NOW).code == "unknown-token"
    assert judge(request, kept, NOW + 901).code == "expired"
    forged = make_request(invited, KEYS._replace(identity=Identity.generate()), body(KEYS))
    assert judge(forged, kept, NOW).code == "bad-signature"
    changed = request.replace(b"one", b"two")
    assert judge(changed, kept, NOW).code == "bad-signature"


FILES = {
    "telephony/__init__.py": b"",
    "telephony/service.py": b"def main(arguments):\n    return 0 if 'a' in {'a', 'b'} else 1\n",
    "data.bin": bytes(200_000),
}


def test_bundle_is_reproducible_and_travels_in_chunks() -> None:
    package = pack(FILES, platform="voice", version="1", release=RELEASE)
    assert pack(dict(reversed(FILES.items())), platform="voice", version="1", release=RELEASE) == package
    assert Package.read(package.data, [RELEASE.public], package.hash) == package
    writer = BundleWriter(package)
    reader = BundleReader(package.hash, writer.seal_key(KEYS.identity.id, KEYS.security.public), KEYS.identity.id, KEYS.security)
    pair = Pair()
    assert reader.missing() == [0]
    while not reader.complete:
        for index in reversed(reader.missing()):
            opened = pair.machine.open(writer.envelope(index, CONTROLLER, CLUSTER, 7, NOW), NOW)
            assert reader.take(opened.header, opened.message)
            assert not reader.take(opened.header, opened.message)
    assert reader.package([RELEASE.public]) == package
    with pytest.raises(BundleError, match="unknown release key"):
        reader.package([CONTROLLER.public])


def test_bundle_refusals() -> None:
    package = pack(FILES, platform="voice", version="1", release=RELEASE)
    writer = BundleWriter(package)
    sealed = writer.seal_key(KEYS.identity.id, KEYS.security.public)
    with pytest.raises(Undecipherable):
        BundleReader(package.hash, sealed, "mother", KEYS.security)
    with pytest.raises(Undecipherable):
        BundleReader(package.hash, sealed, KEYS.identity.id, SecurityKey.generate())
    for data, message in (
        (b"", "not a package"),
        (package.data[:100], "not a package"),
        (package.data[:-1], "archive"),
        (package.data[:-1] + b"x", "archive"),
    ):
        with pytest.raises(BundleError, match=message):
            Package.read(data, [RELEASE.public], package.hash)
    with pytest.raises(BundleError, match="hash"):
        Package.read(package.data, [RELEASE.public], "0" * 64)
    with pytest.raises(IndexError):
        writer.chunk(writer.count)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cluster": "other"}, "wrong-cluster"),
        ({"role": "controller"}, "wrong-role"),
        ({"security": b"short"}, "malformed"),
        ({"transport": "short"}, "malformed"),
        ({"identity": b"short"}, "malformed"),
    ],
)
def test_what_a_newcomer_says_of_itself_is_checked(changes: dict[str, object], code: str) -> None:
    invited = token()
    said = msgspec.structs.replace(body(KEYS), **changes)
    verdict = judge(make_request(invited, KEYS, said), record(invited), NOW)
    assert (verdict.code, verdict.alarm) == (code, False)


def test_a_request_whose_content_is_none_is_malformed() -> None:
    invited = token()
    signer = invited.key()
    content = b"\xc1"
    request = msgspec.msgpack.encode(
        EnrolmentRequest(
            token=record(invited).id,
            body=content,
            token_signature=signer.sign(b"hotswitch enrolment token\0" + content),
            identity_signature=bytes(64),
        )
    )
    assert judge(request, record(invited), NOW).code == "malformed"


def test_an_answer_is_bounded_and_names_this_machine() -> None:
    invited = token()
    request = make_request(invited, KEYS, body(KEYS))
    with pytest.raises(AnswerError, match="at most"):
        read_answer(bytes(5000), request, invited, KEYS)
    other = MachineKeys.generate()
    verdict = judge(request, record(invited), NOW)
    with pytest.raises(AnswerError, match="machine"):
        read_answer(make_answer(CONTROLLER, request, verdict, CLUSTER, 7), request, invited, other)


def test_broker_words_travel() -> None:
    command = broker.BrokerCommand(allow={"m1": "key"}, revoke=["m2"])
    assert broker.decode_command(broker.encode(command)) == command
    status = broker.BrokerStatus(instance="i", machines=1, counters={"published": 2})
    assert broker.decode_status(broker.encode(status)) == status
    with pytest.raises(msgspec.MsgspecError):
        broker.decode_status(b"noise")


def test_a_state_that_is_too_long_is_not_sealed() -> None:
    state = UnitConfiguration(unit="u", body=bytes(STATE_BYTES_MAX))
    with pytest.raises(ValueError, match="at most"):
        seal_state(CONTROLLER, CLUSTER, 1, Recipient(KEYS.identity.id, KEYS.security.public), "u", 1, state, NOW)


def test_the_longest_state_fits_into_what_carries_it() -> None:
    pair = Pair()
    pair.connect()
    state = UnitConfiguration(unit="u", body=bytes(STATE_BYTES_MAX - 64))
    sealed = seal_state(CONTROLLER, CLUSTER, 7, Recipient(KEYS.identity.id, KEYS.security.public), "u", 1, state, NOW)
    pair.controller.open(pair.session.say.seal(Beat(revision=1), NOW), NOW)
    (session,) = (pair.sessions.current,) if pair.sessions.opened(pair.session.say.id) else ()
    carried = Carried(machine=KEYS.identity.id, subject="u", generation=1, envelope=sealed.pack())
    opened = pair.machine.open(Envelope.of_frames(session.say.seal(carried, NOW)), NOW)
    assert pair.machine.open(Envelope.unpack(opened.message.envelope), NOW).message == state
