"""``hotswitch switch``, ``plan`` and ``apply``: instructions that replace what runs."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.options import Data, DryRun, Json
from controller.cli.output import call, client, fail, print_json, say, table

POLL_SECONDS = 0.25
LOST_SECONDS_MAX = 30.0
"""How long the API may be away while somebody waits: a controller that restarts goes on."""


def switch(
    what: Annotated[str, typer.Argument(metavar="POOL-OR-MACHINE", help="Pool, or machine by name or id.")],
    to: Annotated[str, typer.Option("--to", help="Platform: voice, messaging, ...")],
    drain: Annotated[float | None, typer.Option("--drain", min=0, help="Seconds that calls may go on; none: the cluster's own.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is done, or failed and was reverted.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even the last machine that provides voice.")] = False,
    bundle: Annotated[str, typer.Option("--bundle", help="Software by content hash; none: the platform's current one.")] = "",
    dry_run: DryRun = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Replace the platform of a machine, or of all machines of a pool, while it runs."""
    body: dict[str, Any] = {"platform": to, "force": force}
    if drain is not None:
        body["drain_seconds"] = drain
    if bundle:
        body["bundle"] = bundle
    machines = call(data, "GET", "/v1/machines")
    kind = "machines" if any(what in (each["id"], each["name"]) for each in machines) else "pools"
    operations = call(data, "POST", f"/v1/{kind}/{what}/replace", body, dry_run=dry_run or None)
    if dry_run:
        print_json(operations)
        return
    if not operations:
        say(f"{what} provides {to} already")
    if wait and operations:
        operations = _wait(data, operations, quiet=json)
    if json:
        print_json(operations)
    failed = [each for each in operations if each["failed"]]
    if failed:
        fail("; ".join(f"{each['name']} stays with {each['source']}: {each['error']}" for each in failed))
    if operations and not json:
        say(f"{what} provides {to} now" if wait else f"{what} is being switched to {to}; see 'hotswitch status' or use --wait")


def _wait(data: Path | None, operations: list[dict[str, Any]], quiet: bool) -> list[dict[str, Any]]:
    from controller.client import ApiError

    api = client(data)
    shown: dict[str, str] = {}
    answered = time.monotonic()
    while True:
        try:
            operations = [api.get(f"/v1/operations/{each['id']}") for each in operations]
            answered = time.monotonic()
        except ApiError as error:
            if error.status or time.monotonic() > answered + LOST_SECONDS_MAX:
                fail(str(error))
        for each in operations:
            line = f"{each['name']}: {each['phase']}" + (f", {each['remaining']} left" if each["phase"] == "drain" else "")
            if shown.get(each["id"]) != line:
                shown[each["id"]] = line
                if not quiet:
                    say(line)
        if all(each["done"] for each in operations):
            return operations
        time.sleep(POLL_SECONDS)


File = Annotated[Path, typer.Argument(help="Desired state of the cluster, TOML.", exists=True, dir_okay=False, readable=True)]
Force = Annotated[bool, typer.Option("--force", help="Even the last machine that provides voice.")]


def plan(file: File, force: Force = False, data: Data = None, json: Json = False) -> None:
    """What a file would change."""
    answer = call(data, "POST", "/v1/cluster/plan", _read(file), force=force)
    _show(answer["differences"], json)


def apply(file: File, force: Force = False, dry_run: DryRun = False, data: Data = None, json: Json = False) -> None:
    """Bring the cluster in line with a file."""
    body = _read(file)
    planned = call(data, "POST", "/v1/cluster/plan", body, force=force)
    if dry_run:
        _show(planned["differences"], json)
        return
    answer = call(data, "PUT", "/v1/cluster", body, force=force)
    if json:
        print_json(answer)
    else:
        _show(planned["differences"], json)


def _show(differences: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(differences)
    elif differences:
        rows = [
            [
                {"add": "+", "change": "~", "remove": "-"}[each["action"]],
                each["kind"],
                each["id"],
                ", ".join(f"{key}={value}" for key, value in each["fields"].items()),
            ]
            for each in differences
        ]
        table(["", "WHAT", "ID", "NEW"], rows)
    else:
        say("nothing changes")


def _read(file: Path) -> Any:
    """The file as the API takes it; wrong content ends the command with path and line."""
    from controller.cli.document import DocumentError, read

    try:
        return read(file.read_bytes())
    except DocumentError as error:
        fail(f"{file}:{error.line}: {error}" if error.line else f"{file}: {error}", 2)
