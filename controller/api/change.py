"""What changes something: idempotency keys and dry runs around an edit.

Rules:
- The header ``Idempotency-Key`` names an instruction: the same key with the same request gets the first answer again for
  `KEEP_SECONDS`, with another request it is refused. The answer is written in one transaction with the change.
- ``dry_run=true`` answers what would change, and changes nothing.
"""

import hashlib
from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar import Response

from controller.api.problems import AnyRequest, ProblemError
from controller.service import Service
from controller.state import Access, Answered, Record
from controller.tables import Draft, Write, decode

KEEP_SECONDS = 86400.0
KEY_CHARACTERS_MAX = 255
_SHOWN = frozenset({"cluster", "pool", "machine", "unit", "operation", "user", "route", "queue", "invitation", "ownership"})
_SECRET = frozenset(
    {
        "curve_secret",
        "nonce_secret",
        "proof_keys",
        "ha1",
        "body",
        "sealed",
        "content_key",
        "identity_key",
        "security_key",
        "public_key",
        "used_by",
    }
)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One record that a dry run would change."""

    kind: str
    id: str
    action: str
    """``add``, ``change`` or ``remove``."""
    fields: dict[str, Any] = {}
    """What it would be, without secrets; of a change only what differs."""


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What would change."""

    dry_run: bool
    differences: list[Difference]


async def change(
    request: AnyRequest,
    service: Service,
    edit: Callable[[Draft, str], Any],
    *,
    dry_run: bool = False,
    status: int = 200,
) -> Response[Any]:
    """Do an edit (it gets the draft and the actor's name) and answer with what it returns."""
    access = cast(Access, request.user)
    if dry_run:
        _, writes = await service.change(lambda draft: edit(draft, access.name), dry_run=True)
        return Response(content=DryRun(dry_run=True, differences=differences(writes)), status_code=200)
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_CHARACTERS_MAX:
        raise ProblemError("invalid", f"an idempotency key has at most {KEY_CHARACTERS_MAX} characters")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\0".encode() + await request.body()).hexdigest()
    id = hashlib.sha256(f"{access.id}\0{key}".encode()).hexdigest()
    if key and (known := _answered(service, id)) is not None:
        if known.request_hash != digest:
            raise ProblemError("idempotency-key-reused", "this idempotency key was used for another request")
        return Response(
            content=known.body, status_code=known.status, media_type="application/json", headers={"Idempotent-Replayed": "true"}
        )

    def whole(draft: Draft) -> bytes:
        body = msgspec.json.encode(edit(draft, access.name))
        if key:
            draft.put(Answered(id=id, request_hash=digest, status=status, body=body, at=service.now()))
        return body

    body, _ = await service.change(whole)
    return Response(content=body, status_code=status, media_type="application/json")


def differences(writes: list[Write]) -> list[Difference]:
    """What people want to know of writes."""
    return [
        Difference(
            kind=write.table,
            id=write.id,
            action="remove" if write.new is None else "add" if write.old is None else "change",
            fields=_fields(write.old, write.new),
        )
        for write in writes
        if write.table in _SHOWN
    ]


def _fields(old: Record | None, new: Record | None) -> dict[str, Any]:
    if new is None:
        return {}
    return {
        name: msgspec.to_builtins(getattr(new, name))
        for name in new.__struct_fields__
        if name not in _SECRET and name != "id" and (old is None or getattr(old, name) != getattr(new, name))
    }


def _answered(service: Service, id: str) -> Answered | None:
    entry = service.store.get(f"{Answered.table}/{id}")
    if entry is None:
        return None
    record = decode(entry.key, entry.value)
    assert isinstance(record, Answered)
    return record if service.now() < record.at + KEEP_SECONDS else None
