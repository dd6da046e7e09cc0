"""Who is told when the state of a queue's member changes.

Bound: `WATCHES_MAX` users are watched; asking for more is ``full``.
"""

from telephony.jobs.resource import WATCH_SECONDS, MemberState
from telephony.resource_database import bindings, busy
from telephony.resource_database.store import Store

WATCHES_MAX = 10_000


def state(store: Store, user: str, now: float) -> MemberState:
    """A user's state as it is now."""
    calls, idle_since = busy.read(store, user, now)
    registered = bool(bindings.read(store, user, now))
    return MemberState(user=user, registered=registered, busy=bool(calls), idle_since=idle_since, calls=calls)


class Watches:
    """Watched users, who watches them, and what they were told last."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[str, float]] = {}
        """User to client to when the watch lapses."""
        self._told: dict[str, MemberState] = {}

    def watch(self, client: str, states: list[MemberState], now: float) -> bool:
        """Watch users whose states the client is told now; False: too many are watched."""
        for member in states:
            if member.user not in self._watchers and len(self._watchers) >= WATCHES_MAX:
                return False
            self._watchers.setdefault(member.user, {})[client] = now + WATCH_SECONDS
            self._told.setdefault(member.user, member)
        return True

    def changed(self, store: Store, users: list[str], now: float) -> list[tuple[str, MemberState]]:
        """Look at users again; who (client) is to be told what."""
        told: list[tuple[str, MemberState]] = []
        for user in users:
            watchers = self._watchers.get(user)
            if watchers is None:
                continue
            for client in [client for client, until in watchers.items() if until <= now]:
                del watchers[client]
            if not watchers:
                del self._watchers[user], self._told[user]
                continue
            member = state(store, user, now)
            if member != self._told[user]:
                self._told[user] = member
                told += [(client, member) for client in watchers]
        return told

    def users(self) -> list[str]:
        """All that are watched."""
        return list(self._watchers)
