"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the running cluster; else HOTSWITCH_API and HOTSWITCH_TOKEN, else yours.")
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")]
