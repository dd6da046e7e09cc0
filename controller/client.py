"""A client of the controller's API, on the standard library alone: it starts quickly.

It finds the cluster by ``HOTSWITCH_API`` and ``HOTSWITCH_TOKEN``, else by the running one's data folder.
"""

import http.client
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 30.0
ANSWER_BYTES_MAX = 64 << 20


class ApiError(Exception):
    """The API refused, or cannot be reached; ``problem`` is the problem details object, if there was one."""

    def __init__(self, message: str, status: int = 0, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}

    @property
    def code(self) -> str:
        """Last part of the problem's type; empty: not a problem of the API."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Client:
    """One API, one token."""

    def __init__(self, api: str, token: str) -> None:
        parts = urllib.parse.urlsplit(api)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiError(f"{api!r} is no API address: http://host:port is expected")
        self.api = api
        self._token = token
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")

    @classmethod
    def find(cls, data: Path | None = None) -> "Client":
        """The cluster of the environment, else the one that runs in the data folder.

        Raises:
            ApiError: there is none.
        """
        api, token = os.environ.get("HOTSWITCH_API", ""), os.environ.get("HOTSWITCH_TOKEN", "")
        if api and token and data is None:
            return cls(api, token)
        folder = data or _default_folder()
        try:
            running = json.loads((folder / "running.json").read_bytes())
            return cls(api or running["api"], token or running["token"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ApiError(
                f"no cluster runs in {folder}: start one with 'hotswitch up', or set HOTSWITCH_API and HOTSWITCH_TOKEN"
            ) from None

    def get(self, path: str, **query: Any) -> Any:
        """Answer of a GET.

        Raises:
            ApiError: refused, or not reached.
        """
        return self.call("GET", path, query=query)

    def call(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        """Answer of a request, from JSON.

        Raises:
            ApiError: refused, or not reached.
        """
        connection = self._connect(TIMEOUT_SECONDS)
        try:
            answer = self._request(connection, method, path, body, query)
            data = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self.api} cannot be reached: {error}") from error
        finally:
            connection.close()
        return json.loads(data) if data else None

    def events(self, since: int | None = None) -> Iterator[tuple[str, str, Any]]:
        """What happens, as (id, event, data), without end.

        Raises:
            ApiError: refused, or the connection was lost.
        """
        connection = self._connect(60.0)
        try:
            answer = self._request(connection, "GET", "/v1/events", None, {} if since is None else {"since": since})
            fields: dict[str, str] = {}
            while True:
                line = answer.readline(1 << 20)
                if not line:
                    return
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if text:
                    name, _, value = text.partition(":")
                    if name:
                        value = value.removeprefix(" ")
                        fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
                elif fields:
                    if fields.get("data"):
                        yield fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])
                    fields = {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"{self.api}: the stream was lost: {error}") from error
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _request(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, query: dict[str, Any] | None
    ) -> http.client.HTTPResponse:
        pairs = {key: str(value).lower() if isinstance(value, bool) else value for key, value in (query or {}).items() if value is not None}
        target = self._prefix + path + (f"?{urllib.parse.urlencode(pairs)}" if pairs else "")
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self.api} cannot be reached: {error}") from error
        if answer.status >= 400:
            raise _refusal(answer)
        return answer


def _refusal(answer: http.client.HTTPResponse) -> ApiError:
    try:
        problem = json.loads(answer.read(1 << 20))
        if not isinstance(problem, dict):
            raise ValueError
    except ValueError:
        return ApiError(f"the API answered {answer.status} {answer.reason}", answer.status)
    message = str(problem.get("detail") or problem.get("title") or answer.reason)
    for each in problem.get("errors", []):
        message += f"\n  {each.get('path', '')}: {each.get('message', '')}"
    return ApiError(message, answer.status, problem)


def _default_folder() -> Path:
    root = os.environ.get("XDG_DATA_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".local" / "share") / "hotswitch"
