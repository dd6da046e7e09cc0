"""The dial plan: what a dialled user part means.

Rules: a user's own name comes first, then the routes in their order; the first match wins. In a pattern ``X`` stands
for any one digit, everything else for itself.
"""

from telephony.config import Route

ACTIONS = frozenset({"user", "conference", "queue", "echo", "music"})


def matches(pattern: str, user: str) -> bool:
    """Whether a user part fits a pattern."""
    return len(pattern) == len(user) and all(
        (mine == "X" and other.isascii() and other.isdigit()) or mine == other for mine, other in zip(pattern, user, strict=True)
    )


class Plan:
    """A dial plan ready to be asked.

    Raises:
        ValueError: a route has an unknown action or no pattern.
    """

    def __init__(self, users: list[str], routes: list[Route]) -> None:
        for route in routes:
            if route.action not in ACTIONS or not route.pattern:
                raise ValueError(f"route {route.pattern!r}: expected one of {', '.join(sorted(ACTIONS))}, came {route.action!r}")
        self._users = frozenset(users)
        self._exact: dict[str, Route] = {}
        self._patterns: list[Route] = []
        for route in routes:
            if "X" not in route.pattern and not any(matches(earlier.pattern, route.pattern) for earlier in self._patterns):
                self._exact.setdefault(route.pattern, route)
            else:
                self._patterns.append(route)

    def find(self, user: str) -> tuple[str, str] | None:
        """Action and its target; None: nothing is known under this number."""
        if user in self._users:
            return "user", user
        route = self._exact.get(user)
        if route is None:
            route = next((route for route in self._patterns if matches(route.pattern, user)), None)
        if route is None:
            return None
        return route.action, route.target or user
