"""`qupersync verify`, as it is called."""

from typing import Annotated

import typer

from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, GroupOption, JsonOption, PipelineArgument


def verify(
    context: typer.Context,
    pipeline: PipelineArgument,
    group: GroupOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Have keys that differ read again, and look again.")] = False,
    wait: Annotated[
        float | None,
        typer.Option("--wait", min=0, max=86_400, help="How long to wait for the pipeline, in seconds [its lookback]."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a source with its target by checksums of key ranges, and name the keys that differ.

    Exit code 0: equal; 1: something differs; 2: bad usage, or source, loaders or databases cannot be reached.
    """
    from qupersync_extractor.interface import verifying

    settings = configuration(context, config)
    code = verifying.verify(settings, pipeline, group=group, repair=repair, wait=wait, as_json=as_json)
    raise typer.Exit(code)
