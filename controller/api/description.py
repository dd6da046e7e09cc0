"""The API's description for people: one page made here, without scripts, fonts or anything from elsewhere.

Programs read ``/docs/openapi.json``.
"""

from html import escape
from typing import TYPE_CHECKING, Any

from litestar.openapi.plugins import OpenAPIRenderPlugin

if TYPE_CHECKING:
    from litestar.connection import Request

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
h2 { margin-top: 2.5rem; text-transform: capitalize } details { border-top: 1px solid #ddd; padding: .4rem 0 }
summary { cursor: pointer } code, pre { font: 13px/1.4 ui-monospace, monospace } pre { background: #f4f4f4; padding: .6rem; overflow: auto }
b { display: inline-block; width: 4.5rem } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } pre { background: #222 } details { border-color: #333 } }
"""


class PagePlugin(OpenAPIRenderPlugin):
    """Renders the description as one page."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: "Request[Any, Any, Any]", openapi_schema: dict[str, Any]) -> bytes:
        return page(openapi_schema).encode()


def page(schema: dict[str, Any]) -> str:
    """A description (OpenAPI 3.1) as HTML."""
    groups: dict[str, list[str]] = {}
    for path, methods in schema.get("paths", {}).items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "responses" in operation:
                group = (operation.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append(_operation(schema, method, path, operation))
    info = schema.get("info", {})
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(entries)}" for name, entries in sorted(groups.items()))
    title = f"{escape(str(info.get('title', '')))} {escape(str(info.get('version', '')))}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>{escape(str(info.get('description', '')))}</p>"
        "<p>Every request carries <code>Authorization: Bearer TOKEN</code>. Errors are problem details (RFC 9457). What changes something "
        "takes the header <code>Idempotency-Key</code> and <code>?dry_run=true</code>. "
        "For programs: <a href=/docs/openapi.json>openapi.json</a>.</p>"
        f"{body}</html>"
    )


def _operation(schema: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = []
    parameters = [each for each in operation.get("parameters", []) if isinstance(each, dict)]
    if parameters:
        cells = ([each["name"], each["in"], str(each.get("description", ""))] for each in parameters)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}" for row in cells)
        parts.append(f"<table>{rows}</table>")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if content:
        parts.append(f"<p>Body<pre>{escape(_shape(schema, content))}</pre>")
    for status, answer in operation.get("responses", {}).items():
        shown = answer.get("content", {}).get("application/json", {}).get("schema") if status.startswith("2") else None
        if shown:
            parts.append(f"<p>Answer {escape(status)}<pre>{escape(_shape(schema, shown))}</pre>")
    summary = escape(str(operation.get("summary", "")))
    return f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {summary}</summary>{''.join(parts)}</details>"


def _shape(schema: dict[str, Any], part: dict[str, Any], depth: int = 0) -> str:
    """A schema in a few lines."""
    if depth > 5:
        return "..."
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return _shape(schema, schema.get("components", {}).get("schemas", {}).get(name, {}), depth)
    if part.get("oneOf"):
        return " | ".join(_shape(schema, each, depth + 1) for each in part["oneOf"])
    kind = part.get("type", "any")
    if kind == "array":
        return f"[{_shape(schema, part.get('items', {}), depth)}, ...]"
    if kind == "object" and part.get("properties"):
        pad = "  " * (depth + 1)
        required = set(part.get("required", ()))
        lines = [
            f"{pad}{name}{'' if name in required else '?'}: {_shape(schema, each, depth + 1)}" for name, each in part["properties"].items()
        ]
        return "{\n" + "\n".join(lines) + "\n" + "  " * depth + "}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
