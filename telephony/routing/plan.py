"""The dial plan: what a dialled user part, or a dialled domain, means.

Rules:
- Lines for domains (``@example.org``) come first, then a user's own name, then the other lines in their order; the first
  match wins. In a pattern ``X`` stands for any one digit, everything else for itself.
- ``outside`` is for the users that the line names; for everybody else, and for guests, it is `REFUSED`: we are no open relay.
"""

from telephony.config import Route
from telephony.sip.uri import Uri

OUTSIDE = "outside"
TRANSPORTS = ("", "udp", "tcp", "tls")
"""Over which a trunk is reached. WebSocket is for clients that can open no other connection (RFC 7118)."""
REFUSED = "refused"
"""In place of an action: the caller may not use the line."""
ACTIONS = frozenset({"user", "conference", "queue", "echo", "music", OUTSIDE})


def matches(pattern: str, user: str) -> bool:
    """Whether a user part fits a pattern."""
    return len(pattern) == len(user) and all(
        (mine == "X" and other.isascii() and other.isdigit()) or mine == other for mine, other in zip(pattern, user, strict=True)
    )


class Plan:
    """A dial plan ready to be asked.

    Raises:
        ValueError: a route has an unknown action, no pattern, or an ``outside`` without a URI or callers.
    """

    def __init__(self, users: list[str], routes: list[Route]) -> None:
        for route in routes:
            if route.action not in ACTIONS or not route.pattern:
                raise ValueError(f"route {route.pattern!r}: expected one of {', '.join(sorted(ACTIONS))}, came {route.action!r}")
            if route.action == OUTSIDE:
                _check_outside(route)
            elif route.pattern[0] == "@":
                raise ValueError(f"route {route.pattern!r}: a domain is outside")
        self._users = frozenset(users)
        self._exact: dict[str, Route] = {}
        self._domains: dict[str, Route] = {}
        self._patterns: list[Route] = []
        for route in routes:
            if route.pattern[0] == "@":
                self._domains.setdefault(route.pattern[1:].lower(), route)
            elif "X" not in route.pattern and not any(matches(earlier.pattern, route.pattern) for earlier in self._patterns):
                self._exact.setdefault(route.pattern, route)
            else:
                self._patterns.append(route)

    def find(self, user: str, host: str = "", caller: str = "") -> tuple[str, str] | None:
        """Action and its target; None: nothing is known under this number.

        Args:
            user: user part that was dialled, without escapes.
            host: host that was dialled, lower case.
            caller: user who dials; empty: a guest.
        """
        route = self._domains.get(host)
        if route is None:
            if user in self._users:
                return "user", user
            route = self._exact.get(user)
        if route is None:
            route = next((route for route in self._patterns if matches(route.pattern, user)), None)
        if route is None:
            return None
        if route.action == OUTSIDE:
            return (OUTSIDE, _outside(route, user, host)) if _permits(route, caller, self._users) else (REFUSED, "")
        return route.action, route.target or user


def _permits(route: Route, caller: str, users: frozenset[str]) -> bool:
    return caller in users and any(pattern == "*" or matches(pattern, caller) for pattern in route.callers)


def _outside(route: Route, user: str, host: str) -> str:
    """URI that is called."""
    if not route.target:
        return str(Uri.of(user, host))
    trunk = Uri.parse(route.target)
    return route.target if trunk.user else str(trunk._replace(user=Uri.of(user, "").user))


def _check_outside(route: Route) -> None:
    if not route.callers:
        raise ValueError(f"route {route.pattern!r}: outside needs callers")
    if not route.target and route.pattern[0] != "@":
        raise ValueError(f"route {route.pattern!r}: outside needs the URI of a trunk")
    if route.target and not Uri.parse(route.target).is_sip:
        raise ValueError(f"route {route.pattern!r}: {route.target!r} is no sip URI")
    if route.target and Uri.parse(route.target).transport not in TRANSPORTS:
        raise ValueError(f"route {route.pattern!r}: a trunk is reached over udp, tcp or tls, not as {route.target!r} says")
