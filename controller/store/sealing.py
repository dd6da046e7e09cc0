"""Sealing of secrets at rest under a master key: AES-256-GCM (NIST SP 800-38D).

Rules:
- A sealed value is ``version (1 byte) | nonce (12 bytes) | ciphertext and tag``.
- The key under which it is stored is authenticated with it: a value moved to another key does not open.
- Nonces are random; with one master key at most 2**32 values are sealed (SP 800-38D section 8.3). A
  controller that writes 1000 values a second reaches this after 49 days of nothing else, so the sealing key
  is derived anew for every opening of the store (a random salt in front of each value's nonce).
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controller.store.interface import StoreError

VERSION = 1
SALT_BYTES = 16
NONCE_BYTES = 12
KEY_BYTES = 32
_CACHED_KEYS_MAX = 4096


class MasterKey:
    """Seals and opens values; the raw key never leaves it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise StoreError(f"a master key has {KEY_BYTES} bytes, this one has {len(key)}")
        self._key = key
        self._salt = os.urandom(SALT_BYTES)
        self._ciphers: dict[bytes, AESGCM] = {}

    @classmethod
    def load(cls, path: Path) -> "MasterKey":
        """Read the key from a file, which is made with mode 0600 where it does not exist.

        Raises:
            StoreError: the file has another length.
        """
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            pass
        key = os.urandom(KEY_BYTES)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return cls(key)

    def seal(self, name: str, value: bytes) -> bytes:
        """Seal a value that is stored under ``name``."""
        nonce = os.urandom(NONCE_BYTES)
        header = bytes((VERSION,)) + self._salt
        return header + nonce + self._cipher(self._salt).encrypt(nonce, value, header + name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Open what `seal` made for the same name.

        Raises:
            StoreError: another master key, another name, or damaged bytes.
        """
        header, nonce, body = (
            sealed[: 1 + SALT_BYTES],
            sealed[1 + SALT_BYTES : 1 + SALT_BYTES + NONCE_BYTES],
            sealed[1 + SALT_BYTES + NONCE_BYTES :],
        )
        if len(nonce) != NONCE_BYTES or header[0] != VERSION:
            raise StoreError(f"{name}: not a sealed value of version {VERSION}")
        try:
            return self._cipher(header[1:]).decrypt(nonce, body, header + name.encode())
        except InvalidTag as error:
            raise StoreError(f"{name}: does not open with this master key") from error

    def _cipher(self, salt: bytes) -> AESGCM:
        cipher = self._ciphers.get(salt)
        if cipher is None:
            if len(self._ciphers) >= _CACHED_KEYS_MAX:
                self._ciphers.clear()
            derived = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=b"hotswitch store").derive(self._key)
            cipher = self._ciphers[salt] = AESGCM(derived)
        return cipher
