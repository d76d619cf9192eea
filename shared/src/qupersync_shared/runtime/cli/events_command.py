"""`qupersync events`, as it is called."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, PipelineArgument

if TYPE_CHECKING:
    from qupersync_shared.runtime.settings import Configuration, NatsSection


def show_events(
    context: typer.Context,
    pipeline: PipelineArgument,
    lane: Annotated[list[int] | None, typer.Option("--lane", help="Only this lane; may be repeated.", min=0)] = None,
    from_sequence: Annotated[int, typer.Option("--from-sequence", help="Begin at this stream sequence.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="End after so many events.", min=1)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for further events, until Ctrl-C.")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="Print the rows of each event, too.")] = False,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Do not fetch the rows.")] = False,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line, with the rows.")] = False,
) -> None:
    """Show the events in a pipeline's stream."""
    from qupersync_shared.runtime.cli.events import Wanted, print_events

    if rows and headers_only:
        raise typer.BadParameter("--rows and --headers-only exclude each other")
    wanted = Wanted(
        pipeline=PipelineName(pipeline),
        lanes=tuple(Lane(number) for number in dict.fromkeys(lane or ())),
        from_sequence=from_sequence,
        limit=limit,
        headers_only=headers_only or not (rows or as_json),
        follow=follow,
    )
    section = _stream_of(configuration(context, config), pipeline)
    try:
        asyncio.run(print_events(section, wanted, as_json=as_json, rows=rows))
    except KeyboardInterrupt:
        if not follow:
            raise


def _stream_of(found: "Configuration", pipeline: str) -> "NatsSection":
    if found.nats is None:
        raise ConfigurationError("nats is missing", place="nats", cure="Write `nats: {servers: [nats://host:4222]}`")
    if pipeline not in found.pipelines:
        known = ", ".join(sorted(found.pipelines)) or "none"
        raise ConfigurationError(
            f"there is no pipeline {pipeline!r}", place="pipelines", cure=f"Known pipelines: {known}"
        )
    return found.nats
