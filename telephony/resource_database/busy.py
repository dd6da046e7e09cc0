"""Marks of users who are in calls, and since when they are in none."""

import msgspec

from telephony.jobs.resource import Busy
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
            record.calls.pop(one.call, None)
            if len(record.calls) >= CALLS_MAX:
                del record.calls[next(iter(record.calls))]
            record.calls[one.call] = now + min(request.ttl_seconds, TTL_SECONDS_MAX)
        elif record.calls.pop(one.call, None) is None:
            continue
        elif not record.calls:
            record.idle_since = now
        store.put(TABLE, key, _encode(record))
        touched.append(one.user)
    return touched


def read(store: Store, user: str, now: float) -> tuple[bool, float]:
    """Whether a user is in a call, and since when in none (0: not known)."""
    data = store.get(TABLE, user.encode()[:KEY_BYTES_MAX])
    if data is None:
        return False, 0.0
    record = _decode(data)
    return any(until > now for until in record.calls.values()), record.idle_since


def expire(store: Store, key: bytes, data: bytes, now: float) -> bool:
    """Remove marks that have lapsed and memories that are too old; True if there were."""
    record = _decode(data)
    lapsed = [call for call, until in record.calls.items() if until <= now]
    if lapsed:
        for call in lapsed:
            del record.calls[call]
        if not record.calls:
            record.idle_since = now
        store.put(TABLE, key, _encode(record))
        return True
    if not record.calls and now - record.idle_since > IDLE_SECONDS_MAX:
        return store.delete(TABLE, key)
    return False
