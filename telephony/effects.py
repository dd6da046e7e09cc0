"""What a core asks its shell to do, in order.

A core (proxy, call router, load balancer, ...) opens no socket and reads no clock. Its shell
(`telephony.service`) hands it datagrams, jobs, replies and the time, then takes its effects and
carries them out in the order in which they were given.
"""

from typing import NamedTuple

from telephony.sip.flow import Close as Close
from telephony.sip.flow import Send as Send
from telephony.sip.resolution import Sought


class Ask(NamedTuple):
    """Submit a job to dependents through the load balancer; the answer comes back as `Core.reply`."""

    id: int
    """Chosen by the core, unique within it; names the job in the answer."""
    kind: str
    """Kind of service that shall do it: ``routing``, ``media_processor``, ``resource_database``, ..."""
    operation: str
    """What to do, a word of that service: ``route``, ``offer``, ``bind``, ..."""
    body: bytes
    """msgpack of the operation's request structure."""
    worker: str = ""
    """Id of the one service that must do it (a call's legs stay where they are); empty: any."""
    key: str = ""
    """Affinity: jobs with the same key go to the same service as long as it is there."""
    timeout_seconds: float = 3.0
    """After this the core gets the answer ``timeout``."""


class Reply(NamedTuple):
    """Answer to a job that this service was given."""

    job: int
    """Number of the job, as given in `Core.job`."""
    status: str
    """``ok``, or an error code in lower case: ``not-found``, ``refused``, ``full``, ``retry``, ..."""
    body: bytes
    """msgpack of the operation's response structure, or of an error text."""


class Tell(NamedTuple):
    """Send an event to a service that asked for jobs (DTMF heard, member found, ...)."""

    client: str
    """Id of the service that is told."""
    operation: str
    body: bytes
    """msgpack of the event's structure."""


class Notify(NamedTuple):
    """Report a change to the controller, through the agent."""

    body: dict[str, object]
    """``{"event": "...", ...}``; encoded by the shell."""


class Admit(NamedTuple):
    """Let this share of new INVITEs over UDP through, and drop the others unread: their senders repeat them."""

    share: float
    """0 to 1; 1: all."""
    spared: tuple[str, ...] = ()
    """Numbers of three digits that always get through, as ``urn:`` does: calls for help."""


class Locate(NamedTuple):
    """Find out by DNS where something is reached; the answer comes back as `LocatingCore.located`."""

    id: int
    """Chosen by the core, unique within it; names the resolution in the answer."""
    sought: Sought
    transports: tuple[str, ...]
    """Those that can be used, in the order in which they are preferred."""
    families: tuple[str, ...]
    """Kinds of addresses that can be used: ``A``, ``AAAA`` or both."""


Effect = Send | Close | Ask | Reply | Tell | Notify | Locate | Admit
