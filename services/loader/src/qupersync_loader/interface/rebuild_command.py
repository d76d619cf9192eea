"""`qupersync rebuild`, as it is called."""

from typing import Annotated, Final

import typer

from qupersync_loader.interface.stream_options import ConnectionsOption, LinesOption
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, GroupOption, PipelineArgument

WAIT_LOCK_SECONDS: Final = 600.0


def rebuild(
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
    from qupersync_loader.interface.rebuild import Call, rebuild_one
    from qupersync_shared.runtime.lifecycle import run_until_stopped

    _check(dry_run=dry_run, discard=discard, no_swap=no_swap, swaps=merge or accept_difference)
    call = Call(
        pipeline=pipeline,
        group=group,
        connections=connections,
        as_json=as_json,
        dry_run=dry_run,
        discard=discard,
        swap=not no_swap,
        merge=merge,
        accept_difference=accept_difference,
        wait_lock_seconds=wait_lock,
    )
    found = configuration(context, config)
    raise typer.Exit(run_until_stopped(lambda stop: rebuild_one(found, call, stop)))


def _check(*, dry_run: bool, discard: bool, no_swap: bool, swaps: bool) -> None:
    if discard and (dry_run or no_swap or swaps):
        raise typer.BadParameter("--discard stands alone: it only removes what an earlier rebuild left")
    if no_swap and swaps:
        raise typer.BadParameter("--no-swap excludes --merge and --accept-difference: nothing is put in place")
