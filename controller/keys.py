"""Keys of the controller, in its data folder: identity, transport key, and the release key beside them.

The release key signs bundles and nothing else; it may live on another host, where `hotswitch bundle build` runs. The controller
then has its public half alone, and bundles are handed to it.
"""

from pathlib import Path
from typing import NamedTuple, Self

from agent.wire.files import write_private
from agent.wire.keys import Identity, KeyFormatError, MachineKeys, TransportKey

CONTROLLER_FILE = "controller.key"
RELEASE_FILE = "release.key"
_RELEASE_BYTES = 32


class ControllerKeys(NamedTuple):
    """What the controller signs and connects with."""

    identity: Identity
    transport: TransportKey

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them from a data folder; they are made where they are missing.

        Raises:
            KeyFormatError: a file that others may read, or that is none.
        """
        path = folder / CONTROLLER_FILE
        try:
            keys = MachineKeys.load(path)
        except FileNotFoundError:
            keys = MachineKeys.generate()
            keys.store(path)
        return cls(keys.identity, keys.transport)


def load_release_key(folder: Path) -> Identity:
    """The release key of a folder; it is made where it is missing.

    Raises:
        KeyFormatError: the file is none.
    """
    path = folder / RELEASE_FILE
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        identity = Identity.generate()
        write_private(path, identity.secret_bytes())
        return identity
    if len(secret) != _RELEASE_BYTES:
        raise KeyFormatError(f"{path}: expected {_RELEASE_BYTES} bytes, got {len(secret)}")
    return Identity(secret)
