"""Commands of the load generator: `hotswitch call` and `hotswitch loadtest`.

Exit codes: 0 done (audio came back, no call failed), 1 not so, 2 wrong use. Results go to standard output, the rest to standard error.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Test calls and load.")
errors = Console(stderr=True, highlight=False)

User = Annotated[str, typer.Option(help="Call as this user; without it, as a guest.")]
Password = Annotated[str, typer.Option(envvar="HOTSWITCH_SIP_PASSWORD", help="Password of that user.")]
Proxy = Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Send requests there instead of to the target's host.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command()
def call(
    target: Annotated[str, typer.Argument(metavar="URI", help="Whom to call: sip:9196@127.0.0.1")],
    duration: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds to talk.")] = 4.0,
    user: User = "",
    password: Password = "",
    proxy: Proxy = "",
    play: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="WAV to say instead of the tones.")] = None,
    record: Annotated[Path | None, typer.Option(dir_okay=False, help="WAV to write what was heard to.")] = None,
    as_json: Json = False,
) -> None:
    """Place a test call: speak, listen, and report set-up time, loss, jitter, round trip and MOS; exit 0 only when audio came back."""
    from loadtest import sound
    from loadtest.call import TestCall, Wish, WishError

    try:
        said = sound.read(play) if play is not None else None
        report = TestCall(Wish(target, duration, user, password, proxy, said)).run()
    except (WishError, ValueError) as error:
        errors.print(f"hotswitch call: {error}", markup=False)
        raise typer.Exit(2) from error
    except OSError as error:
        errors.print(f"hotswitch call: {target}: {error}", markup=False)
        raise typer.Exit(1) from error
    if record is not None:
        sound.write(record, report.heard)
    values = {one.name: getattr(report, one.name) for one in fields(report) if one.name != "heard"} | {"audio": report.audio}
    if as_json:
        typer.echo(json.dumps({name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}))
    else:
        Console(highlight=False).print(_table(values))
    raise typer.Exit(0 if report.audio else 1)


def _table(value: dict[str, Any]) -> Table:
    def show(number: float | None, unit: str, factor: float = 1.0, digits: int = 1) -> str:
        return "-" if number is None else f"{number * factor:.{digits}f} {unit}".rstrip()

    table = Table(title=f"Call to {value['target']}", show_header=False, title_justify="left")
    table.add_row("result", f"{value['status']} {value['reason']}" if value["status"] else value["reason"] or "no answer")
    table.add_row("set-up", show(value["set_up_seconds"], "ms", 1000))
    table.add_row("first audio after the answer", show(value["first_audio_seconds"], "ms", 1000))
    table.add_row("audio came back", ("yes, our own" if value["echo"] else "yes") if value["audio"] else "no")
    table.add_row("round trip of the sound", show(value["round_trip_ms"], "ms"))
    table.add_row("level said, heard", f"{value['level_said']:.1f}, {value['level_heard']:.1f} dBFS")
    table.add_row("packets sent, received, lost", f"{value['packets_sent']}, {value['packets_received']}, {value['packets_lost']}")
    table.add_row("loss", show(value["loss_percent"], "%", digits=2))
    table.add_row("longest pause", show(value["gap_max_ms"], "ms"))
    table.add_row("jitter, most", f"{show(value['jitter_ms'], 'ms', digits=2)}, {show(value['jitter_max_ms'], 'ms', digits=2)}")
    table.add_row("MOS (E-model)", show(value["mos"], "", digits=2))
    table.add_row("codec, media", f"{value['codec'] or '-'}, {value['media'] or '-'}")
    return table


@app.command()
def loadtest(
    target: Annotated[str, typer.Argument(metavar="URI", help="Whom to call: sip:9196@127.0.0.1")],
    rate: Annotated[float, typer.Option(min=0.1, max=5000, help="Calls a second that begin, whatever became of those before.")] = 10.0,
    calls: Annotated[int, typer.Option(min=1, max=1_000_000, help="Calls in all.")] = 100,
    duration: Annotated[float, typer.Option(min=0.0, max=3600, help="Seconds that each call talks.")] = 2.0,
    user: User = "",
    password: Password = "",
    proxy: Proxy = "",
    as_json: Json = False,
) -> None:
    """Place many calls on a clock of their own; exit 0 only when every one was answered, heard audio and was ended in order."""
    from loadtest.call import Wish, WishError
    from loadtest.load import Load

    try:
        report = Load(Wish(target, duration, user, password, proxy), rate=rate, calls=calls).run()
    except WishError as error:
        errors.print(f"hotswitch loadtest: {error}", markup=False)
        raise typer.Exit(2) from error
    except OSError as error:
        errors.print(f"hotswitch loadtest: {target}: {error}", markup=False)
        raise typer.Exit(1) from error
    figures = report.figures()
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        table = Table(title=f"Load on {report.target}", show_header=False, title_justify="left")
        for name, value in figures.items():
            shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else str(value)
            table.add_row(name.replace("_", " "), shown or "-")
        Console(highlight=False).print(table)
    raise typer.Exit(1 if report.failed else 0)
