"""What commands print: results to standard output, words for people to standard error; exit codes 0 done, 1 failed, 2 wrong use."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from controller.client import Client

FAILED = 1
WRONG_USE = 2


def say(text: str) -> None:
    """A message for people; where nobody can read it any more, nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def fail(text: str, code: int = FAILED) -> NoReturn:
    """End the command with a message."""
    import typer

    say(f"hotswitch: {text}")
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """One line of JSON."""
    print(json.dumps(value), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output; plain text where it is no terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)


def _cell(value: object) -> str:
    from rich.markup import escape

    return escape("" if value is None else str(value))


def client(data: Path | None) -> "Client":
    """The API of the cluster that is meant, or the end of the command."""
    from controller.client import ApiError, Client

    try:
        return Client.find(data)
    except ApiError as error:
        fail(str(error))


def call(data: Path | None, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """One request to the API, or the end of the command."""
    from controller.client import ApiError

    try:
        return client(data).call(method, path, body, query)
    except ApiError as error:
        fail(str(error))


def megabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / (1 << 20):.0f} MiB"
