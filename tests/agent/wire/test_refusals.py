"""Every envelope that must not be taken, and the type of its refusal; the checks come in the order of the design."""

import os
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import refusal, topics
from agent.wire.bundle import BundleWriter, pack
from agent.wire.envelope import BODY_BYTES_MAX, HEADER_BYTES_MAX, PACKED_BYTES_MAX, TOPIC_BYTES_MAX, Envelope, Header, encode_header, sign
from agent.wire.keys import Identity, MachineKeys, SecurityKey, seal
from agent.wire.messages import Beat, Echo, Heads, MachineDocument, UnitConfiguration
from agent.wire.opener import STATE_SECONDS, Opener, Recipient, seal_state
from agent.wire.session import SEQUENCE_MAX, TRAFFIC_SECONDS, PendingSession, Session, Sessions, answer_session

NOW = 1_800_000_000.0
CONTROLLER, STRANGER = Identity.generate(), Identity.generate()
KEYS = MachineKeys.generate()
ME = KEYS.identity.id
TERM = 5


class Machine:
    """A machine's opener with a session."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.session: Session | None = None
        self.opener = Opener(
            cluster="c",
            recipient=ME,
            sender=topics.CONTROLLER,
            sender_public=CONTROLLER.public,
            channel=lambda name: self.session.channel(name) if self.session else None,
            security={1: KEYS.security},
            term=TERM,
        )
        self.controller = Opener(
            cluster="c",
            recipient=topics.CONTROLLER,
            sender=ME,
            sender_public=KEYS.identity.public,
            channel=self.sessions.channel,
            term=TERM,
        )
        pending = PendingSession(KEYS.identity, "c", 0, NOW)
        asked = self.controller.open(pending.envelope, NOW)
        there, answer = answer_session(asked.message, pending.envelope, asked.header, CONTROLLER, KEYS.security.public, TERM, NOW)
        self.there = there
        self.sessions.offer(there)
        got = self.opener.open(answer, NOW)
        self.session = pending.finish(got.message, answer, got.header, KEYS.identity, KEYS.security)


def state(**changes: object) -> Envelope:
    """A state that is in order, but for what a test changes in its header."""
    fields = {
        "type": "machine",
        "cluster": "c",
        "sender": topics.CONTROLLER,
        "recipient": ME,
        "key_epoch": 1,
        "term": TERM,
        "subject": ME,
        "generation": 1,
        "created": NOW,
        "expires": NOW + 60,
        **changes,
    }
    plain = msgspec.msgpack.encode(MachineDocument(platform="voice"))
    import hashlib

    fields.setdefault("content_hash", hashlib.sha256(plain).digest())
    header = encode_header(Header(**fields))  # type: ignore[arg-type]
    return sign(CONTROLLER, b"c/x/machine", header, seal(KEYS.security.public, plain, header))


def plain(message: msgspec.Struct, **changes: object) -> Envelope:
    kind = str(message.__struct_config__.tag)
    header = Header(**{"type": kind, "cluster": "c", "sender": topics.CONTROLLER, "recipient": ME, "term": TERM, **changes})  # type: ignore[arg-type]
    return sign(CONTROLLER, b"r/x/y", encode_header(header), msgspec.msgpack.encode(message))


REFUSED: list[tuple[str, Callable[[], Envelope], type[refusal.Refusal]]] = [
    ("long topic", lambda: state()._replace(topic=b"x" * (TOPIC_BYTES_MAX + 1)), refusal.Oversized),
    ("long header", lambda: state()._replace(header=b"x" * (HEADER_BYTES_MAX + 1)), refusal.Oversized),
    ("long body", lambda: state()._replace(body=bytes(BODY_BYTES_MAX + 1)), refusal.Oversized),
    ("long signature", lambda: state()._replace(signature=bytes(65)), refusal.Oversized),
    ("no header", lambda: state()._replace(header=b""), refusal.Malformed),
    ("noise as header", lambda: state()._replace(header=b"\x01noise"), refusal.Malformed),
    ("wrong types in the header", lambda: state()._replace(header=b"\x01" + msgspec.msgpack.encode([1] * 16)), refusal.Malformed),
    ("bad UTF-8 in the header", lambda: state()._replace(header=b"\x01\x92\xa1\xff\xa1c"), refusal.Malformed),
    ("version 2", lambda: state()._replace(header=b"\x02" + state().header[1:]), refusal.WrongVersion),
    ("another cluster", lambda: state(cluster="d"), refusal.WrongRecipient),
    ("another recipient", lambda: state(recipient="mother"), refusal.WrongRecipient),
    ("everybody, and no chunk", lambda: state(recipient="*"), refusal.WrongRecipient),
    ("another sender", lambda: state(sender="mother"), refusal.WrongRecipient),
    ("no signature", lambda: state()._replace(signature=b""), refusal.BadSignature),
    ("another topic", lambda: state()._replace(topic=b"c/y/machine"), refusal.BadSignature),
    ("another body", lambda: state()._replace(body=b"x"), refusal.BadSignature),
    ("signed by a stranger", lambda: sign(STRANGER, *state()[:3]), refusal.BadSignature),
    ("an older term", lambda: state(term=TERM - 1), refusal.StaleTerm),
    ("expired", lambda: state(expires=NOW - 0.1), refusal.Expired),
    ("key of another epoch", lambda: state(key_epoch=2), refusal.Undecipherable),
    ("another content hash", lambda: state(content_hash=b"x"), refusal.Undecipherable),
    ("body of another envelope", lambda: sign(CONTROLLER, *state()[:2], state(generation=9).body), refusal.Undecipherable),
    ("type of another state", lambda: state(type="unit"), refusal.WrongSchema),
    ("a session that nobody opened", lambda: plain(Heads(heads={}), session="x.p", sequence=1), refusal.UnknownSession),
    ("traffic outside a session", lambda: plain(Heads(heads={})), refusal.WrongSchema),
    ("a message of machines", lambda: plain(Beat(revision=1)), refusal.WrongSchema),
    ("header of another message", lambda: plain(Echo(nonce=b""), type="heads"), refusal.WrongSchema),
]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(make: Callable[[], Envelope], expected: type[refusal.Refusal]) -> None:
    with pytest.raises(refusal.Refusal) as caught:
        Machine().opener.open(make(), NOW)
    assert type(caught.value) is expected
    assert caught.value.code == expected.code


def test_what_the_tests_change_is_in_order_otherwise() -> None:
    assert Machine().opener.open(state(), NOW).message == MachineDocument(platform="voice")


def test_wrong_schema_is_told_last() -> None:
    header = Header(type="machine", cluster="c", sender=topics.CONTROLLER, recipient=ME, key_epoch=1, term=TERM)
    import hashlib

    body = msgspec.msgpack.encode({"type": "machine", "platform": 7})
    encoded = encode_header(msgspec.structs.replace(header, content_hash=hashlib.sha256(body).digest()))
    with pytest.raises(refusal.WrongSchema, match="platform"):
        Machine().opener.open(sign(CONTROLLER, b"t", encoded, seal(KEYS.security.public, body, encoded)), NOW)


def test_the_order_of_the_checks() -> None:
    """One envelope with everything wrong; each repair shows the next check."""
    machine = Machine()
    sealed = machine.there.say.seal(Heads(heads={}), NOW)
    header = msgspec.msgpack.decode(sealed.header[1:], type=Header)

    def refused(envelope: Envelope, now: float = NOW) -> str:
        with pytest.raises(refusal.Refusal) as caught:
            machine.opener.open(envelope, now)
        return caught.value.code

    def changed(signer: Identity, **changes: object) -> Envelope:
        return sign(signer, sealed.topic, encode_header(msgspec.structs.replace(header, **changes)), b"not sealed")

    worst: dict[str, object] = {"recipient": "mother", "term": 1, "sequence": 0, "expires": 1.0}
    assert refused(changed(STRANGER, **worst)._replace(topic=bytes(300))) == "oversized"
    assert refused(changed(STRANGER, **worst)._replace(header=b"\x09")) == "wrong-version"
    assert refused(changed(STRANGER, **worst)) == "wrong-recipient"
    del worst["recipient"]
    assert refused(changed(STRANGER, **worst)) == "bad-signature"
    assert refused(changed(CONTROLLER, **worst)) == "stale-term"
    del worst["term"]
    assert refused(changed(CONTROLLER, **worst)) == "replayed"
    del worst["sequence"]
    assert refused(changed(CONTROLLER, **worst)) == "expired"
    assert refused(changed(CONTROLLER)) == "undecipherable"
    assert machine.opener.open(sealed, NOW).message == Heads(heads={})


def test_sequences_only_grow() -> None:
    machine = Machine()
    first, second = (machine.there.say.seal(Heads(heads={}), NOW) for _ in range(2))
    assert machine.opener.open(second, NOW).missed == 1
    for old in (first, second):
        with pytest.raises(refusal.Replayed):
            machine.opener.open(old, NOW)
    channel = machine.there.say
    channel.sequence = SEQUENCE_MAX
    with pytest.raises(OverflowError):
        channel.seal(Heads(heads={}), NOW)


def test_channels_do_not_mix() -> None:
    """What was said on one channel, or in one direction, opens in no other."""
    machine = Machine()
    assert machine.session is not None
    published = machine.there.say.seal(Heads(heads={}), NOW)
    header = msgspec.msgpack.decode(published.header[1:], type=Header)
    moved = encode_header(msgspec.structs.replace(header, session=machine.there.say_request.id))
    with pytest.raises(refusal.Undecipherable):
        machine.opener.open(sign(CONTROLLER, published.topic, moved, published.body), NOW)
    own = machine.session.say.seal(Beat(revision=1), NOW)
    with pytest.raises(refusal.WrongRecipient):
        machine.opener.open(own, NOW)


def test_traffic_and_states_expire() -> None:
    machine = Machine()
    with pytest.raises(refusal.Expired):
        machine.opener.open(machine.there.say.seal(Heads(heads={}), NOW), NOW + TRAFFIC_SECONDS + 1)
    kept = seal_state(CONTROLLER, "c", TERM, Recipient(ME, KEYS.security.public), "u", 1, UnitConfiguration(unit="u", body=b""), NOW)
    with pytest.raises(refusal.Expired):
        machine.opener.open(kept, NOW + STATE_SECONDS + 1)
    assert machine.opener.open_stored(kept).message == UnitConfiguration(unit="u", body=b"")


def test_only_states_are_stored() -> None:
    machine = Machine()
    with pytest.raises(refusal.WrongSchema):
        machine.opener.open_stored(machine.there.say.seal(Heads(heads={}), NOW))


def test_a_higher_term_puts_the_older_controller_out() -> None:
    machine = Machine()
    machine.opener.open(state(term=TERM + 1), NOW)
    assert machine.opener.term == TERM + 1
    with pytest.raises(refusal.StaleTerm):
        machine.opener.open(machine.there.say.seal(Heads(heads={}), NOW), NOW)


def test_a_machine_cannot_speak_in_an_older_controllers_term() -> None:
    machine = Machine()
    assert machine.session is not None
    said = machine.session.say.seal(Beat(revision=1), NOW)
    machine.controller.term = TERM + 1
    with pytest.raises(refusal.StaleTerm):
        machine.controller.open(said, NOW)


def test_an_answer_for_another_request_opens_no_session() -> None:
    machine = Machine()
    mine, other = (PendingSession(KEYS.identity, "c", 0, NOW) for _ in range(2))
    asked = machine.controller.open(other.envelope, NOW)
    _, answer = answer_session(asked.message, other.envelope, asked.header, CONTROLLER, KEYS.security.public, TERM, NOW)
    got = machine.opener.open(answer, NOW)
    with pytest.raises(refusal.Undecipherable, match="another session request"):
        mine.finish(got.message, answer, got.header, KEYS.identity, KEYS.security)
    with pytest.raises(refusal.Undecipherable):
        other.finish(got.message, answer, got.header, KEYS.identity, SecurityKey.generate())
    broken = msgspec.structs.replace(asked.message, ephemeral=b"short")
    with pytest.raises(refusal.Undecipherable, match="session request"):
        answer_session(broken, other.envelope, asked.header, CONTROLLER, KEYS.security.public, TERM, NOW)


def test_any_answered_session_may_be_taken_up() -> None:
    machine = Machine()
    pending = PendingSession(KEYS.identity, "c", 0, NOW)
    asked = machine.controller.open(pending.envelope, NOW)
    answers = [answer_session(asked.message, pending.envelope, asked.header, CONTROLLER, KEYS.security.public, TERM, NOW) for _ in range(3)]
    for session, _ in answers:
        machine.sessions.offer(session)
    got = machine.opener.open(answers[0][1], NOW)
    session = pending.finish(got.message, answers[0][1], got.header, KEYS.identity, KEYS.security)
    opened = machine.controller.open(session.say.seal(Beat(revision=1), NOW), NOW)
    assert machine.sessions.opened(opened.header.session)
    assert not machine.sessions.opened(opened.header.session)
    assert machine.sessions.current is answers[0][0]


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    for frames in ([noise], [noise] * 4, [b"c/x/y", b"\x01" + noise, noise, noise[:64]]):
        with pytest.raises(refusal.Refusal):
            Machine_.open(Envelope.of_frames(frames), NOW)
    with pytest.raises(refusal.Refusal):
        Machine_.open(Envelope.unpack(noise), NOW)


Machine_ = Machine().opener


@given(st.integers(0, 3), st.data())
def test_every_changed_byte_is_noticed(frame: int, data: st.DataObject) -> None:
    envelope = KEPT[frame]
    at = data.draw(st.integers(0, len(envelope) - 1))
    changed = bytearray(envelope)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(refusal.Refusal):
        Machine_.open(Envelope(*(bytes(changed) if index == frame else each for index, each in enumerate(KEPT))), NOW)


KEPT = state()


def test_packed_envelopes_are_bounded() -> None:
    assert Envelope.unpack(KEPT.pack()) == KEPT
    with pytest.raises(refusal.Oversized):
        Envelope.unpack(bytes(PACKED_BYTES_MAX + 1))
    with pytest.raises(refusal.Oversized):
        Envelope.of_frames([b""] * 3)


def test_chunks_are_for_everybody_and_nothing_else() -> None:
    writer = BundleWriter(pack({"a.txt": os.urandom(10)}, platform="voice", version="1", release=Identity.generate()))
    opened = Machine().opener.open(writer.envelope(0, CONTROLLER, "c", TERM, NOW), NOW)
    assert opened.message == writer.chunk(0)
    with pytest.raises(refusal.Expired):
        Machine().opener.open(writer.envelope(0, CONTROLLER, "c", TERM, NOW), NOW + 61)
