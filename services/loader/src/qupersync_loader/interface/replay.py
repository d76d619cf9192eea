"""A part of a pipeline's stream, or all of it, applied to another table."""

import asyncio
import sys
from dataclasses import dataclass

from qupersync_loader.application.rebuild.part import Part
from qupersync_loader.application.rebuild.replay import Replay, Replayed, replayed_into
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.infrastructure.postgres.replay_tables import PostgresReplayTables
from qupersync_loader.interface.onlooking import Onlooker, unless_stopped
from qupersync_loader.interface.rebuilding import workbench
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.runtime.cli.guard import EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the command."""

    pipeline: str
    into: tuple[str, str]
    part: Part
    group: str | None
    connections: int | None
    as_json: bool


async def replay_part(found: Configuration, call: Call, stop: Stop) -> int:
    """Replays until done or stopped; the exit code of `qupersync replay`."""
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


async def _do(replay: Replay, call: Call, onlooker: Onlooker, tally: Tally) -> int:
    async with onlooker.looking():
        replayed = await replay(call.part)
    onlooker.end(_lines(replayed, call, tally), _document(replayed, call, tally))
    return EXIT_OK if replayed.complete else EXIT_WRONG


def _lines(replayed: Replayed, call: Call, tally: Tally) -> list[str]:
    lines = [f"replayed {tally.rows} rows of {replayed.span.events} events into {'.'.join(call.into)}"]
    if replayed.gaps:
        lanes = ", ".join(map(str, replayed.gaps))
        lines.append(f"the stream lacks events of this part: lanes {lanes} go on behind them as if they began there")
    left = replayed.left_out
    if not left.nothing:
        lines.append(f"left out: {left.rows} rows that the table refused, {left.events} events that cannot be decoded")
        lines += [f"  {reason}" for reason in left.reasons]
    return lines


def _document(replayed: Replayed, call: Call, tally: Tally) -> dict[str, object]:
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
