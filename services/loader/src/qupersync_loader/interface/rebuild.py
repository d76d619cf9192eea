"""A target table made anew from the stream, compared with the live one, and put in its place."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Final

from qupersync_loader.application.rebuild.level import Patience
from qupersync_loader.application.rebuild.rebuild import Rebuild, Wishes
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import Hindered
from qupersync_loader.application.shadows import HinderedError, Phase, Way
from qupersync_loader.infrastructure.postgres.rebuild.shadows import PostgresShadows
from qupersync_loader.interface.onlooking import Onlooker, unless_stopped
from qupersync_loader.interface.rebuild_words import (
    ending_document,
    ending_lines,
    interrupted,
    preview_document,
    preview_lines,
)
from qupersync_loader.interface.rebuilding import (
    Workbench,
    workbench,
)
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.runtime.cli.guard import EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration

WAIT_LOCK_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the command."""

    pipeline: str
    group: str | None
    connections: int | None
    as_json: bool
    dry_run: bool
    discard: bool
    swap: bool
    merge: bool
    accept_difference: bool
    wait_lock_seconds: float

    @property
    def wishes(self) -> Wishes:
        """What is to become of the rebuilt table."""
        way = Way.MERGE if self.merge else Way.SWAP
        return Wishes(swap=self.swap, way=way, accept_difference=self.accept_difference)


async def rebuild_one(found: Configuration, call: Call, stop: Stop) -> int:
    """Rebuilds until done or stopped; the exit code of `qupersync rebuild`."""
    tally = Tally()
    onlooker = Onlooker(tally, as_json=call.as_json)
    async with workbench(
        found, call.pipeline, group=call.group, connections=call.connections, doing="rebuild"
    ) as bench:
        rebuild = Rebuild(
            bench.pipeline,
            shadows=PostgresShadows(bench.settings.target_dsn),
            history=bench.history,
            target=bench.target,
            clock=SystemClock(),
            connections=bench.connections,
            tell=onlooker.tell,
            wishes=call.wishes,
            patience=Patience(wait_lock_seconds=call.wait_lock_seconds),
            tally=tally,
        )
        work = asyncio.create_task(_do(rebuild, call, bench, onlooker))
        if await unless_stopped(stop.wait, work):
            return work.result()
    sys.stderr.write(f"{interrupted(bench.pipeline.name, placed=rebuild.placed)}\n")
    return EXIT_INTERRUPTED


async def _do(rebuild: Rebuild, call: Call, bench: Workbench, onlooker: Onlooker) -> int:
    name, table = bench.pipeline.name, bench.pipeline.target
    if call.discard:
        left = await rebuild.discard()
        words = f"removed {left.table}" if left is not None else f"nothing is left of any rebuild of {name}"
        onlooker.end([words], {"event": "discarded", "table": left.table if left is not None else None})
        return EXIT_OK
    if call.dry_run:
        preview = await rebuild.preview()
        onlooker.end(preview_lines(preview, table), preview_document(preview))
        return EXIT_WRONG if preview.obstacles and call.wishes.way is Way.SWAP and call.wishes.swap else EXIT_OK
    try:
        async with onlooker.looking():
            rebuilt = await rebuild()
    except HinderedError as error:
        onlooker.tell(Hindered(obstacles=error.obstacles))
        sys.stderr.write(f"error: {table} cannot change places with a rebuilt one. {error.cure}\n")
        return EXIT_WRONG
    onlooker.end(ending_lines(rebuilt, name), ending_document(rebuilt))
    differs = rebuilt.phase is Phase.DIFFERENT or (rebuilt.phase is Phase.KEPT and not rebuilt.comparison.equal)
    return EXIT_WRONG if differs else EXIT_OK
