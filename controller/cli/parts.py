"""The parts of a cluster each alone, for real machines; and the commands of the load generator."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.output import fail, say

DataFolderOption = Annotated[Path, typer.Option("--data", help="Folder of everything that is kept.")]


def broker(
    controller: Annotated[
        str, typer.Option("--controller", help="CURVE public key of the controller (Z85); 'hotswitch controller' prints it.")
    ],
    data: DataFolderOption,
    host: Annotated[str, typer.Option(help="Address that it binds and that machines reach.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65532, help="First of four TCP ports: publish, subscribe, request, enrol.")] = 7450,
) -> None:
    """Run a message broker; prints what the controller has to be told of it."""
    from controller.broker import run_broker
    from controller.embedded.folder import standalone_broker

    settings = standalone_broker(data, host, port)
    say(f"broker key {settings.curve_public}")
    try:
        code = run_broker(settings.address, settings.key, controller, lambda: say(f"broker listens on {host}, ports {port} to {port + 3}"))
    except OSError as error:
        fail(f"{host}:{port}: {error}")
    raise typer.Exit(code)


def controller(
    data: DataFolderOption,
    broker_key: Annotated[
        str, typer.Option("--broker-key", help="CURVE public key of the broker (Z85); without it the controller only prints its own.")
    ] = "",
    broker_host: Annotated[str, typer.Option(help="Address of the broker, as machines reach it.")] = "127.0.0.1",
    broker_port: Annotated[int, typer.Option(min=1, max=65532, help="First of the broker's four ports.")] = 7450,
    api_host: Annotated[str, typer.Option(help="Address of the API.")] = "127.0.0.1",
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API.")] = 8080,
    address: Annotated[str, typer.Option(help="Address that users know.")] = "127.0.0.1",
    sip_port: Annotated[int, typer.Option(min=1, max=65535, help="SIP port that users know.")] = 5060,
) -> None:
    """Run a controller. A new one has no users and no dial plan: see 'hotswitch apply'."""
    import socket

    from agent.wire.keys import KeyFormatError
    from controller.embedded.controller_process import run_standalone
    from controller.embedded.folder import EmbeddedError, broker_address
    from controller.embedded.sockets import bind
    from controller.founding import Founding, new_token
    from controller.keys import ControllerKeys
    from controller.service import Options
    from controller.store import StoreError

    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        key = ControllerKeys.load(data).transport.public
        say(f"controller key {key}")
        if not broker_key:
            return
        token_file = data / "token"
        fresh = not token_file.exists()
        if fresh:
            from agent.wire.files import write_private

            write_private(token_file, new_token().encode())
        api = bind(api_host, api_port, socket.SOCK_STREAM, "--api-port")
        say(f"API http://{api_host}:{api.getsockname()[1]}, administrator's token in {token_file}")
        founding = Founding(public_host=address, public_port=sip_port, token=token_file.read_text())
        options = Options(folder=data, broker=broker_address(broker_host, broker_port, broker_key), founding=founding)
        raise typer.Exit(run_standalone(options, api))
    except (EmbeddedError, StoreError, KeyFormatError) as error:
        fail(str(error))


def agent(
    data: DataFolderOption,
    join: Annotated[
        str, typer.Option("--join", help="Join token; needed the first time only. Better: --token-file, or HOTSWITCH_JOIN_TOKEN.")
    ] = "",
    token_file: Annotated[Path | None, typer.Option(help="File that holds the join token.", dir_okay=False)] = None,
    name: Annotated[str, typer.Option(help="Name of the machine, where the invitation gives none; none: the host's.")] = "",
    host: Annotated[str, typer.Option(help="Address that its services bind and that others reach, where the invitation gives none.")] = "",
) -> None:
    """Run the agent of a machine: it joins, and runs what the controller sends."""
    from agent.run import run_agent

    code = run_agent(
        data, token=join or None, token_file=token_file, name=name, host=host, ready=lambda id: say(f"machine {id} is enrolled")
    )
    raise typer.Exit(code)


def call(context: typer.Context) -> None:
    """Place a test call; see 'hotswitch call --help'."""
    _load("call", context.args)


def loadtest(context: typer.Context) -> None:
    """Generate load and measure; see 'hotswitch loadtest --help'."""
    _load("loadtest", context.args)


def _load(command: str, arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from loadtest.cli import app

    app([command, *arguments], prog_name="hotswitch")
