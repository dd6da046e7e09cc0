"""Claims: the first one holds a key until it lapses or is given up."""

import msgspec

from telephony.jobs.resource import Claim, Unclaim
from telephony.resource_database.store import KEY_BYTES_MAX, Store

TABLE = "claims"
TTL_SECONDS_MAX = 3600.0


class _Record(msgspec.Struct, frozen=True, array_like=True):
    value: str
    expires_at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


def claim(store: Store, request: Claim, now: float) -> str:
    """Hold the key if nobody else does; the value that holds it now.

    Raises:
        ValueError: the key is empty or too long.
    """
    key = _key(request.key)
    record = store.get(TABLE, key)
    if record is not None:
        held = _decode(record)
        if held.expires_at > now and held.value != request.value:
            return held.value
    store.put(TABLE, key, _encode(_Record(request.value, now + min(request.ttl_seconds, TTL_SECONDS_MAX))))
    return request.value


def release(store: Store, request: Unclaim) -> None:
    """Give the key up, if this value holds it."""
    key = _key(request.key)
    record = store.get(TABLE, key)
    if record is not None and _decode(record).value == request.value:
        store.delete(TABLE, key)


def expire(store: Store, key: bytes, record: bytes, now: float) -> bool:
    """Remove a claim that has lapsed; True if it had."""
    return _decode(record).expires_at <= now and store.delete(TABLE, key)


def _key(name: str) -> bytes:
    key = name.encode()
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key of 1 to {KEY_BYTES_MAX} bytes was expected, {len(key)} came")
    return key
