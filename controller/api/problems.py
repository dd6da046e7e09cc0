"""Problem details for HTTP APIs (RFC 9457): every error of the API is one.

| code | status |
| --- | --- |
| unauthorized | 401 |
| forbidden | 403 |
| not-found, unknown-bundle | 404 |
| not-allowed | 405 |
| busy, not-ready, last-machine, in-use, exists | 409 |
| too-large | 413 |
| invalid, unknown-platform, bad-name | 422 (400 where the body is not JSON at all) |
| idempotency-key-reused | 422 |
| internal | 500 |
"""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from controller.calculation.replacement import InstructionError
from controller.store import StoreError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hotswitch:problem:"

STATUS: dict[str, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "unknown-bundle": 404,
    "busy": 409,
    "not-ready": 409,
    "last-machine": 409,
    "in-use": 409,
    "exists": 409,
    "too-large": 413,
    "invalid": 422,
    "unknown-platform": 422,
    "bad-name": 422,
    "idempotency-key-reused": 422,
    "internal": 500,
    "unavailable": 503,
}
_BY_STATUS = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "not-allowed",
    413: "too-large",
    422: "invalid",
}


AnyRequest = Request[Any, Any, Any]


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem details object (RFC 9457 section 3)."""

    type: str
    """URN of the problem's kind; the last part is its code."""
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    """Path of the request."""
    errors: list[dict[str, str]] = []
    """Parts of the request that are wrong: ``path`` and ``message``."""


class ProblemError(Exception):
    """An error that a handler answers with."""

    def __init__(self, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.errors = errors or []


def response(request: AnyRequest, code: str, status: int, detail: str, errors: list[dict[str, str]]) -> Response[Any]:
    """The answer that carries a problem."""
    problem = Problem(
        type=TYPE_PREFIX + code,
        title=code.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=errors,
    )
    headers = {"WWW-Authenticate": 'Bearer realm="hotswitch"'} if status == 401 else {}
    return Response(content=msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def handle(request: AnyRequest, error: Exception) -> Response[Any]:
    """Any exception as a problem."""
    if isinstance(error, InstructionError):
        return response(request, error.code, STATUS.get(error.code, 409), str(error), [])
    if isinstance(error, ProblemError):
        return response(request, error.code, STATUS.get(error.code, 400), str(error), error.errors)
    if isinstance(error, ValidationException):
        return response(request, "invalid", 422, error.detail, _errors(error.extra))
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "bad-request")
        detail = error.detail if error.status_code < 500 else "the controller could not do this; see its log"
        return response(request, code, error.status_code, detail, [])
    if isinstance(error, StoreError):
        return response(request, "unavailable", 503, "the state cannot be written now", [])
    request.app.logger.error("unexpected error", exc_info=error) if request.app.logger else None
    return response(request, "internal", 500, "the controller could not do this; see its log", [])


def _errors(extra: Any) -> list[dict[str, str]]:
    entries = extra if isinstance(extra, list) else []
    return [{"path": str(each.get("key", "")), "message": str(each.get("message", ""))} for each in entries if isinstance(each, dict)]
