"""Bencode, the notation of rtpengine's control protocol."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "int | str | bytes | Sequence[Value] | Mapping[str, Value]"


def encode(value: Value) -> bytes:
    """An integer, string, list or dictionary (keys sorted) as bytes."""
    match value:
        case int():
            return b"i%de" % value
        case str():
            return encode(value.encode())
        case bytes():
            return b"%d:%s" % (len(value), value)
        case Mapping():
            return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
        case _:
            return b"l" + b"".join(encode(one) for one in value) + b"e"


def decode(data: bytes) -> Value:
    """One value; strings come as bytes, keys as str.

    Raises:
        ValueError: not bencode, or more than one value.
    """
    value, end = _decode(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many")
    return value


def _decode(data: bytes, at: int) -> tuple[Value, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        values: list[Value] = []
        at += 1
        while data[at : at + 1] != b"e":
            value, at = _decode(data, at)
            values.append(value)
        if kind == b"l":
            return values, at + 1
        return {
            key.decode() if isinstance(key, bytes) else str(key): value for key, value in zip(values[::2], values[1::2], strict=True)
        }, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError("string cut short")
    return data[colon + 1 : end], end
