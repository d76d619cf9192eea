"""Options that several sub-commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration [$QUPERSYNC_CONFIG, else ./qupersync.yaml].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Loader group; else the configuration's.")]
PipelinesOption = Annotated[
    list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline's; may be repeated.")
]
ResolvedOption = Annotated[bool, typer.Option("--all", "-a", help="Also what was resolved.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")]
EveryOption = Annotated[bool, typer.Option("--all", "-a", help="All that wait.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WaitOption = Annotated[
    float | None, typer.Option("--wait", min=0, max=86_400, help="Wait up to so many seconds for what comes of it.")
]
