"""What a machine trusts: its cluster, the controller's identity, the release keys, its brokers. Learned once from the join token.

Rules:
- It is stored when the controller has granted the enrolment, and never changed by what comes over the network.
- A machine that has it needs no token any more; a token of another cluster is refused.
- The highest controller term heard is kept in the journal: an older controller is refused even after a start.
"""

from pathlib import Path

import msgspec

from agent.wire.files import write_private
from agent.wire.token import BrokerAddress, JoinToken


class TrustError(ValueError):
    """The stored trust cannot be read, or does not fit the token."""


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Stored as one file of mode 600."""

    cluster: str
    machine: str
    controller: bytes
    """Identity, 32 bytes."""
    releases: list[bytes]
    """Identities that may sign bundles."""
    brokers: list[BrokerAddress]

    @classmethod
    def of_token(cls, token: JoinToken, machine: str) -> "Trust":
        """What a granted token tells."""
        return cls(cluster=token.cluster, machine=machine, controller=token.controller, releases=token.releases, brokers=token.brokers)

    @classmethod
    def load(cls, path: Path) -> "Trust | None":
        """Read it; None: there is none yet.

        Raises:
            TrustError: the file is not what `store` wrote.
        """
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise TrustError(f"{path}: {error}") from error

    def store(self, path: Path) -> None:
        """Write it durably."""
        write_private(path, msgspec.msgpack.encode(self))

    def check(self, token: JoinToken, machine: str) -> None:
        """Raises:
        TrustError: the token, or the keys, are of another cluster or machine than what is stored.
        """
        if (token.cluster, token.controller) != (self.cluster, self.controller):
            raise TrustError(f"this machine belongs to {self.cluster}; the token is of {token.cluster}")
        if machine != self.machine:
            raise TrustError(f"keys: expected those of {self.machine}, got {machine}")
