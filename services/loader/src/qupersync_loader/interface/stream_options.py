"""Options of the commands that read a pipeline's whole stream."""

from typing import Annotated

import typer

ConnectionsOption = Annotated[
    int | None, typer.Option("--connections", min=1, max=64, help="Lanes read at a time [loader.connections].")
]
LinesOption = Annotated[bool, typer.Option("--json", help="One JSON document a line.")]
