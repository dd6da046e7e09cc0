"""Marks of users who are in calls, and since when they are in none."""

import msgspec

from telephony.jobs.resource import Busy, DialogState, InCall
from telephony.resource_database.store import KEY_BYTES_MAX, Store

TABLE = "busy"
CALLS_MAX = 64
"""Calls of one user that are marked; a further one takes the place of the oldest."""
IDLE_SECONDS_MAX = 7 * 86_400.0
"""How long it is remembered since when a user is idle."""
TTL_SECONDS_MAX = 3600.0


class _Record(msgspec.Struct, array_like=True):
    calls: dict[str, float]
    """Call to when its mark lapses."""
    idle_since: float
    dialogs: dict[str, tuple[DialogState, bool]] = {}
    """Call to the state of the user's dialog in it, and whether the user has called."""


_UNKNOWN: tuple[DialogState, bool] = ("confirmed", False)
"""Of a mark that a version before this one has left."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


def mark(store: Store, request: Busy, now: float) -> list[str]:
    """Set, renew or take back marks; the users whose records were touched.

    Raises:
        ValueError: a user's name is empty or too long.
    """
    touched: list[str] = []
    for one in request.marks:
        key = one.user.encode()
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a name of 1 to {KEY_BYTES_MAX} bytes was expected, {len(key)} came")
        data = store.get(TABLE, key)
        record = _Record({}, 0.0) if data is None else _decode(data)
        if request.busy:
            if one.call not in record.calls and len(record.calls) >= CALLS_MAX:
                _remove(record, next(iter(record.calls)))
            record.calls[one.call] = now + min(request.ttl_seconds, TTL_SECONDS_MAX)
            record.dialogs[one.call] = (one.state, one.initiator)
        elif not _remove(record, one.call):
            continue
        elif not record.calls:
            record.idle_since = now
        store.put(TABLE, key, _encode(record))
        touched.append(one.user)
    return touched


def read(store: Store, user: str, now: float) -> tuple[list[InCall], float]:
    """Calls that a user is in, oldest first, and since when in none (0: not known)."""
    data = store.get(TABLE, user.encode()[:KEY_BYTES_MAX])
    if data is None:
        return [], 0.0
    record = _decode(data)
    calls = [InCall(call, *record.dialogs.get(call, _UNKNOWN)) for call, until in record.calls.items() if until > now]
    return calls, record.idle_since


def expire(store: Store, key: bytes, data: bytes, now: float) -> bool:
    """Remove marks that have lapsed and memories that are too old; True if there were."""
    record = _decode(data)
    lapsed = [call for call, until in record.calls.items() if until <= now]
    if lapsed:
        for call in lapsed:
            _remove(record, call)
        if not record.calls:
            record.idle_since = now
        store.put(TABLE, key, _encode(record))
        return True
    if not record.calls and now - record.idle_since > IDLE_SECONDS_MAX:
        return store.delete(TABLE, key)
    return False


def _remove(record: _Record, call: str) -> bool:
    """Take a mark off; False: there is none."""
    record.dialogs.pop(call, None)
    return record.calls.pop(call, None) is not None
