"""Joining a cluster: one request, one answer, over the broker's listener for newcomers.

machine -> (request signed by its identity and by the token's key) -> broker -> controller -> (grant or
refusal signed by the controller, naming the hash of that request) -> machine

Rules:
- Parsed before a signature holds: only the frame that carries the signatures.
- A token is for one machine. The same token with the same keys gets the same answer again (the answer may
  have been lost); with other keys it is refused with `USED`, and the controller raises an alarm.
- An answer counts only for the request whose hash it names.

`judge` is the controller's decision; storing it and telling the broker to let the machine in are its own matter.
"""

import hashlib
from typing import Literal

import msgspec

from agent.wire.keys import IDENTITY_PUBLIC_BYTES, SECURITY_PUBLIC_BYTES, Identity, MachineKeys, machine_id, verify
from agent.wire.token import JoinToken, token_id

REQUEST_BYTES_MAX = 8192
ANSWER_BYTES_MAX = 4096
TOKEN_SECONDS = 900.0
"""How long a join token is good by default."""

RefusalCode = Literal["malformed", "bad-signature", "unknown-token", "expired", "used", "wrong-role", "wrong-cluster"]


class EnrolmentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a machine says of itself when it joins."""

    cluster: str
    role: str
    identity: bytes
    """32 bytes."""
    security: bytes
    """1216 bytes: the security key that the controller stores and seals to."""
    transport: str
    """CURVE public key, Z85."""
    name: str
    """Chosen by its operator, for people."""
    host: str = ""
    """Address that its services bind."""
    cores: int = 0
    memory_bytes: int = 0
    python: str = ""
    """``cpython-311``: bytecode of bundles that it can use."""
    nonce: bytes = b""
    """Fresh each time."""

    @property
    def machine(self) -> str:
        """Id of the machine."""
        return machine_id(self.identity)

    def same_keys(self, other: "EnrolmentBody") -> bool:
        """Whether it is the same machine that asks again."""
        return (self.identity, self.security, self.transport) == (other.identity, other.security, other.transport)


class EnrolmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outer form: whose signatures to check over what."""

    token: str
    """Id of the token."""
    body: bytes
    token_signature: bytes
    identity_signature: bytes


class EnrolmentAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Grant or refusal."""

    request_hash: bytes
    """SHA-256 of the request that it answers."""
    cluster: str
    machine: str
    """Id of the machine; empty where refused."""
    term: int
    """Of the controller."""
    code: str = "ok"
    """``ok``, or a `RefusalCode`."""
    message: str = ""


class SignedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The answer and the controller's signature over it."""

    answer: bytes
    signature: bytes


class EnrolmentError(Exception):
    """The controller does not let this machine in. ``code`` is a `RefusalCode`; only ``unknown-token`` may change by itself."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class AnswerError(ValueError):
    """Not an answer of this cluster's controller to this request; wait for the right one."""


class TokenRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the controller keeps of a token."""

    id: str
    public: bytes
    cluster: str
    role: str
    expires: float
    """Seconds since the epoch."""
    used_by: EnrolmentBody | None = None
    """The machine that joined with it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller does with a request to join."""

    code: str
    """``ok``, or a `RefusalCode`."""
    message: str = ""
    body: EnrolmentBody | None = None
    """The machine; None where it could not be told."""
    repeated: bool = False
    """The same machine asked again; nothing changes."""
    alarm: bool = False
    """A used token with other keys: somebody has a token that is not theirs."""


def _signed(purpose: bytes, body: bytes) -> bytes:
    return b"hotswitch enrolment " + purpose + b"\0" + body


def make_request(token: JoinToken, keys: MachineKeys, body: EnrolmentBody) -> bytes:
    """The bytes of a request to join."""
    content = msgspec.msgpack.encode(body)
    signer = token.key()
    return msgspec.msgpack.encode(
        EnrolmentRequest(
            token=token_id(signer.public),
            body=content,
            token_signature=signer.sign(_signed(b"token", content)),
            identity_signature=keys.identity.sign(_signed(b"identity", content)),
        )
    )


def read_token_id(data: bytes) -> str:
    """Which token a request says it has, to find its record; nothing is proved yet.

    Raises:
        EnrolmentError: ``malformed``.
    """
    return _outer(data).token


def _outer(data: bytes) -> EnrolmentRequest:
    if len(data) > REQUEST_BYTES_MAX:
        raise EnrolmentError("malformed", f"expected at most {REQUEST_BYTES_MAX} bytes, got {len(data)}")
    try:
        return msgspec.msgpack.decode(data, type=EnrolmentRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EnrolmentError("malformed", str(error)) from error


def judge(data: bytes, record: TokenRecord | None, now: float) -> Verdict:
    """Decide on a request to join; ``record`` is that of `read_token_id`, ``now`` in seconds since the epoch.

    Checks in this order: form, token known, token's signature, content, identity's signature, cluster, role,
    used by the same (granted again even after it ended) or by another, expiry.
    """
    try:
        outer = _outer(data)
    except EnrolmentError as refused:
        return Verdict(code=refused.code, message=refused.message)
    if record is None or record.id != outer.token:
        return Verdict(code="unknown-token", message="no such join token")
    if not verify(record.public, outer.token_signature, _signed(b"token", outer.body)):
        return Verdict(code="bad-signature", message="not signed with the join token")
    try:
        body = msgspec.msgpack.decode(outer.body, type=EnrolmentBody)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Verdict(code="malformed", message=str(error))
    if len(body.identity) != IDENTITY_PUBLIC_BYTES or len(body.security) != SECURITY_PUBLIC_BYTES or len(body.transport) != 40:
        return Verdict(code="malformed", message="a key has the wrong length")
    if not verify(body.identity, outer.identity_signature, _signed(b"identity", outer.body)):
        return Verdict(code="bad-signature", message="not signed by the machine's identity")
    if body.cluster != record.cluster:
        return Verdict(code="wrong-cluster", message=f"expected {record.cluster}, got {body.cluster}", body=body)
    if body.role != record.role:
        return Verdict(code="wrong-role", message=f"expected {record.role}, got {body.role}", body=body)
    if record.used_by is not None:
        if body.same_keys(record.used_by):
            return Verdict(code="ok", body=body, repeated=True)
        return Verdict(code="used", message="another machine joined with this token", body=body, alarm=True)
    if now > record.expires:
        return Verdict(code="expired", message="the join token has ended", body=body)
    return Verdict(code="ok", body=body)


def make_answer(controller: Identity, request: bytes, verdict: Verdict, cluster: str, term: int) -> bytes:
    """The signed answer to a request."""
    granted = verdict.code == "ok" and verdict.body is not None
    answer = msgspec.msgpack.encode(
        EnrolmentAnswer(
            request_hash=hashlib.sha256(request).digest(),
            cluster=cluster,
            machine=verdict.body.machine if granted and verdict.body else "",
            term=term,
            code=verdict.code,
            message=verdict.message,
        )
    )
    return msgspec.msgpack.encode(SignedAnswer(answer=answer, signature=controller.sign(_signed(b"answer", answer))))


def read_answer(data: bytes, request: bytes, token: JoinToken, keys: MachineKeys) -> EnrolmentAnswer:
    """The machine's reading of what came back.

    Raises:
        AnswerError: not of this controller, not for this request. EnrolmentError: the controller says no.
    """
    if len(data) > ANSWER_BYTES_MAX:
        raise AnswerError(f"expected at most {ANSWER_BYTES_MAX} bytes, got {len(data)}")
    try:
        signed = msgspec.msgpack.decode(data, type=SignedAnswer)
        if not verify(token.controller, signed.signature, _signed(b"answer", signed.answer)):
            raise AnswerError("not signed by the controller")
        answer = msgspec.msgpack.decode(signed.answer, type=EnrolmentAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AnswerError(f"not an answer: {error}") from error
    if answer.request_hash != hashlib.sha256(request).digest() or answer.cluster != token.cluster:
        raise AnswerError("answers another request")
    if answer.code != "ok":
        raise EnrolmentError(answer.code, answer.message)
    if answer.machine != keys.identity.id:
        raise AnswerError(f"machine: expected {keys.identity.id}, got {answer.machine}")
    return answer
