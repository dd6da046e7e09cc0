"""Reading of a desired state from TOML: unknown keys and wrong types are refused with path and line."""

import re
import tomllib
from typing import Any

import msgspec

from controller.desired import Desired

DOCUMENT_BYTES_MAX = 1 << 20
_PATH = re.compile(r" - at `(?:key in )?\$?([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")


class DocumentError(Exception):
    """The document cannot be used; ``line`` counts from 1, 0: unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read(data: bytes) -> Any:
    """The document as plain values, checked.

    Raises:
        DocumentError: not TOML, an unknown key, a value of the wrong type.
    """
    if len(data) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"at most {DOCUMENT_BYTES_MAX} bytes")
    try:
        text = data.decode()
        plain = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise DocumentError("not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise DocumentError(str(error), int(line[1]) if line else 0) from error
    try:
        msgspec.convert(plain, Desired)
    except msgspec.ValidationError as error:
        raise _explain(str(error), text, plain) from error
    return plain


def _explain(message: str, text: str, plain: Any) -> DocumentError:
    at = _PATH.search(message)
    path = at[1].removeprefix(".") if at else ""
    unknown = _UNKNOWN.search(message)
    if "[...]" in path:
        path = _which(path, plain, message)
    what = message[: at.start()] if at else message
    if unknown:
        path = f"{path}.{unknown[1]}" if path else unknown[1]
        what = "unknown key"
    return DocumentError(f"{path}: {what}", line_of(text, path))


def _which(path: str, plain: Any, message: str) -> str:
    """msgspec says ``[...]`` for any entry of a list: find the one that is wrong."""
    section = path.split("[", 1)[0]
    entries = plain.get(section)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        try:
            msgspec.convert({section: [entry]}, Desired)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return path.replace("[...]", f"[{index}]", 1)
    return path


def line_of(text: str, path: str) -> int:
    """Line of a key (or of the nearest table around it), from 1; 0: not found.

    A path is as in ``cluster.drain_seconds`` or ``routes[2].pattern``.
    """
    wanted = [part for part in re.split(r"\.|(\[\d+\])", path) if part]
    best, best_length = 0, 0
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = _parts(header[2])
            if header[1] == "[[":
                name = ".".join(table)
                counts[name] = counts.get(name, -1) + 1
                table = [*table, f"[{counts[name]}]"]
            here = table
        elif key := _KEY.match(line):
            here = [*table, *_parts(key[1])]
        else:
            continue
        length = 0
        for ours, theirs in zip(here, wanted, strict=False):
            if ours != theirs:
                break
            length += 1
        if length == len(here) and length > best_length:
            best, best_length = number, length
    return best


def _parts(dotted: str) -> list[str]:
    return [next(group for group in found.groups() if group is not None) for found in _PART.finditer(dotted)]
