"""``hotswitch machine ...``: who there is and who may join."""

from typing import Annotated

import typer

from controller.cli.options import Data, DryRun, Json
from controller.cli.output import call, megabytes, print_json, say, table

app = typer.Typer(help="Machines of the cluster.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Id or name of the machine.")]


@app.command("add")
def add(
    name: Annotated[str, typer.Option(help="Name of the machine; none: the machine says.")] = "",
    pool: Annotated[str, typer.Option(help="Pool that it joins.")] = "default",
    address: Annotated[str, typer.Option(help="Address where its services are reached; none: the machine says.")] = "",
    public: Annotated[bool, typer.Option(help="It can bind the address that users know.")] = False,
    user_data: Annotated[bool, typer.Option("--user-data", help="Print cloud-init user data instead of the command.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Invite a machine: prints the command that makes it join, good for one machine and 15 minutes."""
    answer = call(data, "POST", "/v1/machines", {"name": name, "pool": pool, "address": address, "public": public})
    if json:
        print_json(answer)
    elif user_data:
        print(answer["user_data"], end="")
    else:
        say("Run this on the machine within 15 minutes; it works once:")
        print(answer["command"])


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """All machines."""
    machines = call(data, "GET", "/v1/machines")
    if json:
        print_json(machines)
        return
    table(
        ["NAME", "POOL", "PLATFORM", "STATE", "ADDRESS", "SERVICES", "MEMORY", "ID"],
        [
            [
                each["name"],
                each["pool"],
                f"{each['platform']} -> {each['target']}" if each["target"] else each["platform"],
                f"{each['state']} ({each['phase']})" if each["phase"] else each["state"],
                each["address"],
                ", ".join(service["kind"] for service in each["services"]),
                megabytes(each["memory_bytes"]),
                each["id"],
            ]
            for each in machines
        ],
    )


@app.command("show")
def show(machine: Name, data: Data = None, json: Json = False) -> None:
    """One machine with its services."""
    found = call(data, "GET", f"/v1/machines/{machine}")
    if json:
        print_json(found)
        return
    print(f"{found['name']}  {found['platform']}  {found['state']}  {found['address']}  pool {found['pool']}  {found['id']}")
    print(f"document: generation {found['desired']}, accepted {found['accepted']}, applied {found['applied']}")
    for condition in found["conditions"]:
        print(f"! {condition}")
    table(
        ["SERVICE", "STATE", "INTENT", "PLATFORM", "PORT", "CARRIES", "RESTARTS", "PID", "CONFIGURATION", "HOME"],
        [
            [
                each["id"] + (" *" if each["public"] else ""),
                each["state"],
                each["intent"],
                each["platform"],
                each["port"] or "",
                each["remaining"],
                each["restarts"],
                each["pid"] or "",
                f"{each['applied']}/{each['desired']}",
                each["home"],
            ]
            for each in found["services"]
        ],
    )


@app.command("drain")
def drain(
    machine: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take services again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even the last one.")] = False,
    dry_run: DryRun = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Let a machine's services go elsewhere."""
    answer = call(data, "POST", f"/v1/machines/{machine}/drain", {"drain": not undo, "force": force}, dry_run=dry_run or None)
    if json or dry_run:
        print_json(answer)
    else:
        say(f"{answer['name']} is {answer['state']}")


@app.command("remove")
def remove(
    machine: Name,
    force: Annotated[bool, typer.Option("--force", help="Even while it runs services.")] = False,
    dry_run: DryRun = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Take a machine out of the cluster; its keys are worth nothing from then on."""
    answer = call(data, "DELETE", f"/v1/machines/{machine}", force=force, dry_run=dry_run or None)
    if json or dry_run:
        print_json(answer)
    else:
        say(f"{answer['name']} is no part of the cluster any more")
