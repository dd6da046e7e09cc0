"""All commands."""

import sys

import typer

from controller.cli import cluster, machines, parts, switching, up

app = typer.Typer(
    name="hotswitch",
    help="A telephony cluster in a box, whose machines are switched between voice, messaging and video while they run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("broker")(parts.broker)
app.command("controller")(parts.controller)
app.command("agent")(parts.agent)
app.add_typer(machines.app, name="machine")
app.command("switch")(switching.switch)
app.command("plan")(switching.plan)
app.command("apply")(switching.apply)
app.command("status")(cluster.status)
app.command("events")(cluster.events)
app.command("calls")(cluster.calls)
app.add_typer(cluster.bundle, name="bundle")
app.command("call", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(parts.call)
app.command("loadtest", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(parts.loadtest)


def run() -> None:
    """Run the command line; never returns."""
    try:
        app(prog_name="hotswitch")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
