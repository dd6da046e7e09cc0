"""Who may do what: bearer tokens (RFC 6750) and roles.

Rules:
- A token is looked up by its hash; no token is kept. Roles: viewer reads, operator changes what runs, admin changes who may.
- ``/healthz`` and the API's description need no token.
"""

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from controller.api.problems import ProblemError
from controller.founding import token_hash
from controller.service import Service
from controller.state import Access, Role

ServiceDependency = NamedDependency[Service]
"""The running controller, as handlers get it."""

_RANK: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}
TOKEN_CHARACTERS_MAX = 512


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the holder of the request's token."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        header = connection.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_CHARACTERS_MAX:
            raise ProblemError("unauthorized", "this needs a bearer token: Authorization: Bearer ...")
        service = cast(Service, connection.app.state["service"])
        access = service.core.tables.get(Access, token_hash(token))
        if access is None:
            raise ProblemError("unauthorized", "this token is not known here")
        return AuthenticationResult(user=access, auth=token)


def requires(role: Role) -> Any:
    """A guard: the token's role is at least this one."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        held = cast(Access, connection.user).role
        if _RANK[held] < _RANK[role]:
            raise ProblemError("forbidden", f"this needs the role {role}; the token has {held}")

    return guard
