"""Where machines come from: something that boots a machine with a join token and can end it again.

The controller never needs a provider: a machine that starts an agent with a join token, wherever it stands, becomes part of the cluster.
A provider only saves its operator the clicks.
"""

from typing import NamedTuple, Protocol


class MachineRequest(NamedTuple):
    """A machine that is wanted."""

    name: str
    join_token: str
    """Empty: the machine has joined before and keeps its identity."""


class Booted(NamedTuple):
    """A machine that a provider runs."""

    name: str
    address: str
    """Where its services are reached."""


class ProviderError(Exception):
    """A machine cannot be booted; the message says why."""


class Provider(Protocol):
    """Boots and ends machines."""

    def boot(self, request: MachineRequest) -> Booted:
        """Start a machine; it joins by itself.

        Raises:
            ProviderError: it does not start.
        """

    def remembers(self, name: str) -> bool:
        """Whether a machine of this name has joined before: it needs no token."""

    def machines(self) -> list[Booted]:
        """Machines that run."""

    def terminate(self, name: str) -> None:
        """End a machine and all that it runs."""
