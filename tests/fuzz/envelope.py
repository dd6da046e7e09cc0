"""The control plane's language: any bytes are a message or a refusal, also those that the right key has signed."""

import functools

import msgspec

from agent.wire import topics
from agent.wire.enrolment import EnrolmentBody, EnrolmentError, TokenRecord, judge, make_request, read_token_id
from agent.wire.envelope import Envelope, Header, encode_header, sign
from agent.wire.keys import Identity, MachineKeys, seal
from agent.wire.messages import Beat, ChunkRequest, Echo, Heads, MachineDocument, MachineReport, SnapshotEnd, UnitEvents
from agent.wire.opener import Opener
from agent.wire.refusal import Refusal
from agent.wire.session import OpeningChannel
from agent.wire.token import BrokerAddress, JoinToken, TokenError

NOW = 1_800_000_000.0
CUT = b"\x1e"
"""Stands between the frames of an input."""
SESSION = "s"


class OpenChannel(OpeningChannel):
    """A channel whose cipher has been broken: whatever comes is what was sealed."""

    def open(self, envelope: Envelope, sequence: int) -> bytes:
        self.sequence = sequence
        return envelope.body


class Pair:
    """A controller and a machine."""

    def __init__(self) -> None:
        self.controller = Identity.generate()
        self.keys = MachineKeys.generate()
        self.machine = self.keys.identity.id
        self.token = JoinToken.generate("c", [BrokerAddress("a", "b", "c", "d", "e")], self.controller.public, [])

    def openers(self) -> tuple[Opener, Opener]:
        """The machine's and the controller's."""
        channel = OpenChannel(SESSION, bytes(32))
        to_machine = Opener(
            cluster="c", recipient=self.machine, sender=topics.CONTROLLER, sender_public=self.controller.public,
            channel=lambda name: channel if name == SESSION else None, security={1: self.keys.security}, term=5,
        )  # fmt: skip
        to_controller = Opener(
            cluster="c", recipient=topics.CONTROLLER, sender=self.machine, sender_public=self.keys.identity.public,
            channel=lambda name: channel if name == SESSION else None, term=5,
        )  # fmt: skip
        return to_machine, to_controller


pair = functools.cache(Pair)


def seeds() -> list[bytes]:
    """A letter for the kind, then topic, header and body, or what is read as a whole."""
    found = []
    to_machine = [Echo(nonce=b"n"), Heads(heads={"a": 1}), SnapshotEnd(number=1, heads={}), MachineDocument(platform="voice")]
    to_controller = [
        Beat(revision=1),
        ChunkRequest(bundle="b", chunks=[1]),
        UnitEvents(events=[("u", b"x")]),
        MachineReport(revision=1, units=[], subjects=[], bundles=[]),
    ]
    for kind, messages in ((b"c", to_machine), (b"m", to_controller)):
        for message in messages:
            tag = str(message.__struct_config__.tag)
            state = tag == "machine"
            header = Header(
                type=tag, cluster="c", sender="", recipient="", term=5, created=NOW, session="" if state else SESSION,
                sequence=0 if state else 1, key_epoch=1 if state else 0,
            )  # fmt: skip
            found.append(kind + CUT.join([b"c/x/" + tag.encode(), msgspec.msgpack.encode(header), msgspec.msgpack.encode(message)]))
    there = pair()
    body = EnrolmentBody(
        cluster="c", role="machine", identity=there.keys.identity.public, security=there.keys.security.public,
        transport="x" * 40, name="n",
    )  # fmt: skip
    found += [b"u" + Envelope(b"a", b"b", b"c", b"d").pack(), b"t" + str(there.token).encode()]
    return [*found, b"e" + make_request(there.token, there.keys, body), b"j" + msgspec.msgpack.encode(body)]


def check(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    there = pair()
    if kind == b"u":
        for opener in there.openers():
            try:
                opener.open(Envelope.unpack(rest), NOW)
            except Refusal:
                continue
    elif kind in (b"c", b"m"):
        _signed(kind == b"m", rest)
    elif kind == b"t":
        try:
            token = JoinToken.parse(rest.decode("utf-8", "replace"))
        except TokenError:
            return
        assert JoinToken.parse(str(token)) == token
        token.key()
    elif kind == b"e":
        _enrol(rest)
    elif kind == b"j":
        proof = there.token.key()
        signature = proof.sign(b"hotswitch enrolment token\0" + rest)
        outer = {"token": there.token.proof().id, "body": rest, "token_signature": signature, "identity_signature": bytes(64)}
        _enrol(msgspec.msgpack.encode(outer))


def _signed(from_machine: bool, rest: bytes) -> None:
    """What the right key has signed, with the right names: past the signature, every later check."""
    there = pair()
    topic, packed, body = [*rest.split(CUT, 2), b"", b""][:3]
    to_machine, to_controller = there.openers()
    opener, signer = (to_controller, there.keys.identity) if from_machine else (to_machine, there.controller)
    try:
        header = msgspec.msgpack.decode(packed, type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        frame = b"\x01" + packed
    else:
        sender, recipient = (there.machine, topics.CONTROLLER) if from_machine else (topics.CONTROLLER, there.machine)
        frame = encode_header(msgspec.structs.replace(header, sender=sender, recipient=recipient))
        if header.key_epoch == 1 and not header.session:
            body = seal(there.keys.security.public, body, frame)
    try:
        opened = opener.open(sign(signer, topic, frame, body), NOW)
    except Refusal:
        return
    assert opened.header.cluster == "c"
    assert opener.term >= 5
    msgspec.msgpack.encode(opened.message)


def _enrol(request: bytes) -> None:
    proof = pair().token.proof()
    verdict = judge(request, TokenRecord(id=proof.id, public=proof.public, cluster="c", role="machine", expires=NOW), NOW)
    assert verdict.code == "ok" or verdict.message
    if verdict.code == "ok":
        assert verdict.body is not None
        assert len(verdict.body.identity) == 32
    try:
        read_token_id(request)
    except EnrolmentError as refused:
        assert refused.code == verdict.code == "malformed"
