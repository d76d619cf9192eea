"""`qupersync rebuild`: a target table made anew from the stream, compared with the live one, and put in its place."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, Final

import typer

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
    ConnectionsOption,
    LinesOption,
    PipelineArgument,
    Workbench,
    workbench,
)
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.runtime.cli.guard import EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, GroupOption
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings import Configuration

WAIT_LOCK_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call of the command."""

    pipeline: str
    group: str | None
    connections: int | None
    as_json: bool
    dry_run: bool
    discard: bool
    wishes: Wishes
    patience: Patience


def add_command(app: typer.Typer) -> None:
    """Adds the sub-command."""
    app.command("rebuild")(_rebuild)


def _rebuild(
    context: typer.Context,
    pipeline: PipelineArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    no_swap: Annotated[bool, typer.Option("--no-swap", help="Compare, and keep the rebuilt table beside.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the rows over in place instead of exchanging tables.")
    ] = False,
    accept_difference: Annotated[
        bool, typer.Option("--accept-difference", help="Put it in place even where it differs from the live table.")
    ] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Only remove what an earlier rebuild left.")] = False,
    connections: ConnectionsOption = None,
    wait_lock: Annotated[
        float, typer.Option("--wait-lock", min=0, max=86_400, help="Try so many seconds while readers hold the table.")
    ] = WAIT_LOCK_SECONDS,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: LinesOption = False,
) -> None:
    """Rebuild a target table from the stream, beside live loading, and swap it in; the source is not asked.

    The live table changes only at the end, at once, after both were compared. Stopped or killed before that, nothing
    has changed, and the next call goes on with what was read.
    """
    _check(dry_run=dry_run, discard=discard, no_swap=no_swap, swaps=merge or accept_difference)
    call = _Call(
        pipeline=pipeline,
        group=group,
        connections=connections,
        as_json=as_json,
        dry_run=dry_run,
        discard=discard,
        wishes=Wishes(swap=not no_swap, way=Way.MERGE if merge else Way.SWAP, accept_difference=accept_difference),
        patience=Patience(wait_lock_seconds=wait_lock),
    )
    found = configuration(context, config)
    code = run_until_stopped(lambda stop: _run(found, call, stop))
    if code:
        raise typer.Exit(code)


def _check(*, dry_run: bool, discard: bool, no_swap: bool, swaps: bool) -> None:
    if discard and (dry_run or no_swap or swaps):
        raise typer.BadParameter("--discard stands alone: it only removes what an earlier rebuild left")
    if no_swap and swaps:
        raise typer.BadParameter("--no-swap excludes --merge and --accept-difference: nothing is put in place")


async def _run(found: Configuration, call: _Call, stop: Stop) -> int:
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
            patience=call.patience,
            tally=tally,
        )
        work = asyncio.create_task(_do(rebuild, call, bench, onlooker))
        if await unless_stopped(stop.wait, work):
            return work.result()
    sys.stderr.write(f"{interrupted(bench.pipeline.name, placed=rebuild.placed)}\n")
    return EXIT_INTERRUPTED


async def _do(rebuild: Rebuild, call: _Call, bench: Workbench, onlooker: Onlooker) -> int:
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
