"""``hotswitch status``, ``events``, ``calls`` and ``bundle``: what is going on."""

import time
from typing import Annotated, Any

import typer

from controller.cli.options import Data, Json
from controller.cli.output import call, client, fail, megabytes, print_json, say, table

bundle = typer.Typer(help="Software of the platforms.", no_args_is_help=True)


def status(data: Data = None, json: Json = False) -> None:
    """The cluster at a glance."""
    found = call(data, "GET", "/v1/status")
    machines = call(data, "GET", "/v1/machines")
    if json:
        print_json({**found, "machine_list": machines})
        return
    public = found["public"]
    print(f"{found['state']}: {found['units_ready']} of {found['units']} services healthy on {len(machines)} machines")
    shared = len(public["proxies"]) > 1
    names = ", ".join(f"{proxy} ({share}/{public['shards']})" if shared else proxy for proxy, share in public["proxies"].items())
    served = f"{names or 'nobody'}{'' if public['serving'] else ' (not now)'}"
    print(f"public address {public['host']}:{public['port']}, served by {served}")
    print(f"{found['calls_active']} calls go on, {found['calls_total']} since the controller's start {_ago(found['uptime_seconds'])} ago")
    print(f"memory of all machines {megabytes(found['memory_bytes'])}; {found['unpublished']} changes not acknowledged yet")
    if found["refused"]:
        print("refused: " + ", ".join(f"{count} {reason}" for reason, count in sorted(found["refused"].items())))
    table(
        ["MACHINE", "PLATFORM", "STATE", "SERVICES"],
        [
            [each["name"], each["platform"], each["phase"] or each["state"], " ".join(_mark(service) for service in each["services"])]
            for each in machines
        ],
    )


def _mark(service: dict[str, Any]) -> str:
    return service["id"] if service["state"] == "healthy" else f"{service['id']}({service['state']})"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    since: Annotated[int | None, typer.Option(help="Revision after which to begin; none: now, or what is kept without --follow.")] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """What happens."""
    from controller.client import ApiError

    api = client(data)
    try:
        if follow:
            for id, event, body in api.events(since):
                _event(id, event, body, json)
        else:
            for each in reversed(api.get("/v1/audit", limit=50)):
                if json:
                    print_json(each)
                else:
                    print(
                        f"{_clock(each['at'])}  {each['actor']:12} {each['action']:18} {each.get('subject', '')}  {each.get('detail', '')}"
                    )
    except ApiError as error:
        fail(str(error))
    except KeyboardInterrupt:
        return


def _event(id: str, event: str, body: Any, json: bool) -> None:
    if json:
        print_json({"id": id, "event": event, "data": body})
        return
    name = body.get("name") or body.get("id") or body.get("unit") or ""
    shown = {
        key: body[key]
        for key in ("platform", "state", "phase", "target", "remaining", "proxy", "action", "subject", "detail", "error")
        if body.get(key)
    }
    print(f"{_clock(time.time())}  {event:16} {name}  " + "  ".join(f"{key}={value}" for key, value in shown.items()), flush=True)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def calls(
    ended: Annotated[bool, typer.Option("--ended", help="The latest that ended, instead of those that go on.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Calls that go on."""
    found = call(data, "GET", "/v1/calls", ended=ended)
    if json:
        print_json(found)
        return
    table(
        ["STATE", "SINCE", "ROUTER", "CALL", "DETAIL"],
        [
            [
                each["state"],
                _clock(each["since"]),
                each["router"],
                each["id"],
                " ".join(f"{key}={value}" for key, value in each["detail"].items()),
            ]
            for each in found
        ],
    )


@bundle.command("list")
def bundle_list(data: Data = None, json: Json = False) -> None:
    """Software that the controller has."""
    found = call(data, "GET", "/v1/bundles")
    if json:
        print_json(found)
        return
    table(
        ["PLATFORM", "VERSION", "CURRENT", "SIZE", "CHUNKS", "MACHINES", "HASH"],
        [
            [
                each["platform"],
                each["version"],
                "yes" if each["current"] else "",
                f"{each['size_bytes'] // 1024} KiB",
                each["chunks"],
                len(each["machines"]),
                each["hash"],
            ]
            for each in found
        ],
    )


@bundle.command("build")
def bundle_build(platform: Annotated[str, typer.Argument(help="Platform.")], data: Data = None, json: Json = False) -> None:
    """Build the software of a platform from the installed packages and make it the current one."""
    built = call(data, "POST", "/v1/bundles", {"platform": platform})
    if json:
        print_json(built)
    else:
        say(f"{platform} {built['version']}: {built['size_bytes'] // 1024} KiB")
        print(built["hash"])
