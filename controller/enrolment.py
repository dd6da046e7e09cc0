"""A machine joins: the controller's side of `agent.wire.enrolment`.

Rules:
- A join token is stored as its one-way image, is good for `TOKEN_SECONDS` and for one machine.
- The same keys under a used token are granted again; other keys are refused, audited, and raise an alarm.
- A refusal tells its code and is audited; what names no token of ours is only counted, so that noise fills no log.
"""

import msgspec

from agent.wire.enrolment import TOKEN_SECONDS, EnrolmentBody, EnrolmentError, TokenRecord, Verdict, judge, make_answer, read_token_id
from agent.wire.keys import Identity
from agent.wire.token import BrokerAddress, JoinToken
from controller.state import Audit, Invitation, Machine, Pool
from controller.tables import Draft

ROLE = "machine"
KEEP_SECONDS = 86400.0
"""A used or ended invitation is kept so long, so that its token is still recognised."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What a join token tells a machine to trust."""

    cluster: str
    brokers: list[BrokerAddress]
    controller: bytes
    releases: list[bytes]


def invite(
    draft: Draft, trust: Trust, now: float, *, name: str = "", pool: str = "default", address: str = "", public: bool = False
) -> tuple[JoinToken, Invitation]:
    """A fresh join token, and what is kept of it."""
    token = JoinToken.generate(trust.cluster, trust.brokers, trust.controller, trust.releases, ROLE)
    proof = token.proof()
    invitation = Invitation(
        id=proof.id,
        public_key=proof.public,
        cluster=trust.cluster,
        role=ROLE,
        name=name,
        pool=pool,
        address=address,
        public=public,
        created_at=now,
        expires_at=now + TOKEN_SECONDS,
    )
    draft.put(invitation)
    return token, invitation


def enrol(draft: Draft, request: bytes, controller: Identity, cluster: str, term: int, now: float) -> tuple[bytes, Verdict]:
    """Judge a request to join and record what follows; the answer is to be sent once the draft is durable.

    Raises:
        EnrolmentError: ``malformed``: not even an answer can be made.
    """
    try:
        invitation = draft.get(Invitation, read_token_id(request))
    except EnrolmentError as refused:
        verdict = Verdict(code=refused.code, message=refused.message)
        return make_answer(controller, request, verdict, cluster, term), verdict
    record = None
    if invitation is not None:
        record = TokenRecord(
            id=invitation.id,
            public=invitation.public_key,
            cluster=invitation.cluster,
            role=invitation.role,
            expires=invitation.expires_at,
            used_by=invitation.used_by,
        )
    verdict = judge(request, record, now)
    if verdict.code == "ok" and verdict.body is not None and invitation is not None:
        if not verdict.repeated or draft.get(Machine, verdict.body.machine) is None:
            draft.put(msgspec.structs.replace(invitation, used_by=verdict.body))
            _join(draft, invitation, verdict.body, now)
    elif invitation is not None:
        audit(draft, now, "enrolment", "enrolment-refused", invitation.name, f"{verdict.code}: {verdict.message}", alarm=verdict.alarm)
    return make_answer(controller, request, verdict, cluster, term), verdict


def _join(draft: Draft, invitation: Invitation, body: EnrolmentBody, now: float) -> None:
    name = invitation.name or body.name or body.machine
    taken = {machine.name for machine in draft.all(Machine).values() if machine.id != body.machine}
    if name in taken:
        name = f"{name}-{body.machine[1:7]}"
    pool = draft.get(Pool, invitation.pool) or Pool(id=invitation.pool, platform=draft.cluster.default_platform)
    draft.put(pool)
    machine = Machine(
        id=body.machine,
        name=name,
        pool=pool.id,
        address=invitation.address or body.host,
        identity_key=body.identity,
        security_key=body.security,
        transport_key=body.transport,
        platform=pool.platform,
        public=invitation.public,
        enrolled_at=now,
    )
    draft.put(machine)
    audit(draft, now, "enrolment", "machine-joined", machine.name, machine.id)


def forget_ended(draft: Draft, now: float) -> None:
    """Drop invitations that ended long ago."""
    for invitation in list(draft.all(Invitation).values()):
        if now > invitation.expires_at + KEEP_SECONDS:
            draft.delete(Invitation, invitation.id)


def audit(draft: Draft, now: float, actor: str, action: str, subject: str = "", detail: str = "", alarm: bool = False) -> None:
    """Add a line to the audit log."""
    number = draft.count("audit")
    draft.put(Audit(id=f"{number:012}", at=now, actor=actor, action=action, subject=subject, detail=detail, alarm=alarm))
