"""What the local stack contributes to the `qupersync` command: `up` and `demo`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from qupersync_shared.runtime.plugins import Command, Plugin


def up(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take pipelines and the services' settings from this file."),
    ] = None,
    stack_only: Annotated[bool, typer.Option("--stack-only", help="Just the stack, without the services.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses and credentials as one JSON line.")] = False,
    rows: Annotated[int, typer.Option(min=0, help="Rows of the demo's cost table.")] = 20_000,
) -> None:
    """Run PostgreSQL, NATS, a Redshift stand-in and the services until Ctrl-C; nothing is left behind."""
    from qupersync_local.up import UpOptions, run_up

    options = UpOptions(configuration=config, stack_only=stack_only, as_json=as_json, rows=rows)
    raise typer.Exit(run_up(options))


def demo(
    *,
    source: Annotated[Literal["redshift", "duckdb", "health"], typer.Option(help="What is read from.")] = "redshift",
    rows: Annotated[int, typer.Option(min=100, max=50_000_000, help="Rows of the largest table.")] = 200_000,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running; show the status page.")] = False,
    stall: Annotated[bool, typer.Option("--stall", help="With --keep: make one pipeline stall, to see it.")] = False,
    seed: Annotated[int, typer.Option(help="Decides rows and changes.")] = 1,
) -> None:
    """Sync tables on a local stack, change them meanwhile, and compare source and target row by row."""
    from qupersync_local.demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(source=source, rows=rows, keep=keep, stall=stall, seed=seed)))


plugin = Plugin(
    name="local",
    commands=(
        Command(
            name="up",
            help="Run PostgreSQL, NATS, a Redshift stand-in and the services until Ctrl-C; nothing is left behind.",
            body="qupersync_local.plugin:up",
            examples=("qupersync up", "qupersync up --config qupersync.yaml", "qupersync up --stack-only --json"),
        ),
        Command(
            name="demo",
            help="Sync tables on a local stack, change them meanwhile, and compare source and target row by row.",
            body="qupersync_local.plugin:demo",
            examples=("qupersync demo", "qupersync demo --source duckdb --rows 10000", "qupersync demo --keep"),
        ),
    ),
)
