"""Keys: what they are made of, what they refuse, how they are kept."""

from pathlib import Path

import pytest

from agent.wire.files import write_private
from agent.wire.keys import SEAL_OVERHEAD_BYTES, Identity, KeyFormatError, MachineKeys, SealError, SecurityKey, machine_id, seal, verify


def test_an_identity_signs_and_is_known_by_its_hash() -> None:
    identity = Identity.generate()
    assert Identity(identity.secret_bytes()).public == identity.public
    assert identity.id == machine_id(identity.public)
    assert len(identity.id) == 25 and identity.id.isalnum() and identity.id.startswith("m")
    signature = identity.sign(b"said")
    assert verify(identity.public, signature, b"said")
    assert not verify(identity.public, signature, b"other")
    assert not verify(Identity.generate().public, signature, b"said")
    assert not verify(b"short", signature, b"said")
    with pytest.raises(KeyFormatError, match="32 secret bytes, got 3"):
        Identity(b"abc")


def test_only_the_holder_opens_and_only_in_the_same_context() -> None:
    key = SecurityKey.generate()
    sealed = seal(key.public, b"secret", b"here")
    assert len(sealed) == len(b"secret") + SEAL_OVERHEAD_BYTES
    assert key.open(sealed, b"here") == SecurityKey(key.secret_bytes()).open(sealed, b"here") == b"secret"
    for other, text, context in (
        (SecurityKey.generate(), sealed, b"here"),
        (key, sealed, b"there"),
        (key, sealed[:-1], b"here"),
        (key, b"", b"here"),
        (key, bytes([sealed[0] ^ 1]) + sealed[1:], b"here"),
    ):
        with pytest.raises(SealError):
            other.open(text, context)
    with pytest.raises(KeyFormatError, match="1216 public bytes"):
        seal(b"short", b"", b"")
    with pytest.raises(KeyFormatError):
        seal(b"\xff" * 1216, b"", b"")
    with pytest.raises(KeyFormatError, match="96 secret bytes"):
        SecurityKey(b"short")


def test_keys_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "machine" / "keys"
    keys = MachineKeys.generate()
    keys.store(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    loaded = MachineKeys.load(path)
    assert (loaded.identity.public, loaded.security.public, loaded.transport) == (
        keys.identity.public,
        keys.security.public,
        keys.transport,
    )
    assert sorted(each.name for each in path.parent.iterdir()) == ["keys"]
    path.chmod(0o640)
    with pytest.raises(KeyFormatError, match="expected mode 600, got 640"):
        MachineKeys.load(path)
    write_private(path, b"noise")
    with pytest.raises(KeyFormatError, match="not a key file"):
        MachineKeys.load(path)
    with pytest.raises(FileNotFoundError):
        MachineKeys.load(tmp_path / "nothing")
