"""The callers who wait in one queue, first come first."""

from bisect import insort


class Caller:
    """One caller; its place is renewed by its router."""

    __slots__ = ("call", "heard_at", "joined_at", "offer", "offered_at", "router")

    def __init__(self, call: str, router: str, joined_at: float, now: float) -> None:
        self.call = call
        self.router = router
        self.joined_at = joined_at
        """Unix time in seconds: the order."""
        self.heard_at = now
        self.offer = 0
        """Offer under way; 0: none."""
        self.offered_at = 0.0
        """When the router was last told of it."""


class Waiting:
    """Callers in the order of ``joined_at``, then of their names."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._callers)

    def get(self, call: str) -> Caller | None:
        return self._callers.get(call)

    def add(self, caller: Caller) -> None:
        """Put a caller in its place; one of the same name leaves first."""
        self.remove(caller.call)
        self._callers[caller.call] = caller
        insort(self._order, (caller.joined_at, caller.call))

    def remove(self, call: str) -> Caller | None:
        """The caller leaves; None if it was not there."""
        caller = self._callers.pop(call, None)
        if caller is not None:
            self._order.remove((caller.joined_at, call))
        return caller

    def position(self, call: str) -> int:
        """Place in the queue, 1 is next; 0: not there."""
        caller = self._callers.get(call)
        return 0 if caller is None else self._order.index((caller.joined_at, call)) + 1

    def without_offer(self) -> list[Caller]:
        """Who can be offered, in order."""
        return [caller for _, call in self._order if not (caller := self._callers[call]).offer]

    def not_heard_since(self, time: float) -> list[Caller]:
        """Whose routers have not renewed them since then."""
        return [caller for caller in self._callers.values() if caller.heard_at < time]
