"""`qupersync replay`, as it is called."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qupersync_loader.interface.stream_options import ConnectionsOption, LinesOption
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, GroupOption, PipelineArgument

if TYPE_CHECKING:
    from qupersync_loader.application.rebuild.part import Position

_POSITION: Final = re.compile(r"(?:([1-9][0-9]{0,17})/)?([1-9][0-9]{0,17})")


def replay(
    context: typer.Context,
    pipeline: PipelineArgument,
    into: Annotated[str, typer.Option("--into", help="The table to make and fill, as schema.table.")],
    from_sequence: Annotated[
        str | None,
        typer.Option("--from-sequence", help="Begin here: SEQUENCE or LOG/SEQUENCE, as `qupersync events` prints it."),
    ] = None,
    from_time: Annotated[
        datetime | None,
        typer.Option(
            "--from-time",
            help="Begin with what was published at this time or later; UTC unless it says otherwise.",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
        ),
    ] = None,
    to_sequence: Annotated[
        str | None, typer.Option("--to-sequence", help="End here, this one included: SEQUENCE or LOG/SEQUENCE.")
    ] = None,
    connections: ConnectionsOption = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: LinesOption = False,
) -> None:
    """Replay a part of the stream, or all that stands in it, into a table of its own; nothing else is touched.

    The first event of a lane within the part counts as its beginning: the table then holds what these events said, no
    more. Rows that were read before the part are not in it, unless a snapshot within the part says them again.
    """
    from qupersync_loader.application.rebuild.part import Part
    from qupersync_loader.interface.replay import Call, replay_part
    from qupersync_shared.runtime.lifecycle import run_until_stopped

    if from_sequence is not None and from_time is not None:
        raise typer.BadParameter("--from-sequence and --from-time exclude each other")
    call = Call(
        pipeline=pipeline,
        into=_table(into),
        part=Part(
            first=_position("--from-sequence", from_sequence),
            since=_moment(from_time),
            last=_position("--to-sequence", to_sequence),
        ),
        group=group,
        connections=connections,
        as_json=as_json,
    )
    found = configuration(context, config)
    raise typer.Exit(run_until_stopped(lambda stop: replay_part(found, call, stop)))


def _table(into: str) -> tuple[str, str]:
    from qupersync_shared.runtime.settings.model import split_table

    try:
        return split_table(into)
    except ValueError:
        raise ConfigurationError(
            f"{into!r} is no schema and table", place="--into", cure="Write schema.table"
        ) from None


def _position(option: str, text: str | None) -> "Position | None":
    from qupersync_loader.application.rebuild.part import Position

    if text is None:
        return None
    match = _POSITION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{option} {text}: neither SEQUENCE nor LOG/SEQUENCE, as in 17 or 2/17")
    return Position(sequence=int(match[2]), log=int(match[1]) if match[1] else None)


def _moment(given: datetime | None) -> datetime | None:
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)
