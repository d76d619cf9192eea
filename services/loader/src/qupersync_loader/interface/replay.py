"""`qupersync replay`: a part of a pipeline's stream, or all of it, applied to another table."""

import asyncio
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from qupersync_loader.application.rebuild.part import Part, Position
from qupersync_loader.application.rebuild.replay import Replay, Replayed, replayed_into
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.infrastructure.postgres.replay_tables import PostgresReplayTables
from qupersync_loader.interface.onlooking import Onlooker, unless_stopped
from qupersync_loader.interface.rebuilding import ConnectionsOption, LinesOption, PipelineArgument, workbench
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.guard import EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, GroupOption
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings import Configuration
from qupersync_shared.runtime.settings.model import split_table

_POSITION: Final = re.compile(r"(?:([1-9][0-9]{0,17})/)?([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call of the command."""

    pipeline: str
    into: tuple[str, str]
    part: Part
    group: str | None
    connections: int | None
    as_json: bool


def add_command(app: typer.Typer) -> None:
    """Adds the sub-command."""
    app.command("replay")(_replay)


def _replay(
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
    if from_sequence is not None and from_time is not None:
        raise typer.BadParameter("--from-sequence and --from-time exclude each other")
    call = _Call(
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
    code = run_until_stopped(lambda stop: _run(found, call, stop))
    if code:
        raise typer.Exit(code)


def _table(into: str) -> tuple[str, str]:
    try:
        return split_table(into)
    except ValueError as error:
        raise ConfigurationError(str(error), place="--into", cure="Write schema.table") from None


def _position(option: str, text: str | None) -> Position | None:
    if text is None:
        return None
    match = _POSITION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{option} {text}: neither SEQUENCE nor LOG/SEQUENCE, as in 17 or 2/17")
    return Position(sequence=int(match[2]), log=int(match[1]) if match[1] else None)


def _moment(given: datetime | None) -> datetime | None:
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)


async def _run(found: Configuration, call: _Call, stop: Stop) -> int:
    tally = Tally()
    onlooker = Onlooker(tally, as_json=call.as_json)
    async with workbench(found, call.pipeline, group=call.group, connections=call.connections, doing="replay") as bench:
        schema, table = call.into
        replay = Replay(
            replayed_into(bench.pipeline, schema, table, group=bench.pipeline.group),
            tables=PostgresReplayTables(bench.settings.target_dsn),
            history=bench.history,
            target=bench.target,
            clock=SystemClock(),
            connections=bench.connections,
            tally=tally,
        )
        work = asyncio.create_task(_do(replay, call, onlooker, tally))
        if await unless_stopped(stop.wait, work):
            return work.result()
    sys.stderr.write(f"stopped: {'.'.join(call.into)} holds a part of it; run this again to begin anew\n")
    return EXIT_INTERRUPTED


async def _do(replay: Replay, call: _Call, onlooker: Onlooker, tally: Tally) -> int:
    async with onlooker.looking():
        replayed = await replay(call.part)
    onlooker.end(_lines(replayed, call, tally), _document(replayed, call, tally))
    return EXIT_OK if replayed.complete else EXIT_WRONG


def _lines(replayed: Replayed, call: _Call, tally: Tally) -> list[str]:
    lines = [f"replayed {tally.rows} rows of {replayed.span.events} events into {'.'.join(call.into)}"]
    if replayed.gaps:
        lanes = ", ".join(map(str, replayed.gaps))
        lines.append(f"the stream lacks events of this part: lanes {lanes} go on behind them as if they began there")
    left = replayed.left_out
    if not left.nothing:
        lines.append(f"left out: {left.rows} rows that the table refused, {left.events} events that cannot be decoded")
        lines += [f"  {reason}" for reason in left.reasons]
    return lines


def _document(replayed: Replayed, call: _Call, tally: Tally) -> dict[str, object]:
    left = replayed.left_out
    return {
        "event": "ended",
        "table": ".".join(call.into),
        "events": replayed.span.events,
        "rows": tally.rows,
        "gaps": list(replayed.gaps),
        "refused_rows": left.rows,
        "undecodable_events": left.events,
        "reasons": list(left.reasons),
    }
