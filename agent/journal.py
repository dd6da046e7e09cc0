"""The machine's memory on disk: the newest record of each key, appended and synced in groups.

A record is length (u32), CRC-32 of the rest (u32), msgpack of key and value. What is stored is ciphertext or of no use to others.

Rules:
- `append` returns when its records are on the disk; one sync for all of them.
- After a crash the file ends at the first record that is not whole; what was returned from `append` is before it.
- Written anew when what is out of date is more than `GARBAGE_BYTES_MAX`, beside the old one, then renamed.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agent.wire.files import write_private

GARBAGE_BYTES_MAX = 8 << 20
RECORD_BYTES_MAX = 16 << 20
_HEAD = struct.Struct(">II")
_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
_encoder = msgspec.msgpack.Encoder()


def _record(key: str, value: bytes) -> bytes:
    body = _encoder.encode((key, value))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


class Journal:
    """Keys with their newest values; an empty value is none."""

    def __init__(self, path: Path) -> None:
        """Open or create it (mode 600)."""
        self._path = path
        self.values: dict[str, bytes] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = self._read(content)
        self._size = whole
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        self._garbage = whole - sum(len(_record(key, value)) for key, value in self.values.items())

    def _read(self, content: bytes) -> int:
        """Take the whole records; returns where they end."""
        at = 0
        view = memoryview(content)
        while at + _HEAD.size <= len(content):
            length, check = _HEAD.unpack_from(content, at)
            body = view[at + _HEAD.size : at + _HEAD.size + length]
            if len(body) != length or length > RECORD_BYTES_MAX or zlib.crc32(body) != check:
                break
            try:
                key, value = _decoder.decode(body)
            except msgspec.MsgspecError:
                break
            if value:
                self.values[key] = value
            else:
                self.values.pop(key, None)
            at += _HEAD.size + length
        return at

    def append(self, changes: Mapping[str, bytes]) -> None:
        """Store these values; an empty one forgets its key.

        Raises:
            OSError: the disk does not take them; nothing was stored.
        """
        changes = {key: value for key, value in changes.items() if self.values.get(key, b"") != value}
        if not changes:
            return
        data = b"".join(_record(key, value) for key, value in changes.items())
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        for key, value in changes.items():
            old = self.values.pop(key, None)
            self._garbage += len(old) + _HEAD.size if old else 0
            if value:
                self.values[key] = value
            else:
                self._garbage += _HEAD.size
        if self._garbage > GARBAGE_BYTES_MAX:
            self._compact()

    def _compact(self) -> None:
        data = b"".join(_record(key, value) for key, value in self.values.items())
        write_private(self._path, data)
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._size, self._garbage = len(data), 0

    def close(self) -> None:
        os.close(self._file)
