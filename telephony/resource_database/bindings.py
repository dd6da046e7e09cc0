"""Bindings of users to contacts (RFC 3261 section 10.3)."""

import msgspec

from telephony.jobs.protocol import BAD_REQUEST, OK, RETRY
from telephony.jobs.resource import BINDS_MAX, BOUND_BYTES_MAX, Bind, BindEach, Binding, BindingChange, BoundOne, Reached, Unbind
from telephony.resource_database.store import KEY_BYTES_MAX, FullError, Store
from telephony.sip.uri import Uri

CONTACTS_MAX = 32
"""Bindings of one user."""
EXPIRES_SECONDS_MAX = 86_400.0
TABLE = "bindings"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Binding]).decode
_decode_bind = msgspec.msgpack.Decoder(Bind).decode
_AS_ASKED = msgspec.Raw(_encode(None))
_PUT_OFF = msgspec.Raw(_encode(BoundOne(RETRY)))


class BoundEachRead(msgspec.Struct, frozen=True, array_like=True):
    """A `BoundEach` whose parts are encoded."""

    bound: list[msgspec.Raw]


class BindError(Exception):
    """Nothing was changed; ``code`` is an error of ``bind``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def key_of(aor: str) -> bytes:
    """The record's key.

    Raises:
        BindError: too long, or empty.
    """
    key = aor.encode()
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise BindError("bad-request", f"a name of 1 to {KEY_BYTES_MAX} bytes was expected, {len(key)} came")
    return key


def read(store: Store, aor: str, now: float) -> list[Binding]:
    """A user's bindings that have not expired, best q first, then the one that lasts longest."""
    record = store.get(TABLE, key_of(aor))
    if record is None:
        return []
    return [binding for binding in _decode(record) if binding.expires_at > now]


def change(store: Store, request: Bind, now: float) -> list[Binding]:
    """Carry out one REGISTER; all of it or nothing.

    An equal CSeq of the same Call-ID is the same request again and has the same result.

    Raises:
        BindError: ``out-of-order``, ``full`` or ``bad-request``.
    """
    bindings = read(store, request.aor, now)
    if request.wildcard:
        for binding in bindings:
            _check_order(binding, request)
        return _write(store, request.aor, [])
    if not request.bindings:
        return bindings
    for wanted in request.bindings:
        kept: list[Binding] = []
        for binding in bindings:
            if _replaces(wanted, binding):
                _check_order(binding, request)
            else:
                kept.append(binding)
        if wanted.expires_seconds > 0:
            kept.append(
                Binding(
                    contact=wanted.contact,
                    path=wanted.path,
                    expires_at=now + min(wanted.expires_seconds, EXPIRES_SECONDS_MAX),
                    q=wanted.q,
                    call_id=request.call_id,
                    cseq=request.cseq,
                    instance=wanted.instance,
                    reg_id=wanted.reg_id,
                    received=wanted.received,
                    ice=wanted.ice,
                )
            )
        bindings = kept
    if len(bindings) > CONTACTS_MAX:
        raise BindError("full", f"more than {CONTACTS_MAX} contacts")
    return _write(store, request.aor, bindings)


def change_each(store: Store, request: BindEach, now: float) -> tuple[BoundEachRead, list[str]]:
    """Carry out several REGISTERs, each for itself; what became of them, and whose bindings were looked at.

    Raises:
        BindError: ``bad-request``: they are too many.
    """
    if len(request.binds) > BINDS_MAX:
        raise BindError(BAD_REQUEST, f"at most {BINDS_MAX} were expected, {len(request.binds)} came")
    bound: list[msgspec.Raw] = []
    users: list[str] = []
    size = 0
    for body in request.binds:
        if size > BOUND_BYTES_MAX:
            bound.append(_PUT_OFF)
            continue
        try:
            bind = _decode_bind(body)
            bindings = change(store, bind, now)
        except BindError as error:
            one = BoundOne(error.code)
        except FullError:
            one = BoundOne("full")
        except (msgspec.DecodeError, ValueError):
            one = BoundOne(BAD_REQUEST)
        else:
            users.append(bind.aor)
            if len(bindings) == 1 == len(bind.bindings) and bind.bindings[0].expires_seconds > 0:
                bound.append(_AS_ASKED)
                continue
            one = BoundOne(OK, [Reached(each.contact, each.expires_at, each.q, each.instance, each.reg_id) for each in bindings])
        bound.append(encoded := msgspec.Raw(_encode(one)))
        size += len(encoded)
    return BoundEachRead(bound), users


def forget(store: Store, request: Unbind, now: float) -> list[Binding]:
    """Remove what was bound through a flow that is dead.

    Raises:
        BindError: ``bad-request``.
    """
    bindings = read(store, request.aor, now)
    left = [binding for binding in bindings if f":{request.token}@" not in binding.path]
    return bindings if len(left) == len(bindings) else _write(store, request.aor, left)


def expire(store: Store, key: bytes, record: bytes, now: float) -> bool:
    """Remove what has expired from one record; True if something had."""
    bindings = _decode(record)
    left = [binding for binding in bindings if binding.expires_at > now]
    if len(left) == len(bindings):
        return False
    if left:
        store.put(TABLE, key, _encode(left))
    else:
        store.delete(TABLE, key)
    return True


def _replaces(wanted: BindingChange, binding: Binding) -> bool:
    """The same flow of the same phone (RFC 5626 section 6); without flows the same contact, or the same phone."""
    same_instance = bool(wanted.instance) and wanted.instance == binding.instance
    if wanted.reg_id and binding.reg_id:
        return same_instance and wanted.reg_id == binding.reg_id
    return same_instance or wanted.contact == binding.contact or _equivalent(wanted.contact, binding.contact)


def _equivalent(one: str, other: str) -> bool:
    """Two ways to write one contact (RFC 3261 sections 10.3 and 19.1.4)."""
    if one.partition(";")[0].lower() != other.partition(";")[0].lower():
        return False
    try:
        return Uri.parse(one).equivalent(Uri.parse(other))
    except ValueError:
        return False


def _check_order(binding: Binding, request: Bind) -> None:
    if binding.call_id == request.call_id and request.cseq < binding.cseq:
        raise BindError("out-of-order", f"CSeq {request.cseq} after {binding.cseq}")


def _write(store: Store, aor: str, bindings: list[Binding]) -> list[Binding]:
    bindings.sort(key=lambda binding: (-binding.q, -binding.expires_at))
    if bindings:
        store.put(TABLE, key_of(aor), _encode(bindings))
    else:
        store.delete(TABLE, key_of(aor))
    return bindings
