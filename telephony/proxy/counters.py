"""What a proxy counts, for whoever watches it."""


class Counters:
    """Numbers since the start of the process."""

    __slots__ = ("banned", "broken", "challenged", "dropped", "failed", "forwarded", "received", "refused", "registered")

    def __init__(self) -> None:
        self.received = 0
        """Messages from the network."""
        self.broken = 0
        """Messages that could not be read."""
        self.banned = 0
        """Messages that were not read: their source is banned, or turned out to be a scanner."""
        self.failed = 0
        """Requests whose credentials proved the wrong secret."""
        self.dropped = 0
        """ACKs and responses that belong to nothing."""
        self.forwarded = 0
        """Requests passed on."""
        self.challenged = 0
        """Requests answered by a challenge."""
        self.refused = 0
        """Requests answered by a failure of ours, challenges included."""
        self.registered = 0
        """Registrations carried out."""
