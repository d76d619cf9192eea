"""Arguments and options that several sub-commands share: one name, one short form, one meaning."""

from pathlib import Path
from typing import Annotated

import typer

from qupersync_shared.runtime.cli.completing import pipeline_names

PipelineArgument = Annotated[str, typer.Argument(help="The pipeline.", autocompletion=pipeline_names)]
PipelineOrAllArgument = Annotated[
    str | None, typer.Argument(help="The pipeline; all of them if left out.", autocompletion=pipeline_names)
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration [$QUPERSYNC_CONFIG, else ./qupersync.yaml].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Loader group; else the configuration's.")]
PipelinesOption = Annotated[
    list[str] | None,
    typer.Option("--pipeline", "-p", help="Only this pipeline's; may be repeated.", autocompletion=pipeline_names),
]
ResolvedOption = Annotated[bool, typer.Option("--all", "-a", help="Also what was resolved.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")]
EveryOption = Annotated[bool, typer.Option("--all", "-a", help="All that wait.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WaitOption = Annotated[
    float | None, typer.Option("--wait", min=0, max=86_400, help="Wait up to so many seconds for what comes of it.")
]
WhoOption = Annotated[str | None, typer.Option("--as", help="Who decides; else this user of this machine.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", "-r", help="Why; it is kept with what was done.")]
